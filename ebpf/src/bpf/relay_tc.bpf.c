// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The relay as a classifier of TC, for interfaces on which XDP runs in neither mode. */
#define RINGPATH_TC
#include "relay.bpf.c"
