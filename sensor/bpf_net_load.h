// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Puts the network programs that are built into this binary into the kernel: libbpf's own objects
 * live for the length of one call, what comes out are plain descriptors (as bpf_load.h). One thread
 * at a time. */

/* The pinned maps: name of the pin, name of the map. */
#define BPF_NET_MAP_MAP(X)                                                                         \
  X(CFGS, "cfgs", "tlx_net_cfgs")                                                                  \
  X(ALLOW4, "allow4", "tlx_allow4")                                                                \
  X(ALLOW6, "allow6", "tlx_allow6")                                                                \
  X(LOCAL, "local", "tlx_local")                                                                   \
  X(OWN, "own_sock", "tlx_own_sock")                                                               \
  X(STATS, "stats", "tlx_net_stats")                                                               \
  X(EVENTS, "events", "tlx_net_events")
enum bpf_net_map {
#define X(name, word, map) BPF_NET_MAP_##name,
  BPF_NET_MAP_MAP(X)
#undef X
      BPF_NET_MAP_COUNT
};
/* "cfgs": static storage. */
const char *bpf_net_map_word(enum bpf_net_map map);

/* The programs: name of the pin of their link, name of the program. Those of the cgroup come first.
 */
#define BPF_NET_PROG_MAP(X)                                                                        \
  X(SKB_OUT, "skb_out", "tlx_net_out")                                                             \
  X(SKB_IN, "skb_in", "tlx_net_in")                                                                \
  X(CONNECT4, "connect4", "tlx_connect4")                                                          \
  X(CONNECT6, "connect6", "tlx_connect6")                                                          \
  X(SENDMSG4, "sendmsg4", "tlx_sendmsg4")                                                          \
  X(SENDMSG6, "sendmsg6", "tlx_sendmsg6")                                                          \
  X(SETSOCKOPT, "setsockopt", "tlx_setsockopt")                                                    \
  X(TC_OUT, "tc_out", "tlx_tc_out")                                                                \
  X(TC_IN, "tc_in", "tlx_tc_in")                                                                   \
  X(TC_OUT_IP, "tc_out_ip", "tlx_tc_out_ip")                                                       \
  X(TC_IN_IP, "tc_in_ip", "tlx_tc_in_ip")
enum bpf_net_prog {
#define X(name, word, program) BPF_NET_PROG_##name,
  BPF_NET_PROG_MAP(X)
#undef X
      BPF_NET_PROG_COUNT
};
#define BPF_NET_CGROUP_PROGS ((unsigned)BPF_NET_PROG_TC_OUT)
/* "skb_out": static storage. */
const char *bpf_net_prog_word(enum bpf_net_prog prog);

/* Makes all maps, empty. The descriptors are the caller's. |btf_path| NULL = the kernel's. */
int bpf_net_load_maps(const char *btf_path, char why[240], int ret_fds[BPF_NET_MAP_COUNT]);
/* Whether |fd| is a map as we would make it. -EPROTO with what differs in |why|. */
int bpf_net_load_check_map(enum bpf_net_map map, int fd, char why[240]);
/* Loads the programs |first| to |last|, which are of one object, on these maps; nothing is
 * attached. Their descriptors, the caller's, come into |ret_fds| at their index. 0 or a negative
 * errno with words in |why|. */
int bpf_net_load_progs(enum bpf_net_prog first, enum bpf_net_prog last,
                       const int map_fds[BPF_NET_MAP_COUNT], const char *btf_path, char why[240],
                       int ret_fds[BPF_NET_PROG_COUNT]);
