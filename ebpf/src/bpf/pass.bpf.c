// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Passes everything. A veth sends XDP_TX and redirected frames natively only to a peer that has an XDP program
 * itself (or GRO on); without one they are lost, and no error counter moves.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int ringpath_pass(struct xdp_md *context)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
