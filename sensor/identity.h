// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "pki/identity.h"
#include "pki/key.h"
#include "rpc/tls_ctx.h"

/* Who this sensor is: sensor.ini and identity/ in the state folder, written by enrollment. */

#define IDENTITY_ADDRESSES_MAX 8u

/* An identity that was loaded; owns what it points to. */
struct identity {
  char sensor_id[32], fleet_id[32], fleet_name[256], node_name[256];
  char addresses[IDENTITY_ADDRESSES_MAX][264];
  unsigned n_addresses;
  struct tlx_key *key;
  struct tlx_ca_bundle *ca;
  struct tlx_buf chain_der;
  struct tlx_bytes chain[8]; /* leaf first; into chain_der */
  size_t n_chain;
  uint64_t not_after_wall_ms;
};

/* What enrollment got. Borrowed for the call. */
struct identity_offer {
  const char *sensor_id, *fleet_id, *fleet_name, *node_name;
  const char *const *addresses;
  size_t n_addresses;
  const struct tlx_bytes *chain, *ca;
  size_t n_chain, n_ca;
};

/* Loads it from the state folder. -ENOENT: not enrolled; else 0 or a negative error (TLX_E_MODE:
 * the key file is too open) with a sentence in |why| (512 bytes). |ret_identity| is untouched on
 * failure. */
int identity_load(const char *folder, struct identity *ret_identity, char *why);
/* All-zero is fine. */
void identity_done(struct identity *identity);
/* TLS context for the uplink: our certificate, the fleet's CAs, and the Console's URI as the only
 * one that may answer; |wall_ms| judges certificates. The caller gets the one reference. 0 or a
 * negative error. */
int identity_tls(const struct identity *identity, uint64_t (*wall_ms)(void *arg), void *arg,
                 struct tlx_tls_ctx **ret_ctx);

/* Whether |folder| holds an identity. */
bool identity_exists(const char *folder);
/* The key of an enrollment that has not ended: made and kept in identity/pending.key once, so that
 * a retry asks with the same. The caller frees it. 0 or a negative error. */
int identity_pending_key(const char *folder, struct tlx_key **ret_key);
/* Makes the pending key and what was got into the identity; sensor.ini comes last and completes it,
 * so that an interruption at any point leaves none or a whole one. 0 or a negative error with a
 * sentence in |why| (512 bytes). */
int identity_save(const char *folder, const struct identity_offer *offer, char *why);
