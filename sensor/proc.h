// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The one seam between us and the host's processes: /proc and pidfds (proc(5), pidfd_open(2)).
 * Tests put their own functions in its place. Any thread. */

#define PROC_COMM_LEN 16
#define PROC_KTHREAD 0x00200000u /* PF_KTHREAD, include/linux/sched.h */

/* What counts of /proc/PID/stat. */
struct proc_stat {
  char comm[PROC_COMM_LEN]; /* as the kernel has it: any bytes */
  char state;               /* R S D Z T … */
  uint32_t flags;           /* PF_… */
  uint64_t start_ticks;     /* field 22, clock ticks since boot */
};

/* Every function gets the object itself, so that a test can keep its state around it. */
struct proc {
  /* A pidfd, or a negative errno: -ESRCH no such process, -EINVAL it is a thread id. */
  int (*open)(const struct proc *proc, pid_t pid);
  /* 0 or a negative errno; -ESRCH when the process is gone. */
  int (*stat)(const struct proc *proc, pid_t pid, struct proc_stat *ret_stat);
  /* Target of /proc/PID/exe less a final " (deleted)". */
  int (*exe)(const struct proc *proc, pid_t pid, char *out, size_t size);
  /* Path of the cgroup2 hierarchy, e.g. "/system.slice/x.service". */
  int (*cgroup)(const struct proc *proc, pid_t pid, char *out, size_t size);
  /* 0 = sent; -ESRCH it is gone; -EPERM … */
  int (*signal)(const struct proc *proc, int pidfd, int number);
  /* 1 = the process has ended, 0 = it lives, else a negative errno. Does not wait. */
  int (*ended)(const struct proc *proc, int pidfd);
};

/* The host's. Static storage. */
const struct proc *proc_system(void);

/* Parses the text of /proc/PID/stat; the name may hold blanks and parentheses. 0 or
 * TLX_E_MALFORMED. */
int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret_stat);
/* Finds the path of the "0::" line in the text of /proc/PID/cgroup. 0 or TLX_E_MALFORMED. */
int proc_cgroup_parse(const char *text, size_t len, char *out, size_t size);
