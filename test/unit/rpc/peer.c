// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "rpc/h2.h"
#include "rpc/tls_ctx.h"
#include "telovix/v1/types.pb-c.h"

/* ---- requests ---- */

static bool name_is(const struct tlx_h2_header *field, const char *name) {
  return field->name.len == strlen(name) && memcmp(field->name.data, name, field->name.len) == 0;
}

static void copy(const struct tlx_h2_header *field, char *out, size_t size) {
  snprintf(out, size, "%.*s", (int)field->value.len, (const char *)field->value.data);
}

static void on_headers(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                       size_t n, bool trailers, bool end_stream, bool overflow) {
  struct peer_conn *at = ctx;
  cr_assert_lt(at->peer->n_requests, PEER_MAX);
  struct peer_request *request = &at->peer->requests[at->peer->n_requests++];
  *request = (struct peer_request){.at = at, .stream = stream};
  for (size_t i = 0; i < n; i++) {
    if (name_is(&headers[i], ":path")) copy(&headers[i], request->path, sizeof request->path);
    if (name_is(&headers[i], "grpc-timeout"))
      copy(&headers[i], request->timeout, sizeof request->timeout);
    if (name_is(&headers[i], "user-agent"))
      copy(&headers[i], request->user_agent, sizeof request->user_agent);
  }
  tlx_h2_set_user(stream, request);
}

static void on_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                    bool end_stream) {
  struct peer_conn *at = ctx;
  struct peer_request *request = tlx_h2_user(stream);
  tlx_h2_consume(tlx_conn_h2(at->conn), stream, len);
  if (end_stream && request && at->peer->answer) at->peer->answer(at->peer, request);
}

static void on_stream_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                             bool refused) {
  struct peer_request *request = tlx_h2_user(stream);
  if (request) request->stream = NULL;
}

static const struct tlx_h2_events h2_events = {
    .headers = on_headers, .data = on_data, .closed = on_stream_closed};

/* ---- connections ---- */

/* Nothing to do: the client speaks first. */
static void on_ready(void *ctx, struct tlx_conn *conn) {
}

static void on_conn_closed(void *ctx, struct tlx_conn *conn, int err, const char *why) {
  struct peer_conn *at = ctx;
  at->conn = NULL;
  at->peer->n_open--;
  tlx_conn_unref(conn);
}

static const struct tlx_conn_events conn_events = {.ready = on_ready, .closed = on_conn_closed};

static void on_accepted(void *arg, int fd) {
  struct peer *peer = arg;
  cr_assert_lt(peer->n_conns, PEER_MAX);
  struct peer_conn *at = &peer->conns[peer->n_conns++];
  at->peer = peer;
  struct tlx_conn_options options = {.group = &peer->group,
                                     .tls_ctx = peer->server_tls,
                                     .server = true,
                                     .h2_events = &h2_events,
                                     .events = &conn_events,
                                     .ctx = at};
  cr_assert_eq(tlx_conn_accept(&options, fd, &at->conn), 0);
  tlx_conn_ref(at->conn);
  peer->n_open++;
}

/* ---- life ---- */

static struct tlx_tls_ctx *make_tls(struct peer *peer, bool server) {
  const struct fixture_leaf *leaf = server ? &peer->server : &peer->client;
  struct tlx_bytes chain = {leaf->der.data, leaf->der.len};
  struct tlx_tls_options options = {.server = server,
                                    .chain = &chain,
                                    .n_chain = 1,
                                    .key = leaf->key,
                                    .ca = peer->ca.bundle,
                                    .server_uri = server ? NULL : PEER_CONSOLE};
  struct tlx_tls_ctx *ctx;
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), 0);
  return ctx;
}

void peer_listen(struct peer *peer) {
  cr_assert_eq(tlx_listener_new(peer->loop, *peer->address ? peer->address : "127.0.0.1:0",
                                on_accepted, peer, &peer->listener),
               0);
  snprintf(peer->address, sizeof peer->address, "127.0.0.1:%u", tlx_listener_port(peer->listener));
}

