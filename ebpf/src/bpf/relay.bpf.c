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
#include "lock.h"
#include "packet.h"
#include "rewrite.h"
#include "ringpath.h"
#include "rtp.h"
#include "statistics.h"

#define AF_INET 2
#define AF_INET6 10
/*
 * How long the routing table's answer is good. It costs as much as all the rest, so that one packet in ten asks at
 * 20 ms a packet, and a next hop that changes its address costs a flow no more than those.
 */
#define HOP_AGE_NS 200000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ringpath_flow_key);
	__type(value, struct ringpath_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct ringpath_state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct ringpath_range_key);
	__type(value, struct ringpath_range);
} ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ringpath_totals);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} copies SEC(".maps");

/* Counts a packet that is not forwarded. */
static __always_inline int end_packet(struct ringpath_totals *total, __u32 reason, bool pass)
{
	if (reason >= RINGPATH_REASONS)
		return XDP_ABORTED;
	if (pass) {
		total->passed[reason]++;
		return XDP_PASS;
	}
	total->dropped[reason]++;
	return XDP_DROP;
}

/* The same when its flow is known: counted there as well, and the flow says what becomes of it. */
static __always_inline int refuse(struct ringpath_totals *total, const struct ringpath_flow *flow,
				  struct ringpath_state *state, __u32 reason)
{
	if (reason >= RINGPATH_REASONS)
		return XDP_ABORTED;
	__sync_fetch_and_add(&state->refused[reason], 1);
	return end_packet(total, reason, flow->pass_up >> reason & 1);
}

/* No flow has the port: inside a range of the relay the range says what becomes of the packet. */
static __always_inline int handle_unowned(struct ringpath_totals *total, const struct packet *packet)
{
	struct ringpath_range *range = bpf_map_lookup_elem(&ranges, packet->key.address);
	__u16 port = bpf_ntohs(packet->key.port);

	if (!range || port < range->port_min || port > range->port_max)
		return end_packet(total, RINGPATH_NOT_OURS, true);
	__sync_fetch_and_add(&range->packets, 1);
	__sync_fetch_and_add(&range->bytes, packet->payload_len);
	return end_packet(total, RINGPATH_UNOWNED_PORT, !range->drop);
}

static __always_inline __u32 ip_length(const struct ringpath_flow *flow, const struct packet *packet)
{
	__u32 header = flow->flags & RINGPATH_EGRESS_V6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	return header + sizeof(struct udphdr) + packet->payload_len;
}

/* The neighbour of the flow, or what the routing table said a moment ago. Runs with the lock of the state held. */
static __always_inline bool recall_hop(const struct ringpath_state *state, const struct ringpath_flow *flow,
				       const struct packet *packet, __u64 now_ns, struct hop *hop)
{
	if (!(flow->flags & RINGPATH_FIB)) {
		hop->ifindex = flow->ifindex;
		__builtin_memcpy(hop->destination, flow->neighbour, sizeof(hop->destination));
		__builtin_memcpy(hop->source, flow->own, sizeof(hop->source));
		return flow->flags & RINGPATH_NEIGHBOUR;
	}
	if (state->hop_until_ns <= now_ns || state->hop_epoch != flow->epoch ||
	    ip_length(flow, packet) > state->hop_mtu)
		return false;
	hop->ifindex = state->hop_ifindex;
	__builtin_memcpy(hop->destination, state->hop_destination, sizeof(hop->destination));
	__builtin_memcpy(hop->source, state->hop_source, sizeof(hop->source));
	return true;
}

/* Keeps what the routing table said. Runs with the lock of the state held. */
static __always_inline void keep_hop(struct ringpath_state *state, const struct ringpath_flow *flow, __u64 now_ns,
				     const struct hop *hop)
{
	state->hop_until_ns = now_ns + HOP_AGE_NS;
	state->hop_epoch = flow->epoch;
	state->hop_ifindex = hop->ifindex;
	state->hop_mtu = hop->mtu;
	__builtin_memcpy(state->hop_destination, hop->destination, sizeof(hop->destination));
	__builtin_memcpy(state->hop_source, hop->source, sizeof(hop->source));
}

