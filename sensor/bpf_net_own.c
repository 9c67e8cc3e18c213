// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_net_own.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "net_own.skel.h"
#include "sensor/bpf_caps.h"
#include "sensor/bpf_load.h"

#define LOG_SIZE (64u << 10)
/* What is told in one walk; and walks, each of which unmarks TLX_UNMARK_MAX sockets at most. */
#define MARKS_MAX (sizeof(struct tlx_net_mark) << 16)
#define WALKS_MAX 65u

struct bpf_net_own {
  int prog_fd, unmark_fd;
  uint64_t cookies[TLX_UNMARK_MAX]; /* in tlx_unmark */
  size_t n;
};

static void free_skeleton(struct net_own **skeleton) {
  net_own__destroy(*skeleton);
}

/* ---- one walk ---- */

/* By a link of its own, which nobody else has found yet. */
static int start(const struct bpf_net_own *own, int map_fd) {
  union bpf_iter_link_info info = {.map.map_fd = (__u32)map_fd};
  LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &info, .iter_info_len = sizeof info);
  int link_fd TLX_AUTOCLOSE = bpf_link_create(own->prog_fd, 0, BPF_TRACE_ITER, &opts);
  if (link_fd < 0) return -errno;
  int fd = bpf_iter_create(link_fd);
  return fd < 0 ? -errno : fd;
}

/* Unmarks what stands in tlx_unmark, and adds the others to |marks|. */
static int walk(const struct bpf_net_own *own, int map_fd, struct tlx_buf *marks) {
  struct tlx_net_mark some[256];
  ssize_t n;
  int fd TLX_AUTOCLOSE = start(own, map_fd);
  if (fd < 0) return fd;
  do {
    n = read(fd, some, sizeof some);
    if (n > 0) tlx_buf_add(marks, some, (size_t)n);
  } while ((n > 0 && !marks->err && marks->len < MARKS_MAX) ||
           (n < 0 && (errno == EINTR || errno == EAGAIN)));
  if (n < 0) return -errno;
  return marks->err;
}

size_t bpf_net_own_judge(const struct tlx_net_mark *marks, size_t n, uint64_t canary,
                         bool (*knows)(uint64_t cookie), uint64_t cookies[TLX_UNMARK_MAX],
                         bool *ret_seen, unsigned *strangers) {
  size_t n_cookies = 0;
  *ret_seen = false;
  for (size_t i = 0; i < n; i++) {
    if (marks[i].cookie == canary) {
      *ret_seen = true;
      continue;
    }
    if (knows(marks[i].cookie) || n_cookies == TLX_UNMARK_MAX) continue;
    cookies[n_cookies++] = marks[i].cookie;
    *strangers += marks[i].is_held != 0;
  }
  return n_cookies;
}

/* ---- all walks ---- */

/* A socket that no packet comes from. */
static int make_canary(int map_fd, uint64_t *ret_cookie) {
  const uint32_t mark = TLX_SOCK_PROBE;
  socklen_t len = sizeof *ret_cookie;
  int fd TLX_AUTOCLOSE = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &len) != 0 ||
      bpf_map_update_elem(map_fd, &fd, &mark, BPF_ANY) != 0)
    return -errno;
  return TLX_TAKE_FD(fd);
}

static int set_unmark(struct bpf_net_own *own, size_t n) {
  const uint32_t one = 1;
  for (own->n = 0; own->n < n; own->n++)
    if (bpf_map_update_elem(own->unmark_fd, &own->cookies[own->n], &one, BPF_ANY) != 0)
      return -errno;
  return 0;
}

/* Before the next look: what is marked again shall be told again. */
static int clear_unmark(struct bpf_net_own *own) {
  int err = 0;
  for (; own->n; own->n--)
    if (bpf_map_delete_elem(own->unmark_fd, &own->cookies[own->n - 1]) != 0 && errno != ENOENT)
      err = -errno;
  return err;
}

int bpf_net_own_clear(struct bpf_net_own *own, int map_fd, bool (*knows)(uint64_t cookie),
                      unsigned *ret_strangers) {
  uint64_t canary = 0;
  int canary_fd TLX_AUTOCLOSE = make_canary(map_fd, &canary);
  *ret_strangers = 0;
  if (canary_fd < 0) return canary_fd;
  for (unsigned i = 0; i < WALKS_MAX; i++) {
    TLX_CLEANUP(tlx_buf_done) struct tlx_buf marks;
    bool is_seen = false;
    tlx_buf_init(&marks, 2 * MARKS_MAX);
    int err = walk(own, map_fd, &marks), clear_err = clear_unmark(own);
    if (err || clear_err) return err ? err : clear_err;
    bool is_full = marks.len >= MARKS_MAX;
    size_t n = bpf_net_own_judge((const struct tlx_net_mark *)(const void *)marks.data,
                                 marks.len / sizeof(struct tlx_net_mark), canary, knows,
                                 own->cookies, &is_seen, ret_strangers);
    if (!is_seen && !is_full) return -EIO;
    if (!n) return is_full ? -E2BIG : 0;
    err = set_unmark(own, n);
    if (err) return err;
  }
  return -E2BIG;
}

static bool knows_all(uint64_t cookie) {
  return true;
}

int bpf_net_own_try(struct bpf_net_own *own, int map_fd) {
  unsigned strangers;
  int err = bpf_net_own_clear(own, map_fd, knows_all, &strangers);
  return err == -E2BIG ? 0 : err;
}

/* ---- life ---- */

static int load(const char *btf_path, char *log, struct bpf_net_own *own) {
  LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = btf_path);
  TLX_CLEANUP(free_skeleton) struct net_own *skeleton = net_own__open_opts(&opts);
  if (!skeleton) return -errno;
  bpf_program__set_log_buf(skeleton->progs.tlx_net_own, log, LOG_SIZE);
  int err = net_own__load(skeleton);
  if (err) return err;
  own->prog_fd = fcntl(bpf_program__fd(skeleton->progs.tlx_net_own), F_DUPFD_CLOEXEC, 3);
  own->unmark_fd = fcntl(bpf_map__fd(skeleton->maps.tlx_unmark), F_DUPFD_CLOEXEC, 3);
  return own->prog_fd < 0 || own->unmark_fd < 0 ? -EMFILE : 0;
}

int bpf_net_own_open(const char *btf_path, char why[240], struct bpf_net_own **ret_own) {
  TLX_AUTOFREE char *log = calloc(1, LOG_SIZE);
  struct bpf_net_own *own = calloc(1, sizeof *own);
  if (!log || !own) {
    free(own);
    return -ENOMEM;
  }
  own->prog_fd = own->unmark_fd = -1;
  bpf_load_log();
  int err = load(btf_path, log, own);
  if (err == -EPERM && !bpf_caps_privileged())
    snprintf(why, 240, "CAP_BPF and CAP_PERFMON are missing");
  else if (err)
    bpf_load_explain(log, err, why);
  if (err)
    bpf_net_own_close(own);
  else
    *ret_own = own;
  return err;
}

void bpf_net_own_close(struct bpf_net_own *own) {
  if (!own) return;
  if (own->prog_fd >= 0) close(own->prog_fd);
  if (own->unmark_fd >= 0) close(own->unmark_fd);
  free(own);
}
