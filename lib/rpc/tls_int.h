// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "rpc/tls.h"
#include "rpc/tls_ctx.h"

/* What tls_ctx.c and tls.c share: the library's objects. Internal to this folder; nobody else
 * includes the library. */

#define TLS_CHAIN_MAX 8u
#define TLS_ERROR_LEN 384u

struct tlx_tls_ctx {
  unsigned n_refs;
  bool server, probe;
  WOLFSSL_CTX *wolf;
  struct tlx_ca_bundle *ca; /* own copy; NULL for a probe */
  char server_uri[256];     /* empty = any */
  /* Of our own leaf, to be named when the peer refuses it; 0 = we show none. */
  uint64_t own_not_before_wall_ms, own_not_after_wall_ms;
  uint64_t (*wall_ms)(void *arg);
  void *wall_arg;
};

struct tlx_tls {
  struct tlx_tls_ctx *ctx;
  WOLFSSL *ssl;
  struct tlx_buf in, out; /* ciphertext from and to the peer */
  size_t in_at;           /* of |in|, already read by the library */
  bool ready;
  int verdict; /* our own judgement of the peer's certificate, 0 = fine or none yet */
  /* The time at which it was judged, and the limit that it passed: of a verdict about dates. */
  uint64_t judged_wall_ms, limit_wall_ms;
  struct tlx_buf chain_der;
  struct tlx_bytes chain[TLS_CHAIN_MAX];
  size_t n_chain;
  char error[TLS_ERROR_LEN];
};

/* The library's verify callback: the only place that decides about a peer's certificate. */
int tlx_tls_verify(int preverify, WOLFSSL_X509_STORE_CTX *store);
/* The library's I/O over memory: hand over ciphertext that was fed, take what is to be sent. */
int tlx_tls_io_recv(WOLFSSL *ssl, char *data, int len, void *arg);
int tlx_tls_io_send(WOLFSSL *ssl, char *data, int len, void *arg);
