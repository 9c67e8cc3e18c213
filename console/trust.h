// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "console/settings.h"
#include "pki/cert.h"
#include "pki/identity.h"
#include "pki/key.h"
#include "rpc/tls_ctx.h"

/* The Console's own keys and certificates: the fleet CA, and the server certificate that it
 * reissues by itself. Files below the data folder: ca/ca.{crt,key}, tls/server.{crt,key}. */
struct trust {
  struct tlx_key *ca_key, *server_key;
  struct tlx_ca_bundle *ca;
  struct tlx_buf server_der; /* the leaf */
  struct tlx_tls_ctx *tls_ctx;
  char pin[72]; /* of the CA in use */
  uint64_t server_not_before_wall_ms, server_not_after_wall_ms;
};

/* Makes CA key and certificate, and a server key with its certificate, below |data|. 0 or a
 * negative error with a sentence in |why| (512 bytes). */
int trust_create(const char *data, const char *fleet_id, const struct settings *settings,
                 uint64_t wall_ms, char *why);
/* Loads all of it and makes the TLS context; reissues the server certificate when less than a third
 * of its life is left, or when the advertised hosts are not in it. |ret_trust| is untouched on
 * failure. */
int trust_load(const char *data, const char *fleet_id, const struct settings *settings,
               uint64_t wall_ms, struct trust *ret_trust, char *why);
/* Frees everything, wipes the keys, and leaves all-zero behind. All-zero is fine. */
void trust_done(struct trust *trust);
/* Whether the server certificate wants to be reissued now: a third of its life or less is left, or
 * the clock is before its start. */
bool trust_is_due(const struct trust *trust, uint64_t wall_ms);
/* When a certificate is to begin that takes the place of |replaced| (NULL = of none) at
 * |now_wall_ms|: an hour ago, but not later than |replaced| does. A Console whose clock is ahead
 * would otherwise hand out certificates that are good for nothing once the clock is put right.
 * Never before the CA because of that: whoever gets it checks the CA at its start. */
uint64_t trust_start(const struct trust *trust, const struct tlx_cert *replaced,
                     uint64_t now_wall_ms);
/* Signs a client certificate with |uri| for |spki| and appends the DER; the caller has checked who
 * asks, and puts |serial| on record. 0 or a negative error. */
int trust_issue_client(const struct trust *trust, const char *cn, const char *uri,
                       struct tlx_bytes spki, const uint8_t serial[TLX_SERIAL_LEN],
                       uint64_t not_before_wall_ms, uint64_t not_after_wall_ms,
                       struct tlx_buf *ret_der);
