// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * For measurements by program-run, which repeats with the packet that the run before left: gives the RTP in it the number
 * and the timestamp of the next lap, and goes on with another program. Without it every packet but the first would be
 * a duplicate. The UDP checksum is left as it was.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Samples of 20 ms at 8 kHz. */
#define SAMPLES 160

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

/* Packets a lap: the flows that the packet goes through in turn. */
__u64 lap_packets = 1;
__u64 left = 1;
__u32 lap = 0;

SEC("xdp")
int ringpath_advance(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct {
		__be16 flags;
		__be16 sequence;
		__be32 timestamp;
	} *rtp;
	__u32 headers = sizeof(*ethernet) + sizeof(struct iphdr) + sizeof(struct udphdr);

	if ((void *)(ethernet + 1) > end)
		return XDP_ABORTED;
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		headers += sizeof(struct ipv6hdr) - sizeof(struct iphdr);
	rtp = data + headers;
	if ((void *)(rtp + 1) > end)
		return XDP_ABORTED;
	if (--left == 0) {
		left = lap_packets;
		lap++;
	}
	rtp->sequence = bpf_htons(lap);
	rtp->timestamp = bpf_htonl(lap * SAMPLES);
	bpf_tail_call(context, &next, 0);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
