// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "rpc/call.h"
#include "rpc/tls_ctx.h"

/* A gRPC server: listener, connections, method table. It knows no service of ours. Loop thread. */
struct tlx_server;

enum tlx_method_kind { TLX_UNARY, TLX_SERVER_STREAM, TLX_BIDI };

/* Unary and server streams: called once, with the whole request, after the client's END_STREAM.
 * Bidirectional: once a message, then once with NULL at the client's half-close. |request| lives
 * with the call (bidi: for the callback). */
typedef void (*tlx_handler_cb)(struct tlx_call *call, const ProtobufCMessage *request);

struct tlx_method {
  const char *path; /* "/package.Service/Method" */
  enum tlx_method_kind kind;
  const ProtobufCMessageDescriptor *request, *reply;
  tlx_handler_cb handler;
};

struct tlx_server_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  struct tlx_tls_ctx *tls_ctx; /* referenced */
  /* Sorted or not; copied. tlx_builtin_methods adds health and reflection. */
  const struct tlx_method *methods;
  size_t n_methods;
  void *ctx; /* tlx_call_ctx */
  size_t call_data_len, conn_data_len;
  /* Decides on each call before its body is read. True = go on (fill tlx_call_data); false =
   * |status|. May lower the message limit with |*max_message|, which arrives as TLX_MESSAGE_MAX. */
  bool (*authorize)(struct tlx_call *call, size_t *max_message, struct tlx_status *status);
  /* Told of each refused or failed call before its status is sent, and of protocol-level refusals
   * (may be NULL). */
  void (*failed)(struct tlx_call *call, const struct tlx_status *status);
  /* A connection that finished TLS is gone, and all its calls before it (may be NULL). */
  void (*conn_closed)(void *ctx, uint64_t conn_id, void *conn_data);
  /* Whether a new TCP peer is known, so that it is not counted as a stranger (may be NULL = all
   * strangers). */
  bool (*peer_known)(void *ctx, const char *ip);
  uint32_t stranger_handshakes_per_s; /* 0 = TLX_STRANGER_HANDSHAKES_PER_S */
};

/* Makes a server without a listener; handlers run only after tlx_server_listen. 0 or -ENOMEM. */
int tlx_server_new(const struct tlx_server_options *options, struct tlx_server **ret_server);
/* Listens on "ADDR:PORT", "[V6]:PORT" (port 0 = any free one; "[::]" also takes IPv4). May be
 * called more than once, for 8 listeners at most (TLX_E_LIMIT). 0; -EINVAL for an address that is
 * none; a negative errno. */
int tlx_server_listen(struct tlx_server *server, const char *address);
/* Port of the first listener; 0 when there is none. */
uint16_t tlx_server_port(const struct tlx_server *server);
/* New connections use |tls_ctx| (referenced) from now on; running ones keep theirs. */
void tlx_server_set_tls(struct tlx_server *server, struct tlx_tls_ctx *tls_ctx);
/* Graceful stop: listeners off, GOAWAY, PING, GOAWAY; running calls end, what still runs after
 * |grace_ms| gets |status| (copied), then |done| (once, when the last connection is gone). The
 * caller turns health to NOT_SERVING before. */
void tlx_server_drain(struct tlx_server *server, uint32_t grace_ms, const struct tlx_status *status,
                      void (*done)(void *arg), void *arg);
/* Ends every call that was not answered yet on connections for which |match| is true with |status|
 * (as its handler's cancel; the `failed` hook is not told), then GOAWAY and close: what is queued
 * still goes out, but no peer can hold the connection open. |match| sees connections that finished
 * TLS. */
void tlx_server_end_conns(struct tlx_server *server, bool (*match)(void *arg, void *conn_data),
                          void *arg, const struct tlx_status *status);
/* Ends every call that was not answered yet and for which |match| is true, in the same way; its
 * connection and other calls stay. */
void tlx_server_end_calls(struct tlx_server *server,
                          bool (*match)(void *arg, struct tlx_call *call), void *arg,
                          const struct tlx_status *status);
/* Closes what is left at once; |closed| is called when all handles are closed and the memory is
 * gone. |server| must not be used after the call. */
void tlx_server_close(struct tlx_server *server, void (*closed)(void *arg), void *arg);
/* Connections, those in their handshake included. */
size_t tlx_server_n_conns(const struct tlx_server *server);
