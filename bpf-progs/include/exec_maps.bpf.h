/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_EXEC_MAPS_BPF_H
#define TLX_EXEC_MAPS_BPF_H
/* The maps of the exec rules (tlx_abi.h says what each holds). All exec objects name the same; the
 * sensor makes the first five once, pins them, and gives them to whichever object it loads, so that
 * two backends beside each other enforce one image. */
#include "tlx_kernel.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tlx_cfg);
} tlx_cfg SEC(".maps");

/* Map in map, so that one update replaces all rules: a program sees the old image or the new one,
 * never a part. A key struct used only here would be emitted as a forward declaration, hence sizes
 * instead of types. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 1);
  __type(key, __u32);
  __array(
      values, struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, TLX_IMAGE_MAX);
        __uint(key_size, sizeof(struct tlx_exec_key));
        __uint(value_size, sizeof(struct tlx_exec_rule));
      });
} tlx_rules SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tlx_stats);
} tlx_stats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, TLX_SLOTS);
  __type(key, __u32);
  __type(value, struct tlx_count);
} tlx_count SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, TLX_EVENTS_SIZE);
} tlx_events SEC(".maps");

/* The one map that every loaded object has for itself: only so can it be told whether the new
 * programs live while old ones still stop the canary too. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tlx_self);
} tlx_self SEC(".maps");
#endif
