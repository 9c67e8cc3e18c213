// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/wheel.h"
#include "rpc/h2.h"
#include "rpc/tls_ctx.h"

/* One connection: socket + TLS + HTTP/2, either role. References = handles not yet closed + writes
 * in flight + those taken with tlx_conn_ref; memory goes in the last release, never under the feet
 * of a callback. Handlers only record; what they recorded goes out in one write at the end of the
 * turn. Loop thread. */
struct tlx_conn;

/* What the connections of one server or channel share: loop, clock, coarse timers, scratch memory,
 * and the list of those that have something to send. */
struct tlx_conn_group {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  struct tlx_wheel wheel;
  uv_timer_t turn;      /* of the wheel */
  uv_prepare_t flusher; /* runs before the loop waits, while |dirty| is not empty */
  struct tlx_conn *dirty;
  uint8_t *cipher, *plain; /* what is read, before and after decryption */
  struct tlx_buf out;      /* what is to be encrypted */
  unsigned n_open;         /* handles of the group that are not closed */
  void (*closed)(void *arg);
  void *arg;
};
/* Starts the handles; 0 or a negative error (and then nothing is to be closed). */
int tlx_conn_group_init(struct tlx_conn_group *group, uv_loop_t *loop,
                        const struct tlx_clock *clock);
/* No connection may be left. |closed| comes when the handles are closed and the memory is gone; the
 * struct must live until then. */
void tlx_conn_group_close(struct tlx_conn_group *group, void (*closed)(void *arg), void *arg);

struct tlx_conn_events {
  /* TLS is done and ALPN is h2; the peer chain can be read. */
  void (*ready)(void *ctx, struct tlx_conn *conn);
  /* Last event, exactly once, after every stream's `closed`. |err| = 0 for an orderly end, else the
   * cause; |why| in words. */
  void (*closed)(void *ctx, struct tlx_conn *conn, int err, const char *why);
};

struct tlx_conn_options {
  struct tlx_conn_group *group; /* outlives the connection */
  struct tlx_tls_ctx *tls_ctx;  /* referenced */
  bool server;
  const struct tlx_h2_events *h2_events; /* ctx of both is |ctx| */
  const struct tlx_conn_events *events;
  void *ctx;
  /* Client: sees the socket before its connect(2); may be NULL. */
  void (*socket_made)(void *arg, int fd);
  void *socket_arg;
  /* 0 = off. Keep-alive pings go out only while there is a stream. */
  uint32_t handshake_timeout_ms, idle_timeout_ms, keepalive_ms, keepalive_timeout_ms;
};

/* Server: takes an accepted, non-blocking socket (owned from the call on, also on failure). `ready`
 * or `closed` follows. The caller gets no reference. 0 or a negative error, and then no event
 * follows. */
int tlx_conn_accept(const struct tlx_conn_options *options, int fd, struct tlx_conn **ret_conn);
/* Client: connects to |address| (copied); otherwise the same. */
int tlx_conn_connect(const struct tlx_conn_options *options, const struct sockaddr *address,
                     struct tlx_conn **ret_conn);
/* A further reference; returns |conn|. */
struct tlx_conn *tlx_conn_ref(struct tlx_conn *conn);
/* Gives one back; the last one frees the memory. It closes nothing. */
void tlx_conn_unref(struct tlx_conn *conn);
/* Idempotent; may be called from any callback; `closed` comes later. |err|/|why| as reported there.
 */
void tlx_conn_close(struct tlx_conn *conn, int err, const char *why);
/* Graceful: close when no stream is left and everything was sent; |err| is 0 then. */
void tlx_conn_close_when_idle(struct tlx_conn *conn);
/* Closes when what is queued has been sent, with GOAWAY behind it, whatever streams are left. */
void tlx_conn_close_sent(struct tlx_conn *conn);
/* NULL before ready, and from tlx_conn_close on. */
struct tlx_h2 *tlx_conn_h2(struct tlx_conn *conn);
/* Schedules a flush for the end of this turn; every submit must be followed by it. */
void tlx_conn_flush(struct tlx_conn *conn);
/* Descriptor of the socket, which stays the connection's; -1 from the moment on when it closes. */
int tlx_conn_socket(const struct tlx_conn *conn);
/* Peer certificates, leaf first, DER each; returns how many (0 = none was sent). Borrowed, lives
 * with the connection. */
size_t tlx_conn_peer_chain(const struct tlx_conn *conn, const struct tlx_bytes **ret_chain);
/* "192.0.2.7" or "2001:db8::1" (v4-mapped shown as v4). Lives with the connection. */
const char *tlx_conn_peer_ip(const struct tlx_conn *conn);
/* The same with port: "192.0.2.7:443", "[2001:db8::1]:443". */
const char *tlx_conn_peer_address(const struct tlx_conn *conn);
/* A pointer of the application's; NULL at the start. */
void tlx_conn_set_user(struct tlx_conn *conn, void *user);
void *tlx_conn_user(const struct tlx_conn *conn);
