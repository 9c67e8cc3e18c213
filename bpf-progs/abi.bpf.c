// SPDX-License-Identifier: GPL-2.0-or-later
/* One of each shared struct, for the test that compares layouts: a struct that a program uses only
 * on its stack or as key of an inner map is not in its BTF.
 *
 * - Hook: none, it is never loaded.
 * - Denied: nothing.
 * - On failure the test fails. */
#include "tlx_kernel.bpf.h"
#include "tlx_net_abi.h"

struct tlx_cfg tlx_abi_cfg;
struct tlx_exec_key tlx_abi_key;
struct tlx_exec_rule tlx_abi_rule;
struct tlx_count tlx_abi_count;
struct tlx_stats tlx_abi_stats;
struct tlx_self tlx_abi_self;
struct tlx_event tlx_abi_event;
struct tlx_file_id tlx_abi_file;
struct tlx_query tlx_abi_query;

struct tlx_net_cfg tlx_abi_net_cfg;
struct tlx_net_addr tlx_abi_addr;
struct tlx_allow4_key tlx_abi_allow4;
struct tlx_allow6_key tlx_abi_allow6;
struct tlx_allow tlx_abi_allow;
struct tlx_allow_set tlx_abi_set;
struct tlx_net_stats tlx_abi_n_stats;
struct tlx_net_event tlx_abi_n_event;
struct tlx_net_mark tlx_abi_n_mark;
