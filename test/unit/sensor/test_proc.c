// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/proc.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "common/err.h"

/* ---- texts ---- */

static const char tail[] = " 1 7 7 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 123456789 22 23 24\n";

static int parse(const char *text, struct proc_stat *ret_stat) {
  return proc_stat_parse(text, strlen(text), ret_stat);
}

Test(proc_stat, fields) {
  struct proc_stat stat;
  char text[256];
  snprintf(text, sizeof text, "42 (cat) S%s", tail);
  cr_assert_eq(parse(text, &stat), 0);
  cr_assert_str_eq(stat.comm, "cat");
  cr_assert_eq(stat.state, 'S');
  cr_assert_eq(stat.flags, 4194560);
  cr_assert_eq(stat.start_ticks, 123456789);
}

/* A process chooses its name, and may choose one that looks like the rest of the line. */
Test(proc_stat, names_of_any_kind) {
  static const struct {
    const char *raw, *comm;
  } cases[] = {{"a b", "a b"},
               {"", ""},
               {")", ")"},
               {"(", "("},
               {") R 1 1 1 0 -1", ") R 1 1 1 0 -1"},
               {"((((((()))))))", "((((((()))))))"},
               {"a\nb", "a\nb"},
               {"\xff\xfe", "\xff\xfe"},
               {"0123456789abcde", "0123456789abcde"},
               {"0123456789abcdefgh", "0123456789abcde"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct proc_stat stat;
    char text[256];
    snprintf(text, sizeof text, "42 (%s) D%s", cases[i].raw, tail);
    cr_assert_eq(parse(text, &stat), 0, "%s", cases[i].raw);
    cr_assert_str_eq(stat.comm, cases[i].comm);
    cr_assert_eq(stat.state, 'D');
    cr_assert_eq(stat.start_ticks, 123456789);
  }
}

Test(proc_stat, malformed) {
  static const char *const bad[] = {
      "",
      "42",
      "42 (cat",
      "42 cat) S",
      "42 )cat( S 1",
      "42 (cat)",
      "42 (cat) ",
      "42 (cat)S 1",
      "42 (cat) S",
      "42 (cat) S x",
      "42 (cat) S 1 7 7 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0",
      "42 (cat) S 1 7 7 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 18446744073709551616"};
  struct proc_stat stat = {.state = '!'};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_eq(parse(bad[i], &stat), TLX_E_MALFORMED, "%s", bad[i]);
  char text[2048];
  int len = snprintf(text, sizeof text, "42 (cat) S%s", tail);
  text[4] = '\0';
  cr_assert_eq(proc_stat_parse(text, (size_t)len, &stat), TLX_E_MALFORMED,
               "a NUL ends no text here");
  memset(text, 'x', sizeof text);
  cr_assert_eq(proc_stat_parse(text, sizeof text, &stat), TLX_E_MALFORMED);
  cr_assert_eq(stat.state, '!', "untouched on failure");
  /* Cut anywhere before field 22 it is no stat, and never more than that is read. */
  len = snprintf(text, sizeof text, "42 (cat) S%s", tail);
  for (int cut = 0; cut < len; cut++) {
    char *exact = malloc((size_t)cut + 1);
    memcpy(exact, text, (size_t)cut);
    exact = realloc(exact, cut ? (size_t)cut : 1);
    (void)proc_stat_parse(exact, (size_t)cut, &stat);
    free(exact);
  }
}

Test(proc_cgroup, the_unified_line) {
  static const struct {
    const char *text, *path;
  } cases[] = {{"0::/\n", "/"},
               {"0::/a/b.service\n", "/a/b.service"},
               {"0::/a b", "/a b"},
               {"12:cpu:/x\n1:name=systemd:/y\n0::/z\n", "/z"},
               {"10::/not\n0::/yes\n", "/yes"},
               {"", NULL},
               {"\n\n", NULL},
               {"0::", NULL},
               {"0::\n", NULL},
               {"12:cpu:/x\n", NULL},
               {"0::/0123456789abcdef\n", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char out[16] = "untouched";
    int err = proc_cgroup_parse(cases[i].text, strlen(cases[i].text), out, sizeof out);
    cr_assert_eq(err, cases[i].path ? 0 : TLX_E_MALFORMED, "%s", cases[i].text);
    cr_assert_str_eq(out, cases[i].path ? cases[i].path : "untouched");
  }
  char out[16];
  cr_assert_eq(proc_cgroup_parse("0::/a\0b\n", 8, out, sizeof out), TLX_E_MALFORMED);
}

/* ---- the host's ---- */

/* A child of ours that waits to be killed. */
static pid_t start_child(void) {
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0)
    for (;;)
      pause();
  return pid;
}

static void wait_ended(const struct proc *proc, int pidfd) {
  struct pollfd item = {.fd = pidfd, .events = POLLIN};
  cr_assert_eq(poll(&item, 1, 10000), 1);
  cr_assert_eq(proc->ended(proc, pidfd), 1);
}

Test(proc_system, one_life) {
  const struct proc *proc = proc_system();
  struct proc_stat stat, self;
  char exe[4096], own[4096], path[4096];
  pid_t pid = start_child();
  int pidfd = proc->open(proc, pid);
  cr_assert_geq(pidfd, 0);
  cr_assert(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
  cr_assert_eq(proc->ended(proc, pidfd), 0);
  cr_assert_eq(proc->stat(proc, pid, &stat), 0);
  cr_assert_eq(proc->stat(proc, getpid(), &self), 0);
  cr_assert_str_eq(stat.comm, self.comm);
  cr_assert_geq(stat.start_ticks, self.start_ticks);
  cr_assert_not(stat.flags & PROC_KTHREAD);
  cr_assert_eq(proc->exe(proc, pid, exe, sizeof exe), 0);
  ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
  cr_assert_gt(n, 0);
  own[n] = '\0';
  cr_assert_str_eq(exe, own);
  cr_assert_eq(proc->cgroup(proc, pid, path, sizeof path), 0);
  cr_assert_eq(path[0], '/');
  cr_assert_eq(proc->signal(proc, pidfd, SIGKILL), 0);
  wait_ended(proc, pidfd);
  cr_assert_eq(proc->stat(proc, pid, &stat), 0, "a zombie has a stat");
  cr_assert_eq(stat.state, 'Z');
  cr_assert_eq(proc->exe(proc, pid, exe, sizeof exe), -ESRCH);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
  cr_assert_eq(proc->stat(proc, pid, &stat), -ESRCH);
  cr_assert_eq(proc->cgroup(proc, pid, path, sizeof path), -ESRCH);
  cr_assert_eq(proc->open(proc, pid), -ESRCH);
  cr_assert_eq(proc->signal(proc, pidfd, SIGKILL), -ESRCH);
  cr_assert_eq(proc->ended(proc, pidfd), 1);
  close(pidfd);
  cr_assert_eq(proc->signal(proc, -1, SIGKILL), -EBADF);
}

struct other_thread {
  pid_t tid;
  pthread_barrier_t known, done;
};

static void *be_there(void *arg) {
  struct other_thread *other = arg;
  other->tid = (pid_t)syscall(SYS_gettid);
  pthread_barrier_wait(&other->known);
  pthread_barrier_wait(&other->done);
  return NULL;
}

Test(proc_system, a_thread_is_no_process) {
  const struct proc *proc = proc_system();
  struct other_thread other;
  pthread_t thread;
  pthread_barrier_init(&other.known, NULL, 2);
  pthread_barrier_init(&other.done, NULL, 2);
  cr_assert_eq(pthread_create(&thread, NULL, be_there, &other), 0);
  pthread_barrier_wait(&other.known);
  cr_assert_neq(other.tid, getpid());
  cr_assert_eq(proc->open(proc, other.tid), -EINVAL);
  pthread_barrier_wait(&other.done);
  pthread_join(thread, NULL);
}

/* An upgraded program runs on from a file that is no more: its name stays what the operator knows.
 */
Test(proc_system, a_deleted_file_keeps_its_name) {
  const struct proc *proc = proc_system();
  char exe[4096], byte;
  int started[2], source, copy;
  FOLDER folder;
  folder_init(&folder);
  const char *path = folder_join(&folder, "sleeper");
  cr_assert_geq(source = open("/bin/sleep", O_RDONLY | O_CLOEXEC), 0);
  cr_assert_geq(copy = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700), 0);
  char block[65536];
  for (ssize_t n; (n = read(source, block, sizeof block)) > 0;)
    cr_assert_eq(write(copy, block, (size_t)n), n);
  close(source);
  close(copy);
  cr_assert_eq(pipe2(started, O_CLOEXEC), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    execl(path, path, "600", (char *)NULL);
    _exit(1);
  }
  close(started[1]);
  cr_assert_eq(read(started[0], &byte, 1), 0, "closed by exec");
  close(started[0]);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(proc->exe(proc, pid, exe, sizeof exe), 0);
  cr_assert_str_eq(exe, path);
  kill(pid, SIGKILL);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
}
