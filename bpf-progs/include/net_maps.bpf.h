/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_MAPS_BPF_H
#define TLX_NET_MAPS_BPF_H
/* The maps of a containment (tlx_net_abi.h says what each holds). Both network objects name the
 * same; the sensor makes all but the last once, pins them, and gives them to whichever object it
 * loads. */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "tlx_abi.h"
#include "tlx_net_abi.h"

/* Map in map: one update switches mode, bank and host namespace together. Sizes instead of types: a
 * struct that only an inner map names would be emitted as a forward declaration. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 1);
  __type(key, __u32);
  __array(
      values, struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __uint(key_size, sizeof(__u32));
        __uint(value_size, sizeof(struct tlx_net_cfg));
      });
} tlx_net_cfgs SEC(".maps");

/* Two banks each. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 2);
  __type(key, __u32);
  __array(
      values, struct {
        __uint(type, BPF_MAP_TYPE_LPM_TRIE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __uint(max_entries, TLX_ALLOW_MAX);
        __uint(key_size, sizeof(struct tlx_allow4_key));
        __uint(value_size, sizeof(struct tlx_allow_set));
      });
} tlx_allow4 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 2);
  __type(key, __u32);
  __array(
      values, struct {
        __uint(type, BPF_MAP_TYPE_LPM_TRIE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __uint(max_entries, TLX_ALLOW_MAX);
        __uint(key_size, sizeof(struct tlx_allow6_key));
        __uint(value_size, sizeof(struct tlx_allow_set));
      });
} tlx_allow6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, TLX_LOCAL_MAX);
  __type(key, struct tlx_net_addr);
  __type(value, __u32);
} tlx_local SEC(".maps");

/* Goes with its socket. Not cloned: what a marked socket might accept is not marked. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u32);
} tlx_own_sock SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tlx_net_stats);
} tlx_net_stats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, TLX_EVENTS_SIZE);
} tlx_net_events SEC(".maps");

/* How many events this processor sent lately, by place: of a loaded object alone. */
struct tlx_gate {
  __u64 since_ns;
  __u64 n;
};
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, TLX_NET_AT_MAX);
  __type(key, __u32);
  __type(value, struct tlx_gate);
} tlx_net_gate SEC(".maps");
#endif
