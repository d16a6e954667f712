// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * AF_XDP: a datagram to a steered port goes to the socket of the port's worker on the queue that it came by, and past the
 * rest of the kernel. All else goes up as ever, where sk_lookup steers it (steer.bpf.c): frames with tags, fragments,
 * options, and ports of a worker that has no socket on this queue.
 */
#include "packet.h"

/* Shared with steer.bpf.c: by address and port, the owner plus 1; 0 is no owner. Sized when it is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} owners SEC(".maps");

/* Shared with steer.bpf.c: the addresses that the relay serves, with their numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGPATH_STEERED_ADDRESSES_MAX);
	__type(key, struct ringpath_range_key);
	__type(value, __u32);
} addresses SEC(".maps");

/* Which socket a queue of an interface has. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGPATH_XSKS_MAX);
	__type(key, struct ringpath_queue);
	__type(value, struct ringpath_xsk);
} queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, RINGPATH_XSKS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

SEC("xdp")
int ringpath_xsk(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ringpath_range_key key = {};
	struct ringpath_queue queue = {};
	struct ringpath_xsk *xsk;
	struct packet packet;
	__u32 *number, place;
	__u8 *owner;

	if (parse_packet(&packet, data, end) != PARSED || packet.tag_count)
		return XDP_PASS;
	if (packet.v6)
		copy_ipv6(key.address, &((struct ipv6hdr *)packet.ip)->daddr);
	else
		map_ipv4(key.address, ((struct iphdr *)packet.ip)->daddr);
	number = bpf_map_lookup_elem(&addresses, &key);
	if (!number)
		return XDP_PASS;
	place = *number * 65536 + bpf_ntohs(packet.udp->dest);
	owner = bpf_map_lookup_elem(&owners, &place);
	if (!owner || !*owner)
		return XDP_PASS;
	queue.ifindex = context->ingress_ifindex;
	queue.number = context->rx_queue_index;
	xsk = bpf_map_lookup_elem(&queues, &queue);
	if (!xsk || xsk->owner != *owner)
		return XDP_PASS;
	return bpf_redirect_map(&xsks, xsk->place, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
