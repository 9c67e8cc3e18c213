// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"

/* ---- texts ---- */

/* One blank-separated number. False at the end or at something else. */
static bool next_number(const char **at, uint64_t *ret_value) {
  char *end;
  while (**at == ' ')
    (*at)++;
  errno = 0;
  *ret_value = strtoull(*at, &end, 10);
  if (end == *at || errno) return false;
  *at = end;
  return true;
}

int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret_stat) {
  char copy[1024];
  struct proc_stat stat = {0};
  uint64_t value = 0;
  if (len >= sizeof copy || memchr(text, '\0', len)) return TLX_E_MALFORMED;
  memcpy(copy, text, len);
  copy[len] = '\0';
  /* The name is whatever stands between the first and the last parenthesis. */
  char *open = strchr(copy, '('), *close = strrchr(copy, ')');
  if (!open || !close || close < open || close[1] != ' ' || !close[2]) return TLX_E_MALFORMED;
  size_t name_len = (size_t)(close - open - 1);
  if (name_len >= sizeof stat.comm) name_len = sizeof stat.comm - 1;
  memcpy(stat.comm, open + 1, name_len);
  stat.state = close[2];
  const char *at = close + 3;
  /* Behind the state comes field 4; flags are field 9, the start time is field 22. */
  for (unsigned field = 4; field <= 22; field++) {
    /* Some are negative (tty, priority): their sign is of no use here. */
    while (*at == ' ' || *at == '-')
      at++;
    if (!next_number(&at, &value)) return TLX_E_MALFORMED;
    if (field == 9) stat.flags = (uint32_t)value;
  }
  stat.start_ticks = value;
  *ret_stat = stat;
  return 0;
}

int proc_cgroup_parse(const char *text, size_t len, char *out, size_t size) {
  const char *end = text + len;
  while (text < end) {
    const char *line_end = memchr(text, '\n', (size_t)(end - text));
    size_t line_len = line_end ? (size_t)(line_end - text) : (size_t)(end - text);
    if (line_len > 3 && memcmp(text, "0::", 3) == 0) {
      size_t path_len = line_len - 3;
      if (path_len >= size || memchr(text, '\0', line_len)) return TLX_E_MALFORMED;
      memcpy(out, text + 3, path_len);
      out[path_len] = '\0';
      return 0;
    }
    text += line_len + 1;
  }
  return TLX_E_MALFORMED;
}

/* ---- the host's /proc ---- */

static ssize_t read_file(pid_t pid, const char *name, char *out, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd TLX_AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? -ESRCH : -errno;
  ssize_t n = read(fd, out, size);
  return n < 0 ? -errno : n;
}

static int system_open(const struct proc *proc, pid_t pid) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd >= 0) return fd;
  /* Newer kernels say ENOENT of a thread id (pidfd_open(2)). */
  return errno == ENOENT ? -EINVAL : -errno;
}

static int system_stat(const struct proc *proc, pid_t pid, struct proc_stat *ret_stat) {
  char text[1024];
  ssize_t n = read_file(pid, "stat", text, sizeof text - 1);
  return n < 0 ? (int)n : proc_stat_parse(text, (size_t)n, ret_stat);
}

/* A first thread that exited before the others has no executable any more; they still have it. */
static ssize_t read_exe_of_threads(pid_t pid, char *out, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *threads = opendir(path);
  if (!threads) return -1;
  ssize_t n = -1;
  for (struct dirent *entry; n < 0 && (entry = readdir(threads));) {
    snprintf(path, sizeof path, "/proc/%d/task/%.12s/exe", (int)pid, entry->d_name);
    n = readlink(path, out, size);
  }
  int err = n < 0 ? ENOENT : 0;
  closedir(threads);
  errno = err;
  return n;
}

static int system_exe(const struct proc *proc, pid_t pid, char *out, size_t size) {
  static const char deleted[] = " (deleted)";
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
  ssize_t n = readlink(path, out, size - 1);
  if (n < 0 && errno == ENOENT) n = read_exe_of_threads(pid, out, size - 1);
  if (n < 0) return errno == ENOENT ? -ESRCH : -errno;
  out[n] = '\0';
  size_t tail = sizeof deleted - 1;
  if ((size_t)n > tail && strcmp(out + n - tail, deleted) == 0) out[(size_t)n - tail] = '\0';
  return 0;
}

static int system_cgroup(const struct proc *proc, pid_t pid, char *out, size_t size) {
  char text[8192];
  ssize_t n = read_file(pid, "cgroup", text, sizeof text);
  return n < 0 ? (int)n : proc_cgroup_parse(text, (size_t)n, out, size);
}

static int system_signal(const struct proc *proc, int pidfd, int number) {
  return syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) == 0 ? 0 : -errno;
}

static int system_ended(const struct proc *proc, int pidfd) {
  struct pollfd item = {.fd = pidfd, .events = POLLIN};
  int n = poll(&item, 1, 0);
  return n < 0 ? -errno : n;
}

static const struct proc system_proc = {
    .open = system_open,
    .stat = system_stat,
    .exe = system_exe,
    .cgroup = system_cgroup,
    .signal = system_signal,
    .ended = system_ended,
};

const struct proc *proc_system(void) {
  return &system_proc;
}
