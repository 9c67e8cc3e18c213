// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Compares types by their BTF (Documentation/bpf/btf.rst). Pure; any thread. */
struct btf;

/* Whether two types have one layout: the same kinds, sizes, members, names and offsets, all the way
 * down. */
bool bpf_layout_same(const struct btf *a, uint32_t id_a, const struct btf *b, uint32_t id_b);
