// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "rpc/conn.h"
#include "rpc/tls.h"

/* What conn.c (life) and conn_io.c (bytes) share. Internal to this folder. */

enum conn_state {
  CONN_CONNECTING, /* client: TCP is under way */
  CONN_HANDSHAKE,  /* TLS is under way */
  CONN_READY,      /* HTTP/2 runs */
  CONN_ENDING,     /* last bytes go out at the end of the turn */
  CONN_LINGERING,  /* our side is shut; what the peer still sends is read and dropped, so that our
                      last  bytes are not lost in a TCP reset */
  CONN_CLOSING,    /* the handle is being closed */
};

struct tlx_conn {
  struct tlx_conn_options options;
  enum conn_state state;
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_write_t write;
  uv_shutdown_t shutdown;
  unsigned n_refs;
  struct tlx_conn *next_dirty;
  bool is_dirty, reading, in_turn;
  bool writing; /* |write| is in flight with |out| */
  struct tlx_buf out;
  struct tlx_tls *tls;
  struct tlx_h2 *h2;
  struct tlx_wheel_timer stage_timer;                               /* handshake or linger limit */
  struct tlx_wheel_timer alive_timer;                               /* idle and keep-alive */
  uint64_t last_read_mono_ms, last_busy_mono_ms, ping_sent_mono_ms; /* 0 = no ping under way */
  bool close_when_idle, goaway_when_sent, shut_when_sent;
  int err;
  char why[256];
  char peer_ip[64], peer_address[80];
  void *user;
};

/* conn_io.c */
/* Reading on and off (flow control towards the peer); both are idempotent. */
void tlx_conn_start_reading(struct tlx_conn *conn);
void tlx_conn_stop_reading(struct tlx_conn *conn);
/* Drains, encrypts and writes what there is; shuts the socket when the connection is ending. */
void tlx_conn_flush_now(struct tlx_conn *conn);
/* conn.c */
/* Everything was written and the peer knows that nothing follows; waits for its end. */
void tlx_conn_linger(struct tlx_conn *conn);
/* Closes the handle; `closed` follows. */
void tlx_conn_finish(struct tlx_conn *conn);
/* TLS is done: makes the HTTP/2 session and tells `ready`. 0, or the connection is ending. */
int tlx_conn_become_ready(struct tlx_conn *conn);
