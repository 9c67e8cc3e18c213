// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

#include "pki/cert.h"
#include "pki/identity.h"
#include "pki/key.h"

/* A fleet CA and certificates of it, made as a test needs them. Every function asserts. Also used
 * by the tests of lib/rpc. */
#define FIXTURE_WALL_MS 1704164645000ull /* 2024-01-02T03:04:05Z */
#define FIXTURE_DAY_MS 86400000ull
#define FIXTURE_FLEET "fleet-0123456789abcdef"

struct fixture_ca {
  struct tlx_key *key;
  struct tlx_buf der;
  struct tlx_cert cert;
  struct tlx_ca_bundle *bundle;
};
void fixture_ca_init(struct fixture_ca *ca, const char *cn, uint64_t wall_ms);
void fixture_ca_done(struct fixture_ca *ca);

struct fixture_leaf {
  struct tlx_key *key;
  struct tlx_buf der;
  struct tlx_cert cert;
};
/* Valid from a day before |wall_ms| to 30 days after it, moved by |shift_days|. */
void fixture_leaf_init(struct fixture_leaf *leaf, const struct fixture_ca *ca,
                       enum tlx_cert_profile profile, const char *uri, uint64_t wall_ms,
                       int shift_days);
void fixture_leaf_done(struct fixture_leaf *leaf);
