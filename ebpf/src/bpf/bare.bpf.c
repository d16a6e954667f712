// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The floor under the kernel path: a relay between two parties that all calls have in common, with the rewrite of a real
 * one (addresses, ports, link-layer addresses, both checksums by what changes) and nothing else: no flows, no checks, no
 * statistics. What comes to a port leaves from its neighbour, to the other party. Used by measurements only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HOP_LIMIT 64

/* The first of the relay's ports; those below stay with the host. */
const volatile __u16 port_min = 20000;
/* Where the callers and where the callees of all calls receive. A call's even port is its caller's. */
const volatile __be16 parties[2];

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

SEC("xdp")
int ringpath_bare(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u8 mac[ETH_ALEN];
	__be16 source, destination;
	__be32 address;
	__u16 check;
	__u32 sum;

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP || bpf_ntohs(udp->dest) < port_min)
		return XDP_PASS;
	__builtin_memcpy(mac, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, mac, ETH_ALEN);
	/* Both parties have one address, so the sum of the addresses is what it was. */
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	/* The word of hop limit and protocol changes, and with it the header's checksum (RFC 1624 eqn. 3). */
	sum = (__u16)~ip->check + (__u16)~*(__u16 *)&ip->ttl;
	ip->ttl = HOP_LIMIT;
	sum += *(__u16 *)&ip->ttl;
	ip->check = ~fold(sum);
	source = udp->dest ^ bpf_htons(1);
	destination = parties[udp->dest & bpf_htons(1) ? 0 : 1];
	if (udp->check) {
		sum = (__u16)~udp->check + (__u16)~udp->source + (__u16)~udp->dest + source + destination;
		check = ~fold(sum);
		udp->check = check ? check : 0xffff;
	}
	udp->source = source;
	udp->dest = destination;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
