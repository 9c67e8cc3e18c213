// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/h2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/h2_int.h"
#include "rpc/limits.h"

/* A header block of this many times the announced limit is not an oversight any more. */
#define BLOCK_HOSTILE_FACTOR 8u
/* Acknowledgements that may wait in the library: a peer that pings without reading. */
#define OUTBOUND_ACKS_MAX 200u
#define SETTINGS_ENTRIES_MAX 32u

/* ---- budget ---- */

void tlx_h2_die(struct tlx_h2 *h2, uint32_t error, const char *debug) {
  if (h2->dying) return;
  h2->dying = true;
  (void)nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session), error,
                              (const uint8_t *)debug, debug ? strlen(debug) : 0);
}

static void book(struct tlx_h2 *h2, enum tlx_glitch_kind kind) {
  if (h2->server && tlx_glitch_add(&h2->glitch, kind, tlx_mono_ms(h2->clock)))
    tlx_h2_die(h2, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_glitches");
}

/* gRPC proposal A8: pings faster than permitted are strikes; sending HEADERS or DATA clears them.
 */
static void ping_received(struct tlx_h2 *h2) {
  uint64_t now_mono_ms = tlx_mono_ms(h2->clock);
  bool early = h2->pinged && now_mono_ms - h2->last_ping_mono_ms < TLX_PING_INTERVAL_MIN_MS;
  h2->pinged = true;
  h2->last_ping_mono_ms = now_mono_ms;
  if (!early || !h2->server) return;
  if (++h2->n_ping_strikes > TLX_PING_STRIKES_MAX)
    tlx_h2_die(h2, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
  else
    book(h2, TLX_GLITCH_PING);
}

/* ---- header blocks ---- */

static void block_add(struct h2_block *block, const uint8_t *name, size_t name_len,
                      const uint8_t *value, size_t value_len) {
  block->list_len += name_len + value_len + 32; /* RFC 9113 §6.5.2 */
  if (block->list_len > TLX_HEADER_LIST_MAX) block->overflow = true;
  if (block->overflow) return;
  if (block->n == block->n_allocated) {
    size_t n = block->n_allocated ? 2 * block->n_allocated : 16;
    void *fields = realloc(block->fields, n * sizeof *block->fields);
    if (!fields) {
      block->overflow = true;
      return;
    }
    block->fields = fields;
    block->n_allocated = n;
  }
  block->fields[block->n].name = block->bytes.len;
  block->fields[block->n].name_len = name_len;
  tlx_buf_add(&block->bytes, name, name_len);
  block->fields[block->n].value = block->bytes.len;
  block->fields[block->n].value_len = value_len;
  tlx_buf_add(&block->bytes, value, value_len);
  if (block->bytes.err)
    block->overflow = true;
  else
    block->n++;
}

static void block_reset(struct h2_block *block) {
  block->bytes.len = 0;
  block->bytes.err = 0;
  block->n = block->list_len = 0;
  block->overflow = false;
}

/* 100 and 103 come before the head that counts. */
static bool is_informational(const struct tlx_h2 *h2) {
  const struct tlx_h2_header *status = h2->headers;
  return h2->block.n && status->name.len == 7 && memcmp(status->name.data, ":status", 7) == 0 &&
         status->value.len == 3 && status->value.data[0] == '1';
}

static int headers_received(struct tlx_h2 *h2, struct tlx_h2_stream *stream, bool end_stream) {
  struct h2_block *block = &h2->block;
  void *headers = realloc(h2->headers, (block->n ? block->n : 1) * sizeof *h2->headers);
  if (!headers) return NGHTTP2_ERR_CALLBACK_FAILURE;
  h2->headers = headers;
  for (size_t i = 0; i < block->n; i++)
    h2->headers[i] = (struct tlx_h2_header){
        {block->bytes.data + block->fields[i].name, block->fields[i].name_len},
        {block->bytes.data + block->fields[i].value, block->fields[i].value_len}};
  stream->peer_ended |= end_stream;
  if (!h2->server && !stream->head_received && is_informational(h2)) return 0;
  bool trailers = stream->head_received;
  stream->head_received = stream->announced = true;
  h2->events->headers(h2->ctx, stream, h2->headers, block->n, trailers, end_stream,
                      block->overflow);
  return 0;
}

/* ---- what the library tells ---- */

static struct tlx_h2_stream *stream_of(struct tlx_h2 *h2, int32_t id) {
  return id ? nghttp2_session_get_stream_user_data(h2->session, id) : NULL;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *arg) {
  struct tlx_h2 *h2 = arg;
  switch (head->type) {
  case NGHTTP2_DATA:
    if (head->flags & NGHTTP2_FLAG_END_STREAM) break;
    if (head->length == 0)
      book(h2, TLX_GLITCH_EMPTY);
    else if (head->length < 16)
      book(h2, TLX_GLITCH_TINY);
    break;
  case NGHTTP2_CONTINUATION:
    if (head->length == 0) book(h2, TLX_GLITCH_EMPTY);
    break;
  case NGHTTP2_PRIORITY:
    book(h2, TLX_GLITCH_PRIORITY);
    break;
  }
  return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
  struct tlx_h2 *h2 = arg;
  block_reset(&h2->block);
  if (!h2->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  struct tlx_h2_stream *stream = tlx_h2_stream_new(h2, frame->hd.stream_id);
  if (!stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  nghttp2_session_set_stream_user_data(session, stream->id, stream);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg) {
  struct tlx_h2 *h2 = arg;
  block_add(&h2->block, name, name_len, value, value_len);
  if (h2->block.list_len > BLOCK_HOSTILE_FACTOR * TLX_HEADER_LIST_MAX)
    tlx_h2_die(h2, NGHTTP2_ENHANCE_YOUR_CALM, "header_list_too_large");
  return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
  struct tlx_h2 *h2 = arg;
  struct tlx_h2_stream *stream = stream_of(h2, frame->hd.stream_id);
  bool end_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
  if (h2->dying) return 0;
  switch (frame->hd.type) {
  case NGHTTP2_HEADERS:
    return stream && !stream->is_closed ? headers_received(h2, stream, end_stream) : 0;
  case NGHTTP2_DATA:
    if (!stream || stream->is_closed || !end_stream) return 0;
    stream->peer_ended = true;
    if (!stream->discard) h2->events->data(h2->ctx, stream, NULL, 0, true);
    return 0;
  case NGHTTP2_RST_STREAM:
    if (stream) stream->reset_by_peer = true;
    book(h2, TLX_GLITCH_RESET);
    return 0;
  case NGHTTP2_SETTINGS:
    if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && h2->n_settings++) book(h2, TLX_GLITCH_SETTINGS);
    return 0;
  case NGHTTP2_PING:
    if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
      ping_received(h2);
    else if (h2->events->pong)
      h2->events->pong(h2->ctx, frame->ping.opaque_data);
    return 0;
  case NGHTTP2_WINDOW_UPDATE:
    if (frame->window_update.window_size_increment < 64) book(h2, TLX_GLITCH_WINDOW);
    return 0;
  case NGHTTP2_GOAWAY:
    if (h2->events->goaway)
      h2->events->goaway(h2->ctx, frame->goaway.last_stream_id, frame->goaway.error_code,
                         frame->goaway.opaque_data, frame->goaway.opaque_data_len);
    return 0;
  default:
    return 0;
  }
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *arg) {
  struct tlx_h2 *h2 = arg;
  struct tlx_h2_stream *stream = stream_of(h2, id);
  if (!stream || stream->is_closed || h2->dying) {
    (void)nghttp2_session_consume_connection(session, len);
    return 0;
  }
  stream->unconsumed += len;
  if (stream->discard)
    tlx_h2_consume(h2, stream, len);
  else
    h2->events->data(h2->ctx, stream, data, len, false);
  return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *arg) {
  book(arg, TLX_GLITCH_REFUSED);
  return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
  struct tlx_h2 *h2 = arg;
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  struct tlx_h2_stream *stream = stream_of(h2, frame->hd.stream_id);
  if (stream) stream->head_sent = true;
  if (!h2->server) return 0;
  h2->n_ping_strikes = 0;
  tlx_glitch_forgive(&h2->glitch);
  /* The answer is complete: the rest of the request is of no use (RFC 9113 §8.1). */
  if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !stream->peer_ended)
    (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
  return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *arg) {
  struct tlx_h2 *h2 = arg;
  if (h2->server || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
    return 0;
  /* A request that never left: the library tells no close for it, and the id is in no table. */
  for (struct tlx_h2_stream *stream = h2->streams; stream; stream = stream->next)
    if (stream->id == frame->hd.stream_id) {
      stream->refused = true;
      tlx_h2_stream_closed(stream, NGHTTP2_REFUSED_STREAM);
      return 0;
    }
  return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg) {
  struct tlx_h2_stream *stream = stream_of(arg, id);
  if (stream) tlx_h2_stream_closed(stream, error);
  return 0;
}

/* Frames of unknown types are skipped without a word unless one asks for them; we ask, to count
 * them. */
static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *head,
                              const uint8_t *data, size_t len, void *arg) {
  return 0;
}

static int on_unpack_extension(nghttp2_session *session, void **payload,
                               const nghttp2_frame_hd *head, void *arg) {
  book(arg, TLX_GLITCH_PRIORITY);
  return NGHTTP2_ERR_CANCEL;
}

static void count_unknown_frames(nghttp2_session_callbacks *callbacks, nghttp2_option *option) {
  nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(callbacks, on_extension_chunk);
  nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_unpack_extension);
  for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
    nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
}

/* ---- life ---- */

static int make_session(struct tlx_h2 *h2) {
  nghttp2_session_callbacks *callbacks = NULL;
  nghttp2_option *option = NULL;
  int err = -ENOMEM;
  if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0) goto out;
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
  count_unknown_frames(callbacks, option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
  nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES_MAX);
  int result = h2->server ? nghttp2_session_server_new2(&h2->session, callbacks, h2, option)
                          : nghttp2_session_client_new2(&h2->session, callbacks, h2, option);
  if (result == 0) err = 0;
out:
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  return err;
}

static int submit_settings(struct tlx_h2 *h2) {
  nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, TLX_STREAM_WINDOW},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, TLX_HEADER_LIST_MAX},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h2->server ? TLX_STREAMS_MAX : 0},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  /* Only a client may speak of push (RFC 9113 §6.5.2). */
  size_t n = h2->server ? 3 : 4;
  if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, entries, n) != 0) return -ENOMEM;
  return nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                               TLX_CONN_WINDOW) == 0
             ? 0
             : -ENOMEM;
}

