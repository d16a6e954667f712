/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* New headers around the payload: Ethernet with tags, IP of the egress family, UDP. */
#ifndef RINGPATH_REWRITE_H
#define RINGPATH_REWRITE_H

#include "packet.h"

/* Where the packet goes next. */
struct hop {
	__u32 ifindex;
	__u8 destination[6];
	__u8 source[6];
	/* Largest packet of IP that the routing table lets through; 0 when it was not asked. */
	__u16 mtu;
};

static __always_inline void write_ipv4(void *at, const struct ringpath_flow *flow, const struct packet *packet,
				       __u8 traffic_class, __u8 hop_limit)
{
	const __u32 *from = (const void *)flow->from, *to = (const void *)flow->to;
	struct iphdr *ip = at;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = traffic_class;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(struct udphdr) + packet->payload_len);
	ip->id = packet->id;
	ip->frag_off = packet->fragment;
	ip->ttl = hop_limit;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = from[3];
	ip->daddr = to[3];
	ip->check = ~sum_ipv4(ip);
}

static __always_inline void write_ipv6(void *at, const struct ringpath_flow *flow, const struct packet *packet,
				       __u8 traffic_class, __u8 hop_limit)
{
	struct ipv6hdr *ip = at;

	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)traffic_class << 20) | packet->flow_label;
	ip->payload_len = bpf_htons(sizeof(struct udphdr) + packet->payload_len);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = hop_limit;
	copy_ipv6(&ip->saddr, flow->from);
	copy_ipv6(&ip->daddr, flow->to);
}

/* The UDP checksum after addresses and ports have changed (RFC 1624 eqn. 3); 0 on the wire means none (RFC 768). */
static __always_inline __u16 update_checksum(__u16 check, __u16 delta)
{
	__u32 sum = (__u16)~check + (__u32)delta;

	sum = (sum & 0xffff) + (sum >> 16);
	check = ~sum;
	return check ? check : 0xffff;
}

#endif
