/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Copies of the RTCP that is forwarded, for the engines that read it. */
#ifndef RINGPATH_COPIES_H
#define RINGPATH_COPIES_H

#include "maps.h"

/* Gives user space the RTCP that is being forwarded. A full ring costs the copy and never the packet. */
static __always_inline void copy_rtcp(context_t *context, struct ringpath_totals *total,
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
		if (load_bytes(context, at, small->payload, length)) {
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
		if (load_bytes(context, at, large->payload, length)) {
			bpf_ringbuf_discard(large, 0);
			return;
		}
		header = &large->header;
	}
	header->arrival_ns = now_ns;
	write_key(&header->key, packet);
	header->slot = flow->state;
	header->length = packet->payload_len;
	header->captured = length;
	header->zero = 0;
	bpf_ringbuf_submit(header, 0);
	return;
full:
	__sync_fetch_and_add(&state->copies_lost, 1);
	total->copies_lost++;
}

#endif
