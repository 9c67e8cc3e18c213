// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/canary.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bed.h"

static struct bed bed;

static void end(void) {
  bed_end(&bed);
}

Test(canary, is_alive_without_a_rule, .fini = end) {
  int err = 0;
  bed_begin(&bed);
  cr_assert_eq(canary_write(bed.canary), 0);
  cr_expect_eq(canary_run(bed.canary, bed.cgroup, &err), CANARY_ALIVE);
  cr_expect_eq(canary_run(bed.canary, NULL, &err), CANARY_ALIVE);
}

Test(canary, is_stopped_with_a_rule_in_its_cgroup_only, .fini = end) {
  int err = 0;
  bed_begin(&bed);
  bed_engine(&bed);
  enum canary_result stopped =
      bed.backend == BPF_BACKEND_TRACEPOINT ? CANARY_KILLED : CANARY_DENIED;
  cr_expect_eq(canary_run(bed.canary, bed.cgroup, &err), stopped);
  cr_expect_eq(canary_run(bed.canary, NULL, &err), CANARY_ALIVE);
}

Test(canary, says_why_it_could_not_be_run, .fini = end) {
  int err = 0;
  bed_begin(&bed);
  cr_expect_eq(canary_run(bed.canary, bed.cgroup, &err), CANARY_UNKNOWN);
  cr_expect_eq(err, -ENOENT);
  cr_assert_eq(canary_write(bed.canary), 0);
  cr_expect_eq(canary_run(bed.canary, bed_path(&bed, "no-such-cgroup"), &err), CANARY_UNKNOWN);
  cr_expect_eq(err, -ENOENT);
  cr_assert_eq(chmod(bed.canary, 0600), 0);
  cr_expect_eq(canary_run(bed.canary, bed.cgroup, &err), CANARY_UNKNOWN);
  cr_expect_eq(err, -EACCES);
}

static ino_t inode_of(const char *path) {
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  return st.st_ino;
}

Test(canary, is_written_once_and_again_when_it_was_altered, .fini = end) {
  int err = 0;
  bed_begin(&bed);
  cr_assert_eq(canary_write(bed.canary), 0);
  ino_t first = inode_of(bed.canary);
  cr_assert_eq(canary_write(bed.canary), 0);
  cr_expect_eq(inode_of(bed.canary), first);
  cr_assert(bed_command("printf '#!/bin/sh\\nexit 42\\n' >%s", bed.canary));
  cr_assert_eq(canary_write(bed.canary), 0);
  cr_expect_neq(inode_of(bed.canary), first);
  cr_assert_eq(chmod(bed.canary, 0777), 0);
  cr_assert_eq(canary_write(bed.canary), 0);
  cr_expect_eq(canary_run(bed.canary, NULL, &err), CANARY_ALIVE);
}
