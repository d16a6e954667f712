// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The load of measurements: RTP of any number of calls out of one core, and its count at the receiver.
 *
 * `ringpath_load` runs by BPF_PROG_RUN with live frames on the interface of the load. Each frame that is due leaves by that
 * interface, each other one is dropped: the pace is kept in here, since one system call lasts as long as a whole run.
 * Frames are recycled, and come back with the headers of another packet, so that everything but the silence at the
 * end is written each time.
 *
 * `ringpath_sink` is attached to the same interface and takes what comes back. It looks at everything: the port it came from
 * and to, both checksums, every byte of the payload, its number, and how long it was on its way. Both use the
 * monotonic clock.
 *
 * src/load.rs has the same structures. Used by measurements only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* PCMA, 20 ms: the header of RTP and 160 bytes of sound. */
#define LOAD_PAYLOAD 172
#define LOAD_SAMPLES 160
#define LOAD_HEADERS 42
#define LOAD_FRAME (LOAD_HEADERS + LOAD_PAYLOAD)

/* Buckets of a histogram of nanoseconds: one each below 64, then 64 for every doubling, up to a minute. */
#define LOAD_BUCKETS 2048
#define LOAD_BUCKET_BITS 6

/* What has not arrived for so long while nothing else did is lost. */
#define LOST_AFTER_NS 20000000ULL

/* What user space says of a run. */
struct load_control {
	/* Packets of the run, all streams together. */
	__u64 total;
	/* In which every stream sends a packet; 0: as fast as can be. */
	__u64 ptime_ns;
	/* Packets that are due leave together, this often. */
	__u64 tick_ns;
	__u32 streams;
	/* The most that leave together; what is late beyond that leaves later. */
	__u32 burst;
	__u32 run;
	/*
	 * Packets that may be on their way before the next one waits for one of them to arrive; 0: any number. As a card with flow
	 * control (IEEE 802.3x) waits for its peer's ring.
	 */
	__u32 window;
	/*
	 * Sums of 16-bit words as they lie in memory (RFC 1071): of everything that the UDP checksum covers and that is the
	 * same in all packets; of that part of it which is payload; of the pseudo header.
	 */
	__u32 udp_sum;
	__u32 payload_sum;
	__u32 pseudo_sum;
	__be32 relay;
	/* The ports of all callers and of all callees. */
	__be16 parties[2];
	/* Ethernet, IP and UDP; without ports and the UDP checksum. */
	__u8 headers[LOAD_HEADERS];
	__u8 zero[2];
};

/* Of a stream, for one run. Stream 2n goes from the caller of call n to its callee, stream 2n+1 back. */
struct load_stream {
	/* The relay's port that it is sent to. */
	__be16 face;
	__u16 first_seq;
	__u32 first_timestamp;
};

/* Where the generator is. */
struct load_progress {
	__u64 start_ns;
	/* When packets may leave again. */
	__u64 tick_ns;
	__u64 granted;
	__u64 sent;
	__u64 last_ns;
	/* When the packets that leave now were due to leave; the wait for the window comes later. */
	__u64 granted_ns;
	/* Since when the window is full, and packets that it no longer waits for. */
	__u64 held_ns;
	__u64 given_up;
	/* Times that the window was full. */
	__u64 holds;
	/* Ticks at which more was due than may leave at once. */
	__u64 late_ticks;
	__u32 place;
	__u32 number;
};

/* What the sink has of a stream. */
struct load_reception {
	/* Bit k: the packet k before the highest was received. */
	__u64 window;
	__u64 latency_ns;
	__u32 run;
	/* The highest number and one. */
	__u32 next;
};

