// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/child.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
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
  pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  /* It holds our locks as well: it must not outlive us, or no successor could start. */
  if (pid == 0) (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid;
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
