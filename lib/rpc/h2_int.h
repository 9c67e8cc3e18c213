// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <nghttp2/nghttp2.h>

#include "rpc/glitch.h"
#include "rpc/h2.h"

/* What h2.c and h2_stream.c share: a session and its streams. Internal to this folder; nobody else
 * includes the library. */

struct tlx_h2_stream {
  struct tlx_h2 *h2;
  struct tlx_h2_stream *next, **prev; /* of h2->streams */
  struct tlx_h2_stream *next_event;   /* of h2->closed or h2->writable */
  int32_t id;
  void *user;
  struct tlx_buf out; /* body to send, from out_at on */
  size_t out_at;
  size_t unconsumed; /* received and not given back to the windows */
  nghttp2_nv *trailers;
  size_t n_trailers;
  uint8_t *trailer_bytes;
  uint32_t error;
  bool announced;       /* the application knows it */
  bool head_received;   /* client: the final response head; server: the request */
  bool responded;       /* server: a head was submitted */
  bool finishing;       /* the body ends after the queued bytes */
  bool deferred;        /* the library waits for more body */
  bool was_high;        /* above TLX_UNSENT_LOW: owes a `writable` */
  bool writable_queued; /* on h2->writable */
  bool peer_ended, discard, reset_by_peer, refused, head_sent, is_closed;
};

/* A header block while it is received; there is one at a time on a connection (RFC 9113 §6.10). */
struct h2_block {
  struct tlx_buf bytes;
  struct {
    size_t name, name_len, value, value_len;
  } * fields;
  size_t n, n_allocated, list_len;
  bool overflow;
};

struct tlx_h2 {
  nghttp2_session *session;
  bool server;
  const struct tlx_h2_events *events;
  void *ctx;
  const struct tlx_clock *clock;
  struct tlx_h2_stream *streams, *closed, *writable;
  size_t n_streams, total_queued;
  struct h2_block block;
  struct tlx_h2_header *headers; /* the block as handed to the application */
  struct tlx_glitch glitch;
  unsigned n_settings, n_ping_strikes;
  uint64_t last_ping_mono_ms;
  bool pinged;
  bool dying; /* a final GOAWAY is queued: nothing more is read */
};

/* Makes the stream and hangs it in. NULL = out of memory. */
struct tlx_h2_stream *tlx_h2_stream_new(struct tlx_h2 *h2, int32_t id);
/* Takes it out and frees it. */
void tlx_h2_stream_free(struct tlx_h2_stream *stream);
/* Marks it closed; `closed` is delivered at the end of the turn. */
void tlx_h2_stream_closed(struct tlx_h2_stream *stream, uint32_t error);
/* Ends the session with a GOAWAY that says why. */
void tlx_h2_die(struct tlx_h2 *h2, uint32_t error, const char *debug);