/* Asks the routing table, and falls back to the flow's neighbour; a reason when there is none. */
static __always_inline int find_hop(struct xdp_md *context, const struct ringpath_flow *flow,
				    const struct packet *packet, __u8 traffic_class, struct hop *hop)
{
	struct bpf_fib_lookup fib = {};
	long result;

	if (flow->flags & RINGPATH_FIB) {
		fib.l4_protocol = IPPROTO_UDP;
		fib.tot_len = ip_length(flow, packet);
		fib.ifindex = context->ingress_ifindex;
		fib.sport = flow->from_port;
		fib.dport = flow->to_port;
		if (flow->flags & RINGPATH_EGRESS_V6) {
			fib.family = AF_INET6;
			copy_ipv6(fib.ipv6_src, flow->from);
			copy_ipv6(fib.ipv6_dst, flow->to);
		} else {
			fib.family = AF_INET;
			fib.tos = traffic_class & ~ECN_MASK;
			fib.ipv4_src = ((const __u32 *)flow->from)[3];
			fib.ipv4_dst = ((const __u32 *)flow->to)[3];
		}
		result = bpf_fib_lookup(context, &fib, sizeof(fib), 0);
		if (result == BPF_FIB_LKUP_RET_SUCCESS) {
			hop->ifindex = fib.ifindex;
			hop->mtu = fib.mtu_result;
			__builtin_memcpy(hop->destination, fib.dmac, sizeof(hop->destination));
			__builtin_memcpy(hop->source, fib.smac, sizeof(hop->source));
			return PARSED;
		}
		if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
			return RINGPATH_MTU;
		if (!(flow->flags & RINGPATH_NEIGHBOUR))
			return result == BPF_FIB_LKUP_RET_NO_NEIGH ? RINGPATH_NO_NEIGHBOUR : RINGPATH_NO_ROUTE;
	}
	if (!(flow->flags & RINGPATH_NEIGHBOUR))
		return RINGPATH_NO_ROUTE;
	hop->ifindex = flow->ifindex;
	__builtin_memcpy(hop->destination, flow->neighbour, sizeof(hop->destination));
	__builtin_memcpy(hop->source, flow->own, sizeof(hop->source));
	return PARSED;
}

/* Gives user space the RTCP that is being forwarded. A full ring costs the copy and never the packet. */
static __always_inline void copy_rtcp(struct xdp_md *context, struct ringpath_totals *total,
				      struct ringpath_state *state, const struct ringpath_flow *flow,
				      const struct packet *packet, __u64 now_ns)
{
	struct {
		struct ringpath_copy header;
		__u8 payload[RINGPATH_COPY_SMALL];
	} *small;
	struct {
		struct ringpath_copy header;
		__u8 payload[RINGPATH_COPY_LARGE];
	} *large;
	struct ringpath_copy *header;
	__u32 at = packet->header_len + sizeof(struct udphdr);
	__u32 length = packet->payload_len;

	if (length <= RINGPATH_COPY_SMALL) {
		small = bpf_ringbuf_reserve(&copies, sizeof(*small), 0);
		if (!small)
			goto full;
		/* The verifier wants to see that it is neither zero nor too large. */
		if (length < 1)
			length = 1;
		if (bpf_xdp_load_bytes(context, at, small->payload, length)) {
			bpf_ringbuf_discard(small, 0);
			return;
		}
		header = &small->header;
	} else {
		large = bpf_ringbuf_reserve(&copies, sizeof(*large), 0);
		if (!large)
			goto full;
		if (length > RINGPATH_COPY_LARGE)
			length = RINGPATH_COPY_LARGE;
		if (bpf_xdp_load_bytes(context, at, large->payload, length)) {
			bpf_ringbuf_discard(large, 0);
			return;
		}
		header = &large->header;
	}
	header->arrival_ns = now_ns;
	header->key = packet->key;
	header->slot = flow->slot;
	header->length = packet->payload_len;
	header->captured = length;
	header->zero = 0;
	bpf_ringbuf_submit(header, 0);
	return;
full:
	__sync_fetch_and_add(&state->copies_lost, 1);
	total->copies_lost++;
}

