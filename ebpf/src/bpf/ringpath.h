/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the BPF programs and user space share: keys and values of the maps, reasons, records.
 *
 * src/layout.rs has the same structures; sizes are asserted here and there, and a test compares every member's
 * offset with the type information of the built objects. A change of any of them raises RINGPATH_LAYOUT_VERSION,
 * which is what a process looks at before it adopts pinned maps.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. Ports and tags are in network order, all else in host order.
 */
#ifndef RINGPATH_H
#define RINGPATH_H

#include <linux/bpf.h>
#include <linux/types.h>

#define RINGPATH_LAYOUT_VERSION 3

#define RINGPATH_STREAMS 4
/* Clock rates of a flow, and payload types that are found without its table. */
#define RINGPATH_CLOCKS 7
#define RINGPATH_TYPES 8
#define RINGPATH_REASONS 40
/* Of these a flow counts RINGPATH_SOURCE and all after it. */
#define RINGPATH_FLOW_REASONS 28
/* Places for local addresses, and how many of them are looked at for one. */
#define RINGPATH_LOCALS 128
#define RINGPATH_PROBES 8
#define RINGPATH_WORKERS_MAX 128
#define RINGPATH_STEERED_ADDRESSES_MAX 64
/* AF_XDP sockets of all workers together. */
#define RINGPATH_XSKS_MAX 256
/* Largest payload of a datagram that the relay looks into. */
#define RINGPATH_PAYLOAD_MAX 9000

/* Why a packet was not forwarded. The first group is found before a flow is known, and such packets go up. */
enum ringpath_reason {
	RINGPATH_NOT_IP,
	RINGPATH_NOT_UDP,
	RINGPATH_IP_HEADER,
	RINGPATH_IP_OPTIONS,
	RINGPATH_IP_FRAGMENT,
	RINGPATH_IP_EXTENSION,
	RINGPATH_IP_CHECKSUM,
	RINGPATH_UDP_LENGTH,
	RINGPATH_NOT_OURS,
	RINGPATH_UNOWNED_PORT,
	RINGPATH_USER_SPACE,
	/* From here on the flow is known and counts them too; its pass_up says which go up. */
	RINGPATH_SOURCE,
	RINGPATH_TOO_SHORT,
	RINGPATH_TOO_LONG,
	RINGPATH_STUN,
	RINGPATH_ZRTP,
	RINGPATH_DTLS,
	RINGPATH_TURN_CHANNEL,
	RINGPATH_NOT_MEDIA,
	RINGPATH_RTP_TRUNCATED,
	RINGPATH_RTP_VERSION,
	RINGPATH_RTP_EXTENSION,
	RINGPATH_RTP_PADDING,
	RINGPATH_RTCP_TRUNCATED,
	RINGPATH_RTCP_LENGTH,
	RINGPATH_RTP_ON_RTCP_PORT,
	RINGPATH_RTCP_NOT_MUXED,
	RINGPATH_PAYLOAD_TYPE,
	RINGPATH_UDP_CHECKSUM_ZERO,
	RINGPATH_UDP_CHECKSUM_ABSENT,
	RINGPATH_HOP_LIMIT,
	RINGPATH_NO_ROUTE,
	RINGPATH_NO_NEIGHBOUR,
	RINGPATH_MTU,
	RINGPATH_PACKET_RATE,
	RINGPATH_BYTE_RATE,
	RINGPATH_HEADROOM,
	RINGPATH_REASON_COUNT,
};

/* What a port carries. */
enum ringpath_kind {
	RINGPATH_KIND_RTP = 1,
	RINGPATH_KIND_RTCP,
	/* RTP and RTCP on one port (RFC 5761). */
	RINGPATH_KIND_MUX,
};

enum ringpath_flow_flag {
	RINGPATH_INGRESS_V6 = 1,
	RINGPATH_EGRESS_V6 = 2,
	/* Ask the routing table first. */
	RINGPATH_FIB = 4,
	/* `neighbour`, `own` and `ifindex` are set: used without RINGPATH_FIB, or when the routing table does not know. */
	RINGPATH_NEIGHBOUR = 8,
	/* The VLAN tags are the received ones, else those of the flow. */
	RINGPATH_TAGS_AS_RECEIVED = 16,
	/* Copy RTCP into the ring `copies`. */
	RINGPATH_COPY_RTCP = 32,
	/* There are token buckets. */
	RINGPATH_LIMITS = 64,
	/* Copy packets, as received and as sent, into the ring `taps`. */
	RINGPATH_TAP = 128,
	/* There are more payload types than `types` has; `clock_of` has all of them. */
	RINGPATH_MORE_TYPES = 256,
};

/* Keep what the packet came with. */
#define RINGPATH_DSCP_KEEP 0xff
#define RINGPATH_HOP_LIMIT_DECREMENT 0
#define RINGPATH_TYPE_NONE 0xff

