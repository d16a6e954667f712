// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Steering: a datagram to a media port goes to the one UDP socket of the worker that owns the port, so that a call
 * costs no file descriptor. Ports that no worker owns are looked up as ever.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ringpath.h"

#define AF_INET 2

/* The sockets of the workers, one an address family: worker × 2, plus 1 for IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2 * RINGPATH_WORKERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* By address and port, 65,536 places an address: the owner plus 1; 0 is no owner. Sized when it is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} owners SEC(".maps");

/* The addresses that the relay serves, with their numbers; others may use the same ports for themselves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGPATH_STEERED_ADDRESSES_MAX);
	__type(key, struct ringpath_range_key);
	__type(value, __u32);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ringpath_steering_totals);
} steering_totals SEC(".maps");

static __always_inline __u32 read_word(const volatile __u32 *word)
{
	return *word;
}

SEC("sk_lookup")
int ringpath_steer(struct bpf_sk_lookup *context)
{
	struct ringpath_steering_totals *total;
	struct ringpath_range_key key = {};
	__u32 *words = (void *)key.address;
	__u32 zero = 0, slot, address, place;
	struct bpf_sock *socket;
	__u32 *number;
	__u8 *owner;
	long result;

	if (context->protocol != IPPROTO_UDP)
		return SK_PASS;
	/*
	 * The verifier takes reads of the context at constant places only, which the compiler would otherwise merge: so
	 * all of them are made, each once.
	 */
	address = read_word(&context->local_ip4);
	words[0] = read_word(&context->local_ip6[0]);
	words[1] = read_word(&context->local_ip6[1]);
	words[2] = read_word(&context->local_ip6[2]);
	words[3] = read_word(&context->local_ip6[3]);
	slot = 1;
	if (context->family == AF_INET) {
		words[0] = 0;
		words[1] = 0;
		words[2] = bpf_htonl(0xffff);
		words[3] = address;
		slot = 0;
	}
	number = bpf_map_lookup_elem(&addresses, &key);
	if (!number)
		return SK_PASS;
	place = *number * 65536 + context->local_port;
	owner = bpf_map_lookup_elem(&owners, &place);
	if (!owner || !*owner)
		return SK_PASS;
	slot += 2 * (*owner - 1);
	total = bpf_map_lookup_elem(&steering_totals, &zero);
	if (!total)
		return SK_PASS;
	socket = bpf_map_lookup_elem(&sockets, &slot);
	if (!socket) {
		total->no_socket++;
		return SK_PASS;
	}
	result = bpf_sk_assign(context, socket, 0);
	bpf_sk_release(socket);
	if (result)
		total->not_assigned++;
	else
		total->assigned++;
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
