/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Token buckets kept as a time: `due` is when the bucket will be full again. A packet moves it on by its cost and fits
 * while it does not lie further ahead than the burst. One word a bucket, and no division.
 */
#ifndef RINGPATH_BUCKET_H
#define RINGPATH_BUCKET_H

#include "packet.h"

/* Takes a packet of `bytes` from both buckets or from neither. Runs with the lock of the state held. */
static __always_inline int take_tokens(struct ringpath_state *state, const struct ringpath_flow *flow, __u64 now_ns,
				       __u32 bytes)
{
	__u64 packets_due = state->packets_due_ns, bytes_due = state->bytes_due_ns;

	if (flow->packet_cost_ns) {
		if (packets_due < now_ns)
			packets_due = now_ns;
		packets_due += flow->packet_cost_ns;
		if (packets_due - now_ns > flow->packet_burst_ns)
			return RINGPATH_PACKET_RATE;
	}
	if (flow->byte_cost_x256) {
		if (bytes_due < now_ns)
			bytes_due = now_ns;
		bytes_due += flow->byte_cost_x256 * bytes >> 8;
		if (bytes_due - now_ns > flow->byte_burst_ns)
			return RINGPATH_BYTE_RATE;
	}
	state->packets_due_ns = packets_due;
	state->bytes_due_ns = bytes_due;
	return PARSED;
}

#endif
