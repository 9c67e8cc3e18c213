/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_ALLOW_BPF_H
#define TLX_NET_ALLOW_BPF_H
/* The allow list: the longest prefix that covers the remote address holds every entry that covers
 * it. Symmetric, without state: an entry counts in both directions. */
#include "net_parse.bpf.h"

/* 1 or 0. Not static: the verifier then looks at its loop once by itself, not once for every way
 * that leads here (a tenth of the work, and of the time until an order is in force). It therefore
 * takes neither pointer for granted. */
__attribute__((noinline)) int tlx_set_allows(const struct tlx_allow_set *set,
                                             const struct tlx_packet *p) {
  if (!set || !p) return 0;
  const __u32 n = set->n;
  for (__u32 i = 0; i < TLX_ALLOW_MAX; i++) {
    if (i >= n) break;
    const struct tlx_allow *entry = &set->list[i];
    if (!entry->protocol && !entry->port_first && entry->port_last == 0xffff) return 1;
    if (!p->has_ports || (entry->protocol && entry->protocol != p->protocol)) continue;
    const __u16 port = entry->direction == TLX_ALLOW_OUT ? p->remote_port : p->local_port;
    if (port >= entry->port_first && port <= entry->port_last) return 1;
  }
  return 0;
}

/* Without a bank nothing is allowed. */
static __always_inline bool tlx_is_allowed(const struct tlx_net_cfg *cfg,
                                           const struct tlx_packet *p) {
  const __u32 bank = cfg->bank;
  const struct tlx_allow_set *set = NULL;
  if (p->family == 4) {
    struct tlx_allow4_key key = {.prefix_len = 32};
    __builtin_memcpy(key.addr, &p->remote.word[3], sizeof key.addr);
    void *trie = bpf_map_lookup_elem(&tlx_allow4, &bank);
    if (trie) set = bpf_map_lookup_elem(trie, &key);
  } else {
    struct tlx_allow6_key key = {.prefix_len = 128};
    __builtin_memcpy(key.addr, &p->remote, sizeof key.addr);
    void *trie = bpf_map_lookup_elem(&tlx_allow6, &bank);
    if (trie) set = bpf_map_lookup_elem(trie, &key);
  }
  return set && tlx_set_allows(set, p);
}
#endif
