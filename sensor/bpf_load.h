// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "sensor/bpf_caps.h"

/* Puts the programs that are built into this binary into the kernel. Here, and in bpf_file and
 * bpf_event, libbpf's own objects (its struct bpf_object is not ours) live for the length of one
 * call; what comes out are plain descriptors. One thread at a time. */

/* The shared maps, in the order of their pins' names. */
#define BPF_MAP_MAP(X)                                                                             \
  X(CFG, "cfg") X(RULES, "rules") X(STATS, "stats") X(COUNTS, "count") X(EVENTS, "events")
enum bpf_map_index {
#define X(name, word) BPF_MAP_##name,
  BPF_MAP_MAP(X)
#undef X
      BPF_MAP_COUNT
};
/* "cfg": static storage. */
const char *bpf_map_word(enum bpf_map_index map);

#define BPF_HOOKS_MAX 3u
/* One loaded program and the name of its hook, e.g. "bprm_check". */
struct bpf_load_prog {
  const char *hook;
  int fd;
};
struct bpf_load {
  struct bpf_load_prog progs[BPF_HOOKS_MAX];
  unsigned n;
  int self_fd; /* map tlx_self */
  bool reads;  /* programs may read kernel text */
};

/* Sends libbpf's messages to our log at debug, for the whole process. Every function below does it
 * first. */
void bpf_load_log(void);
/* Makes the shared maps, empty; nothing is pinned. The descriptors are the caller's. |btf_path|
 * NULL = the kernel's. */
int bpf_load_maps(const char *btf_path, char why[240], int ret_fds[BPF_MAP_COUNT]);
/* Whether |fd| is a map as we would make it: type, sizes, entries, flags and, where the kernel lets
 * us see it, the layout by BTF. -EPROTO with what differs in |why|. */
int bpf_load_check_map(enum bpf_map_index map, int fd, char why[240]);
/* Whether |fd| is a map like tlx_self. 0 or a negative errno. */
int bpf_load_check_self(int fd);
/* Name of the n-th hook of |backend|, in the order of loading; NULL past the last. Static storage.
 */
const char *bpf_load_hook(enum bpf_backend backend, unsigned n);
/* Loads the programs of |backend| on these maps. Nothing is attached. The descriptors are the
 * caller's (bpf_load_done). 0 or a negative errno with words in |why|. */
int bpf_load_programs(enum bpf_backend backend, const int map_fds[BPF_MAP_COUNT],
                      const char *btf_path, char why[240], struct bpf_load *ret_load);
/* Closes them; a program that is neither attached nor pinned is gone then. */
void bpf_load_done(struct bpf_load *load);
/* Attaches one program. A link's descriptor or a negative errno. */
int bpf_load_attach(enum bpf_backend backend, int prog_fd);
/* How many values a per-CPU map has. */
int bpf_load_n_cpus(void);
/* What a refused load says: the verifier's last lines out of |log|, else what libbpf said last,
 * else |err|. */
void bpf_load_explain(const char *log, int err, char why[240]);
