/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* New headers around the payload: Ethernet with tags, IP of the egress family, UDP. */
#ifndef RINGPATH_REWRITE_H
#define RINGPATH_REWRITE_H

#include "packet.h"

/* Where the packet goes next. */
struct hop {
	__u32 ifindex;
	/* The destination's link-layer address, then ours. */
	__u32 link[3];
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
	ip->saddr = from[3];
	ip->daddr = to[3];
	ip->check = ~fold((__u64)from[3] + to[3] + bpf_htons(0x4500 | traffic_class) + ip->tot_len + packet->id +
			  packet->fragment + bpf_htons((__u32)hop_limit << 8 | IPPROTO_UDP));
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

/* The same over the headers that are there, of the version that leaves, which keep what does not change. */
static __always_inline void change_ipv4(struct iphdr *ip, const struct ringpath_flow *flow, __u8 traffic_class,
					__u8 hop_limit)
{
	const __u32 *from = (const void *)flow->from, *to = (const void *)flow->to, *words = (const void *)ip;
	__u16 length = ip->tot_len;

	ip->tos = traffic_class;
	ip->ttl = hop_limit;
	ip->check = ~fold((__u64)from[3] + to[3] + bpf_htons(0x4500 | traffic_class) + length + words[1] +
			  bpf_htons((__u32)hop_limit << 8 | IPPROTO_UDP));
	ip->saddr = from[3];
	ip->daddr = to[3];
}

static __always_inline void change_ipv6(struct ipv6hdr *ip, const struct ringpath_flow *flow,
					const struct packet *packet, __u8 traffic_class, __u8 hop_limit)
{
	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)traffic_class << 20) | packet->flow_label;
	ip->hop_limit = hop_limit;
	copy_ipv6(&ip->saddr, flow->from);
	copy_ipv6(&ip->daddr, flow->to);
}

static __always_inline void change_udp(struct udphdr *udp, const struct ringpath_flow *flow)
{
	/* Both ports at once. */
	*(__u32 *)udp = *(const __u32 *)&flow->from_port;
	if (udp->check)
		udp->check = update_checksum(udp->check, flow->checksum_delta);
}

#endif
