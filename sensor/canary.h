// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* The only proof that a hook lives: a private program with a rule of its own is executed and must
 * be stopped. The program is a few bytes of machine code that exit with CANARY_RAN at once. Worker
 * thread (waits for its child). */

#define CANARY_RAN 42

enum canary_result {
  CANARY_DENIED,  /* execve returned EPERM */
  CANARY_KILLED,  /* died of SIGKILL before its first instruction */
  CANARY_ALIVE,   /* it ran: the hook is dead */
  CANARY_UNKNOWN, /* could not be executed for another reason */
};

/* Writes the program to |path| (0700), if it is not there as it should be. Negative errno. */
int canary_write(const char *path);
/* Executes it, inside the cgroup2 folder |cgroup| (path in the file system; NULL = where we are).
 * Waits at most 2 s. With CANARY_UNKNOWN |*ret_err| is the errno. */
enum canary_result canary_run(const char *path, const char *cgroup, int *ret_err);
