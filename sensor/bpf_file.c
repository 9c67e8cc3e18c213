// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_file.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "file_id.skel.h"
#include "sensor/bpf_load.h"

#define LOG_SIZE (64u << 10)

struct bpf_file {
  int query_fd, link_fd;
};

static int try_load(const char *btf_path, bool reads, char *log, struct file_id **ret_skeleton) {
  LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = btf_path);
  struct file_id *skeleton = file_id__open_opts(&opts);
  if (!skeleton) return -errno;
  log[0] = '\0';
  skeleton->rodata->tlx_reads = reads;
  bpf_program__set_log_buf(skeleton->progs.tlx_file_id, log, LOG_SIZE);
  int err = file_id__load(skeleton);
  if (err)
    file_id__destroy(skeleton);
  else
    *ret_skeleton = skeleton;
  return err;
}

/* Limited to this process where the kernel can (6.1): elsewhere the program itself skips the
 * others. */
static int attach(int prog_fd) {
  union bpf_iter_link_info info = {.task.pid = (__u32)getpid()};
  LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &info, .iter_info_len = sizeof info);
  int fd = bpf_link_create(prog_fd, 0, BPF_TRACE_ITER, &opts);
  if (fd < 0) fd = bpf_link_create(prog_fd, 0, BPF_TRACE_ITER, NULL);
  return fd < 0 ? -errno : fd;
}

int bpf_file_open(const char *btf_path, char why[240], struct bpf_file **ret_file) {
  TLX_AUTOFREE char *log = calloc(1, LOG_SIZE);
  struct file_id *skeleton = NULL;
  struct bpf_file *file = calloc(1, sizeof *file);
  if (!file || !log) {
    free(file);
    return -ENOMEM;
  }
  file->query_fd = file->link_fd = -1;
  bpf_load_log();
  int err = try_load(btf_path, true, log, &skeleton);
  if (err && *log && try_load(btf_path, false, log, &skeleton) == 0) err = 0;
  if (err) {
    if (err == -EPERM && !bpf_caps_privileged())
      snprintf(why, 240, "CAP_BPF and CAP_PERFMON are missing");
    else
      bpf_load_explain(log, err, why);
    bpf_file_close(file);
    return err;
  }
  file->link_fd = attach(bpf_program__fd(skeleton->progs.tlx_file_id));
  file->query_fd = fcntl(bpf_map__fd(skeleton->maps.tlx_query), F_DUPFD_CLOEXEC, 3);
  if (file->link_fd < 0)
    err = file->link_fd;
  else if (file->query_fd < 0)
    err = -errno;
  file_id__destroy(skeleton);
  if (err) {
    snprintf(why, 240, "the iterator over open files cannot be made: %s", tlx_err_text(err));
    bpf_file_close(file);
    return err;
  }
  *ret_file = file;
  return 0;
}

void bpf_file_close(struct bpf_file *file) {
  if (!file) return;
  if (file->query_fd >= 0) close(file->query_fd);
  if (file->link_fd >= 0) close(file->link_fd);
  free(file);
}

int bpf_file_identify(struct bpf_file *file, int fd, struct tlx_file_id *ret_id) {
  const struct tlx_query query = {.fd = (__u32)fd};
  const __u32 zero = 0;
  struct tlx_file_id id;
  if (bpf_map_update_elem(file->query_fd, &zero, &query, BPF_ANY) != 0) return -errno;
  TLX_AUTOCLOSE int iterator = bpf_iter_create(file->link_fd);
  if (iterator < 0) return -errno;
  /* Threads share one table of files, so it may be told more than once: always the same. */
  ssize_t n;
  do
    n = read(iterator, &id, sizeof id);
  while (n < 0 && (errno == EINTR || errno == EAGAIN));
  if (n < 0) return -errno;
  if (n != sizeof id) return n == 0 ? -ENOENT : -EIO;
  *ret_id = id;
  return 0;
}
