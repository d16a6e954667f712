/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* RTP and RTCP as the crate `rtp` reads them; a test holds the two against each other. */
#ifndef RINGPATH_RTP_H
#define RINGPATH_RTP_H

#include "packet.h"

#define RTP_FIXED_HEADER 12
#define RTP_EXTENSION_BIT 0x10
#define RTP_PADDING_BIT 0x20
#define RTP_CSRC_MASK 0x0f
#define RTCP_HEADER 4

struct rtp_header {
	__u8 first;
	__u8 second;
	__be16 sequence;
	__be32 timestamp;
	__be32 ssrc;
};

/* What `demux` says when it is not a reason. */
#define DEMUX_RTP (-1)
#define DEMUX_RTCP (-2)

/* By the first two bytes (RFC 7983 §7, RFC 5761 §4). */
static __always_inline int demux(const __u8 *payload, __u32 length, void *end)
{
	__u8 first, second;

	if (length < 1 || payload + 1 > (__u8 *)end)
		return RINGPATH_NOT_MEDIA;
	first = payload[0];
	if (first >= 128 && first <= 191) {
		if (length < 2 || payload + 2 > (__u8 *)end)
			return DEMUX_RTP;
		second = payload[1];
		return second >= 192 && second <= 223 ? DEMUX_RTCP : DEMUX_RTP;
	}
	if (first <= 3)
		return RINGPATH_STUN;
	if (first >= 16 && first <= 19)
		return RINGPATH_ZRTP;
	if (first >= 20 && first <= 63)
		return RINGPATH_DTLS;
	if (first >= 64 && first <= 79)
		return RINGPATH_TURN_CHANNEL;
	return RINGPATH_NOT_MEDIA;
}

/* All that the header claims about lengths (RFC 3550 §5.1, §A.1). `length` is at most RINGPATH_PAYLOAD_MAX. */
static __always_inline int check_rtp(const __u8 *payload, __u32 length, void *end)
{
	const struct rtp_header *rtp = (const void *)payload;
	const __u8 *at;
	__u32 header, last;
	__u8 padding;

	if (length < RTP_FIXED_HEADER || (void *)(rtp + 1) > end)
		return RINGPATH_RTP_TRUNCATED;
	if (rtp->first >> 6 != 2)
		return RINGPATH_RTP_VERSION;
	header = RTP_FIXED_HEADER + 4 * (rtp->first & RTP_CSRC_MASK);
	if (length < header)
		return RINGPATH_RTP_TRUNCATED;
	if (rtp->first & RTP_EXTENSION_BIT) {
		at = payload + header;
		if (length < header + 4 || at + 4 > (__u8 *)end)
			return RINGPATH_RTP_EXTENSION;
		header += 4 + 4 * bpf_ntohs(*(__be16 *)(at + 2));
		if (length < header)
			return RINGPATH_RTP_EXTENSION;
	}
	if (rtp->first & RTP_PADDING_BIT) {
		last = length - 1;
		/* Compared as what it is added as, which the compiler would take from elsewhere. */
		asm volatile("" : "+r"(last));
		if (last >= RINGPATH_PAYLOAD_MAX)
			return RINGPATH_RTP_PADDING;
		at = payload + last;
		if (at + 1 > (__u8 *)end)
			return RINGPATH_RTP_PADDING;
		/* The last byte counts itself (RFC 3550 §5.1), so zero is a contradiction. */
		padding = *at;
		if (padding == 0 || padding > length - header)
			return RINGPATH_RTP_PADDING;
	}
	return PARSED;
}

/* The header of the first packet of a compound. The others are for whoever reads the copy. */
static __always_inline int check_rtcp(const __u8 *payload, __u32 length, void *end)
{
	if (length < RTCP_HEADER || payload + RTCP_HEADER > (__u8 *)end)
		return RINGPATH_RTCP_TRUNCATED;
	if (4 * (bpf_ntohs(*(__be16 *)(payload + 2)) + 1U) > length)
		return RINGPATH_RTCP_LENGTH;
	return PARSED;
}

#endif
