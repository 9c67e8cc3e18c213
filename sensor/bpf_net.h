// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_net_abi.h"
#include "common/allow.h"
#include "sensor/bpf_net_own.h"
#include "sensor/bpf_object.h"

/* Programs, links and maps of a containment: loaded, attached, pinned below PIN_FOLDER/net-N,
 * adopted, verified, repaired. Tightening comes before loosening: what is pinned goes on until what
 * replaces it is in force.
 *
 * Not thread-safe: one thread at a time (the engine's worker), but for bpf_net_mark. */
struct bpf_net;

struct bpf_net_options {
  const char *pin_folder;    /* e.g. /sys/fs/bpf/telovix */
  const char *cgroup_folder; /* where the cgroup programs go: the root of cgroup2 for the whole
                                host, else the scope */
  bool whole_host;           /* false: no tc, no other namespaces */
  const char *btf_path;
  /* Where the iterator over marks is kept, which takes longer to load than all else and may be
   * loaded before (bpf_net_own_open); the caller closes it after the last call. NULL = it is loaded
   * for this one alone. */
  struct bpf_net_own **own;
};

/* What of the layers is in force; kernel.md §2.6. */
#define BPF_NET_LAYER_MAP(X)                                                                       \
  X(CGROUP_SKB, "cgroup_skb") /* packets of sockets; without it nothing is contained */            \
  X(CONNECT, "connect")       /* errors at once */                                                 \
  X(TC, "tc")                 /* raw frames, forwarded traffic, on every uplink */                 \
  X(OPTIONS, "setsockopt")    /* no way past tc */                                                 \
  X(OWN, "own_marks")         /* no mark but ours */
enum bpf_net_layer {
#define X(name, word) BPF_NET_LAYER_##name,
  BPF_NET_LAYER_MAP(X)
#undef X
      BPF_NET_LAYER_COUNT
};
/* "cgroup_skb": static storage. */
const char *bpf_net_layer_word(enum bpf_net_layer layer);

/* Opens pinned maps of a former process or makes new ones; attaches nothing. |ret_adopted|:
 * programs of a former process are in force, and go on. */
int bpf_net_open(const struct bpf_net_options *options, char why[240], bool *ret_adopted,
                 struct bpf_net **ret_net);
/* Closes descriptors; what is pinned goes on. NULL is fine. */
void bpf_net_close(struct bpf_net *net);
/* Attaches every layer that this kernel has, cgroup_skb first of all being needed (else an error);
 * new links beside or in the place of those of a former process (bpf_link_update), pinned. Programs
 * do nothing until a configuration says so. */
int bpf_net_attach(struct bpf_net *net, char why[240]);
/* Tries again each missing layer whose last error may pass (no memory, no descriptors, another's
 * program that lets none beside it), and none that this kernel or the process's rights refuse. */
void bpf_net_retry(struct bpf_net *net);
/* Which layers are attached, as bits; |why| of a missing one (static or owned by |net|). */
uint32_t bpf_net_layers(const struct bpf_net *net);
const char *bpf_net_layer_why(const struct bpf_net *net, enum bpf_net_layer layer);
/* Detaches and unpins all. */
int bpf_net_remove(struct bpf_net *net);

/* ---- links (whole host) ---- */
/* Attaches tc (tcx where the kernel has it) to |ifindex|, of this process's network namespace;
 * again is fine. With words in |why|: -EOPNOTSUPP (a trial's cgroup, no programs for devices, or a
 * link layer that they cannot read), -ENODEV, -EINVAL (loopback), -EAGAIN (links of a former
 * process whose maps could not be adopted, or filters of another version, go on until
 * bpf_net_publish), another negative errno: it
 * may be attached one way and is to be counted as not covered. */
int bpf_net_link_add(struct bpf_net *net, uint32_t ifindex, char why[240]);
/* Repairs and notes what is not as it was made on a device that has our programs; 0 also for one that
 * has none. As bpf_net_verify does it, so that bpf_net_link_add mends nothing without a word. */
int bpf_net_link_check(struct bpf_net *net, uint32_t ifindex, struct bpf_tampers *tampers);
/* Forgets a device that is gone. */
void bpf_net_link_gone(struct bpf_net *net, uint32_t ifindex);

/* ---- configuration ---- */
/* Fills the bank that is not in use, reads it back, freezes it, and switches to it with the rest of
 * |cfg| (its bank is set here) in one update. On failure the former configuration stays. */
int bpf_net_publish(struct bpf_net *net, const struct tlx_net_cfg *cfg,
                    const struct tlx_allow_entry *allow, size_t n);
/* The configuration in force; -ENOENT = none. */
int bpf_net_config(struct bpf_net *net, struct tlx_net_cfg *ret_cfg);
/* Replaces the set of local addresses. -E2BIG above TLX_LOCAL_MAX. */
int bpf_net_set_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n);
int bpf_net_stats(struct bpf_net *net, struct tlx_net_stats *ret_stats);
int bpf_net_events_fd(const struct bpf_net *net);

/* Compares links (all, tc included), programs, maps, configuration and banks with what was made;
 * repairs and notes. */
int bpf_net_verify(struct bpf_net *net, struct bpf_tampers *tampers);
/* Takes away every mark of a socket whose cookie |knows| does not know (net_own_has), and notes
 * those sockets that a process holds. 0 also where the layer own_marks is missing. A negative
 * errno: nobody knows whether there are others; the layer is missing until the next bpf_net_attach.
 */
int bpf_net_own_verify(struct bpf_net *net, bool (*knows)(uint64_t cookie),
                       struct bpf_tampers *tampers);

/* ---- sockets ---- */
/* Marks a socket of ours (TLX_SOCK_OWN or TLX_SOCK_PROBE), before its connect(2). Opens the pinned
 * map by itself, so that the loop may call it while a pass runs: any thread. 0; -ENOENT when
 * nothing is pinned, which is fine: nothing is contained. */
int bpf_net_mark(const char *pin_folder, int fd, uint32_t what);