/* What the sink counts, all streams together. */
struct load_counts {
	__u64 received;
	__u64 duplicates;
	__u64 reordered;
	/* So far behind the highest that nobody knows whether they are duplicates. */
	__u64 ancient;
	/* Not as it was sent. */
	__u64 corrupt;
	/* From another port than the other face of the call. */
	__u64 asymmetric;
	/* Of no stream, or at the wrong party. */
	__u64 foreign;
	/* Of another run. */
	__u64 stale;
	/* The UDP checksum was left to a device that a veth does not have; the payload was looked at all the same. */
	__u64 unfinished;
	/* Without a UDP checksum; likewise. */
	__u64 unchecked;
	__u64 last_ns;
};

struct load_histogram {
	__u64 buckets[LOAD_BUCKETS];
};

_Static_assert(sizeof(struct load_control) == 104, "control");
_Static_assert(sizeof(struct load_stream) == 8, "stream");
_Static_assert(sizeof(struct load_progress) == 88, "progress");
_Static_assert(sizeof(struct load_reception) == 24, "reception");
_Static_assert(sizeof(struct load_counts) == 88, "counts");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct load_control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct load_progress);
} progress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct load_counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct load_stream);
} load_streams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct load_reception);
} receptions SEC(".maps");

enum { LATENCY, JITTER, LATE, HISTOGRAMS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HISTOGRAMS);
	__type(key, __u32);
	__type(value, struct load_histogram);
} histograms SEC(".maps");

/* The packet, as it lies in the frame. */
struct load_packet {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	__u8 first;
	__u8 payload_type;
	__be16 seq;
	__be32 timestamp;
	__be32 place;
	__be32 run;
	__be32 number;
	__be64 sent_ns;
	__u8 silence[LOAD_PAYLOAD - 28];
} __attribute__((packed));

_Static_assert(sizeof(struct load_packet) == LOAD_FRAME, "packet");

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u64 rest = ns >> LOAD_BUCKET_BITS;
	__u32 shift = 0;

	if (ns >> 36)
		return LOAD_BUCKETS - 1;
	if (rest >> 16) {
		rest >>= 16;
		shift += 16;
	}
	if (rest >> 8) {
		rest >>= 8;
		shift += 8;
	}
	if (rest >> 4) {
		rest >>= 4;
		shift += 4;
	}
	if (rest >> 2) {
		rest >>= 2;
		shift += 2;
	}
	if (rest >> 1) {
		rest >>= 1;
		shift += 1;
	}
	/* `rest` is 1 now, or 0 below 64: the highest bit of ns is bit shift + 6. */
	if (!rest)
		return ns;
	return ((shift + 1) << LOAD_BUCKET_BITS) + ((ns >> shift) & ((1 << LOAD_BUCKET_BITS) - 1));
}

static __always_inline void record(__u32 which, __u64 ns)
{
	struct load_histogram *histogram = bpf_map_lookup_elem(&histograms, &which);
	__u32 bucket = bucket_of(ns);

	if (histogram && bucket < LOAD_BUCKETS)
		histogram->buckets[bucket]++;
}

