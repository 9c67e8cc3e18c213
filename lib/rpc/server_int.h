// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "rpc/conn.h"
#include "rpc/deadline.h"
#include "rpc/grpc.h"
#include "rpc/server.h"

/* What server.c (connections), call_wire.c (the stream's end of a call) and call.c (the handler's
 * end) share. Internal to this folder. */

struct server_conn {
  struct tlx_server *server;
  struct server_conn *next, **prev; /* of server->conns, until `closed` */
  struct tlx_conn *conn;            /* referenced */
  struct tlx_call *calls;           /* those that have a stream */
  unsigned n_refs;                  /* one of the connection until its `closed`, one of each call */
  uint64_t id;
  bool is_ready, has_cert, is_draining;
  struct tlx_cert cert; /* points into the connection's chain */
  uint64_t data[];      /* the application's, conn_data_len bytes */
};

struct tlx_server {
  struct tlx_server_options options;
  struct tlx_method *methods; /* sorted by path */
  struct tlx_conn_group group;
  struct tlx_deadlines deadlines;
  struct tlx_listener *listeners[8];
  unsigned n_listeners;
  struct server_conn *conns;
  size_t n_conns, n_handshakes, n_anonymous;
  uint64_t last_conn_id;
  /* strangers: a bucket that fills by the second */
  uint32_t stranger_tokens;
  uint64_t stranger_filled_mono_ms;
  /* graceful stop */
  bool draining, closing;
  struct tlx_deadline grace;
  struct tlx_status drain_status;
  void (*drained)(void *arg);
  void *drained_arg;
  unsigned n_open; /* parts that are not closed yet */
  void (*closed)(void *arg);
  void *closed_arg;
};

/* Life of a call. Changed in one place (tlx_call_set_state). */
enum call_state {
  CALL_OPEN,     /* may be answered */
  CALL_ANSWERED, /* the status is submitted; the stream has not closed */
  CALL_CUT,  /* the stream ended or the deadline answered while the handler was at work; it has yet
                to  end the call */
  CALL_DEAD, /* both ends are finished */
};

#define CALL_TRAILERS_MAX 4u

struct tlx_call {
  struct server_conn *sconn;
  struct tlx_call *next, **prev; /* of sconn->calls, while there is a stream */
  struct tlx_h2_stream *stream;  /* NULL once it closed */
  const struct tlx_method *method;
  enum call_state state;
  unsigned n_refs; /* one of the stream, one of the handler while at work, and the application's */
  bool handler_active; /* called, and has not ended the call */
  bool head_sent, proto_suffix, has_message;
  struct tlx_frame_parser parser;
  struct tlx_bytes request;
  struct tlx_arena arena, message_arena; /* of the call, and of one message of a bidi call */
  struct tlx_deadline deadline;
  uint64_t due_mono_ms; /* of the client's grpc-timeout; UINT64_MAX = none */
  const char *path, *user_agent;
  struct {
    char name[32], value[160];
  } trailers[CALL_TRAILERS_MAX];
  unsigned n_trailers;
  void (*cancelled)(struct tlx_call *call, void *arg);
  void *cancelled_arg;
  void (*writable)(struct tlx_call *call, void *arg);
  void *writable_arg;
  uint64_t data[]; /* the application's, call_data_len bytes */
};

/* ---- call.c ---- */
/* Makes the call of a new stream and hangs it on both; the one reference is the stream's. NULL =
 * out of memory. */
struct tlx_call *tlx_call_new(struct server_conn *sconn, struct tlx_h2_stream *stream);
/* The one place where a call changes state; an illegal move ends the process. */
void tlx_call_set_state(struct tlx_call *call, enum call_state to);
/* Submits the status, once; the handler's side is not touched. */
void tlx_call_submit_status(struct tlx_call *call, const struct tlx_status *status);
/* Answers with |status| for the handler: at the deadline, at a drain. It is told by `cancelled`. */
void tlx_call_cut(struct tlx_call *call, const struct tlx_status *status);

/* ---- call_wire.c ---- */
extern const struct tlx_h2_events tlx_call_h2_events;

/* ---- server.c ---- */
/* References of a server connection (its own and its calls'); the last one frees. */
void tlx_server_conn_ref(struct server_conn *sconn);
void tlx_server_conn_unref(struct server_conn *sconn);
/* The method of this exact path; NULL when there is none. */
const struct tlx_method *tlx_server_find_method(const struct tlx_server *server, const char *path);
/* The answer to our PING of a drain. */
void tlx_server_conn_pong(struct server_conn *sconn);
