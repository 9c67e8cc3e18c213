// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_net_abi.h"

/* Finds the sockets that have a mark of a containment (tlx_own_sock) and takes those marks away
 * that the sensor has not given: by an iterator of BPF, since no system call lists the sockets of
 * such a map. Each walk must tell of a socket that was marked for it, so that an iterator that is
 * dead or was replaced is not taken for an empty map. One thread at a time. */
struct bpf_net_own;

/* Loads the iterator; nothing is attached or pinned. |btf_path| NULL = the kernel's. 0 or a
 * negative errno with words in |why|: a kernel without such iterators, or CAP_PERFMON is missing.
 */
int bpf_net_own_open(const char *btf_path, char why[240], struct bpf_net_own **ret_own);
/* NULL is fine. */
void bpf_net_own_close(struct bpf_net_own *own);
/* Walks the map |map_fd| without taking anything away: the errors of bpf_net_own_clear. */
int bpf_net_own_try(struct bpf_net_own *own, int map_fd);
/* Takes the mark off every socket in the map |map_fd| whose cookie |knows| does not know.
 * |*ret_strangers|: how many of those a process holds open. A socket without an owner, which the
 * former process may have left, is unmarked and not counted. 0; -EIO: the walk did not tell what
 * it had to; -E2BIG: more than can be taken away at once; another negative errno. Whatever failed,
 * |*ret_strangers| is what was found until then. */
int bpf_net_own_clear(struct bpf_net_own *own, int map_fd, bool (*knows)(uint64_t cookie),
                      unsigned *ret_strangers);
/* Which of |marks| are to be unmarked: at most TLX_UNMARK_MAX cookies in |cookies|, their number is
 * returned. |canary| is the socket that must be told: |*ret_seen| says whether it was. Adds the
 * strangers among those that are returned to |*strangers|. Pure but for |knows|. */
size_t bpf_net_own_judge(const struct tlx_net_mark *marks, size_t n, uint64_t canary,
                         bool (*knows)(uint64_t cookie), uint64_t cookies[TLX_UNMARK_MAX],
                         bool *ret_seen, unsigned *strangers);