int tlx_h2_new(const struct tlx_h2_options *options, struct tlx_h2 **ret_h2) {
  struct tlx_h2 *h2 = calloc(1, sizeof *h2);
  if (!h2) return -ENOMEM;
  h2->server = options->server;
  h2->events = options->events;
  h2->ctx = options->ctx;
  h2->clock = options->clock;
  tlx_buf_init(&h2->block.bytes, 2 * TLX_HEADER_LIST_MAX);
  tlx_glitch_init(&h2->glitch, TLX_GLITCH_BUDGET, tlx_mono_ms(h2->clock));
  int err = make_session(h2);
  if (!err) err = submit_settings(h2);
  if (err) {
    tlx_h2_free(h2);
    return err;
  }
  *ret_h2 = h2;
  return 0;
}

void tlx_h2_free(struct tlx_h2 *h2) {
  if (!h2) return;
  while (h2->streams)
    tlx_h2_stream_free(h2->streams);
  nghttp2_session_del(h2->session);
  tlx_buf_done(&h2->block.bytes);
  free(h2->block.fields);
  free(h2->headers);
  free(h2);
}

/* ---- bytes ---- */

static void deliver_closed(struct tlx_h2 *h2) {
  while (h2->closed) {
    struct tlx_h2_stream *stream = h2->closed;
    h2->closed = stream->next_event;
    if (stream->announced)
      h2->events->closed(h2->ctx, stream, stream->error, stream->reset_by_peer, stream->refused);
    tlx_h2_stream_free(stream);
  }
}

