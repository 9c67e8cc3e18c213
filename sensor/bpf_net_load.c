// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_net_load.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "net_cgroup.skel.h"
#include "net_tc.skel.h"
#include "sensor/bpf_caps.h"
#include "sensor/bpf_layout.h"
#include "sensor/bpf_load.h"

/* As bpf_load.c: what matters stands at the end. */
#define LOG_SIZE (1u << 20)

static const struct {
  const char *word, *map;
} maps[BPF_NET_MAP_COUNT] = {
#define X(name, word, map) [BPF_NET_MAP_##name] = {word, map},
    BPF_NET_MAP_MAP(X)
#undef X
};
static const struct {
  const char *word, *program;
} progs[BPF_NET_PROG_COUNT] = {
#define X(name, word, program) [BPF_NET_PROG_##name] = {word, program},
    BPF_NET_PROG_MAP(X)
#undef X
};

const char *bpf_net_map_word(enum bpf_net_map map) {
  return maps[map].word;
}
const char *bpf_net_prog_word(enum bpf_net_prog prog) {
  return progs[prog].word;
}

/* ---- objects ---- */

/* One open object; its skeleton owns it. */
struct net_object {
  struct bpf_object *object;
  struct net_cgroup *cgroup;
  struct net_tc *tc;
};

static void net_object_end(struct net_object *open) {
  if (open->cgroup) net_cgroup__destroy(open->cgroup);
  if (open->tc) net_tc__destroy(open->tc);
}

static int net_object_begin(bool is_tc, const char *btf_path, struct net_object *ret_open) {
  LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = btf_path);
  bpf_load_log();
  if (is_tc)
    ret_open->tc = net_tc__open_opts(&opts);
  else
    ret_open->cgroup = net_cgroup__open_opts(&opts);
  if (!ret_open->tc && !ret_open->cgroup) return -errno;
  ret_open->object = is_tc ? ret_open->tc->obj : ret_open->cgroup->obj;
  return 0;
}

static void only(struct net_object *open, unsigned first, unsigned last) {
  struct bpf_program *program;
  bpf_object__for_each_program(program, open->object) bpf_program__set_autoload(program, false);
  for (unsigned i = first; i <= last && i < BPF_NET_PROG_COUNT; i++)
    bpf_program__set_autoload(bpf_object__find_program_by_name(open->object, progs[i].program),
                              true);
}

static int duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -errno : copy;
}

/* ---- maps ---- */

int bpf_net_load_maps(const char *btf_path, char why[240], int ret_fds[BPF_NET_MAP_COUNT]) {
  TLX_CLEANUP(net_object_end) struct net_object open = {0};
  int fds[BPF_NET_MAP_COUNT];
  int err = net_object_begin(false, btf_path, &open);
  if (!err) {
    only(&open, BPF_NET_PROG_COUNT, 0);
    err = bpf_object__load(open.object);
  }
  if (err) {
    bpf_load_explain(NULL, err, why);
    return err;
  }
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++) {
    fds[i] = duplicate(bpf_object__find_map_fd_by_name(open.object, maps[i].map));
    if (fds[i] >= 0) continue;
    err = fds[i];
    while (i--)
      close(fds[i]);
    snprintf(why, 240, "%s", tlx_err_text(err));
    return err;
  }
  memcpy(ret_fds, fds, sizeof fds);
  return 0;
}

int bpf_net_load_check_map(enum bpf_net_map map, int fd, char why[240]) {
  TLX_CLEANUP(net_object_end) struct net_object open = {0};
  int err = net_object_begin(false, NULL, &open);
  return err ? err
             : bpf_layout_check_map(bpf_object__find_map_by_name(open.object, maps[map].map),
                                    bpf_object__btf(open.object), maps[map].word, fd, why);
}

/* ---- programs ---- */

static int load(struct net_object *open, unsigned first, unsigned last, const int *map_fds,
                char *log) {
  struct bpf_program *program;
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++) {
    int err =
        bpf_map__reuse_fd(bpf_object__find_map_by_name(open->object, maps[i].map), map_fds[i]);
    if (err) return err;
  }
  only(open, first, last);
  bpf_object__for_each_program(program, open->object)
      bpf_program__set_log_buf(program, log, LOG_SIZE);
  return bpf_object__load(open->object);
}

int bpf_net_load_progs(enum bpf_net_prog first, enum bpf_net_prog last,
                       const int map_fds[BPF_NET_MAP_COUNT], const char *btf_path, char why[240],
                       int ret_fds[BPF_NET_PROG_COUNT]) {
  TLX_CLEANUP(net_object_end) struct net_object open = {0};
  TLX_AUTOFREE char *log = calloc(1, LOG_SIZE);
  int fds[BPF_NET_PROG_COUNT];
  if (!log) return -ENOMEM;
  int err = net_object_begin(first >= BPF_NET_CGROUP_PROGS, btf_path, &open);
  if (!err) err = load(&open, first, last, map_fds, log);
  if (err == -EPERM && !*log && !bpf_caps_privileged())
    snprintf(why, 240, "CAP_BPF and CAP_PERFMON are missing");
  else if (err == -EPERM && !*log)
    snprintf(why, 240, "CAP_NET_ADMIN is missing");
  else if (err)
    bpf_load_explain(log, err, why);
  if (err) return err;
  for (unsigned i = first; i <= last; i++) {
    fds[i] =
        duplicate(bpf_program__fd(bpf_object__find_program_by_name(open.object, progs[i].program)));
    if (fds[i] >= 0) continue;
    err = fds[i];
    while (i-- > first)
      close(fds[i]);
    snprintf(why, 240, "%s", tlx_err_text(err));
    return err;
  }
  memcpy(&ret_fds[first], &fds[first], (last - first + 1) * sizeof *fds);
  return 0;
}
