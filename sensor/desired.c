// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/desired.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "pki/digest.h"

void desired_digest(const struct tlx_bytes *policies, size_t n, uint8_t ret_digest[32]) {
  static const uint8_t domain[] = "telovix-set-v1"; /* with its NUL */
  struct tlx_sha256 hash;
  tlx_sha256_init(&hash);
  tlx_sha256_add(&hash, domain, sizeof domain);
  for (size_t i = 0; i < n; i++) {
    uint32_t len = (uint32_t)policies[i].len;
    uint8_t be[4] = {len >> 24, len >> 16 & 0xff, len >> 8 & 0xff, len & 0xff};
    tlx_sha256_add(&hash, be, sizeof be);
    tlx_sha256_add(&hash, policies[i].data, policies[i].len);
  }
  tlx_sha256_final(&hash, ret_digest);
}

int desired_new(const struct desired_name *name, const struct tlx_bytes *policies, size_t n,
                struct desired **ret_desired) {
  uint8_t digest[32];
  size_t bytes = 0;
  if (n > DESIRED_RULES_MAX) return TLX_E_LIMIT;
  for (size_t i = 0; i < n; i++) {
    if (policies[i].len > DESIRED_BYTES_MAX - bytes) return TLX_E_LIMIT;
    bytes += policies[i].len;
  }
  desired_digest(policies, n, digest);
  if (memcmp(digest, name->digest, sizeof digest) != 0) return TLX_E_MALFORMED;
  struct desired *desired = malloc(sizeof *desired + n * sizeof *desired->policies + bytes);
  if (!desired) return -ENOMEM;
  desired->name = *name;
  desired->n = n;
  uint8_t *at = (uint8_t *)&desired->policies[n];
  for (size_t i = 0; i < n; i++) {
    if (policies[i].len) memcpy(at, policies[i].data, policies[i].len);
    desired->policies[i] = (struct tlx_bytes){at, policies[i].len};
    at += policies[i].len;
  }
  *ret_desired = desired;
  return 0;
}

void desired_free(struct desired *desired) {
  free(desired);
}

enum desired_verdict desired_compare(const struct desired_name *in_force,
                                     const struct desired_name *offered) {
  if (!in_force || memcmp(in_force->epoch, offered->epoch, sizeof in_force->epoch) != 0)
    return DESIRED_NEWER;
  if (offered->generation != in_force->generation)
    return offered->generation > in_force->generation ? DESIRED_NEWER : DESIRED_ROLLBACK;
  return memcmp(in_force->digest, offered->digest, sizeof in_force->digest) == 0 ? DESIRED_SAME
                                                                                 : DESIRED_ROLLBACK;
}
