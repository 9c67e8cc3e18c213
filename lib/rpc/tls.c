// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/text.h"
#include "rpc/tls_int.h"

/* Ciphertext of one connection that may wait; more than conn.c ever hands over or leaves at once.
 */
#define CIPHERTEXT_MAX (16u << 20)

int tlx_tls_io_recv(WOLFSSL *ssl, char *data, int len, void *arg) {
  struct tlx_tls *tls = arg;
  size_t left = tls->in.len - tls->in_at, n = (size_t)len < left ? (size_t)len : left;
  if (n == 0) return WOLFSSL_CBIO_ERR_WANT_READ;
  memcpy(data, tls->in.data + tls->in_at, n);
  tls->in_at += n;
  if (tls->in_at == tls->in.len) tls->in_at = tls->in.len = 0;
  return (int)n;
}

int tlx_tls_io_send(WOLFSSL *ssl, char *data, int len, void *arg) {
  struct tlx_tls *tls = arg;
  tlx_buf_add(&tls->out, data, (size_t)len);
  return tls->out.err ? WOLFSSL_CBIO_ERR_GENERAL : len;
}

/* ---- the peer's certificate ---- */

static int capture_chain(struct tlx_tls *tls, const WOLFSSL_X509_STORE_CTX *store) {
  size_t n = store->totalCerts < 0 ? 0 : (size_t)store->totalCerts, offset = 0;
  if (n > TLS_CHAIN_MAX) n = TLS_CHAIN_MAX;
  tls->chain_der.len = 0;
  for (size_t i = 0; i < n; i++)
    tlx_buf_add(&tls->chain_der, store->certs[i].buffer, store->certs[i].length);
  if (tls->chain_der.err) return tls->chain_der.err;
  for (size_t i = 0; i < n; i++) {
    tls->chain[i] = (struct tlx_bytes){tls->chain_der.data + offset, store->certs[i].length};
    offset += store->certs[i].length;
  }
  tls->n_chain = n;
  return 0;
}

/* What we think of the peer's leaf, by our own code and clock. */
static int judge(struct tlx_tls *tls) {
  const struct tlx_tls_ctx *ctx = tls->ctx;
  struct tlx_cert leaf;
  if (tls->n_chain == 0) return TLX_E_CERT_UNTRUSTED;
  int err = tlx_cert_parse(tls->chain[0], &leaf);
  if (err || ctx->probe) return err;
  uint64_t wall_ms = ctx->wall_ms(ctx->wall_arg);
  err = tlx_ca_bundle_check(ctx->ca, &leaf,
                            ctx->server ? TLX_PRINCIPAL_SENSOR : TLX_PRINCIPAL_CONSOLE, wall_ms);
  tls->judged_wall_ms = wall_ms;
  tls->limit_wall_ms = err == TLX_E_CERT_EXPIRED         ? leaf.not_after_wall_ms
                       : err == TLX_E_CERT_NOT_YET_VALID ? leaf.not_before_wall_ms
                                                         : 0;
  /* A client with an expired leaf gets through, so that it can be told so per call. Only the leaf.
   */
  if (err == TLX_E_CERT_EXPIRED && ctx->server &&
      tlx_cert_check_time(&leaf, wall_ms) == TLX_E_CERT_EXPIRED)
    err = 0;
  if (!err && *ctx->server_uri && (leaf.n_uris != 1 || strcmp(leaf.uri, ctx->server_uri) != 0))
    err = TLX_E_CERT_IDENTITY;
  return err;
}

/* Debian's build reports dates in the numbers of OpenSSL, a lean one in its own. */
static bool is_date_error(int error) {
  static const int codes[] = {9, 10, 13, 14, ASN_AFTER_DATE_E, ASN_BEFORE_DATE_E};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (error == codes[i]) return true;
  return false;
}

int tlx_tls_verify(int preverify, WOLFSSL_X509_STORE_CTX *store) {
  struct tlx_tls *tls = store->userCtx;
  if (!tls) return 0;
  /* The library also asks about a client that sent none; whether it needs one is decided per call.
   */
  if (tls->ctx->server && store->totalCerts == 0) return 1;
  if (store->error_depth != 0) {
    /* Certificates that the peer sent along: only the leaf's own issuer from our bundle counts,
     * below. */
    return tls->ctx->probe || preverify || is_date_error(store->error);
  }
  int err = capture_chain(tls, store);
  if (!err) err = judge(tls);
  /* The library may refuse what we do not look at (a broken extension, a name constraint); dates
   * are ours. */
  if (!err && !preverify && !tls->ctx->probe && !is_date_error(store->error))
    err = TLX_E_CERT_UNTRUSTED;
  tls->verdict = err;
  return err == 0;
}

