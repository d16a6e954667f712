// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The yardstick: the least that an XDP program can do to send a UDP datagram somewhere else. Every datagram to a
 * high port goes back where it came from, with addresses and ports changed about, and with a hop limit of 64. It checks
 * lengths, and nothing else; it counts nothing. Used by measurements only.
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

SEC("xdp")
int ringpath_echo(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u8 mac[ETH_ALEN];
	__be32 address;
	__be16 port;
	__u32 sum;

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (bpf_ntohs(udp->dest) < PORT_MIN)
		return XDP_PASS;
	__builtin_memcpy(mac, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, mac, ETH_ALEN);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	/* The word of hop limit and protocol changes, and with it the header's checksum (RFC 1624). */
	sum = (__u16)~ip->check + (__u16)~*(__u16 *)&ip->ttl;
	ip->ttl = HOP_LIMIT;
	sum += *(__u16 *)&ip->ttl;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
	/* Neither the sum of the addresses nor that of the ports has changed, so that the UDP checksum stays right. */
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
