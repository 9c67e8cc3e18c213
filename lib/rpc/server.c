// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "rpc/limits.h"
#include "rpc/listener.h"
#include "rpc/server_int.h"

#define LISTENERS_MAX (sizeof((struct tlx_server *)0)->listeners / sizeof(struct tlx_listener *))
/* After the grace time the connections may take this long for their last bytes. */
#define DRAIN_END_MS 3000u

static void check_gone(struct tlx_server *server);

/* ---- methods ---- */

static int compare_methods(const void *a, const void *b) {
  return strcmp(((const struct tlx_method *)a)->path, ((const struct tlx_method *)b)->path);
}

const struct tlx_method *tlx_server_find_method(const struct tlx_server *server, const char *path) {
  struct tlx_method key = {.path = path};
  return bsearch(&key, server->methods, server->options.n_methods, sizeof key, compare_methods);
}

/* ---- connections ---- */

void tlx_server_conn_ref(struct server_conn *sconn) {
  sconn->n_refs++;
}

void tlx_server_conn_unref(struct server_conn *sconn) {
  struct tlx_server *server = sconn->server;
  if (--sconn->n_refs) return;
  if (sconn->conn) tlx_conn_unref(sconn->conn);
  free(sconn);
  server->n_open--;
  check_gone(server);
}

static void drain_conn(struct server_conn *sconn) {
  static const uint8_t opaque[8] = "drain";
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  if (sconn->is_draining) return;
  sconn->is_draining = true;
  if (!h2) {
    tlx_conn_close(sconn->conn, 0, "");
    return;
  }
  /* RFC 9113 §6.8: what the peer sends until it has seen the notice is still served. */
  tlx_h2_shutdown_notice(h2);
  tlx_h2_ping(h2, opaque);
  tlx_conn_flush(sconn->conn);
}

void tlx_server_conn_pong(struct server_conn *sconn) {
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  if (!sconn->is_draining || !h2) return;
  tlx_h2_goaway(h2, 0, NULL);
  tlx_conn_close_when_idle(sconn->conn);
}

/* Only now is it known that the peer brought no certificate. */
static void refuse_anonymous(struct server_conn *sconn) {
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  tlx_warn(RPC, "connection refused: too many without a certificate: client=%s",
           tlx_conn_peer_ip(sconn->conn));
  tlx_h2_goaway(h2, 11 /* ENHANCE_YOUR_CALM */, "too_many_anonymous");
  tlx_conn_close_when_idle(sconn->conn);
}

static void on_ready(void *ctx, struct tlx_conn *conn) {
  struct server_conn *sconn = ctx;
  const struct tlx_bytes *chain;
  sconn->is_ready = true;
  sconn->server->n_handshakes--;
  if (tlx_conn_peer_chain(conn, &chain) > 0)
    sconn->has_cert = tlx_cert_parse(chain[0], &sconn->cert) == 0;
  if (!sconn->has_cert && ++sconn->server->n_anonymous > TLX_ANONYMOUS_CONNS_MAX)
    refuse_anonymous(sconn);
  else if (sconn->server->draining)
    drain_conn(sconn);
}

static void on_conn_closed(void *ctx, struct tlx_conn *conn, int err, const char *why) {
  struct server_conn *sconn = ctx;
  struct tlx_server *server = sconn->server;
  if (err && !sconn->is_ready)
    tlx_info(TLS, "handshake failed: client=%s err=%s %s", tlx_conn_peer_ip(conn),
             tlx_err_name(err), why);
  else if (err)
    tlx_debug(RPC, "connection ended: client=%s err=%s %s", tlx_conn_peer_ip(conn),
              tlx_err_name(err), why);
  if (!sconn->is_ready)
    server->n_handshakes--;
  else if (!sconn->has_cert)
    server->n_anonymous--;
  *sconn->prev = sconn->next;
  if (sconn->next) sconn->next->prev = sconn->prev;
  server->n_conns--;
  if (sconn->is_ready && server->options.conn_closed)
    server->options.conn_closed(server->options.ctx, sconn->id, sconn->data);
  tlx_server_conn_unref(sconn);
}

static const struct tlx_conn_events conn_events = {.ready = on_ready, .closed = on_conn_closed};

/* ---- accepting ---- */

static bool take_stranger_token(struct tlx_server *server) {
  uint32_t rate = server->options.stranger_handshakes_per_s;
  uint64_t now_mono_ms = tlx_mono_ms(server->options.clock);
  uint64_t n = (now_mono_ms - server->stranger_filled_mono_ms) * rate / 1000;
  if (n) {
    server->stranger_tokens =
        server->stranger_tokens + n > rate ? rate : (uint32_t)(server->stranger_tokens + n);
    server->stranger_filled_mono_ms += n * 1000 / rate;
  }
  if (server->stranger_tokens == 0) return false;
  server->stranger_tokens--;
  return true;
}

