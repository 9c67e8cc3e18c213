// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/block.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

Test(block, paths) {
  static const struct {
    const char *path, *fault; /* part of it; NULL = fine */
  } cases[] = {{"/a", NULL},
               {"/usr/bin/nc", NULL},
               {"/.a", NULL},
               {"/..a/b..", NULL},
               {"/...", NULL},
               {"/a b\t", NULL},
               {"", "missing"},
               {"a", "absolute"},
               {"./a", "absolute"},
               {"/", "no file"},
               {"/a/", "no file"},
               {"//", "empty component"},
               {"//a", "empty component"},
               {"/a//b", "empty component"},
               {"/.", "\".\""},
               {"/./a", "\".\""},
               {"/a/./b", "\".\""},
               {"/a/.", "\".\""},
               {"/..", "\"..\""},
               {"/../a", "\"..\""},
               {"/a/../b", "\"..\""},
               {"/a/..", "\"..\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *fault = block_path_fault(cases[i].path);
    if (cases[i].fault)
      cr_assert(fault && strstr(fault, cases[i].fault), "%s: %s", cases[i].path,
                fault ? fault : "fine");
    else
      cr_assert_null(fault, "%s: %s", cases[i].path, fault);
  }
}

Test(block, longest_path) {
  char path[4098];
  memset(path, 'a', sizeof path);
  path[0] = '/';
  path[4095] = 0;
  cr_assert_null(block_path_fault(path));
  path[4095] = 'a';
  path[4096] = 0;
  cr_assert(strstr(block_path_fault(path), "4095"));
}

Test(block, names) {
  static const struct {
    const char *path, *name;
  } cases[] = {
      {"/usr/bin/nc", "telovix-block-binary-usr-bin-nc"},
      {"/usr/bin/Python3.11", "telovix-block-binary-usr-bin-python3-11"},
      {"/a__b//-c-", "telovix-block-binary-a-b-c"},
      {"/x", "telovix-block-binary-x"},
      {"/opt/\xc3\xa4/b", "telovix-block-binary-opt-b"},
      {"/\xe6\x97\xa5", "telovix-block-binary"},
      {"/--", "telovix-block-binary"},
      {"", "telovix-block-binary"},
      /* Exactly 40, with and without the dash in front of them. */
      {"/0123456789012345678901234567890123456789",
       "telovix-block-binary-0123456789012345678901234567890123456789"},
      {"/a0123456789012345678901234567890123456789",
       "telovix-block-binary-0123456789012345678901234567890123456789"},
      /* The cut falls on a dash, which goes too: no name has two in a row. */
      {"/a/012345678901234567890123456789012345678",
       "telovix-block-binary-012345678901234567890123456789012345678"},
      {"/a//_-/012345678901234567890123456789012345678",
       "telovix-block-binary-012345678901234567890123456789012345678"},
      {"/home/user/.local/share/applications/bin/tool-with-a-name",
       "telovix-block-binary-share-applications-bin-tool-with-a-name"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char name[BLOCK_NAME_MAX];
    block_name(cases[i].path, name);
    cr_assert_str_eq(name, cases[i].name, "%s: %s", cases[i].path, name);
  }
}

/* The rule of spec §5.2 the long way round: the whole path first, then the cut. */
static void name_slowly(const char *path, char *out) {
  char text[5000];
  size_t n = 0;
  for (; *path; path++) {
    char c = *path >= 'A' && *path <= 'Z' ? (char)(*path + 32) : *path;
    bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (kept)
      text[n++] = c;
    else if (n && text[n - 1] != '-')
      text[n++] = '-';
  }
  if (n && text[n - 1] == '-') n--;
  text[n] = 0;
  char *cut = n > 40 ? text + n - 40 : text;
  if (*cut == '-') cut++;
  sprintf(out, "telovix-block-binary%s%s", *cut ? "-" : "", cut);
}

Test(block, names_of_many_paths) {
  unsigned state = 7;
  for (int round = 0; round < 20000; round++) {
    static const char alphabet[] = "abzABZ09/-._ \xc3";
    char path[120], fast[BLOCK_NAME_MAX], slow[5100];
    size_t len = round % 110;
    for (size_t i = 0; i < len; i++) {
      state = state * 1103515245 + 12345;
      path[i] = alphabet[(state >> 16) % (sizeof alphabet - 1)];
    }
    path[len] = 0;
    block_name(path, fast);
    name_slowly(path, slow);
    cr_assert_str_eq(fast, slow, "%s", path);
  }
}

Test(block, policy) {
  struct block_policy policy = {.rule_id = "rule_0123456789abcdef",
                                .name = "telovix-block-binary-a",
                                .path = "/a",
                                .mode = TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE,
                                .revision = {1, 2, 3},
                                .force = true};
  struct tlx_buf buf = {0}, same = {0};
  struct tlx_arena arena;
  ProtobufCMessage *message;
  block_pack(&policy, &buf);
  block_pack(&policy, &same);
  cr_assert_eq(buf.err, 0);
  cr_assert(buf.len == same.len && memcmp(buf.data, same.data, buf.len) == 0);
  tlx_arena_init(&arena, 1 << 20);
  cr_assert_eq(tlx_pb_unpack_trusted(&telovix__v1__enforcement_policy__descriptor,
                                     (struct tlx_bytes){buf.data, buf.len}, &arena, &message),
               0);
  const Telovix__V1__EnforcementPolicy *back = (const void *)message;
  cr_assert_str_eq(back->rule_id, policy.rule_id);
  cr_assert_str_eq(back->name, policy.name);
  cr_assert_str_eq(back->template_, "block-binary");
  cr_assert_eq(back->mode, TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE);
  cr_assert_eq(back->revision.len, 16);
  cr_assert_arr_eq(back->revision.data, policy.revision, 16);
  cr_assert_str_eq(back->block_binary->path, "/a");
  cr_assert_str_eq(back->block_binary->hook, "sys_execve");
  cr_assert_str_eq(back->block_binary->action, "Sigkill");
  cr_assert(back->block_binary->force);
  cr_assert(block_is_forced(buf.data, buf.len));
  policy.force = false;
  tlx_buf_done(&buf);
  block_pack(&policy, &buf);
  cr_assert_not(block_is_forced(buf.data, buf.len));
  cr_assert_not(block_is_forced("\xff", 1));
  cr_assert_not(block_is_forced(NULL, 0));
  tlx_arena_done(&arena);
  tlx_buf_done(&buf);
  tlx_buf_done(&same);
}
