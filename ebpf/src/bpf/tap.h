/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Copies of packets for people who look at a call. */
#ifndef RINGPATH_TAP_H
#define RINGPATH_TAP_H

#include "maps.h"

/* Where a packet came to, by its headers of IP and UDP. */
static __always_inline void read_key(struct ringpath_flow_key *key, const __u8 *ip)
{
	if (ip[0] >> 4 == 6) {
		copy_ipv6(key->address, ip + __builtin_offsetof(struct ipv6hdr, daddr));
		key->port = *(__be16 *)(ip + sizeof(struct ipv6hdr) + __builtin_offsetof(struct udphdr, dest));
	} else {
		map_ipv4(key->address, *(__be32 *)(ip + __builtin_offsetof(struct iphdr, daddr)));
		key->port = *(__be16 *)(ip + sizeof(struct iphdr) + __builtin_offsetof(struct udphdr, dest));
	}
	key->zero[0] = 0;
	key->zero[1] = 0;
}

/*
 * Copies a packet of IP of `length` bytes at `at` into the ring of taps; a full ring costs the record. The key stays in
 * the record from the packet as it was received to the packet as it is sent. Not static: so the verifier looks at it
 * once, and not for each way that leads here.
 */
__noinline int tap_packet(context_t *context, struct ringpath_state *state, __u32 slot, __u32 at,
			  __u32 length_and_direction)
{
	__u32 length = length_and_direction >> 1;
	bool sent = (length_and_direction & 1) == RINGPATH_SENT;
	__u32 captured = length, zero = 0;
	struct ringpath_settings *setting = bpf_map_lookup_elem(&settings, &zero);
	struct tap_record *record = bpf_map_lookup_elem(&tap_records, &zero);
	struct ringpath_totals *total = bpf_map_lookup_elem(&totals, &zero);

	if (!setting || !record || !total || !state)
		return 0;
	if (captured > setting->tap_length_max)
		captured = setting->tap_length_max;
	if (captured > RINGPATH_TAP_LENGTH_MAX)
		captured = RINGPATH_TAP_LENGTH_MAX;
	/* The verifier wants to see that it is not zero. */
	if (captured < 1)
		captured = 1;
	if (load_bytes(context, at, record->bytes, captured))
		return 0;
	if (!sent) {
		read_key(&record->head.key, record->bytes);
		record->slot = slot;
	} else if (record->slot != slot) {
		/* The tap began between the two, and the key is that of an older record. */
		return 0;
	}
	record->head.at_ns = bpf_ktime_get_ns();
	record->head.length = length;
	record->head.captured = captured;
	record->head.direction = sent ? RINGPATH_SENT : RINGPATH_RECEIVED;
	if (bpf_ringbuf_output(&taps, record, sizeof(record->head) + captured, 0)) {
		__sync_fetch_and_add(&state->taps_lost, 1);
		total->taps_lost++;
	}
	return 0;
}

#endif
