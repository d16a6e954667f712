// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The yardstick: the least that an XDP program can do to send a UDP datagram somewhere else by the same rewrite as the
 * relay's. Every datagram to a high port goes back where it came from: link-layer addresses, addresses, ports, a hop limit
 * of 64, and both checksums brought up to date by what has changed. It checks lengths, and nothing else; it looks nothing
 * up and counts nothing. Used by measurements only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HOP_LIMIT 64

/* The first port that is echoed; those below stay with the host. */
#define PORT_MIN 10000

/* The compiler would see that a swap changes no sum, which a relay's new addresses do. */
#define hide(value) asm volatile("" : "+r"(value))

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

SEC("xdp")
int ringpath_echo(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 from, to;
	__u16 from_port, to_port, check;
	__u8 mac[ETH_ALEN];
	__u64 addresses, sum;

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (bpf_ntohs(udp->dest) < PORT_MIN)
		return XDP_PASS;
	__builtin_memcpy(mac, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, mac, ETH_ALEN);
	from = ip->daddr;
	to = ip->saddr;
	from_port = udp->dest;
	to_port = udp->source;
	hide(from);
	hide(to);
	hide(from_port);
	hide(to_port);
	/* What changes of the addresses, for both checksums, and of the word of hop limit and protocol (RFC 1624). */
	addresses = (__u64)from + to + (__u32)~ip->saddr + (__u32)~ip->daddr;
	sum = addresses + (__u16)~ip->check + (__u16)~*(__u16 *)&ip->ttl;
	ip->ttl = HOP_LIMIT;
	sum += bpf_htons(HOP_LIMIT << 8 | IPPROTO_UDP);
	ip->check = ~fold(sum);
	sum = addresses + from_port + to_port + (__u16)~udp->source + (__u16)~udp->dest;
	ip->saddr = from;
	ip->daddr = to;
	udp->source = from_port;
	udp->dest = to_port;
	if (udp->check) {
		check = ~fold(sum + (__u16)~udp->check);
		udp->check = check ? check : 0xffff;
	}
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
