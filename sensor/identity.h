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
  uint64_t not_before_wall_ms, not_after_wall_ms;
};

/* What enrollment got. Borrowed for the call. */
struct identity_offer {
  const char *sensor_id, *fleet_id, *fleet_name, *node_name;
  const char *const *addresses;
  size_t n_addresses;
  const struct tlx_bytes *chain, *ca;
  size_t n_chain, n_ca;
};

/* Loads it from the state folder; a replacement that was interrupted is completed first. -ENOENT:
 * not enrolled; else 0 or a negative error (TLX_E_MODE: the key file is too open) with a sentence
 * in |why| (512 bytes). |ret_identity| is untouched on failure. */
int identity_load(const char *folder, struct identity *ret_identity, char *why);
/* All-zero is fine. */
void identity_done(struct identity *identity);
/* TLS context for the uplink: our certificate, the fleet's CAs, and the Console's URI as the only
 * one that may answer; |wall_ms| judges certificates. The caller gets the one reference. 0 or a
 * negative error. */
int identity_tls(const struct identity *identity, uint64_t (*wall_ms)(void *arg), void *arg,
                 struct tlx_tls_ctx **ret_ctx);

/* Reads sensor.ini alone: who this host is, also when a key or a certificate is damaged. -ENOENT:
 * not enrolled; else as identity_load. */
int identity_peek(const char *folder, struct identity *ret_identity, char *why);
/* The key of an enrollment that has not ended: made and kept in identity/pending.key once, so that
 * a retry asks with the same. The caller frees it. 0 or a negative error. */
int identity_pending_key(const char *folder, struct tlx_key **ret_key);
/* Makes the pending key and what was got into the identity; sensor.ini comes last and completes it,
 * so that an interruption at any point leaves none or a whole one. 0 or a negative error with a
 * sentence in |why| (512 bytes). */
int identity_save(const char *folder, const struct identity_offer *offer, char *why);
/* Puts the pending key and |chain| in the place of the identity that is there, and |ca| for the CAs
 * to trust. However it is interrupted, the folder holds the former identity or the new one, and
 * identity_load says which. |chain| must begin with a leaf for the pending key, issued by one of
 * |ca| to |sensor_id| of |fleet_id|: anything else is refused and changes nothing
 * (TLX_E_KEY_MISMATCH, TLX_E_CERT_IDENTITY, TLX_E_CERT_UNTRUSTED, TLX_E_CERT_PURPOSE). 0 or a
 * negative error with a sentence in |why| (512 bytes). Blocks on the disk; any thread, one at a
 * time. */
int identity_replace(const char *folder, const char *fleet_id, const char *sensor_id,
                     const struct tlx_bytes *chain, size_t n_chain, const struct tlx_bytes *ca,
                     size_t n_ca, char *why);
/* Writes sensor.ini anew for the identity that is there. 0 or a negative error with |why|. */
int identity_rename(const char *folder, const struct identity_offer *offer, char *why);
