// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_spaces.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

Test(net_spaces, mounts_of_namespaces) {
  char path[64];
  cr_assert(net_spaces_mount_parse(
      "70 25 0:4 net:[4026532177] /run/netns/blue rw shared:9 - nsfs nsfs rw\n", path,
      sizeof path));
  cr_expect_str_eq(path, "/run/netns/blue");
  cr_assert(net_spaces_mount_parse("70 25 0:4 net:[4026532177] /run/a\\040b rw - nsfs nsfs rw\n",
                                   path, sizeof path));
  cr_expect_str_eq(path, "/run/a b");
  static const char *const others[] = {
      "70 25 0:4 mnt:[4026532177] /run/mnt rw - nsfs nsfs rw\n",
      "70 25 0:4 net:[4026532177] /run/x rw - tmpfs none rw\n",
      "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
      "net:[1]\n",
      "",
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    cr_expect_not(net_spaces_mount_parse(others[i], path, sizeof path), "%s", others[i]);
}

static bool has(const struct net_spaces *spaces, ino_t ino) {
  for (size_t i = 0; i < spaces->n; i++)
    if (spaces->list[i].ino == ino) return true;
  return false;
}

static ino_t own(void) {
  struct stat st;
  cr_assert_eq(stat("/proc/self/ns/net", &st), 0);
  return st.st_ino;
}

Test(net_spaces, finds_that_of_another_process_and_not_our_own) {
  struct net_spaces spaces = {0};
  int ready[2];
  char byte = 0;
  cr_assert_eq(pipe(ready), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    byte = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  cr_assert_eq(read(ready[0], &byte, 1), 1);
  if (byte == 'y') {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(net_spaces_find("/proc", &spaces), 0);
    cr_expect(has(&spaces, st.st_ino));
    cr_expect_not(has(&spaces, own()));
    net_spaces_done(&spaces);
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  if (byte != 'y') cr_skip_test("needs root");
}

Test(net_spaces, a_folder_that_is_not_proc) {
  struct net_spaces spaces = {0};
  cr_expect_lt(net_spaces_find("/nowhere", &spaces), 0);
  net_spaces_done(&spaces);
}