/* ---- words ---- */

static const char *alert_words(int code) {
  switch (code) {
  case 40:
    return "handshake_failure: no common cipher or version";
  case 42:
    return "bad_certificate: it refused our certificate";
  case 43:
    return "unsupported_certificate: it refused our certificate";
  case 44:
    return "certificate_revoked: it refused our certificate";
  case 45:
    return "certificate_expired: our certificate has expired";
  case 46:
    return "certificate_unknown: it refused our certificate";
  case 48:
    return "unknown_ca: our certificate is not of its fleet, or not yet valid, or not made for "
           "clients";
  case 70:
    return "protocol_version: it does not speak TLS 1.3 with us";
  case 80:
    return "internal_error";
  case 116:
    return "certificate_required: it wants a certificate";
  case 120:
    return "no_application_protocol: it does not speak HTTP/2";
  default:
    return "TLS alert";
  }
}

/* Which of two clocks is wrong only people can see: both times are named. */
static void add_times(struct tlx_tls *tls) {
  char limit[TLX_TIME_TEXT_MAX], now[TLX_TIME_TEXT_MAX];
  size_t len = strlen(tls->error);
  if (!tls->limit_wall_ms) return;
  tlx_time_format(tls->limit_wall_ms, limit);
  tlx_time_format(tls->judged_wall_ms, now);
  snprintf(tls->error + len, sizeof tls->error - len, ": it %s at %s, and our clock says %s",
           tls->verdict == TLX_E_CERT_EXPIRED ? "ended" : "begins", limit, now);
}

static bool is_about_certificate(int alert) {
  return alert >= 42 && alert <= 48;
}

static void add_own_times(struct tlx_tls *tls) {
  const struct tlx_tls_ctx *ctx = tls->ctx;
  char start[TLX_TIME_TEXT_MAX], end[TLX_TIME_TEXT_MAX], now[TLX_TIME_TEXT_MAX];
  size_t len = strlen(tls->error);
  if (!ctx->own_not_after_wall_ms) return;
  tlx_time_format(ctx->own_not_before_wall_ms, start);
  tlx_time_format(ctx->own_not_after_wall_ms, end);
  tlx_time_format(ctx->wall_ms(ctx->wall_arg), now);
  snprintf(tls->error + len, sizeof tls->error - len,
           "; ours begins at %s and ends at %s, and our clock says %s", start, end, now);
}

static int fail(struct tlx_tls *tls, int ret, int err, const char *what) {
  WOLFSSL_ALERT_HISTORY alerts = {{0}, {0}};
  char library[WOLFSSL_MAX_ERROR_SZ] = "";
  int code = wolfSSL_get_error(tls->ssl, ret);
  if (*tls->error) return err;
  if (tls->verdict) {
    snprintf(tls->error, sizeof tls->error, "the peer's certificate was refused: %s",
             tlx_err_text(tls->verdict));
    add_times(tls);
    return tls->verdict;
  }
  if (wolfSSL_get_alert_history(tls->ssl, &alerts) == WOLFSSL_SUCCESS &&
      alerts.last_rx.level == alert_fatal) {
    snprintf(tls->error, sizeof tls->error, "the peer ended the connection with TLS alert %d (%s)",
             alerts.last_rx.code, alert_words(alerts.last_rx.code));
    if (is_about_certificate(alerts.last_rx.code)) add_own_times(tls);
    return err;
  }
  if (code == UNKNOWN_ALPN_PROTOCOL_NAME_E) {
    snprintf(tls->error, sizeof tls->error, "the peer does not offer HTTP/2 (ALPN h2)");
    return TLX_E_TLS_ALPN;
  }
  snprintf(tls->error, sizeof tls->error, "%s: %s (%d); is the peer a Telovix port?", what,
           wolfSSL_ERR_error_string((unsigned long)(code < 0 ? -code : code), library), code);
  return err;
}

/* ---- life ---- */

