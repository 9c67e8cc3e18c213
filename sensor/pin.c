// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/pin.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/text.h"
#include "pki/identity.h"
#include "rpc/tls.h"

static int fail(char *why, const char *address, int err, const char *what) {
  snprintf(why, 512, "%.260s: %s", address, what);
  return err;
}

/* ---- TCP ---- */

static int wait_for(int fd, short events, uint32_t timeout_ms) {
  struct pollfd item = {.fd = fd, .events = events};
  int n = poll(&item, 1, (int)timeout_ms);
  return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int connect_one(const struct addrinfo *info, uint32_t timeout_ms, pin_socket_cb made) {
  int error = 0;
  socklen_t len = sizeof error;
  int fd TLX_AUTOCLOSE = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (made) made(fd);
  if (connect(fd, info->ai_addr, info->ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return -errno;
    int err = wait_for(fd, POLLOUT, timeout_ms);
    if (err) return err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) return -errno;
    if (error) return -error;
  }
  return TLX_TAKE_FD(fd);
}

static int connect_to(const char *address, uint32_t timeout_ms, pin_socket_cb made, char *why) {
  char host[256], service[8];
  uint16_t port;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  if (tlx_address_parse(address, host, &port) != 0)
    return fail(why, address, -EINVAL, "want HOST:PORT");
  snprintf(service, sizeof service, "%u", port);
  int result = getaddrinfo(host, service, &hints, &list);
  if (result != 0) return fail(why, address, -EHOSTUNREACH, gai_strerror(result));
  int fd = -ECONNREFUSED;
  for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
    fd = connect_one(at, timeout_ms, made);
  freeaddrinfo(list);
  return fd < 0 ? fail(why, address, fd, tlx_err_text(fd)) : fd;
}

/* ---- TLS ---- */

static int send_pending(int fd, struct tlx_tls *tls, uint32_t timeout_ms) {
  struct tlx_bytes pending;
  while ((pending = tlx_tls_pending(tls)).len) {
    ssize_t n = send(fd, pending.data, pending.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return -errno;
    if (n < 0) {
      int err = wait_for(fd, POLLOUT, timeout_ms);
      if (err) return err;
      continue;
    }
    tlx_tls_sent(tls, (size_t)n);
  }
  return 0;
}

static int receive(int fd, struct tlx_tls *tls, uint32_t timeout_ms) {
  uint8_t data[16384];
  int err = wait_for(fd, POLLIN, timeout_ms);
  if (err) return err;
  ssize_t n = recv(fd, data, sizeof data, 0);
  if (n < 0) return errno == EAGAIN ? 0 : -errno;
  return n == 0 ? TLX_E_CLOSED : tlx_tls_feed(tls, data, (size_t)n);
}

static int handshake(int fd, struct tlx_tls *tls, const char *address, uint32_t timeout_ms,
                     char *why) {
  for (;;) {
    int result = tlx_tls_handshake(tls);
    int err = result == 0 ? 0 : send_pending(fd, tls, timeout_ms);
    if (result == 0) return 0;
    if (result != -EAGAIN) return fail(why, address, result, tlx_tls_error(tls));
    if (!err) err = receive(fd, tls, timeout_ms);
    if (err) return fail(why, address, err, tlx_err_text(err));
  }
}

/* ---- the pin ---- */

static int examine(struct tlx_tls *tls, const char *address, const uint8_t digest[32],
                   struct pin_found *ret_found, char *why) {
  const struct tlx_bytes *chain;
  struct tlx_cert leaf;
  struct tlx_spiffe id;
  size_t n = tlx_tls_peer_chain(tls, &chain), ca;
  int err = n ? tlx_pin_check(digest, chain, n, &ca) : TLX_E_CERT_PIN;
  if (err == TLX_E_CERT_PIN)
    return fail(why, address, err,
                "its CA is not the one of --ca-cert-hash: this is another fleet, or somebody in "
                "between; nothing was sent");
  if (!err) err = tlx_cert_parse(chain[0], &leaf);
  if (err) return fail(why, address, err, tlx_err_text(err));
  if (leaf.n_uris != 1 || tlx_spiffe_parse(leaf.uri, &id) != 0 || id.kind != TLX_PRINCIPAL_CONSOLE)
    return fail(why, address, TLX_E_CERT_IDENTITY, "its certificate is not that of a Console");
  strcpy(ret_found->console_uri, leaf.uri);
  strcpy(ret_found->fleet_id, id.fleet_id);
  tlx_buf_add(&ret_found->ca_der, chain[ca].data, chain[ca].len);
  return ret_found->ca_der.err;
}

int pin_fetch(const char *address, const uint8_t digest[32], uint32_t timeout_ms,
              pin_socket_cb made, struct pin_found *ret_found, char *why) {
  struct tlx_tls_options options = {.ca = NULL};
  struct tlx_tls_ctx *ctx = NULL;
  struct tlx_tls *tls = NULL;
  int fd TLX_AUTOCLOSE = connect_to(address, timeout_ms, made, why);
  if (fd < 0) return fd;
  int err = tlx_tls_ctx_new(&options, &ctx);
  if (!err) err = tlx_tls_new(ctx, &tls);
  if (err)
    fail(why, address, err, tlx_err_text(err));
  else
    err = handshake(fd, tls, address, timeout_ms, why);
  if (!err) err = examine(tls, address, digest, ret_found, why);
  tlx_tls_free(tls);
  tlx_tls_ctx_unref(ctx);
  return err;
}
