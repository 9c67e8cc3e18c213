// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/clock.h"

/* HTTP/2 over memory, both roles (RFC 9113, by nghttp2). Bytes in by tlx_h2_feed, bytes out by
 * tlx_h2_drain, meaning by callbacks. The callbacks run inside feed (never inside drain); they may
 * call every submit, data, consume and reset function below (which only record; bytes come out at
 * the next drain) but neither feed, drain nor free. One thread. */
struct tlx_h2;
struct tlx_h2_stream;

struct tlx_h2_header {
  struct tlx_bytes name, value; /* borrowed for the callback; names in lower case */
};

struct tlx_h2_events {
  /* A complete header block. Server: the request (stream->user is NULL; set it), or request
   * trailers. Client: the response head (1xx are skipped), or trailers. |overflow|: the list was
   * longer than TLX_HEADER_LIST_MAX; |headers| then holds only what fits. */
  void (*headers)(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                  size_t n, bool trailers, bool end_stream, bool overflow);
  /* Body bytes; give them back with tlx_h2_consume when they were used (that opens the windows).
   * |end_stream| may come with len 0. */
  void (*data)(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
               bool end_stream);
  /* Queued output of the stream fell below TLX_UNSENT_LOW after it was above. Runs from
   * tlx_h2_drain's caller through tlx_h2_after_drain, not inside drain. */
  void (*writable)(void *ctx, struct tlx_h2_stream *stream);
  /* Last event of a stream; the object is gone afterwards. Runs at the end of feed and in
   * tlx_h2_after_drain. |error| = HTTP/2 error code, 0 = ended normally. |by_peer| = the peer reset
   * it. |refused| = the peer has never looked at it (REFUSED_STREAM, above the last id of a GOAWAY,
   * or never sent). */
  void (*closed)(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                 bool refused);
  /* The peer's GOAWAY. */
  void (*goaway)(void *ctx, int32_t last_stream_id, uint32_t error, const uint8_t *debug,
                 size_t len);
  /* Answer to our ping. */
  void (*pong)(void *ctx, const uint8_t opaque[8]);
};

struct tlx_h2_options {
  bool server;
  const struct tlx_h2_events *events; /* lives longer than the session */
  void *ctx;
  const struct tlx_clock *clock; /* for glitches and ping strikes */
};

/* Queues our SETTINGS (and the client preface). 0 or -ENOMEM. */
int tlx_h2_new(const struct tlx_h2_options *options, struct tlx_h2 **ret_h2);
/* Runs no callbacks; streams' users are the caller's to clean up (tlx_h2_each). NULL is fine. */
void tlx_h2_free(struct tlx_h2 *h2);
/* 0; TLX_E_PROTOCOL when the session must end (drain once more: it holds the GOAWAY). Eats
 * everything. */
int tlx_h2_feed(struct tlx_h2 *h2, const void *data, size_t len);
/* Appends what is to be sent, at most about |limit| bytes, to |buf|. 0 or a negative error. */
int tlx_h2_drain(struct tlx_h2 *h2, struct tlx_buf *buf, size_t limit);
/* Delivers `writable` and `closed` events that drain caused. Call after each drain. */
void tlx_h2_after_drain(struct tlx_h2 *h2);
/* Whether a drain would bring bytes now. */
bool tlx_h2_wants_drain(const struct tlx_h2 *h2);
/* False: the session is over once everything drained was sent. */
bool tlx_h2_alive(const struct tlx_h2 *h2);

/* ---- streams ---- */
/* Application's pointer on a stream; NULL at the start. */
void tlx_h2_set_user(struct tlx_h2_stream *stream, void *user);
void *tlx_h2_user(const struct tlx_h2_stream *stream);
/* Its number (RFC 9113 §5.1.1). */
int32_t tlx_h2_stream_id(const struct tlx_h2_stream *stream);
/* Client: opens a stream with a header block (copied, at most 32 fields); body follows by
 * tlx_h2_send. 0; -EAGAIN: the peer's stream limit is reached; TLX_E_CLOSED after GOAWAY; -EINVAL,
 * -ENOMEM. */
int tlx_h2_request(struct tlx_h2 *h2, const struct tlx_h2_header *headers, size_t n, void *user,
                   struct tlx_h2_stream **ret_stream);
/* Server: response head (copied, at most 32 fields); |end_stream| makes it trailers-only. 0,
 * TLX_E_CLOSED, -EINVAL, -ENOMEM. */
int tlx_h2_respond(struct tlx_h2 *h2, struct tlx_h2_stream *stream,
                   const struct tlx_h2_header *headers, size_t n, bool end_stream);
/* Queues body bytes (copied). 0; TLX_E_CLOSED when the stream is gone; -EINVAL after tlx_h2_finish;
 * -ENOMEM. */
int tlx_h2_send(struct tlx_h2 *h2, struct tlx_h2_stream *stream, const void *data, size_t len);
/* Ends our side after the queued bytes: with trailers (n > 0) or without. If a server does this
 * before the client's END_STREAM, RST_STREAM NO_ERROR follows by itself. */
int tlx_h2_finish(struct tlx_h2 *h2, struct tlx_h2_stream *stream,
                  const struct tlx_h2_header *trailers, size_t n);
/* Bytes queued by tlx_h2_send and not drained, of one stream and of all. */
size_t tlx_h2_queued(const struct tlx_h2_stream *stream);
size_t tlx_h2_total_queued(const struct tlx_h2 *h2);
/* Client: whether the request's head was drained, so that the peer may have seen it. */
bool tlx_h2_sent(const struct tlx_h2_stream *stream);
/* Gives received body bytes back to stream and connection window. */
void tlx_h2_consume(struct tlx_h2 *h2, struct tlx_h2_stream *stream, size_t len);
/* From now on body bytes of the stream are dropped and credited by themselves. */
void tlx_h2_discard(struct tlx_h2 *h2, struct tlx_h2_stream *stream);
/* RST_STREAM with an HTTP/2 error code; queued bytes are dropped; `closed` follows. No-op when both
 * sides have ended. */
void tlx_h2_reset(struct tlx_h2 *h2, struct tlx_h2_stream *stream, uint32_t error);
/* Calls |cb| for every stream that the application knows and whose `closed` it has not been given
 * yet; |cb| may end the stream it gets. */
void tlx_h2_each(struct tlx_h2 *h2, void (*cb)(void *arg, struct tlx_h2_stream *stream), void *arg);
/* How many streams there are. */
size_t tlx_h2_n_streams(const struct tlx_h2 *h2);

/* ---- connection ---- */
/* First GOAWAY of a graceful stop: last id 2^31-1 (RFC 9113 §6.8). */
void tlx_h2_shutdown_notice(struct tlx_h2 *h2);
/* GOAWAY with the last id that was really processed; |debug| is NUL-terminated text or NULL. With
 * an |error| other than 0 the session is over: nothing more is read. */
void tlx_h2_goaway(struct tlx_h2 *h2, uint32_t error, const char *debug);
/* PING with 8 bytes of the caller's; `pong` brings them back. */
void tlx_h2_ping(struct tlx_h2 *h2, const uint8_t opaque[8]);
/* A call on this connection was completed: forgive a glitch. */
void tlx_h2_forgive(struct tlx_h2 *h2);
