/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a receiver learns of a stream, counted as `rtp::StreamStatistics` counts it. Everything here runs with the lock
 * of the state held.
 */
#ifndef RINGPATH_STATISTICS_H
#define RINGPATH_STATISTICS_H

#include "rtp.h"

#define SEQUENTIAL_MIN 2
#define DROPOUT_MAX 3000
#define MISORDER_MAX 100
#define TIMESTAMP_JUMP_NS 5000000000ULL
#define NANOSECONDS 1000000000ULL
/* Packets received between two losses that make them two events (RFC 3611 §4.7.2). */
#define GAP_MIN 16

struct arrival {
	__u64 now_ns;
	__u32 ssrc;
	__u32 timestamp;
	__u32 clock_rate_hz;
	__u32 bytes;
	__u16 sequence;
	__u8 payload_type;
};

static __always_inline __u64 lost(const struct ringpath_stream *stream)
{
	return stream->lost_before + (stream->highest - stream->base + 1) - stream->distinct;
}

/* `count` packets in a row are missing after `since_loss` received ones (RFC 3611 §A.2, for a run at once). */
static __always_inline void lose(struct ringpath_stream *stream, __u32 count)
{
	if (stream->since_loss >= GAP_MIN) {
		/* The first loss after a gap: it ends the burst before, or that was a single loss. */
		if (stream->burst_lost == 1)
			stream->c14++;
		else
			stream->c13++;
		stream->burst_lost = 1;
		stream->c11 += stream->since_loss;
	} else {
		stream->burst_lost++;
		if (stream->since_loss == 0) {
			stream->c33++;
		} else {
			stream->c23++;
			stream->c22 += stream->since_loss - 1;
		}
	}
	stream->burst_lost += count - 1;
	stream->c33 += count - 1;
	stream->since_loss = 0;
}

static __always_inline void shift_window(struct ringpath_stream *stream, __u32 by)
{
	if (by < 64) {
		stream->window[1] = stream->window[1] << by | stream->window[0] >> 1 >> (63 - by);
		stream->window[0] <<= by;
	} else {
		stream->window[1] = by < 128 ? stream->window[0] << (by & 63) : 0;
		stream->window[0] = 0;
	}
	stream->window[0] |= 1;
}

/* A new sequence that ends in `sequence` and of which `received` packets have come. */
static __always_inline void restart(struct ringpath_stream *stream, __u16 sequence, __u32 received)
{
	stream->lost_before = lost(stream);
	stream->highest = 65536ULL + sequence;
	stream->base = stream->highest - (received - 1);
	stream->distinct = received;
	stream->window[0] = (1ULL << received) - 1;
	stream->window[1] = 0;
	stream->has_after_stray = 0;
	stream->since_loss++;
}

/* Interarrival jitter (RFC 3550 §A.8), its remainder kept. */
static __always_inline void time_stream(struct ringpath_stream *stream, const struct arrival *arrival)
{
	__u64 sent, arrived, difference, jitter;
	__u32 distance;
	__s64 apart;

	if (!arrival->clock_rate_hz)
		return;
	if (stream->clock_rate_hz == arrival->clock_rate_hz) {
		/* Division of the magnitude: the instruction set has no signed one, and it rounds to zero like Rust's. */
		distance = arrival->timestamp - stream->last_timestamp;
		if ((__s32)distance < 0)
			sent = -((__u64)(-distance) * NANOSECONDS / arrival->clock_rate_hz);
		else
			sent = (__u64)distance * NANOSECONDS / arrival->clock_rate_hz;
		arrived = arrival->now_ns - stream->last_arrival_ns;
		apart = (__s64)(arrived - sent);
		difference = apart < 0 ? -(__u64)apart : (__u64)apart;
		if (difference <= TIMESTAMP_JUMP_NS) {
			jitter = stream->jitter_x16;
			jitter += difference - ((jitter + 8) >> 4);
			stream->jitter_x16 = jitter;
			if (jitter >> 4 > stream->jitter_max_ns)
				stream->jitter_max_ns = jitter >> 4;
		}
	}
	stream->clock_rate_hz = arrival->clock_rate_hz;
	stream->last_timestamp = arrival->timestamp;
	stream->last_arrival_ns = arrival->now_ns;
}