void peer_init(struct peer *peer, uv_loop_t *loop, const struct tlx_clock *clock) {
  uint64_t wall_ms = tlx_wall_ms(tlx_clock_system());
  signal(SIGPIPE, SIG_IGN); /* as our programs do: the other end may be gone when libuv writes */
  memset(peer, 0, sizeof *peer);
  peer->loop = loop;
  fixture_ca_init(&peer->ca, "Test CA", wall_ms);
  fixture_leaf_init(&peer->server, &peer->ca, TLX_CERT_SERVER, PEER_CONSOLE, wall_ms, 0);
  fixture_leaf_init(&peer->client, &peer->ca, TLX_CERT_CLIENT,
                    "spiffe://" FIXTURE_FLEET "/operator/bob", wall_ms, 0);
  peer->server_tls = make_tls(peer, true);
  peer->client_tls = make_tls(peer, false);
  cr_assert_eq(tlx_conn_group_init(&peer->group, loop, clock), 0);
  peer->is_open = true;
  peer_listen(peer);
}

static void on_listener_closed(void *arg) {
  *(bool *)arg = true;
}

void peer_stop_listening(struct peer *peer) {
  bool closed = false;
  tlx_listener_close(peer->listener, on_listener_closed, &closed);
  peer->listener = NULL;
  while (!closed)
    uv_run(peer->loop, UV_RUN_NOWAIT);
}

void peer_close(struct peer *peer) {
  if (peer->listener) tlx_listener_close(peer->listener, NULL, NULL);
  peer->listener = NULL;
  for (unsigned i = 0; i < peer->n_conns; i++)
    if (peer->conns[i].conn) tlx_conn_close(peer->conns[i].conn, 0, "");
  while (peer->n_open)
    uv_run(peer->loop, UV_RUN_ONCE);
  tlx_conn_group_close(&peer->group, NULL, NULL);
}

void peer_free(struct peer *peer) {
  tlx_tls_ctx_unref(peer->client_tls);
  tlx_tls_ctx_unref(peer->server_tls);
  fixture_leaf_done(&peer->client);
  fixture_leaf_done(&peer->server);
  fixture_ca_done(&peer->ca);
}

/* ---- answers ---- */

static struct tlx_h2_header field(const char *name, const char *value) {
  return (struct tlx_h2_header){{(const uint8_t *)name, strlen(name)},
                                {(const uint8_t *)value, strlen(value)}};
}

void peer_answer_raw(struct peer_request *request, const char *http_status, const void *body,
                     size_t len, const char *name, const char *value) {
  cr_assert(request->stream, "the request is still there");
  struct tlx_h2 *h2 = tlx_conn_h2(request->at->conn);
  struct tlx_h2_header head[] = {field(":status", http_status),
                                 field("content-type", "application/grpc")};
  cr_assert_eq(tlx_h2_respond(h2, request->stream, head, 2, false), 0);
  if (len) cr_assert_eq(tlx_h2_send(h2, request->stream, body, len), 0);
  struct tlx_h2_header trailer = field(name ? name : "", value ? value : "");
  cr_assert_eq(tlx_h2_finish(h2, request->stream, name ? &trailer : NULL, name ? 1 : 0), 0);
  tlx_conn_flush(request->at->conn);
}

void peer_answer_ok(struct peer *peer, struct peer_request *request) {
  uint8_t body[64] = {0};
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  order.order_id = (char *)"kill_1";
  body[4] = (uint8_t)telovix__v1__kill_order__get_packed_size(&order);
  telovix__v1__kill_order__pack(&order, body + 5);
  peer_answer_raw(request, "200", body, 5u + body[4], "grpc-status", "0");
}

void peer_reset(struct peer_request *request, uint32_t error) {
  tlx_h2_reset(tlx_conn_h2(request->at->conn), request->stream, error);
  tlx_conn_flush(request->at->conn);
}

void peer_answer_refuse(struct peer *peer, struct peer_request *request) {
  peer_reset(request, 7 /* REFUSED_STREAM */);
}

void peer_goaway(struct peer_conn *at, uint32_t error, const char *debug) {
  tlx_h2_goaway(tlx_conn_h2(at->conn), error, debug);
  tlx_conn_flush(at->conn);
}
