// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"

/* What a rule of template "block-binary" is made of: its path, its name for people, and the
 * serialized telovix.v1.EnforcementPolicy. Pure; any thread. */

#define BLOCK_NAME_MAX 64 /* "telovix-block-binary-", 40 characters, NUL */

/* What is wrong with |path| as the path of a rule, as the end of a sentence that begins with it;
 * NULL when it is fine. Static storage. */
const char *block_path_fault(const char *path);
/* telovix-block-binary-SUFFIX (spec §5.2): letters in lower case, every run of other characters one
 * dash, no dash at either end, the last 40 characters. A dash that the cut leaves in front is
 * dropped as well, so that no name has two in a row; a path without a letter or digit gives no
 * suffix and no dash. |out| of BLOCK_NAME_MAX. */
void block_name(const char *path, char *out);

/* What goes into a policy; texts are borrowed. */
struct block_policy {
  const char *rule_id, *name, *path;
  uint32_t mode; /* telovix.v1.RuleMode */
  uint8_t revision[16];
  bool force;
};
/* Appends the serialized policy. A failure sticks in |buf|->err. */
void block_pack(const struct block_policy *policy, struct tlx_buf *buf);
/* Whether the |len| bytes of a policy that block_pack made carry force; false for other bytes. */
bool block_is_forced(const void *data, size_t len);
