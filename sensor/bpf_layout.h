// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Compares types by their BTF (Documentation/bpf/btf.rst). Pure; any thread. */
struct bpf_map;
struct btf;

/* Whether two types have one layout: the same kinds, sizes, members, names and offsets, all the way
 * down. */
bool bpf_layout_same(const struct btf *a, uint32_t id_a, const struct btf *b, uint32_t id_b);
/* Whether the open map |fd| is as |wanted| of an object with |btf| would be made: type, sizes,
 * entries, flags and, where the kernel lets us see it, the layout of its values. 0; -EPROTO with
 * what differs in |why|, where the map is called |word|; another negative errno. */
int bpf_layout_check_map(const struct bpf_map *wanted, const struct btf *btf, const char *word,
                         int fd, char why[240]);
