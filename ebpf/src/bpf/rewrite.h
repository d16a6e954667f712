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

/* VLAN tags that the packet leaves with. */
static __always_inline __u32 tags_sent(const struct ringpath_flow *flow, const struct packet *packet)
{
	return flow->flags & RINGPATH_TAGS_AS_RECEIVED ? packet->tag_count : flow->tag_count;
}

#ifndef RINGPATH_TC

/* Changes the headers where they are: for what leaves by the version of IP and with the tags that it came with. */
static __always_inline void rewrite_in_place(void *data, const struct ringpath_flow *flow,
					     const struct packet *packet, const struct hop *hop, __u8 traffic_class,
					     __u8 hop_limit)
{
	copy_link(data, hop->link);
	if (packet->v6)
		change_ipv6(packet->ip, flow, packet, traffic_class, hop_limit);
	else
		change_ipv4(packet->ip, flow, traffic_class, hop_limit);
	change_udp(packet->udp, flow);
}

/* Puts the new headers before the payload. False when the frame has no room, after which it must be dropped. */
static __always_inline bool rewrite_moved(context_t *context, const struct ringpath_flow *flow,
					  const struct packet *packet, const struct hop *hop, __u8 traffic_class,
					  __u8 hop_limit)
{
	bool v6 = flow->flags & RINGPATH_EGRESS_V6;
	bool as_received = flow->flags & RINGPATH_TAGS_AS_RECEIVED;
	__u32 tag_count = tags_sent(flow, packet);
	__u32 header_len = sizeof(struct ethhdr) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	struct ringpath_tag *tag;
	struct ethhdr *ethernet;
	struct udphdr *udp;
	void *at, *end;
	int move;

	if (tag_count > 2)
		return false;
	header_len += tag_count * sizeof(*tag);
	move = (int)packet->header_len - (int)header_len;
	if (move && bpf_xdp_adjust_head(context, move))
		return false;
	at = (void *)(long)context->data;
	end = (void *)(long)context->data_end;

	ethernet = at;
	if ((void *)(ethernet + 1) > end)
		return false;
	copy_link(ethernet, hop->link);
	at += sizeof(*ethernet) - sizeof(ethernet->h_proto);
	for (int i = 0; i < 2; i++) {
		if (i >= tag_count)
			break;
		tag = at;
		if ((void *)(tag + 1) > end)
			return false;
		*tag = as_received ? packet->tags[i] : flow->tags[i];
		at += sizeof(*tag);
	}
	if (at + sizeof(ethernet->h_proto) + sizeof(struct ipv6hdr) + sizeof(*udp) > end &&
	    (v6 || at + sizeof(ethernet->h_proto) + sizeof(struct iphdr) + sizeof(*udp) > end))
		return false;
	*(__be16 *)at = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	at += sizeof(ethernet->h_proto);
	if (v6) {
		if (at + sizeof(struct ipv6hdr) + sizeof(*udp) > end)
			return false;
		write_ipv6(at, flow, packet, traffic_class, hop_limit);
		udp = at + sizeof(struct ipv6hdr);
	} else {
		if (at + sizeof(struct iphdr) + sizeof(*udp) > end)
			return false;
		write_ipv4(at, flow, packet, traffic_class, hop_limit);
		udp = at + sizeof(struct iphdr);
	}
	change_udp(udp, flow);
	return true;
}

/* False when the frame has no room, after which it must be dropped. */
static __always_inline bool rewrite(context_t *context, void *data, const struct ringpath_flow *flow,
				    const struct packet *packet, const struct hop *hop, __u8 traffic_class,
				    __u8 hop_limit)
{
	if ((flow->flags & (RINGPATH_EGRESS_V6 | RINGPATH_TAGS_AS_RECEIVED)) !=
	    (packet->v6 * RINGPATH_EGRESS_V6 | RINGPATH_TAGS_AS_RECEIVED))
		return rewrite_moved(context, flow, packet, hop, traffic_class, hop_limit);
	rewrite_in_place(data, flow, packet, hop, traffic_class, hop_limit);
	return true;
}

#else

/* The sum of the words of both addresses, or of their complements. */
static __always_inline __u64 sum_words(const __u32 *words, int count, __u32 invert)
{
	__u64 sum = 0;

	for (int i = 0; i < count; i++)
		sum += words[i] ^ invert;
	return sum;
}

/*
 * A buffer's checksum may be left to the device, or be known by its sum, and only the kernel's functions know which: they
 * are told what changes. False when there is no memory, after which the packet must be dropped.
 */
static __always_inline bool rewrite(context_t *context, void *data, const struct ringpath_flow *flow,
				    const struct packet *packet, const struct hop *hop, __u8 traffic_class,
				    __u8 hop_limit)
{
	bool v6 = flow->flags & RINGPATH_EGRESS_V6;
	__u32 at = sizeof(struct ethhdr) + (packet->tag_count & 3) * sizeof(struct ringpath_tag);
	__u32 udp_at = at + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 check_at = udp_at + __builtin_offsetof(struct udphdr, check);
	__be16 from_port = packet->udp->source, to_port = packet->udp->dest;
	bool has_check = packet->udp->check;
	__be16 protocol;
	struct udphdr *udp;
	void *ip, *end;
	__u64 sum;

	if (packet->v6)
		sum = sum_words((void *)&((struct ipv6hdr *)packet->ip)->saddr, 8, ~0U);
	else
		sum = sum_words((void *)&((struct iphdr *)packet->ip)->saddr, 2, ~0U);
	if (v6)
		sum += sum_words((const void *)flow->to, 8, 0);
	else
		sum += (__u64)((const __u32 *)flow->to)[3] + ((const __u32 *)flow->from)[3];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);

	if (v6 != packet->v6) {
		protocol = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
		if (bpf_skb_change_proto(context, protocol, 0) ||
		    bpf_skb_store_bytes(context, at - sizeof(protocol), &protocol, sizeof(protocol), 0))
			return false;
	}
	if (has_check) {
		bpf_l4_csum_replace(context, check_at, 0, sum, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
		bpf_l4_csum_replace(context, check_at, from_port, flow->from_port,
				    BPF_F_MARK_MANGLED_0 | sizeof(__be16));
		bpf_l4_csum_replace(context, check_at, to_port, flow->to_port, BPF_F_MARK_MANGLED_0 | sizeof(__be16));
	}
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + sizeof(struct ethhdr) > end)
		return false;
	copy_link(data, hop->link);
	ip = data + at;
	if (v6) {
		udp = ip + sizeof(struct ipv6hdr);
		if ((void *)(udp + 1) > end)
			return false;
		write_ipv6(ip, flow, packet, traffic_class, hop_limit);
	} else {
		udp = ip + sizeof(struct iphdr);
		if ((void *)(udp + 1) > end)
			return false;
		write_ipv4(ip, flow, packet, traffic_class, hop_limit);
	}
	*(__u32 *)udp = *(const __u32 *)&flow->from_port;
	return true;
}

#endif

#endif
