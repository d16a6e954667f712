/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where a packet goes next: the flow's neighbour, or what the routing table says. */
#ifndef RINGPATH_HOP_H
#define RINGPATH_HOP_H

#include "maps.h"
#include "rewrite.h"

#define AF_INET 2
#define AF_INET6 10
/*
 * How long the routing table's answer is good. It costs as much as all the rest, so that one packet in ten asks at
 * 20 ms a packet, and a next hop that changes its address costs a flow no more than those.
 */
#define HOP_AGE_NS 200000000ULL

/* The neighbour of the flow, or what the routing table said a moment ago. Runs with the lock of the state held. */
static __always_inline bool recall_hop(const struct ringpath_state *state, const struct ringpath_flow *flow,
				       const struct packet *packet, __u64 now_ns, struct hop *hop)
{
	if (!(flow->flags & RINGPATH_FIB)) {
		hop->ifindex = flow->ifindex;
		copy_link(hop->link, flow->link);
		return flow->flags & RINGPATH_NEIGHBOUR;
	}
	if (state->hop_until_ns <= now_ns || state->hop_epoch != flow->epoch ||
	    ip_length(flow->flags & RINGPATH_EGRESS_V6, packet) > state->hop_mtu)
		return false;
	hop->ifindex = state->hop_ifindex;
	copy_link(hop->link, state->hop_link);
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
	copy_link(state->hop_link, hop->link);
}

/* Asks the routing table, and falls back to the flow's neighbour; a reason when there is none. */
static __always_inline int find_hop(context_t *context, const struct ringpath_flow *flow,
				    const struct packet *packet, __u8 traffic_class, struct hop *hop)
{
	struct bpf_fib_lookup fib = {};
	long result;

	if (flow->flags & RINGPATH_FIB) {
		fib.l4_protocol = IPPROTO_UDP;
		fib.tot_len = ip_length(flow->flags & RINGPATH_EGRESS_V6, packet);
		fib.ifindex = ingress_of(context);
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
			__builtin_memcpy(hop->link, fib.dmac, ETH_ALEN);
			__builtin_memcpy((__u8 *)hop->link + ETH_ALEN, fib.smac, ETH_ALEN);
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
	copy_link(hop->link, flow->link);
	return PARSED;
}

#endif