/* Puts the new headers before the payload. False when the frame has no room, after which it must be dropped. */
static __always_inline bool rewrite(struct xdp_md *context, const struct ringpath_flow *flow,
				    const struct packet *packet, const struct hop *hop, __u8 traffic_class,
				    __u8 hop_limit)
{
	bool v6 = flow->flags & RINGPATH_EGRESS_V6;
	bool as_received = flow->flags & RINGPATH_TAGS_AS_RECEIVED;
	__u32 tag_count = as_received ? packet->tag_count : flow->tag_count;
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
	__builtin_memcpy(ethernet->h_dest, hop->destination, sizeof(ethernet->h_dest));
	__builtin_memcpy(ethernet->h_source, hop->source, sizeof(ethernet->h_source));
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
	udp->source = flow->from_port;
	udp->dest = flow->to_port;
	if (udp->check)
		udp->check = update_checksum(udp->check, flow->checksum_delta);
	return true;
}

SEC("xdp")
int ringpath_relay(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct rtp_header *rtp;
	struct ringpath_totals *total;
	struct ringpath_state *state;
	struct arrival arrival = {};
	struct ringpath_flow *flow;
	struct packet packet = {};
	struct hop hop = {};
	__u8 traffic_class, hop_limit, clock;
	__u64 now_ns;
	__u32 zero = 0, slot, version;
	__u8 *payload;
	bool is_rtcp;
	int reason;

	total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return XDP_ABORTED;
	reason = parse_packet(&packet, data, end);
	if (reason != PARSED)
		return end_packet(total, reason, true);
	flow = bpf_map_lookup_elem(&flows, &packet.key);
	if (!flow)
		return handle_unowned(total, &packet);
	if (flow->kind == RINGPATH_KIND_USER)
		return end_packet(total, RINGPATH_USER_SPACE, true);
	slot = flow->slot;
	state = bpf_map_lookup_elem(&states, &slot);
	if (!state)
		return end_packet(total, RINGPATH_USER_SPACE, true);

	/* Nothing that another source sends may touch the state but the counters of refused packets. */
	if (packet.udp->source != flow->source_port || !same_address(packet.source, flow->source))
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
		clock = flow->clock_of[arrival.payload_type];
		if (!clock)
			return refuse(total, flow, state, RINGPATH_PAYLOAD_TYPE);
		arrival.clock_rate_hz = flow->clocks_hz[clock & (RINGPATH_CLOCKS - 1)];
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
	reason = take_tokens(state, flow, now_ns, packet.payload_len);
	if (reason == PARSED) {
		state->last_packet_ns = now_ns;
		if (is_rtcp) {
			state->rtcp_packets++;
			state->rtcp_bytes += packet.payload_len;
		} else {
			state->rtp_packets++;
			state->rtp_bytes += packet.payload_len;
			count_stream(state, &arrival);
		}
	}
	unlock_state(state, version);
	if (reason != PARSED)
		return refuse(total, flow, state, reason);

send:
	if (is_rtcp && flow->flags & RINGPATH_COPY_RTCP)
		copy_rtcp(context, total, state, flow, &packet, now_ns);
	if (!rewrite(context, flow, &packet, &hop, traffic_class, hop_limit)) {
		__sync_fetch_and_add(&state->refused[RINGPATH_HEADROOM], 1);
		return end_packet(total, RINGPATH_HEADROOM, false);
	}
	total->bytes += packet.payload_len;
	if (hop.ifindex == context->ingress_ifindex) {
		total->sent_back++;
		return XDP_TX;
	}
	total->redirected++;
	return bpf_redirect(hop.ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
