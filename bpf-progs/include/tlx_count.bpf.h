/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_COUNT_BPF_H
#define TLX_COUNT_BPF_H
/* Counters: what was seen, done, would have been done, and each helper that failed. Atomic although
 * the totals are per CPU: LSM programs can be preempted by another one on the same CPU, and a lost
 * count is a wrong answer. */
#include "exec_maps.bpf.h"

static __always_inline struct tlx_stats *tlx_totals(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&tlx_stats, &zero);
}
static __always_inline void tlx_count_seen(void) {
  struct tlx_stats *totals = tlx_totals();
  if (totals) __sync_fetch_and_add(&totals->seen, 1);
}
/* |helper| is one of TLX_HELPER_*, a constant. */
static __always_inline void tlx_count_failed(__u32 helper) {
  struct tlx_stats *totals = tlx_totals();
  if (totals && helper < TLX_HELPERS) __sync_fetch_and_add(&totals->failed[helper], 1);
}
/* The canary is ours: its end is proof, and no execution that was stopped. */
static __always_inline void tlx_count_hit(__u32 slot, bool acted) {
  struct tlx_count *count = bpf_map_lookup_elem(&tlx_count, &slot);
  if (count) __sync_fetch_and_add(acted ? &count->acted : &count->would, 1);
  if (slot == TLX_SLOT_CANARY) {
    __u32 zero = 0;
    struct tlx_self *self = bpf_map_lookup_elem(&tlx_self, &zero);
    if (self) __sync_fetch_and_add(&self->proofs, 1);
    return;
  }
  struct tlx_stats *totals = tlx_totals();
  if (totals) __sync_fetch_and_add(acted ? &totals->acted : &totals->would, 1);
}
#endif