/* Where a packet came to. */
struct ringpath_flow_key {
	__u8 address[16];
	__be16 port;
	__u8 zero[2];
};

enum ringpath_local_flag {
	RINGPATH_LOCAL_USED = 1,
	/* The ports from `port_min` to `port_max` are the relay's. */
	RINGPATH_LOCAL_RANGE = 2,
	/* Packets to those of them that nobody owns are dropped. */
	RINGPATH_LOCAL_DROP = 4,
};

/*
 * An address of the relay. Lies at one of the RINGPATH_PROBES places from the hash of its words on; places are taken
 * without a gap and never given back.
 */
struct ringpath_local {
	__u8 address[16];
	/* Place of its port 0 among `ports`. */
	__u32 base;
	__u32 flags;
	__u16 port_min;
	__u16 port_max;
	__u32 zero[9];
	/* To ports within the range that nobody owns. */
	__u64 packets;
	__u64 bytes;
	__u64 zeros[6];
};

/*
 * A port of an address is a word of 64 bits: 0 when nobody owns it, RINGPATH_PORT_USER when it is user space's, else the
 * place of its flow plus one, and the place of its state in the upper half. User space writes the word at once, after
 * what it points to.
 */
#define RINGPATH_PORT_USER 0xffffffffU

struct ringpath_tag {
	__be16 protocol;
	__be16 control;
};

/*
 * What becomes of the packets that come to a port. Written by user space only, before a port points to it; only
 * RINGPATH_TAP comes and goes later. Every packet needs the first two cache lines, few need the others.
 */
struct ringpath_flow {
	__u8 source[16];
	__u8 to[16];
	__u8 from[16];
	/* In the order of a UDP header. */
	__be16 from_port;
	__be16 to_port;
	__be16 source_port;
	/*
	 * What to add, in ones' complement, to the complement of the UDP checksum: the sum of the new addresses and
	 * ports less that of the old ones (RFC 1624). All of them are known when the flow is made.
	 */
	__u16 checksum_delta;
	__u32 flags;
	__u32 ifindex;

	/* The neighbour's link-layer address, then ours, as in an Ethernet header. */
	__u8 link[12];
	/* RTP or RTCP, without the UDP header. */
	__u16 size_min;
	__u16 size_max;
	__u8 kind;
	__u8 dscp;
	__u8 hop_limit;
	__u8 tag_count;
	/* Four bits for each of `types`: its clock, as in `clock_of`. */
	__u32 clock_of_types;
	__u8 types[RINGPATH_TYPES];
	/* 0 leaves packets out of the jitter. */
	__u32 clocks_hz[RINGPATH_CLOCKS];
	/* Another one than before says that the next hop must be looked up anew. */
	__u32 epoch;

	/* Bit n: what is refused for reason n goes up; else it is dropped. */
	__u64 pass_up;
	/* Token buckets in time: what a packet or byte costs, and how far costs may run ahead. Cost 0: no limit. */
	__u64 packet_cost_ns;
	__u64 packet_burst_ns;
	/* In 1/256 ns. */
	__u64 byte_cost_x256;
	__u64 byte_burst_ns;
	struct ringpath_tag tags[2];
	__u32 state;
	__u32 zero[3];

	/* Four bits a payload type: 0 is refused, n has clocks_hz[n - 1]. */
	__u8 clock_of[64];
};

/*
 * One SSRC: RFC 3550 §6.4.1, §A.1, §A.3, §A.8 as `rtp::StreamStatistics` counts them, and RFC 3611 §A.2. A packet that
 * comes when it should needs the first two cache lines only.
 */
struct ringpath_stream {
	__u64 packets;
	__u64 bytes;
	__u64 highest;
	__u64 distinct;
	/* Bit k: the packet k before `highest` was received. */
	__u64 window[2];
	__u64 last_seen_ns;
	__u64 last_arrival_ns;
	__u64 jitter_x16;
	__u64 jitter_max_ns;
	__u64 base;
	__u64 duplicates;
	__u64 reordered;
	__u32 ssrc;
	__u32 last_timestamp;
	__u32 clock_rate_hz;
	/* Packets received since the last loss. */
	__u32 since_loss;
	__u16 after_stray;
	__u8 has_after_stray;
	__u8 probation;
	__u8 payload_type;
	__u8 used;
	__u8 zero[2];

	__u64 strays;
	__u64 lost_before;
	__u64 first_seen_ns;
	/* Transitions of RFC 3611 §A.2, whose names these are. */
	__u32 c11;
	__u32 c13;
	__u32 c14;
	__u32 c22;
	__u32 c23;
	__u32 c33;
	/* Losses of the burst that is going on. */
	__u32 burst_lost;
	__u32 zeros;
	/* Packets that user space got and this stream did not, for the next process. Written by user space, which adds. */
	__u32 aside_packets;
	__u32 aside_bytes;
};

