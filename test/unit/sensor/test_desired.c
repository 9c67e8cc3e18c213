// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/desired.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"

static struct desired_name name_of(uint64_t generation, const struct tlx_bytes *policies,
                                   size_t n) {
  struct desired_name name = {.epoch = {7}, .generation = generation};
  desired_digest(policies, n, name.digest);
  return name;
}

/* The form of spec §12, worked out by hand: printf 'telovix-set-v1\0\0\0\0\3abc\0\0\0\0' |
 * sha256sum. */
Test(desired, digest_is_the_specified_one) {
  struct tlx_bytes policies[] = {{(const uint8_t *)"abc", 3}, {NULL, 0}};
  uint8_t digest[32];
  char hex[65];
  desired_digest(policies, 2, digest);
  tlx_hex_format(digest, 32, hex);
  cr_assert_str_eq(hex, "1a6df6cd5c298fec9f7b1b067c37ead8ce5e54e7690637fc989a013664740ba3");
  desired_digest(NULL, 0, digest);
  tlx_hex_format(digest, 32, hex);
  cr_assert_str_eq(hex, "755c6e63bec9307273118fe79cfb3f23d34e38bde4b2638ae2f52f9c04711fa6");
}

Test(desired, order_and_borders_count) {
  struct tlx_bytes ab[] = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 1}};
  struct tlx_bytes ba[] = {{(const uint8_t *)"b", 1}, {(const uint8_t *)"a", 1}};
  struct tlx_bytes one[] = {{(const uint8_t *)"ab", 2}};
  uint8_t x[32], y[32], z[32];
  desired_digest(ab, 2, x);
  desired_digest(ba, 2, y);
  desired_digest(one, 1, z);
  cr_assert_neq(memcmp(x, y, 32), 0);
  cr_assert_neq(memcmp(x, z, 32), 0);
}

Test(desired, holds_its_own_copy) {
  char text[] = "policy";
  struct tlx_bytes policies[] = {{(const uint8_t *)text, 6}, {NULL, 0}};
  struct desired_name name = name_of(3, policies, 2);
  struct desired *desired = NULL;
  cr_assert_eq(desired_new(&name, policies, 2, &desired), 0);
  memset(text, 'x', sizeof text);
  cr_assert_eq(desired->n, 2u);
  cr_assert_eq(desired->policies[0].len, 6u);
  cr_assert_eq(memcmp(desired->policies[0].data, "policy", 6), 0);
  cr_assert_eq(desired->policies[1].len, 0u);
  cr_assert_eq(desired->name.generation, 3u);
  desired_free(desired);
  desired_free(NULL);
}

Test(desired, another_digest_is_refused) {
  struct tlx_bytes policies[] = {{(const uint8_t *)"p", 1}};
  struct desired_name name = name_of(1, policies, 1);
  struct desired *desired = (void *)1;
  name.digest[31] ^= 1;
  cr_assert_eq(desired_new(&name, policies, 1, &desired), TLX_E_MALFORMED);
  cr_assert_eq(desired, (void *)1, "untouched on failure");
}

Test(desired, limits) {
  static uint8_t big[DESIRED_BYTES_MAX + 1];
  static struct tlx_bytes many[DESIRED_RULES_MAX + 1];
  struct desired *desired = NULL;
  struct tlx_bytes one = {big, DESIRED_BYTES_MAX};
  struct desired_name name = name_of(1, &one, 1);
  cr_assert_eq(desired_new(&name, &one, 1, &desired), 0);
  desired_free(desired);
  one.len++;
  name = name_of(1, &one, 1);
  cr_assert_eq(desired_new(&name, &one, 1, &desired), TLX_E_LIMIT);
  name = name_of(1, many, DESIRED_RULES_MAX);
  cr_assert_eq(desired_new(&name, many, DESIRED_RULES_MAX, &desired), 0);
  desired_free(desired);
  name = name_of(1, many, DESIRED_RULES_MAX + 1);
  cr_assert_eq(desired_new(&name, many, DESIRED_RULES_MAX + 1, &desired), TLX_E_LIMIT);
}

Test(desired, what_may_replace_what) {
  struct desired_name a = name_of(5, NULL, 0), b = a;
  cr_assert_eq(desired_compare(NULL, &b), DESIRED_NEWER);
  cr_assert_eq(desired_compare(&a, &b), DESIRED_SAME);
  b.generation = 6;
  cr_assert_eq(desired_compare(&a, &b), DESIRED_NEWER);
  b.generation = 4;
  cr_assert_eq(desired_compare(&a, &b), DESIRED_ROLLBACK, "a Console rolled back to a copy");
  b = a;
  b.digest[0] ^= 1;
  cr_assert_eq(desired_compare(&a, &b), DESIRED_ROLLBACK, "one generation, two sets");
  b.generation = 6;
  cr_assert_eq(desired_compare(&a, &b), DESIRED_NEWER);
  b.epoch[0] ^= 1;
  b.generation = 1;
  cr_assert_eq(desired_compare(&a, &b), DESIRED_NEWER, "a restored Console starts another epoch");
}
