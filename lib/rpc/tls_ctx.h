// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "pki/identity.h"
#include "pki/key.h"

/* What many TLS connections share: role, identity, whom to trust. TLS 1.3 only, ALPN h2 only, no
 * tickets, no resumption. Immutable; reload = make a new one and let go of the old. Loop thread. */
struct tlx_tls_ctx;

struct tlx_tls_options {
  bool server;
  /* Own identity: leaf first, then issuers, DER each; NULL key = no certificate (enrolling client).
   */
  const struct tlx_bytes *chain;
  size_t n_chain;
  const struct tlx_key *key;
  /* Whom to trust; a server asks for a client certificate but does not demand one. NULL only for a
   * probe: a client that accepts any chain, presents nothing, and must close after the handshake.
   */
  const struct tlx_ca_bundle *ca;
  /* Client: URI that the server's leaf must carry; NULL = any. Copied. */
  const char *server_uri;
  /* Client: certificate times are judged by this clock (later of system and Console time); NULL =
   * the system's. Server: always the system's, and an expired *leaf* of a client passes (the caller
   * is told 401 per call); not-yet-valid, foreign or wrong-purpose ones end the handshake with an
   * alert. */
  uint64_t (*wall_ms)(void *arg);
  void *wall_arg;
};

/* Makes a context; everything is copied, and the one reference is the caller's. 0;
 * TLX_E_KEY_MISMATCH when key and leaf differ (checked here: the library does not); TLX_E_MALFORMED
 * (a certificate), TLX_E_TLS, -ENOMEM; -EINVAL for a server without key or |ca|, or a URI that is
 * too long. */
int tlx_tls_ctx_new(const struct tlx_tls_options *options, struct tlx_tls_ctx **ret_ctx);
/* A further reference; returns |ctx|. */
struct tlx_tls_ctx *tlx_tls_ctx_ref(struct tlx_tls_ctx *ctx);
/* Gives one back; the last one frees. NULL is fine. */
void tlx_tls_ctx_unref(struct tlx_tls_ctx *ctx);