static bool is_known(struct tlx_server *server, int fd) {
  struct sockaddr_storage peer = {0};
  socklen_t len = sizeof peer;
  char ip[INET6_ADDRSTRLEN] = "";
  if (!server->options.peer_known) return false;
  if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) return false;
  const struct sockaddr_in6 *v6 = (const void *)&peer;
  if (peer.ss_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *)&peer)->sin_addr, ip, sizeof ip);
  else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
    inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ip, sizeof ip);
  else
    inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
  return server->options.peer_known(server->options.ctx, ip);
}

static const char *refusal(struct tlx_server *server, int fd) {
  if (server->draining || server->closing) return "stopping";
  if (server->n_conns >= TLX_CONNS_MAX) return "too many connections";
  if (is_known(server, fd)) return NULL;
  if (server->n_handshakes >= TLX_HANDSHAKES_MAX) return "too many unfinished handshakes";
  return take_stranger_token(server) ? NULL : "too many handshakes from unknown addresses";
}

static void on_accepted(void *arg, int fd) {
  struct tlx_server *server = arg;
  const char *why = refusal(server, fd);
  if (why) {
    tlx_warn(RPC, "connection refused: %s", why);
    close(fd);
    return;
  }
  struct server_conn *sconn = calloc(1, sizeof *sconn + server->options.conn_data_len);
  if (!sconn) {
    close(fd);
    return;
  }
  struct tlx_conn_options options = {
      .group = &server->group,
      .tls_ctx = server->options.tls_ctx,
      .server = true,
      .h2_events = &tlx_call_h2_events,
      .events = &conn_events,
      .ctx = sconn,
      .handshake_timeout_ms = TLX_HANDSHAKE_TIMEOUT_MS,
      .idle_timeout_ms = TLX_IDLE_TIMEOUT_MS,
      .keepalive_ms = TLX_KEEPALIVE_MS,
      .keepalive_timeout_ms = TLX_KEEPALIVE_TIMEOUT_MS,
  };
  int err = tlx_conn_accept(&options, fd, &sconn->conn);
  if (err) {
    tlx_debug(RPC, "cannot take a connection: %s", tlx_err_text(err));
    free(sconn);
    return;
  }
  tlx_conn_ref(sconn->conn);
  sconn->server = server;
  sconn->n_refs = 1;
  sconn->id = ++server->last_conn_id;
  sconn->next = server->conns;
  sconn->prev = &server->conns;
  if (server->conns) server->conns->prev = &sconn->next;
  server->conns = sconn;
  server->n_conns++;
  server->n_handshakes++;
  server->n_open++;
}

/* ---- life ---- */

int tlx_server_new(const struct tlx_server_options *options, struct tlx_server **ret_server) {
  struct tlx_server *server = calloc(1, sizeof *server);
  struct tlx_method *methods = calloc(options->n_methods ? options->n_methods : 1, sizeof *methods);
  int err = server && methods ? tlx_conn_group_init(&server->group, options->loop, options->clock)
                              : -ENOMEM;
  if (err) {
    free(server);
    free(methods);
    return err;
  }
  server->options = *options;
  if (!server->options.stranger_handshakes_per_s)
    server->options.stranger_handshakes_per_s = TLX_STRANGER_HANDSHAKES_PER_S;
  server->stranger_tokens = server->options.stranger_handshakes_per_s;
  server->stranger_filled_mono_ms = tlx_mono_ms(options->clock);
  tlx_tls_ctx_ref(options->tls_ctx);
  if (options->n_methods) memcpy(methods, options->methods, options->n_methods * sizeof *methods);
  qsort(methods, options->n_methods, sizeof *methods, compare_methods);
  server->methods = methods;
  tlx_deadlines_init(&server->deadlines, options->loop, options->clock);
  server->n_open = 2; /* group, deadlines */
  *ret_server = server;
  return 0;
}

int tlx_server_listen(struct tlx_server *server, const char *address) {
  if (server->n_listeners == LISTENERS_MAX) return TLX_E_LIMIT;
  int err = tlx_listener_new(server->options.loop, address, on_accepted, server,
                             &server->listeners[server->n_listeners]);
  if (err) return err;
  server->n_listeners++;
  return 0;
}

uint16_t tlx_server_port(const struct tlx_server *server) {
  return server->n_listeners ? tlx_listener_port(server->listeners[0]) : 0;
}

void tlx_server_set_tls(struct tlx_server *server, struct tlx_tls_ctx *tls_ctx) {
  tlx_tls_ctx_ref(tls_ctx);
  tlx_tls_ctx_unref(server->options.tls_ctx);
  server->options.tls_ctx = tls_ctx;
}

