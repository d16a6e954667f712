// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The relay: a packet that fits its flow leaves with new addresses; all else goes up or is dropped, and is counted by
 * its reason.
 *
 * The life of a packet: parse to the UDP header; look the flow up by where the packet came to; compare where it came
 * from with the flow's verified source; check size, class, RTP header, payload type; find the next hop; take tokens
 * and count under the lock of the flow's state; write the new headers; send. Everything that may send a packet up
 * comes before the first byte is changed.
 *
 * Works on any number of queues and CPUs: flows are read only, states are locked, totals are per CPU.
 */
#include "bucket.h"
#include "copies.h"
#include "hop.h"
#include "lock.h"
#include "maps.h"
#include "packet.h"
#include "rewrite.h"
#include "ringpath.h"
#include "rtp.h"
#include "statistics.h"
#include "tap.h"

/* The longest frame that can have a payload of RINGPATH_PAYLOAD_MAX. */
#define FRAME_MAX (RINGPATH_PAYLOAD_MAX + 128)

/* Counts a packet that is not forwarded. */
static __always_inline int end_packet(struct ringpath_totals *total, __u32 reason, bool pass)
{
	if (reason >= RINGPATH_REASONS)
		return BROKEN;
	if (pass) {
		total->passed[reason]++;
		return PASS;
	}
	total->dropped[reason]++;
	return DROP;
}

/* The same when its flow is known: counted there as well, and the flow says what becomes of it. */
static __noinline int refuse(struct ringpath_totals *total, const struct ringpath_flow *flow,
			     struct ringpath_state *state, __u32 reason)
{
	__u32 place = reason - RINGPATH_SOURCE;

	if (place >= RINGPATH_FLOW_REASONS)
		return BROKEN;
	__sync_fetch_and_add(&state->refused[place], 1);
	return end_packet(total, reason, flow->pass_up >> reason & 1);
}

/* The relay's address whose words these are. */
static __always_inline struct ringpath_local *find_local(const __u32 *address)
{
	__u32 hash = (address[0] ^ address[1] ^ address[2] ^ address[3]) * 0x9e3779b1U;
	struct ringpath_local *local;
	__u32 place;

	hash >>= 25;
	for (int i = 0; i < RINGPATH_PROBES; i++) {
		place = (hash + i) & (RINGPATH_LOCALS - 1);
		local = bpf_map_lookup_elem(&locals, &place);
		if (!local || !(local->flags & RINGPATH_LOCAL_USED))
			return NULL;
		if (same_address(local->address, address))
			return local;
	}
	return NULL;
}

/* Nobody owns the port: inside the range of the address that says what becomes of the packet. */
static __noinline int handle_unowned(struct ringpath_totals *total, struct ringpath_local *local, __u32 port,
				     __u32 payload_len)
{
	if (!(local->flags & RINGPATH_LOCAL_RANGE) || port < local->port_min || port > local->port_max)
		return end_packet(total, RINGPATH_NOT_OURS, true);
	__sync_fetch_and_add(&local->packets, 1);
	__sync_fetch_and_add(&local->bytes, payload_len);
	return end_packet(total, RINGPATH_UNOWNED_PORT, !(local->flags & RINGPATH_LOCAL_DROP));
}

#define EVERY_BYTE 0x0101010101010101ULL

/*
 * The clock of a payload type, as a place among the flow's clocks plus one; 0 when the flow does not have it. All of
 * `types` are compared at once: the byte that equals is the lowest that is zero. A loop is eight paths to the verifier.
 */
static __always_inline __u32 find_clock(const struct ringpath_flow *flow, __u8 payload_type)
{
	__u64 types = *(const __u64 *)flow->types;
	__u64 differing, equal;
	__u32 place;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	types = __builtin_bswap64(types);
#endif
	differing = types ^ payload_type * EVERY_BYTE;
	equal = (differing - EVERY_BYTE) & ~differing & 0x80 * EVERY_BYTE;
	if (equal) {
		equal &= -equal;
		place = (equal >> 7) * 0x0001020304050607ULL >> 56;
		return flow->clock_of_types >> 4 * place & 15;
	}
	if (!(flow->flags & RINGPATH_MORE_TYPES))
		return 0;
	return flow->clock_of[payload_type >> 1 & 63] >> (payload_type & 1) * 4 & 15;
}

/* Begins to bring a cache line near. */
static __always_inline void touch(const void *line)
{
	__u32 word = *(const volatile __u32 *)line;

	asm volatile("" : : "r"(word));
}

