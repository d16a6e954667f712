/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From the first byte of a frame to its UDP header. */
#ifndef RINGPATH_PACKET_H
#define RINGPATH_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ringpath.h"

#define ETHERTYPE_8021Q bpf_htons(ETH_P_8021Q)
#define ETHERTYPE_8021AD bpf_htons(ETH_P_8021AD)

/*
 * The relay is built twice from one source: for XDP, and for interfaces that have none as a classifier of TC, which sees
 * socket buffers. What differs by its kind of context is here and in rewrite.h.
 */
#ifdef RINGPATH_TC
typedef struct __sk_buff context_t;
#define PASS (-1) /* TCX_NEXT */
#define DROP 2 /* TCX_DROP */
#define BROKEN DROP
#define load_bytes bpf_skb_load_bytes
#define ingress_of(context) ((context)->ifindex)
#else
typedef struct xdp_md context_t;
#define PASS XDP_PASS
#define DROP XDP_DROP
#define BROKEN XDP_ABORTED
#define load_bytes bpf_xdp_load_bytes
#define ingress_of(context) ((context)->ingress_ifindex)
#endif

#define IP_DF 0x4000
#define IP_MF_AND_OFFSET 0x3fff
#define ECN_MASK 0x03

/* The parse succeeded; every other result is an enum ringpath_reason. */
#define PARSED (-1)

struct packet {
	/* The headers in the frame, while nothing has moved them. */
	void *ip;
	struct udphdr *udp;
	/* Bytes after the UDP header, by its length field. */
	__u32 payload_len;
	/* Of Ethernet, tags and IP together. */
	__u32 header_len;
	/* Traffic class with ECN; the bits of IPv6's flow label in network order; the word of IPv4's id and flags. */
	__u8 traffic_class;
	__u8 hop_limit;
	__u8 v6;
	__u8 tag_count;
	__be32 flow_label;
	__be16 id;
	__be16 fragment;
	struct ringpath_tag tags[2];
};

#define MAPPED bpf_htonl(0xffff)

static __always_inline void map_ipv4(void *to, __be32 address)
{
	__u32 *words = to;

	words[0] = 0;
	words[1] = 0;
	words[2] = MAPPED;
	words[3] = address;
}

static __always_inline void copy_ipv6(void *to, const void *from)
{
	const __u32 *source = from;
	__u32 *words = to;

	words[0] = source[0];
	words[1] = source[1];
	words[2] = source[2];
	words[3] = source[3];
}

/* Link-layer addresses, by words: the compiler would take bytes, as it does not know that the packet is aligned. */
static __always_inline void copy_link(void *to, const void *from)
{
	const __u32 *source = from;
	__u32 *words = to;

	words[0] = source[0];
	words[1] = source[1];
	words[2] = source[2];
}

static __always_inline bool same_address(const void *a, const void *b)
{
	const __u32 *left = a, *right = b;

	return !((left[0] ^ right[0]) | (left[1] ^ right[1]) | (left[2] ^ right[2]) | (left[3] ^ right[3]));
}

/* The ones' complement sum of 16-bit words that were added up as words of 32 bits, folded. */
static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The ones' complement sum of a header of 20 bytes: 0xffff when its checksum is right (RFC 1071). */
static __always_inline __u32 sum_ipv4(const struct iphdr *ip)
{
	const __u32 *words = (const void *)ip;

	return fold((__u64)words[0] + words[1] + words[2] + words[3] + words[4]);
}

static __always_inline int parse_ipv4(struct packet *packet, void *at, void *end)
{
	struct iphdr *ip = at;
	__u32 total;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return RINGPATH_IP_HEADER;
	if (ip->protocol != IPPROTO_UDP)
		return RINGPATH_NOT_UDP;
	if (ip->ihl != 5)
		return RINGPATH_IP_OPTIONS;
	if (ip->frag_off & bpf_htons(IP_MF_AND_OFFSET))
		return RINGPATH_IP_FRAGMENT;
	/* A router must check it (RFC 1812 §5.2.2): the header is written anew, which would hide the error. */
	if (sum_ipv4(ip) != 0xffff)
		return RINGPATH_IP_CHECKSUM;
	total = bpf_ntohs(ip->tot_len);
	if (total < sizeof(*ip) || at + total > end)
		return RINGPATH_IP_HEADER;
	packet->ip = ip;
	packet->udp = (void *)(ip + 1);
	packet->payload_len = total - sizeof(*ip);
	packet->header_len += sizeof(*ip);
	packet->traffic_class = ip->tos;
	packet->hop_limit = ip->ttl;
	packet->v6 = 0;
	packet->id = ip->id;
	packet->fragment = ip->frag_off;
	packet->flow_label = 0;
	return PARSED;
}

