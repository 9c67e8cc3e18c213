// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/child.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t child_clone(int cgroup_fd, int *ret_pidfd) {
  struct clone_args args = {
      .flags = CLONE_PIDFD, .pidfd = (uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
  if (cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)cgroup_fd;
  }
  return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

int child_wait(pid_t pid, int pidfd, int limit_ms, int *ret_status) {
  struct pollfd ended = {.fd = pidfd, .events = POLLIN};
  int n, status = 0;
  do
    n = poll(&ended, 1, limit_ms);
  while (n < 0 && errno == EINTR);
  if (n <= 0) kill(pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  *ret_status = status;
  return n > 0 ? 0 : -ETIMEDOUT;
}
