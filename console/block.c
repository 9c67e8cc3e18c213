// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/block.h"

#include <stdio.h>
#include <string.h>

#include "common/arena.h"
#include "console/limits.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

#define SUFFIX_MAX 40u

/* ---- path ---- */

const char *block_path_fault(const char *path) {
  if (!*path) return "is missing";
  if (*path != '/') return "is not absolute: it does not start with /";
  if (strlen(path) > RULE_PATH_MAX) return "is longer than 4095 bytes";
  for (const char *at = path; *at; at += strcspn(at, "/")) {
    at++; /* the slash before the component */
    size_t len = strcspn(at, "/");
    if (len == 0) return at[0] ? "has an empty component (//)" : "ends with /: it names no file";
    if (len == 1 && at[0] == '.') return "has a component \".\"";
    if (len == 2 && at[0] == '.' && at[1] == '.') return "has a component \"..\"";
  }
  return NULL;
}

/* ---- name ---- */

static char fold(char c) {
  if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
}

void block_name(const char *path, char *out) {
  /* Filled from behind: only the last characters count. */
  char suffix[SUFFIX_MAX + 1];
  size_t at = SUFFIX_MAX;
  suffix[at] = 0;
  for (size_t i = strlen(path); i > 0 && at > 0; i--) {
    char c = fold(path[i - 1]);
    bool follows_dash = at == SUFFIX_MAX || suffix[at] == '-';
    if (c == '-' && follows_dash) continue;
    suffix[--at] = c;
  }
  if (suffix[at] == '-') at++;
  snprintf(out, BLOCK_NAME_MAX, "telovix-block-binary%s%s", suffix[at] ? "-" : "", suffix + at);
}

/* ---- policy ---- */

void block_pack(const struct block_policy *policy, struct tlx_buf *buf) {
  Telovix__V1__EnforcementPolicy message = TELOVIX__V1__ENFORCEMENT_POLICY__INIT;
  Telovix__V1__BlockBinary block = TELOVIX__V1__BLOCK_BINARY__INIT;
  message.rule_id = (char *)policy->rule_id;
  message.name = (char *)policy->name;
  message.template_ = (char *)"block-binary";
  message.mode = (Telovix__V1__RuleMode)policy->mode;
  message.revision = (ProtobufCBinaryData){sizeof policy->revision, (uint8_t *)policy->revision};
  block.path = (char *)policy->path;
  block.hook = (char *)"sys_execve";
  block.action = (char *)"Sigkill";
  block.force = policy->force;
  message.block_binary = &block;
  tlx_pb_pack(&message.base, buf);
}

bool block_is_forced(const void *data, size_t len) {
  struct tlx_arena arena;
  ProtobufCMessage *message = NULL;
  tlx_arena_init(&arena, DESIRED_SET_MAX);
  int err = tlx_pb_unpack_trusted(&telovix__v1__enforcement_policy__descriptor,
                                  (struct tlx_bytes){data, len}, &arena, &message);
  const Telovix__V1__EnforcementPolicy *policy = (const void *)message;
  bool forced = err == 0 && policy->block_binary && policy->block_binary->force;
  tlx_arena_done(&arena);
  return forced;
}
