// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <sys/types.h>

/* Short-lived children that run inside a cgroup. Worker thread. */

/* fork(2), the child being born inside |cgroup_fd| (-1 = where we are), so that no moment of it
 * lies outside of the scope. The child must use system calls only, as another thread may have held
 * any lock. Returns as fork does, -1 with errno; the parent gets a pidfd to close. */
pid_t child_clone(int cgroup_fd, int *ret_pidfd);
/* Waits at most |limit_ms| for the end of |pid| and kills it past that. 0 with its wait status,
 * -ETIMEDOUT, or another negative errno. */
int child_wait(pid_t pid, int pidfd, int limit_ms, int *ret_status);
