/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The lock of a flow's state: a version that is odd while a program writes. bpf_spin_lock turns interrupts off and on
 * again, which cost a quarter of the whole program (docs/adr/0006); programs of the network do not interrupt one
 * another on one CPU, so that only two CPUs can meet, and that only when packets of one flow come by two queues.
 * User space maps the states and takes one when its version was even and the same before and after.
 */
#ifndef RINGPATH_LOCK_H
#define RINGPATH_LOCK_H

#include "packet.h"

/* A writer takes some tens of nanoseconds; one whose CPU was taken away is not waited for. */
#define LOCK_TRIES 64

/* Not static, and apart from the first try, so that the verifier looks at the loop once. */
__noinline __u32 lock_taken_state(struct ringpath_state *state)
{
	volatile __u32 *version;
	__u32 seen;

	if (!state)
		return 1;
	version = &state->version;
	for (int i = 0; i < LOCK_TRIES; i++) {
		seen = *version;
		if (!(seen & 1) && __sync_val_compare_and_swap(&state->version, seen, seen + 1) == seen)
			return seen;
	}
	return 1;
}

/* The version to unlock with; odd when the lock was not to be had. */
static __always_inline __u32 lock_state(struct ringpath_state *state)
{
	__u32 seen = *(volatile __u32 *)&state->version;

	if (!(seen & 1) && __sync_val_compare_and_swap(&state->version, seen, seen + 1) == seen)
		return seen;
	return lock_taken_state(state);
}

/* An exchange, since it orders what was written before it on every architecture. */
static __always_inline void unlock_state(struct ringpath_state *state, __u32 version)
{
	__sync_lock_test_and_set(&state->version, version + 2);
}

#endif
