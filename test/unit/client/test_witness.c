// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/witness.h"

#include <errno.h>

#include "../../harness/folder.h"
#include "common/err.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void expect_kept(struct folder *folder, size_t n, uint64_t last_seq) {
  struct witness witness;
  witness_load(&witness, folder->path);
  cr_assert_str_empty(witness.fault);
  cr_assert_eq(witness.n, n);
  if (n) cr_assert_eq(witness.heads[n - 1].seq, last_seq);
}

Test(witness, remembers_the_newest) {
  FOLDER folder;
  struct witness witness;
  struct stat info;
  folder_init(&folder);
  expect_kept(&folder, 0, 0);
  witness_load(&witness, folder.path);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  cr_assert_neq(stat(folder_join(&folder, "audit_head"), &info), 0, "nothing was told");
  witness_see(&witness, "7:" HEX_A);
  witness_see(&witness, "7:" HEX_A);
  witness_see(&witness, "9:" HEX_B);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  expect_kept(&folder, 2, 9);
  cr_assert_eq(stat(folder_join(&folder, "audit_head"), &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
}

Test(witness, what_is_no_head_is_ignored) {
  struct witness witness = {.n = 0};
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
  cr_assert_eq(witness.n, 0);
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
  expect_kept(&folder, 1, 7);
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
  expect_kept(&folder, 1, 9);
}

Test(witness, a_broken_file_is_said_so) {
  FOLDER folder;
  struct witness witness;
  folder_init(&folder);
  folder_write(&folder, "audit_head", "nonsense\n", 9, 0600);
  witness_load(&witness, folder.path);
  cr_assert(strstr(witness.fault, "audit_head"), "%s", witness.fault);
  cr_assert_eq(witness.n, 0);
}

/* A walk through the log meets all that was told; then its end stands for all of it. */
Test(witness, every_head_counts_until_the_log_was_walked) {
  FOLDER folder;
  struct witness witness;
  uint8_t a[32], b[32];
  memset(a, 0xaa, sizeof a);
  memset(b, 0xbb, sizeof b);
  folder_init(&folder);
  witness_load(&witness, folder.path);
  witness_see(&witness, "7:" HEX_A);
  witness_see(&witness, "20:" HEX_B);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  witness_load(&witness, folder.path);
  cr_assert(witness_knows(&witness, 7, a));
  cr_assert_not(witness_knows(&witness, 7, b));
  cr_assert(witness_knows(&witness, 8, b));
  cr_assert_not(witness_knows(&witness, 20, a));
  witness_verified(&witness, 20, b);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  expect_kept(&folder, 1, 20);
}

Test(witness, is_bounded) {
  FOLDER folder;
  struct witness witness;
  char head[96];
  folder_init(&folder);
  witness_load(&witness, folder.path);
  for (unsigned seq = 1; seq <= 1000; seq++) {
    snprintf(head, sizeof head, "%u:" HEX_A, seq);
    witness_see(&witness, head);
    cr_assert_leq(witness.n, WITNESS_HEADS_MAX);
    cr_assert_eq(witness.heads[witness.n - 1].seq, seq);
  }
  cr_assert_eq(witness.heads[0].seq, 1);
  cr_assert_eq(witness_keep(&witness, folder.path), 0);
  expect_kept(&folder, witness.n, 1000);
}