/* The streams of a flow. Flows of RTCP have none. */
struct ringpath_streams {
	struct ringpath_stream stream[RINGPATH_STREAMS];
};

/*
 * What was counted of a flow, its streams aside. Written by the programs; user space writes it before the flow begins
 * only, and maps it. RTP packets and bytes are those of all streams less what the flow was given to begin with. Every
 * packet needs the first cache line only.
 */
struct ringpath_state {
	/* Odd while a program writes this or the streams. */
	__u32 version;
	/* The stream of the last packet. */
	__u32 current;
	/* What the routing table said last, for flows of this epoch and packets of IP up to this length. */
	__u64 hop_until_ns;
	__u32 hop_ifindex;
	__u32 hop_epoch;
	__u8 hop_link[12];
	__u16 hop_mtu;
	__u16 zero;
	/* When the buckets will be full again. */
	__u64 packets_due_ns;
	__u64 bytes_due_ns;
	__u64 rtcp_seen_ns;

	__u64 rtcp_packets;
	__u64 rtcp_bytes;
	/* Copies of RTCP, and records of taps, for which the ring had no room. */
	__u64 copies_lost;
	__u64 taps_lost;
	/* Streams that made room for newer ones, and what they had counted. */
	__u64 evicted;
	__u64 evicted_packets;
	__u64 evicted_bytes;
	__u64 evicted_lost;
	/* Of RTP that had been counted before the flow was made. */
	__u64 given_packets;
	__u64 given_bytes;
	__u64 refused[RINGPATH_FLOW_REASONS];
	__u64 zeros[2];
};

/* An address that steering serves. */
struct ringpath_range_key {
	__u8 address[16];
};

/* A receive queue of an interface. */
struct ringpath_queue {
	__u32 ifindex;
	__u32 number;
};

/* The AF_XDP socket of a queue: its place in the map of them, and its worker plus 1, as ports name their owner. */
struct ringpath_xsk {
	__u32 place;
	__u32 owner;
};

/* Of one CPU. */
struct ringpath_totals {
	__u64 sent_back;
	__u64 redirected;
	__u64 bytes;
	__u64 copies_lost;
	__u64 taps_lost;
	/* Packets that were forwarded and not counted by their flow, since another CPU was counting. */
	__u64 uncounted;
	__u64 passed[RINGPATH_REASONS];
	__u64 dropped[RINGPATH_REASONS];
};

/* One record of the ring `copies`; `captured` bytes of payload follow. */
struct ringpath_copy {
	__u64 arrival_ns;
	struct ringpath_flow_key key;
	__u32 slot;
	__u16 length;
	__u16 captured;
	__u32 zero;
};

/* What can be changed while packets flow. */
struct ringpath_settings {
	/* Bytes of a packet that a tap copies at most, from IP on. */
	__u32 tap_length_max;
	__u32 zero;
};

enum ringpath_direction {
	RINGPATH_RECEIVED,
	RINGPATH_SENT,
};

/* One record of the ring `taps`; `captured` bytes of the packet from its IP header on follow. */
struct ringpath_tap {
	__u64 at_ns;
	struct ringpath_flow_key key;
	__u16 length;
	__u16 captured;
	__u8 direction;
	__u8 zero[7];
};

#define RINGPATH_TAP_LENGTH_MAX 2048

#define RINGPATH_COPY_SMALL 216
#define RINGPATH_COPY_LARGE 1456

/* Steering, of one CPU. */
struct ringpath_steering_totals {
	__u64 assigned;
	/* The owner of the port has no socket of the family. */
	__u64 no_socket;
	__u64 not_assigned;
};

_Static_assert(RINGPATH_REASON_COUNT <= RINGPATH_REASONS, "reasons");
_Static_assert(RINGPATH_REASON_COUNT - RINGPATH_SOURCE <= RINGPATH_FLOW_REASONS, "reasons of a flow");
_Static_assert(sizeof(struct ringpath_flow_key) == 20, "flow key");
_Static_assert(sizeof(struct ringpath_local) == 128, "local");
_Static_assert(sizeof(struct ringpath_flow) == 256, "flow");
_Static_assert(__builtin_offsetof(struct ringpath_flow, pass_up) == 128, "what every packet needs of a flow");
_Static_assert(sizeof(struct ringpath_stream) == 192, "stream");
_Static_assert(__builtin_offsetof(struct ringpath_stream, strays) == 128, "what every packet needs of a stream");
_Static_assert(sizeof(struct ringpath_state) == 384, "state");
_Static_assert(__builtin_offsetof(struct ringpath_state, rtcp_packets) == 64, "what every packet needs of a state");
_Static_assert(sizeof(struct ringpath_totals) == 688, "totals");
_Static_assert(sizeof(struct ringpath_copy) == 40, "copy");
_Static_assert(sizeof(struct ringpath_tap) == 40, "tap");

#endif