/* The first packet of a stream. */
static __always_inline void begin_stream(struct ringpath_stream *stream, const struct arrival *arrival)
{
	__builtin_memset(stream, 0, sizeof(*stream));
	stream->packets = 1;
	stream->bytes = arrival->bytes;
	stream->base = 65536ULL + arrival->sequence;
	stream->highest = stream->base;
	stream->distinct = 1;
	stream->window[0] = 1;
	stream->last_arrival_ns = arrival->now_ns;
	stream->first_seen_ns = arrival->now_ns;
	stream->last_seen_ns = arrival->now_ns;
	/* As if a gap had gone before, so that a first loss is not within a burst (RFC 3611 §A.2 begins this way). */
	stream->since_loss = GAP_MIN + 1;
	stream->ssrc = arrival->ssrc;
	stream->last_timestamp = arrival->timestamp;
	stream->clock_rate_hz = arrival->clock_rate_hz;
	stream->payload_type = arrival->payload_type;
	stream->probation = SEQUENTIAL_MIN - 1;
	stream->used = 1;
}

/* Any later packet (RFC 3550 §A.1). */
static __always_inline void observe(struct ringpath_stream *stream, const struct arrival *arrival)
{
	__u16 ahead = arrival->sequence - (__u16)stream->highest;
	__u16 behind = -ahead;
	__u64 bit, number;
	__u32 word;

	stream->packets++;
	stream->bytes += arrival->bytes;
	stream->payload_type = arrival->payload_type;
	stream->last_seen_ns = arrival->now_ns;
	if (ahead == 0) {
		stream->duplicates++;
		return;
	}
	if (stream->probation) {
		if (ahead != 1) {
			restart(stream, arrival->sequence, 1);
			stream->probation = SEQUENTIAL_MIN - 1;
			stream->clock_rate_hz = 0;
			time_stream(stream, arrival);
			return;
		}
		stream->probation--;
	}
	if (ahead < DROPOUT_MAX) {
		stream->highest += ahead;
		shift_window(stream, ahead);
		stream->distinct++;
		if (ahead > 1)
			lose(stream, ahead - 1);
		stream->since_loss++;
		time_stream(stream, arrival);
		return;
	}
	if (behind < MISORDER_MAX) {
		word = behind >> 6 & 1;
		bit = 1ULL << (behind & 63);
		if (stream->window[word] & bit) {
			stream->duplicates++;
			return;
		}
		stream->window[word] |= bit;
		stream->distinct++;
		stream->reordered++;
		number = stream->highest - behind;
		if (number < stream->base)
			stream->base = number;
		time_stream(stream, arrival);
		return;
	}
	if (stream->has_after_stray && stream->after_stray == arrival->sequence) {
		stream->strays--;
		restart(stream, arrival->sequence, 2);
		stream->clock_rate_hz = 0;
		time_stream(stream, arrival);
		return;
	}
	stream->after_stray = arrival->sequence + 1;
	stream->has_after_stray = 1;
	stream->strays++;
}

/* Counts an RTP packet with the stream of its SSRC; a fifth SSRC takes the place of the one unheard for longest. */
static __always_inline void count_stream(struct ringpath_state *state, struct ringpath_streams *streams,
					 const struct arrival *arrival)
{
	struct ringpath_stream *stream;
	__u32 at = state->current & (RINGPATH_STREAMS - 1);
	__u32 oldest = 0;

	stream = &streams->stream[at];
	if (stream->used && stream->ssrc == arrival->ssrc) {
		observe(stream, arrival);
		return;
	}
	at = RINGPATH_STREAMS;
	for (int i = 0; i < RINGPATH_STREAMS; i++) {
		stream = &streams->stream[i];
		if (stream->used && stream->ssrc == arrival->ssrc)
			at = i;
		/* An unused one was last seen at 0. */
		if (stream->last_seen_ns < streams->stream[oldest & (RINGPATH_STREAMS - 1)].last_seen_ns)
			oldest = i;
	}
	if (at < RINGPATH_STREAMS) {
		state->current = at;
		observe(&streams->stream[at & (RINGPATH_STREAMS - 1)], arrival);
		return;
	}
	state->current = oldest;
	stream = &streams->stream[oldest & (RINGPATH_STREAMS - 1)];
	if (stream->used) {
		state->evicted++;
		state->evicted_packets += stream->packets;
		state->evicted_bytes += stream->bytes;
		state->evicted_lost += lost(stream);
	}
	begin_stream(stream, arrival);
}

#endif
