// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"

/* The desired state as the Console names it, and whether it may replace the one that is in force
 * (spec §1, §12). Pure. */

#define DESIRED_RULES_MAX 256u
#define DESIRED_BYTES_MAX (512u << 10)

struct desired_name {
  uint8_t epoch[16];
  uint64_t generation;
  uint8_t digest[32];
};
/* A set with its policies, each the serialized telovix.v1.EnforcementPolicy as it came. One heap
 * block, so that one free ends it. */
struct desired {
  struct desired_name name;
  size_t n;
  struct tlx_bytes policies[];
};

/* SHA-256("telovix-set-v1" NUL, then per policy u32be length and bytes). */
void desired_digest(const struct tlx_bytes *policies, size_t n, uint8_t ret_digest[32]);
/* Checks sizes and digest and copies. 0; TLX_E_MALFORMED (the digest is another, or a name has a
 * wrong length); TLX_E_LIMIT (too many rules or bytes); -ENOMEM. */
int desired_new(const struct desired_name *name, const struct tlx_bytes *policies, size_t n,
                struct desired **ret_desired);
/* NULL is fine. */
void desired_free(struct desired *desired);

enum desired_verdict {
  DESIRED_SAME,     /* the three names are equal: nothing to do */
  DESIRED_NEWER,    /* may replace what is in force */
  DESIRED_ROLLBACK, /* same epoch with a lower generation, or the same generation with another
                       digest: refused */
};
/* |in_force| NULL = nothing yet. */
enum desired_verdict desired_compare(const struct desired_name *in_force,
                                     const struct desired_name *offered);