int tlx_tls_new(struct tlx_tls_ctx *ctx, struct tlx_tls **ret_tls) {
  struct tlx_tls *tls = calloc(1, sizeof *tls);
  if (!tls) return -ENOMEM;
  tls->ssl = wolfSSL_new(ctx->wolf);
  if (!tls->ssl) {
    free(tls);
    return -ENOMEM;
  }
  tls->ctx = tlx_tls_ctx_ref(ctx);
  tlx_buf_init(&tls->in, CIPHERTEXT_MAX);
  tlx_buf_init(&tls->out, CIPHERTEXT_MAX);
  wolfSSL_SetIOReadCtx(tls->ssl, tls);
  wolfSSL_SetIOWriteCtx(tls->ssl, tls);
  wolfSSL_SetCertCbCtx(tls->ssl, tls);
  char alpn[] = "h2";
  if (wolfSSL_UseALPN(tls->ssl, alpn, 2, WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS) {
    tlx_tls_free(tls);
    return TLX_E_TLS;
  }
  *ret_tls = tls;
  return 0;
}

void tlx_tls_free(struct tlx_tls *tls) {
  if (!tls) return;
  wolfSSL_free(tls->ssl);
  tlx_tls_ctx_unref(tls->ctx);
  tlx_buf_done(&tls->in);
  tlx_buf_done(&tls->out);
  tlx_buf_done(&tls->chain_der);
  free(tls);
}

int tlx_tls_feed(struct tlx_tls *tls, const void *data, size_t len) {
  if (tls->in_at) {
    tlx_buf_consume(&tls->in, tls->in_at);
    tls->in_at = 0;
  }
  tlx_buf_add(&tls->in, data, len);
  return tls->in.err;
}

/* A client that sends no ALPN at all is accepted by the library. */
static int check_alpn(struct tlx_tls *tls) {
  char *name = NULL;
  unsigned short len = 0;
  if (wolfSSL_ALPN_GetProtocol(tls->ssl, &name, &len) == WOLFSSL_SUCCESS && len == 2 &&
      memcmp(name, "h2", 2) == 0)
    return 0;
  snprintf(tls->error, sizeof tls->error, "the peer does not offer HTTP/2 (ALPN h2)");
  return TLX_E_TLS_ALPN;
}

int tlx_tls_handshake(struct tlx_tls *tls) {
  if (tls->ready) return 0;
  int ret = tls->ctx->server ? wolfSSL_accept(tls->ssl) : wolfSSL_connect(tls->ssl);
  if (ret != WOLFSSL_SUCCESS) {
    int code = wolfSSL_get_error(tls->ssl, ret);
    if (code == WOLFSSL_ERROR_WANT_READ || code == WOLFSSL_ERROR_WANT_WRITE) return -EAGAIN;
    return fail(tls, ret, TLX_E_TLS, "the TLS handshake failed");
  }
  int err = check_alpn(tls);
  if (!err) tls->ready = true;
  return err;
}

ssize_t tlx_tls_read(struct tlx_tls *tls, void *out, size_t size) {
  int ret = wolfSSL_read(tls->ssl, out, (int)(size < (1u << 20) ? size : 1u << 20));
  if (ret > 0) return ret;
  switch (wolfSSL_get_error(tls->ssl, ret)) {
  case WOLFSSL_ERROR_WANT_READ:
  case WOLFSSL_ERROR_WANT_WRITE:
    return -EAGAIN;
  case WOLFSSL_ERROR_ZERO_RETURN:
    return 0;
  default:
    return fail(tls, ret, TLX_E_TLS, "a TLS record cannot be read");
  }
}

int tlx_tls_write(struct tlx_tls *tls, const void *data, size_t len) {
  const char *at = data;
  while (len) {
    int n = (int)(len < (1u << 20) ? len : 1u << 20);
    /* The buffer takes everything: there is no partial write to repeat. */
    int ret = wolfSSL_write(tls->ssl, at, n);
    if (ret <= 0)
      return tls->out.err ? -ENOMEM : fail(tls, ret, TLX_E_TLS, "a TLS record cannot be written");
    at += ret;
    len -= (size_t)ret;
  }
  return 0;
}

void tlx_tls_close_notify(struct tlx_tls *tls) {
  /* One direction is enough: the peer learns that nothing was cut off. */
  (void)wolfSSL_shutdown(tls->ssl);
}

struct tlx_bytes tlx_tls_pending(const struct tlx_tls *tls) {
  return (struct tlx_bytes){tls->out.data, tls->out.len};
}

void tlx_tls_sent(struct tlx_tls *tls, size_t len) {
  tlx_buf_consume(&tls->out, len);
}

void tlx_tls_take_pending(struct tlx_tls *tls, struct tlx_buf *buf) {
  struct tlx_buf taken = tls->out;
  tls->out = *buf;
  tls->out.len = 0;
  tls->out.cap = CIPHERTEXT_MAX;
  *buf = taken;
}

size_t tlx_tls_peer_chain(const struct tlx_tls *tls, const struct tlx_bytes **ret_chain) {
  *ret_chain = tls->chain;
  return tls->n_chain;
}

const char *tlx_tls_error(const struct tlx_tls *tls) {
  return tls->error;
}
