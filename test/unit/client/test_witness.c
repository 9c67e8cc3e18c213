// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/witness.h"

#include <errno.h>

#include "../../harness/folder.h"
#include "common/err.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void expect_kept(struct folder *folder, const char *text) {
  struct witness witness;
  char out[96];
  witness_load(&witness, folder->path);
  cr_assert_str_empty(witness.fault);
  cr_assert_str_eq(witness_format(&witness, out), text);
}

Test(witness, remembers_the_newest) {
  FOLDER folder;
  struct witness witness;
  struct stat info;
  folder_init(&folder);
  expect_kept(&folder, "");
  witness_load(&witness, folder.path);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  cr_assert_neq(stat(folder_join(&folder, "audit_head"), &info), 0, "nothing was told");
  witness_see(&witness, "7:" HEX_A);
  witness_see(&witness, "7:" HEX_A);
  witness_see(&witness, "9:" HEX_B);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  expect_kept(&folder, "9:" HEX_B);
  cr_assert_eq(stat(folder_join(&folder, "audit_head"), &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
}

Test(witness, what_is_no_head_is_ignored) {
  struct witness witness = {.seq = 0};
  static const char *const texts[] = {"",
                                      "7",
                                      "7:",
                                      "7:abcd",
                                      ":" HEX_A,
                                      "0:" HEX_A,
                                      "x:" HEX_A,
                                      "7:" HEX_A "a",
                                      "99999999999999999999999:" HEX_A};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    witness_see(&witness, texts[i]);
  cr_assert_eq(witness.seq, 0);
  cr_assert_str_empty(witness.fault);
}

static void expect_fault(const char *first, const char *then, const char *part) {
  FOLDER folder;
  struct witness witness;
  folder_init(&folder);
  witness_load(&witness, folder.path);
  witness_see(&witness, first);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  witness_load(&witness, folder.path);
  witness_see(&witness, then);
  cr_assert(strstr(witness.fault, part), "%s", witness.fault);
  /* What comes later mends nothing, and the proof stays. */
  witness_see(&witness, "100:" HEX_A);
  cr_assert(strstr(witness.fault, part));
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  expect_kept(&folder, first);
}

Test(witness, a_lower_or_another_head_is_a_fault) {
  expect_fault("7:" HEX_A, "6:" HEX_B, "ends at record 6");
  expect_fault("7:" HEX_A, "7:" HEX_B, "another record 7");
}

Test(witness, a_parallel_run_was_told_more) {
  FOLDER folder;
  struct witness one, other;
  folder_init(&folder);
  witness_load(&one, folder.path);
  witness_load(&other, folder.path);
  witness_see(&other, "9:" HEX_B);
  cr_assert_eq(witness_keep(&other, folder.path), 0);
  witness_see(&one, "8:" HEX_A);
  cr_assert_str_empty(one.fault);
  cr_assert_eq(witness_keep(&one, folder.path), 0);
  expect_kept(&folder, "9:" HEX_B);
}

Test(witness, a_broken_file_is_said_so) {
  FOLDER folder;
  struct witness witness;
  folder_init(&folder);
  folder_write(&folder, "audit_head", "nonsense\n", 9, 0600);
  witness_load(&witness, folder.path);
  cr_assert(strstr(witness.fault, "audit_head"), "%s", witness.fault);
  cr_assert_eq(witness.seq, 0);
}