static __always_inline int parse_ipv6(struct packet *packet, void *at, void *end)
{
	struct ipv6hdr *ip = at;
	__u32 length, first;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return RINGPATH_IP_HEADER;
	switch (ip->nexthdr) {
	case IPPROTO_UDP:
		break;
	case IPPROTO_FRAGMENT:
		return RINGPATH_IP_FRAGMENT;
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case IPPROTO_AH:
	case IPPROTO_ESP:
		return RINGPATH_IP_EXTENSION;
	default:
		return RINGPATH_NOT_UDP;
	}
	length = bpf_ntohs(ip->payload_len);
	if ((void *)(ip + 1) + length > end)
		return RINGPATH_IP_HEADER;
	first = bpf_ntohl(*(__be32 *)ip);
	packet->ip = ip;
	packet->udp = (void *)(ip + 1);
	packet->payload_len = length;
	packet->header_len += sizeof(*ip);
	packet->traffic_class = first >> 20;
	packet->hop_limit = ip->hop_limit;
	packet->v6 = 1;
	/* What a packet of IPv4 made from it has: no fragments, so no id is needed (RFC 6864 §4.1). */
	packet->id = 0;
	packet->fragment = bpf_htons(IP_DF);
	packet->flow_label = bpf_htonl(first & 0xfffff);
	return PARSED;
}

/* Fills `packet` up to the UDP header and checks each length against the frame. Neither counts nor decides. */
static __always_inline int parse_packet(struct packet *packet, void *data, void *end)
{
	struct ethhdr *ethernet = data;
	struct ringpath_tag *tag;
	struct udphdr *udp;
	void *at = ethernet + 1;
	__be16 protocol;
	__u32 length;
	int result;

	if (at > end)
		return RINGPATH_NOT_IP;
	protocol = ethernet->h_proto;
	packet->header_len = sizeof(*ethernet);
	packet->tag_count = 0;
	/* A tag is the control word and the next protocol; stored as it lies in the frame, protocol first. */
	for (int i = 0; i < 2; i++) {
		if (protocol != ETHERTYPE_8021Q && protocol != ETHERTYPE_8021AD)
			break;
		tag = at - sizeof(protocol);
		if ((void *)(tag + 1) + sizeof(protocol) > end)
			return RINGPATH_NOT_IP;
		packet->tags[i] = *tag;
		packet->tag_count = i + 1;
		packet->header_len += sizeof(*tag);
		protocol = *(__be16 *)(tag + 1);
		at += sizeof(*tag);
	}
	if (protocol == bpf_htons(ETH_P_IP))
		result = parse_ipv4(packet, at, end);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		result = parse_ipv6(packet, at, end);
	else
		return RINGPATH_NOT_IP;
	if (result != PARSED)
		return result;
	udp = packet->udp;
	if ((void *)(udp + 1) > end || packet->payload_len < sizeof(*udp))
		return RINGPATH_UDP_LENGTH;
	length = bpf_ntohs(udp->len);
	/* Sockets take a shorter UDP length than IP's and cut the rest off; no RTP sender makes such packets. */
	if (length != packet->payload_len)
		return RINGPATH_UDP_LENGTH;
	packet->payload_len = length - sizeof(*udp);
	return PARSED;
}

/* Whether the packet comes from `address`, IPv4 mapped. The verifier knows that the headers are there. */
static __always_inline bool comes_from(const struct packet *packet, const void *address)
{
	const __u32 *words = address;
	const struct ipv6hdr *v6 = packet->ip;
	const struct iphdr *v4 = packet->ip;

	/* To an address of IPv4 flows take packets from such only, so that the last word tells them apart. */
	return packet->v6 ? same_address(&v6->saddr, address) : words[3] == v4->saddr;
}

/* Where the packet came to. */
static __always_inline void write_key(struct ringpath_flow_key *key, const struct packet *packet)
{
	const struct ipv6hdr *v6 = packet->ip;
	const struct iphdr *v4 = packet->ip;

	if (packet->v6)
		copy_ipv6(key->address, &v6->daddr);
	else
		map_ipv4(key->address, v4->daddr);
	key->port = packet->udp->dest;
	key->zero[0] = 0;
	key->zero[1] = 0;
}

static __always_inline __u32 ip_header_len(bool v6)
{
	return v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* Bytes of the packet when it is of this version of IP. */
static __always_inline __u32 ip_length(bool v6, const struct packet *packet)
{
	return ip_header_len(v6) + sizeof(struct udphdr) + packet->payload_len;
}

#endif
