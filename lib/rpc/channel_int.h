// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <netdb.h>

#include "rpc/channel.h"
#include "rpc/client_call.h"
#include "rpc/conn.h"
#include "rpc/deadline.h"
#include "rpc/grpc.h"

/* What channel.c (link), client_call.c (calls) and client_wire.c (streams) share. Internal to this
 * folder. */

#define CHANNEL_ADDRESSES_MAX 16u

/* One connection of a channel: the one in use, or an older one that ends after a GOAWAY. */
struct channel_conn {
  struct tlx_channel *channel;
  struct tlx_conn *conn; /* referenced */
  bool is_ready;
};

struct tlx_channel {
  struct tlx_channel_options options;
  char *addresses[CHANNEL_ADDRESSES_MAX];
  unsigned n_addresses, next_address, n_tried;
  char *user_agent;
  enum tlx_channel_state state;
  struct tlx_conn_group group;
  struct tlx_deadlines deadlines;
  uv_timer_t retry;
  uv_getaddrinfo_t resolver;
  bool resolving;
  struct addrinfo *resolved, *next_resolved;
  struct channel_conn *current; /* being made or ready */
  struct tlx_client_call *calls;
  uint32_t n_failures, keepalive_ms;
  char last_error[320];
  unsigned n_open; /* parts that are not closed */
  bool closing;
  void (*closed)(void *arg);
  void *closed_arg;
};

/* Life of a client call; changed in one place (tlx_client_call_set_state). */
enum client_call_state {
  CLIENT_CALL_WAITING, /* for a connection or a free stream */
  CLIENT_CALL_OPEN,    /* has a stream */
  CLIENT_CALL_ENDING,  /* its status stands; `done` comes in a later turn */
  CLIENT_CALL_DONE,    /* `done` runs */
};

struct tlx_client_call {
  struct tlx_client_call_options options;
  struct tlx_client_call *next, **prev; /* of channel->calls */
  enum client_call_state state;
  struct tlx_buf request; /* framed */
  struct channel_conn *cconn;
  struct tlx_h2_stream *stream;
  struct tlx_deadline deadline;
  uint64_t due_mono_ms;
  struct tlx_frame_parser parser;
  struct tlx_bytes reply; /* of a unary call, until its status is known */
  unsigned n_messages;
  int http_status;
  bool was_sent, was_retried, has_head, has_status;
  struct tlx_status status;
};

/* channel.c */
/* A connection is wanted: makes one unless one is on the way. */
void tlx_channel_want(struct tlx_channel *channel);
/* Sends what waits, as far as streams are free. */
void tlx_channel_send_waiting(struct tlx_channel *channel);
/* The peer takes no new streams on the current connection. */
void tlx_channel_goaway(struct channel_conn *cconn, uint32_t error, const uint8_t *debug,
                        size_t len);

/* client_call.c */
/* The one place where a call changes state; an illegal move ends the process. */
void tlx_client_call_set_state(struct tlx_client_call *call, enum client_call_state to);
/* Ends the call now: `done` runs, the call is freed. */
void tlx_client_call_finish(struct tlx_client_call *call, const struct tlx_status *status);
/* The stream is gone without having been looked at: waits for another one. */
void tlx_client_call_requeue(struct tlx_client_call *call);
/* Ends with |status| those that wait and do not want to wait for a connection; with |all| every
 * call. */
void tlx_client_calls_fail_waiting(struct tlx_channel *channel, bool all,
                                   const struct tlx_status *status);

/* client_wire.c */
extern const struct tlx_h2_events tlx_client_h2_events;
/* Opens a stream for the call. 0; -EAGAIN, TLX_E_CLOSED: it goes on waiting. */
int tlx_client_call_send(struct tlx_client_call *call, struct channel_conn *cconn);