#ifdef RINGPATH_TC
SEC("tc")
#else
SEC("xdp")
#endif
int ringpath_relay(context_t *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ringpath_streams *stream;
	const struct rtp_header *rtp;
	struct ringpath_totals *total;
	struct ringpath_state *state;
	struct ringpath_local *local;
	struct ringpath_flow *flow;
	struct arrival arrival;
	struct packet packet;
	struct hop hop;
	__u32 zero = 0, flags, place, version, clock;
	__u8 traffic_class, hop_limit;
	__u64 now_ns, *owner, port;
	__u32 address[4];
	__u8 *payload;
	bool is_rtcp;
	int reason;

#ifdef RINGPATH_TC
	/* Headers and payload may lie in other pages than the ones that a program sees. */
	if (!context->gso_size && context->len <= FRAME_MAX && data + context->len > end) {
		if (bpf_skb_pull_data(context, context->len))
			return PASS;
		data = (void *)(long)context->data;
		end = (void *)(long)context->data_end;
	}
#endif
	total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return BROKEN;
	reason = parse_packet(&packet, data, end);
	if (reason != PARSED)
		return end_packet(total, reason, true);
	if (packet.v6)
		copy_ipv6(address, &((struct ipv6hdr *)packet.ip)->daddr);
	else
		map_ipv4(address, ((struct iphdr *)packet.ip)->daddr);
	local = find_local(address);
	if (!local)
		return end_packet(total, RINGPATH_NOT_OURS, true);
	place = local->base + bpf_ntohs(packet.udp->dest);
	owner = bpf_map_lookup_elem(&ports, &place);
	if (!owner)
		return end_packet(total, RINGPATH_NOT_OURS, true);
	port = *(volatile __u64 *)owner;
	place = (__u32)port;
	if (!place)
		return handle_unowned(total, local, bpf_ntohs(packet.udp->dest), packet.payload_len);
	if (place == RINGPATH_PORT_USER) {
		total->passed[RINGPATH_USER_SPACE]++;
#ifndef RINGPATH_TC
		/* Comes back only when there is none. */
		bpf_tail_call(context, &user_space, 0);
#endif
		return PASS;
	}
	place--;
	flow = bpf_map_lookup_elem(&flows, &place);
	place = port >> 32;
	state = bpf_map_lookup_elem(&states, &place);
	stream = bpf_map_lookup_elem(&streams, &place);
	/* A flow of RTCP has none, and counts nothing there; to the verifier having none would be a path of its own. */
	if (!stream)
		stream = bpf_map_lookup_elem(&streams, &zero);
	if (!flow || !state || !stream)
		return end_packet(total, RINGPATH_USER_SPACE, true);
	flags = flow->flags;
#ifdef RINGPATH_TC
	/*
	 * Left to user space: several datagrams in one buffer; flows that set tags, the outer of which lies beside the
	 * packet here; and another version of IP behind a tag that lies within, which the kernel does not change.
	 */
	if (context->gso_size || !(flags & RINGPATH_TAGS_AS_RECEIVED) ||
	    (packet.tag_count && packet.v6 != !!(flags & RINGPATH_EGRESS_V6)))
		return end_packet(total, RINGPATH_USER_SPACE, true);
#endif
	/* Before anything waits for one of them, and before the clock and the lock, which wait for all. */
	touch(flow->link);
	touch(&state->version);
	touch(&stream->stream[0].packets);
	touch(&stream->stream[0].jitter_x16);
	if (flags & RINGPATH_TAP)
		tap_packet(context, state, flow->state, packet.header_len - ip_header_len(packet.v6),
			   ip_length(packet.v6, &packet) << 1 | RINGPATH_RECEIVED);

	/* Nothing that another source sends may touch the state but the counters of refused packets. */
	if (packet.udp->source != flow->source_port || !comes_from(&packet, flow->source))
		return refuse(total, flow, state, RINGPATH_SOURCE);
	if (packet.payload_len < flow->size_min)
		return refuse(total, flow, state, RINGPATH_TOO_SHORT);
	if (packet.payload_len > flow->size_max || packet.payload_len > RINGPATH_PAYLOAD_MAX)
		return refuse(total, flow, state, RINGPATH_TOO_LONG);

	payload = (void *)(packet.udp + 1);
	reason = demux(payload, packet.payload_len, end);
	if (reason >= 0)
		return refuse(total, flow, state, reason);
	is_rtcp = reason == DEMUX_RTCP;
	if (is_rtcp) {
		if (flow->kind == RINGPATH_KIND_RTP)
			return refuse(total, flow, state, RINGPATH_RTCP_NOT_MUXED);
		reason = check_rtcp(payload, packet.payload_len, end);
		if (reason != PARSED)
			return refuse(total, flow, state, reason);
	} else {
		if (flow->kind == RINGPATH_KIND_RTCP)
			return refuse(total, flow, state, RINGPATH_RTP_ON_RTCP_PORT);
		reason = check_rtp(payload, packet.payload_len, end);
		if (reason != PARSED)
			return refuse(total, flow, state, reason);
		rtp = (const void *)payload;
		if ((void *)(rtp + 1) > end)
			return refuse(total, flow, state, RINGPATH_RTP_TRUNCATED);
		arrival.payload_type = rtp->second & 0x7f;
		clock = find_clock(flow, arrival.payload_type);
		if (!clock)
			return refuse(total, flow, state, RINGPATH_PAYLOAD_TYPE);
		/* Of the eight that four bits with one at least can say, seven are clocks. */
		arrival.clock_rate_hz = flow->clocks_hz[(clock - 1) & 7];
		arrival.sequence = bpf_ntohs(rtp->sequence);
		arrival.timestamp = bpf_ntohl(rtp->timestamp);
		arrival.ssrc = bpf_ntohl(rtp->ssrc);
		arrival.bytes = packet.payload_len;
	}

	if (packet.v6 != !!(flow->flags & RINGPATH_INGRESS_V6))
		return refuse(total, flow, state, RINGPATH_SOURCE);
	if (!packet.udp->check) {
		/* Without a checksum IPv6 packets are discarded (RFC 8200 §8.1), and none can be made incrementally. */
		if (packet.v6)
			return refuse(total, flow, state, RINGPATH_UDP_CHECKSUM_ZERO);
		if (flow->flags & RINGPATH_EGRESS_V6)
			return refuse(total, flow, state, RINGPATH_UDP_CHECKSUM_ABSENT);
	}
	traffic_class = packet.traffic_class;
	if (flow->dscp != RINGPATH_DSCP_KEEP)
		traffic_class = flow->dscp << 2 | (traffic_class & ECN_MASK);
	hop_limit = flow->hop_limit;
	if (hop_limit == RINGPATH_HOP_LIMIT_DECREMENT) {
		if (packet.hop_limit <= 1)
			return refuse(total, flow, state, RINGPATH_HOP_LIMIT);
		hop_limit = packet.hop_limit - 1;
	}

	now_ns = bpf_ktime_get_ns();
	arrival.now_ns = now_ns;
	hop.mtu = 0;
	version = lock_state(state);
	if (version & 1 || !recall_hop(state, flow, &packet, now_ns, &hop)) {
		if (!(version & 1))
			unlock_state(state, version);
		reason = find_hop(context, flow, &packet, traffic_class, &hop);
		if (reason != PARSED)
			return refuse(total, flow, state, reason);
		version = lock_state(state);
		if (!(version & 1) && hop.mtu)
			keep_hop(state, flow, now_ns, &hop);
	}
	if (version & 1) {
		total->uncounted++;
		goto send;
	}
	reason = flags & RINGPATH_LIMITS ? take_tokens(state, flow, now_ns, packet.payload_len) : PARSED;
	if (reason == PARSED) {
		if (is_rtcp) {
			state->rtcp_seen_ns = now_ns;
			state->rtcp_packets++;
			state->rtcp_bytes += packet.payload_len;
		} else {
			count_stream(state, stream, &arrival);
		}
	}
	unlock_state(state, version);
	if (reason != PARSED)
		return refuse(total, flow, state, reason);

send:
	if (is_rtcp && flags & RINGPATH_COPY_RTCP)
		copy_rtcp(context, total, state, flow, &packet, now_ns);
	if (!rewrite(context, data, flow, &packet, &hop, traffic_class, hop_limit)) {
		__sync_fetch_and_add(&state->refused[RINGPATH_HEADROOM - RINGPATH_SOURCE], 1);
		return end_packet(total, RINGPATH_HEADROOM, false);
	}
	/* Read anew: to the verifier the flag would else make two paths of all between here and the first test. */
	if (*(const volatile __u32 *)&flow->flags & RINGPATH_TAP)
		tap_packet(context, state, flow->state,
			   sizeof(struct ethhdr) + sizeof(struct ringpath_tag) * tags_sent(flow, &packet),
			   ip_length(flags & RINGPATH_EGRESS_V6, &packet) << 1 | RINGPATH_SENT);
	total->bytes += packet.payload_len;
	if (hop.ifindex == ingress_of(context)) {
		total->sent_back++;
#ifndef RINGPATH_TC
		return XDP_TX;
#endif
	} else {
		total->redirected++;
	}
	return bpf_redirect(hop.ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