size_t tlx_server_n_conns(const struct tlx_server *server) {
  return server->n_conns;
}

static void on_part_closed(void *arg) {
  struct tlx_server *server = arg;
  server->n_open--;
  check_gone(server);
}

static void close_listeners(struct tlx_server *server) {
  for (unsigned i = 0; i < server->n_listeners; i++) {
    server->n_open++;
    tlx_listener_close(server->listeners[i], on_part_closed, server);
  }
  server->n_listeners = 0;
}

/* Ends the calls of a connection with |status|, as their handlers' cancel. */
static void cut_calls(struct server_conn *sconn, const struct tlx_status *status) {
  for (struct tlx_call *call = sconn->calls, *next; call; call = next) {
    next = call->next; /* stays listed: streams close only at the end of a turn */
    tlx_call_cut(call, status);
  }
}

static void on_grace_over(struct tlx_deadline *deadline) {
  struct tlx_server *server =
      (struct tlx_server *)((char *)deadline - offsetof(struct tlx_server, grace));
  bool first = server->drain_status.code != TLX_GRPC_OK;
  for (struct server_conn *sconn = server->conns, *next; sconn; sconn = next) {
    next = sconn->next;
    if (first) {
      cut_calls(sconn, &server->drain_status);
      tlx_conn_close_when_idle(sconn->conn);
    } else {
      tlx_conn_close(sconn->conn, TLX_E_CLOSED, "the server stops");
    }
  }
  if (!first) return;
  tlx_status_clear(&server->drain_status);
  tlx_deadline_set(&server->deadlines, &server->grace,
                   tlx_mono_ms(server->options.clock) + DRAIN_END_MS);
}

/* Tells whoever waits for the last connection, and frees what is closed. */
static void check_gone(struct tlx_server *server) {
  if (server->drained && server->n_conns == 0 && server->n_open == 2) {
    void (*drained)(void *arg) = server->drained;
    server->drained = NULL;
    tlx_deadline_clear(&server->grace);
    drained(server->drained_arg);
    return;
  }
  if (!server->closing) return;
  if (server->n_open == 2) {
    tlx_conn_group_close(&server->group, on_part_closed, server);
    tlx_deadlines_close(&server->deadlines, on_part_closed, server);
  }
  if (server->n_open) return;
  void (*closed)(void *arg) = server->closed;
  void *arg = server->closed_arg;
  tlx_tls_ctx_unref(server->options.tls_ctx);
  free(server->methods);
  free(server);
  if (closed) closed(arg);
}

void tlx_server_drain(struct tlx_server *server, uint32_t grace_ms, const struct tlx_status *status,
                      void (*done)(void *arg), void *arg) {
  server->draining = true;
  server->drain_status = *status;
  server->drained = done;
  server->drained_arg = arg;
  server->grace.expired = on_grace_over;
  tlx_deadline_set(&server->deadlines, &server->grace,
                   tlx_mono_ms(server->options.clock) + grace_ms);
  close_listeners(server);
  for (struct server_conn *sconn = server->conns, *next; sconn; sconn = next) {
    next = sconn->next;
    drain_conn(sconn);
  }
  check_gone(server);
}

void tlx_server_end_conns(struct tlx_server *server, bool (*match)(void *arg, void *conn_data),
                          void *arg, const struct tlx_status *status) {
  for (struct server_conn *sconn = server->conns, *next; sconn; sconn = next) {
    next = sconn->next;
    if (!sconn->is_ready || !match(arg, sconn->data)) continue;
    cut_calls(sconn, status);
    tlx_conn_close_sent(sconn->conn);
  }
}

void tlx_server_end_calls(struct tlx_server *server,
                          bool (*match)(void *arg, struct tlx_call *call), void *arg,
                          const struct tlx_status *status) {
  for (struct server_conn *sconn = server->conns; sconn; sconn = sconn->next) {
    bool any = false;
    for (struct tlx_call *call = sconn->calls, *next; call; call = next) {
      next = call->next; /* stays listed: streams close only at the end of a turn */
      if (call->state != CALL_OPEN || !match(arg, call)) continue;
      tlx_call_cut(call, status);
      any = true;
    }
    if (any) tlx_conn_flush(sconn->conn);
  }
}

void tlx_server_close(struct tlx_server *server, void (*closed)(void *arg), void *arg) {
  server->closing = true;
  server->closed = closed;
  server->closed_arg = arg;
  server->drained = NULL;
  tlx_deadline_clear(&server->grace);
  close_listeners(server);
  for (struct server_conn *sconn = server->conns; sconn; sconn = sconn->next)
    tlx_conn_close(sconn->conn, TLX_E_CLOSED, "the server stops");
  check_gone(server);
}