int tlx_h2_feed(struct tlx_h2 *h2, const void *data, size_t len) {
  if (h2->dying) return TLX_E_PROTOCOL;
  ssize_t n = nghttp2_session_mem_recv(h2->session, data, len);
  if (n < 0) h2->dying = true;
  deliver_closed(h2);
  return h2->dying ? TLX_E_PROTOCOL : 0;
}

int tlx_h2_drain(struct tlx_h2 *h2, struct tlx_buf *buf, size_t limit) {
  size_t start = buf->len;
  while (buf->len - start < limit) {
    const uint8_t *data;
    ssize_t n = nghttp2_session_mem_send(h2->session, &data);
    if (n < 0) {
      h2->dying = true;
      return n == NGHTTP2_ERR_NOMEM ? -ENOMEM : TLX_E_PROTOCOL;
    }
    if (n == 0) return 0;
    tlx_buf_add(buf, data, (size_t)n);
    if (buf->err) return buf->err;
  }
  return 0;
}

void tlx_h2_after_drain(struct tlx_h2 *h2) {
  while (h2->writable) {
    struct tlx_h2_stream *stream = h2->writable;
    h2->writable = stream->next_event;
    stream->writable_queued = false;
    if (stream->is_closed) {
      stream->next_event = h2->closed;
      h2->closed = stream;
    } else if (h2->events->writable) {
      h2->events->writable(h2->ctx, stream);
    }
  }
  deliver_closed(h2);
}

bool tlx_h2_wants_drain(const struct tlx_h2 *h2) {
  return nghttp2_session_want_write(h2->session);
}

bool tlx_h2_alive(const struct tlx_h2 *h2) {
  return !h2->dying &&
         (nghttp2_session_want_read(h2->session) || nghttp2_session_want_write(h2->session));
}

/* ---- connection ---- */

void tlx_h2_shutdown_notice(struct tlx_h2 *h2) {
  (void)nghttp2_submit_shutdown_notice(h2->session);
}

void tlx_h2_goaway(struct tlx_h2 *h2, uint32_t error, const char *debug) {
  if (error) {
    tlx_h2_die(h2, error, debug);
    return;
  }
  (void)nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session), error,
                              (const uint8_t *)debug, debug ? strlen(debug) : 0);
}

void tlx_h2_ping(struct tlx_h2 *h2, const uint8_t opaque[8]) {
  (void)nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, opaque);
}

void tlx_h2_forgive(struct tlx_h2 *h2) {
  tlx_glitch_forgive(&h2->glitch);
}
