// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/bytes.h"
#include "rpc/tls_ctx.h"

/* TLS over memory: bytes in, bytes out; knows no socket. One thread. */
struct tlx_tls;

/* A connection of the role that |ctx| (referenced) has. Nothing is sent before the handshake is
 * asked for. 0, -ENOMEM or TLX_E_TLS. */
int tlx_tls_new(struct tlx_tls_ctx *ctx, struct tlx_tls **ret_tls);
/* Frees, without a word to the peer. NULL is fine. */
void tlx_tls_free(struct tlx_tls *tls);
/* Hands over ciphertext from the peer; it is copied. 0 or -ENOMEM. */
int tlx_tls_feed(struct tlx_tls *tls, const void *data, size_t len);
/* Goes on with the handshake. 0 = done (ALPN h2 agreed), -EAGAIN = needs more bytes,
 * TLX_E_TLS_ALPN, or a final TLX_E_CERT_… / TLX_E_TLS; text in tlx_tls_error. Send tlx_tls_pending
 * also after an error (alert). */
int tlx_tls_handshake(struct tlx_tls *tls);
/* Decrypted bytes into |out|; > 0 length, -EAGAIN, 0 = peer closed cleanly, TLX_E_TLS. Drain until
 * -EAGAIN. */
ssize_t tlx_tls_read(struct tlx_tls *tls, void *out, size_t size);
/* Encrypts all of |data|; the ciphertext waits in tlx_tls_pending. 0, TLX_E_TLS, -ENOMEM. */
int tlx_tls_write(struct tlx_tls *tls, const void *data, size_t len);
/* Queues close_notify, so that the peer can tell our end from a cut line. Its answer is not waited
 * for. */
void tlx_tls_close_notify(struct tlx_tls *tls);
/* Ciphertext to send; borrowed until the next call on |tls|. */
struct tlx_bytes tlx_tls_pending(const struct tlx_tls *tls);
/* Drops |len| bytes from the front of the pending ones: they were sent. */
void tlx_tls_sent(struct tlx_tls *tls, size_t len);
/* Hands all pending ciphertext over to |buf| (swapped; |buf| must be empty). */
void tlx_tls_take_pending(struct tlx_tls *tls, struct tlx_buf *buf);
/* Peer's chain, leaf first, DER each; borrowed, lives with |tls|; n = 0 when none was sent.
 * Complete after the handshake. */
size_t tlx_tls_peer_chain(const struct tlx_tls *tls, const struct tlx_bytes **ret_chain);
/* What went wrong, in words for the operator ("the server refused our certificate (alert
 * bad_certificate)"); empty = nothing. Lives with |tls|. */
const char *tlx_tls_error(const struct tlx_tls *tls);