static __always_inline __u32 words(__u32 value)
{
	return (value & 0xffff) + (value >> 16);
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum of what differs from packet to packet in the payload. */
static __always_inline __u32 varying_sum(const struct load_packet *packet)
{
	__u64 sent_ns = packet->sent_ns;

	return packet->seq + words(packet->timestamp) + words(packet->place) + words(packet->run) +
	       words(packet->number) + words(sent_ns) + words(sent_ns >> 32);
}

/* Whether fewer packets are on their way than may be. What does not arrive for long is lost, and no longer waited for. */
static __always_inline bool has_room(const struct load_control *run, struct load_progress *at)
{
	struct load_counts *count;
	__u32 zero = 0;
	__u64 arrived, now_ns;

	if (!run->window)
		return true;
	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return true;
	arrived = count->received + count->duplicates + count->corrupt + at->given_up;
	if (at->sent < arrived + run->window) {
		at->held_ns = 0;
		return true;
	}
	now_ns = bpf_ktime_get_ns();
	if (!at->held_ns) {
		at->held_ns = now_ns;
		at->holds++;
	}
	if (now_ns - at->held_ns < LOST_AFTER_NS)
		return false;
	at->given_up += at->sent - arrived;
	at->held_ns = 0;
	return true;
}

/* Whether a packet may leave now. */
static __always_inline bool is_due(const struct load_control *run, struct load_progress *at)
{
	__u64 due, room, now_ns;

	if (at->sent < at->granted)
		return has_room(run, at);
	if (at->sent >= run->total)
		return false;
	now_ns = bpf_ktime_get_ns();
	if (!at->start_ns) {
		at->start_ns = now_ns;
		at->tick_ns = now_ns;
	}
	if (!run->ptime_ns) {
		/* A time for each few. */
		at->granted_ns = now_ns;
		at->granted += run->burst;
		return has_room(run, at);
	}
	if (now_ns < at->tick_ns)
		return false;
	record(LATE, now_ns - at->tick_ns);
	due = (now_ns - at->start_ns) * run->streams / run->ptime_ns + 1;
	if (due > run->total)
		due = run->total;
	/* The grid of ticks stays where it is; those that were missed are over. */
	at->tick_ns += run->tick_ns;
	if (at->tick_ns < now_ns)
		at->tick_ns = now_ns - (now_ns - at->start_ns) % run->tick_ns + run->tick_ns;
	if (due <= at->sent)
		return false;
	room = due - at->sent;
	if (room > run->burst) {
		room = run->burst;
		at->late_ticks++;
	}
	at->granted = at->sent + room;
	at->granted_ns = now_ns;
	return has_room(run, at);
}

SEC("xdp")
int ringpath_load(struct xdp_md *context)
{
	struct load_packet *packet = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct load_control *run;
	const struct load_stream *stream;
	struct load_progress *at;
	__u32 zero = 0, place, sum;
	__u16 check;

	run = bpf_map_lookup_elem(&control, &zero);
	at = bpf_map_lookup_elem(&progress, &zero);
	if (!run || !at || (void *)(packet + 1) > end)
		return XDP_DROP;
	if (!is_due(run, at))
		return XDP_DROP;
	place = at->place;
	stream = bpf_map_lookup_elem(&load_streams, &place);
	if (!stream)
		return XDP_DROP;
	__builtin_memcpy(packet, run->headers, LOAD_HEADERS);
	packet->udp.source = run->parties[place & 1];
	packet->udp.dest = stream->face;
	packet->first = 0x80;
	packet->payload_type = 8;
	packet->seq = bpf_htons(stream->first_seq + at->number);
	packet->timestamp = bpf_htonl(stream->first_timestamp + at->number * LOAD_SAMPLES);
	packet->place = bpf_htonl(place);
	packet->run = bpf_htonl(run->run);
	packet->number = bpf_htonl(at->number);
	packet->sent_ns = bpf_cpu_to_be64(at->granted_ns);
	sum = run->udp_sum + packet->udp.source + packet->udp.dest + varying_sum(packet);
	check = ~fold(sum);
	packet->udp.check = check ? check : 0xffff;
	at->sent++;
	at->last_ns = at->granted_ns;
	if (++at->place >= run->streams) {
		at->place = 0;
		at->number++;
	}
	return XDP_TX;
}

/* Whether the checksums are right and the payload is what was sent. */
static __always_inline bool is_whole(const struct load_control *run, struct load_counts *count,
				     struct load_packet *packet)
{
	__s64 payload = bpf_csum_diff(0, 0, (void *)&packet->first, LOAD_PAYLOAD, 0);
	__u32 header = packet->udp.source + packet->udp.dest + packet->udp.len + run->pseudo_sum;

	if (packet->first != 0x80 || packet->payload_type != 8 ||
	    packet->udp.len != bpf_htons(sizeof(struct udphdr) + LOAD_PAYLOAD) ||
	    fold((__u32)bpf_csum_diff(0, 0, (void *)&packet->ip, sizeof(packet->ip), 0)) != 0xffff)
		return false;
	if (fold((__u32)payload) != fold((__u64)run->payload_sum + varying_sum(packet)))
		return false;
	if (!packet->udp.check) {
		count->unchecked++;
		return true;
	}
	if (packet->udp.check == fold(run->pseudo_sum)) {
		count->unfinished++;
		return true;
	}
	return fold((__u64)(__u32)payload + header + packet->udp.check) == 0xffff;
}

/* Counts a packet of a stream of this run; false for one that has been counted. */
static __always_inline bool is_first(struct load_counts *count, struct load_reception *stream, __u32 number)
{
	__u32 ahead, behind;

	if (number >= stream->next) {
		ahead = number - stream->next + 1;
		stream->window = ahead < 64 ? stream->window << ahead | 1 : 1;
		stream->next = number + 1;
		return true;
	}
	behind = stream->next - 1 - number;
	if (behind >= 64) {
		count->ancient++;
		return false;
	}
	if (stream->window & 1ULL << behind) {
		count->duplicates++;
		return false;
	}
	stream->window |= 1ULL << behind;
	count->reordered++;
	return true;
}

SEC("xdp")
int ringpath_sink(struct xdp_md *context)
{
	struct load_packet *packet = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct load_stream *stream, *other;
	const struct load_control *run;
	struct load_reception *reception;
	struct load_counts *count;
	__u32 zero = 0, place, twin, number, side;
	__u64 now_ns, latency_ns;

	/* What is shorter than the load, or goes elsewhere, is none of it: ARP, gRPC, reports. */
	if ((void *)(packet + 1) > end || packet->ethernet.h_proto != bpf_htons(ETH_P_IP) ||
	    packet->ip.protocol != IPPROTO_UDP || packet->ip.ihl != 5)
		return XDP_PASS;
	run = bpf_map_lookup_elem(&control, &zero);
	count = bpf_map_lookup_elem(&counts, &zero);
	if (!run || !count)
		return XDP_PASS;
	if (packet->udp.dest == run->parties[0])
		side = 0;
	else if (packet->udp.dest == run->parties[1])
		side = 1;
	else
		return XDP_PASS;
	now_ns = bpf_ktime_get_ns();
	if (!is_whole(run, count, packet)) {
		count->corrupt++;
		return XDP_DROP;
	}
	if (packet->run != bpf_htonl(run->run)) {
		count->stale++;
		return XDP_DROP;
	}
	place = bpf_ntohl(packet->place);
	number = bpf_ntohl(packet->number);
	twin = place ^ 1;
	stream = bpf_map_lookup_elem(&load_streams, &place);
	other = bpf_map_lookup_elem(&load_streams, &twin);
	reception = bpf_map_lookup_elem(&receptions, &place);
	/* What a caller sends arrives at its callee. */
	if (!stream || !other || !reception || place >= run->streams || (place & 1) == side) {
		count->foreign++;
		return XDP_DROP;
	}
	if (packet->seq != bpf_htons(stream->first_seq + number) ||
	    packet->timestamp != bpf_htonl(stream->first_timestamp + number * LOAD_SAMPLES)) {
		count->corrupt++;
		return XDP_DROP;
	}
	if (packet->udp.source != other->face || packet->ip.saddr != run->relay)
		count->asymmetric++;
	latency_ns = now_ns - bpf_be64_to_cpu(packet->sent_ns);
	if (reception->run != run->run) {
		reception->run = run->run;
		reception->next = 0;
		reception->window = 0;
		reception->latency_ns = latency_ns;
	}
	count->last_ns = now_ns;
	if (!is_first(count, reception, number))
		return XDP_DROP;
	count->received++;
	record(LATENCY, latency_ns);
	/* The difference of transit of neighbouring packets (D of RFC 3550 §6.4.1): the generator's lateness cancels out. */
	record(JITTER, latency_ns > reception->latency_ns ? latency_ns - reception->latency_ns
							   : reception->latency_ns - latency_ns);
	reception->latency_ns = latency_ns;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
