// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-victim: the process that bench-kill-latency has killed.
 *
 *   bench-victim CGROUP_PROCS
 *
 * Enters the cgroup, says so with one byte on standard output, and waits for its end. Small and
 * static: how long the kernel takes to tear a large process down belongs to no figure. */
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv) {
  int fd = argc == 2 ? open(argv[1], O_WRONLY | O_CLOEXEC) : -1;
  if (fd < 0 || write(fd, "0", 1) != 1 || write(STDOUT_FILENO, "r", 1) != 1) return 1;
  close(STDOUT_FILENO);
  for (;;)
    pause();
}
