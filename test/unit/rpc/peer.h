// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <criterion/criterion.h>
#include <uv.h>

#include "../pki/fixture.h"
#include "rpc/conn.h"
#include "rpc/listener.h"

/* A server that is no gRPC server of ours: it does to each request what the test says, down to
 * single frames. All functions assert. */

#define PEER_CONSOLE "spiffe://" FIXTURE_FLEET "/console"
#define PEER_MAX 16u

struct peer;
struct peer_conn {
  struct peer *peer;
  struct tlx_conn *conn; /* referenced; NULL when it is gone */
};

/* One request that came. */
struct peer_request {
  struct peer_conn *at;
  struct tlx_h2_stream *stream; /* NULL when it is gone */
  char path[64], timeout[16], user_agent[64];
};

struct peer {
  uv_loop_t *loop;
  struct fixture_ca ca;
  struct fixture_leaf server, client;
  struct tlx_tls_ctx *server_tls, *client_tls;
  struct tlx_conn_group group;
  struct tlx_listener *listener;
  char address[32];
  struct peer_conn conns[PEER_MAX];
  unsigned n_conns, n_open;
  struct peer_request requests[PEER_MAX];
  unsigned n_requests;
  /* What is done to a complete request; NULL = nothing yet. */
  void (*answer)(struct peer *peer, struct peer_request *request);
  bool is_open; /* of the group */
};

/* Listens on a free port of 127.0.0.1. |client_tls| is for the channel under test. */
void peer_init(struct peer *peer, uv_loop_t *loop, const struct tlx_clock *clock);
/* Takes no more connections, and takes them again on the same port. */
void peer_stop_listening(struct peer *peer);
void peer_listen(struct peer *peer);
/* Closes the rest; the loop must run afterwards, then peer_free. */
void peer_close(struct peer *peer);
void peer_free(struct peer *peer);

/* Answers for |answer|, or by hand. */
/* One KillOrder "kill_1" and OK. */
void peer_answer_ok(struct peer *peer, struct peer_request *request);
/* Response head, |len| raw body bytes, and trailers |name|, |value| (NULL = no trailers: the stream
 * just ends). */
void peer_answer_raw(struct peer_request *request, const char *http_status, const void *body,
                     size_t len, const char *name, const char *value);
/* RST_STREAM. */
void peer_reset(struct peer_request *request, uint32_t error);
void peer_answer_refuse(struct peer *peer, struct peer_request *request);
/* GOAWAY with the last request that was read. */
void peer_goaway(struct peer_conn *at, uint32_t error, const char *debug);
