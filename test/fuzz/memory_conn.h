// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "fuzz.h"
#include "rpc/conn_int.h"

/* A ready connection without socket and TLS, so that calls (rpc/call.h, rpc/client_call.h) run over
 * memory: the target moves the bytes of its HTTP/2 session itself. */

/* |group| needs only its clock; |events| and |ctx| as for any connection. */
static inline struct tlx_conn *memory_conn_new(struct tlx_conn_group *group, bool server,
                                               const struct tlx_h2_events *events, void *ctx) {
  struct tlx_conn *conn = calloc(1, sizeof *conn);
  must(conn);
  conn->options.group = group;
  conn->options.server = server;
  conn->options.h2_events = events;
  conn->options.ctx = ctx;
  conn->state = CONN_READY;
  conn->n_refs = 1;
  conn->in_turn = true; /* a flush is left to the turn that runs, which is the target's */
  strcpy(conn->peer_ip, "192.0.2.7");
  strcpy(conn->peer_address, "192.0.2.7:15483");
  struct tlx_h2_options options = {
      .server = server, .events = events, .ctx = ctx, .clock = group->clock};
  must(tlx_h2_new(&options, &conn->h2) == 0);
  return conn;
}

struct memory_conn_end {
  const struct tlx_h2_events *events;
  void *ctx;
  bool client;
};

static inline void memory_conn_end_stream(void *arg, struct tlx_h2_stream *stream) {
  struct memory_conn_end *end = arg;
  end->events->closed(end->ctx, stream, 0, false, end->client && !tlx_h2_sent(stream));
}

/* The connection is lost: what conn.c does when its handle is closed. */
static inline void memory_conn_lose(struct tlx_conn *conn) {
  struct memory_conn_end end = {conn->options.h2_events, conn->options.ctx, !conn->options.server};
  conn->state = CONN_CLOSING;
  tlx_h2_each(conn->h2, memory_conn_end_stream, &end);
}

/* One direction, in pieces of |limit|. True when there was something to move. */
static inline bool memory_conn_move(struct tlx_h2 *from, struct tlx_h2 *to, size_t limit) {
  struct tlx_buf out = {0};
  int err = tlx_h2_drain(from, &out, limit);
  tlx_h2_after_drain(from);
  if (!err && out.len) (void)tlx_h2_feed(to, out.data, out.len);
  bool moved = !err && out.len > 0;
  tlx_buf_done(&out);
  return moved;
}
