// SPDX-License-Identifier: GPL-2.0-or-later
/* One of each shared struct, for the test that compares layouts: a struct that a program uses only
 * on its stack or as key of an inner map is not in its BTF.
 *
 * - Hook: none, it is never loaded.
 * - Denied: nothing.
 * - On failure the test fails. */
#include "tlx_kernel.bpf.h"

struct tlx_cfg tlx_abi_cfg;
struct tlx_exec_key tlx_abi_key;
struct tlx_exec_rule tlx_abi_rule;
struct tlx_count tlx_abi_count;
struct tlx_stats tlx_abi_stats;
struct tlx_self tlx_abi_self;
struct tlx_event tlx_abi_event;
struct tlx_file_id tlx_abi_file;
struct tlx_query tlx_abi_query;
