// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/h2_int.h"
#include "rpc/limits.h"

/* The application's side of a stream: what it submits is recorded, and comes out at the next drain.
 */

struct tlx_h2_stream *tlx_h2_stream_new(struct tlx_h2 *h2, int32_t id) {
  struct tlx_h2_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return NULL;
  stream->h2 = h2;
  stream->id = id;
  /* Far above what callers allow themselves: a last bound. */
  tlx_buf_init(&stream->out, 4 * TLX_STREAM_QUEUE_MAX);
  stream->next = h2->streams;
  stream->prev = &h2->streams;
  if (h2->streams) h2->streams->prev = &stream->next;
  h2->streams = stream;
  h2->n_streams++;
  return stream;
}

static void drop_queue(struct tlx_h2_stream *stream) {
  stream->h2->total_queued -= tlx_h2_queued(stream);
  tlx_buf_done(&stream->out);
  stream->out_at = 0;
}

void tlx_h2_stream_free(struct tlx_h2_stream *stream) {
  drop_queue(stream);
  *stream->prev = stream->next;
  if (stream->next) stream->next->prev = stream->prev;
  stream->h2->n_streams--;
  free(stream->trailers);
  free(stream->trailer_bytes);
  free(stream);
}

void tlx_h2_stream_closed(struct tlx_h2_stream *stream, uint32_t error) {
  struct tlx_h2 *h2 = stream->h2;
  if (stream->is_closed) return;
  stream->is_closed = true;
  stream->error = error;
  stream->refused |= error == NGHTTP2_REFUSED_STREAM;
  /* What the application never gave back must not shrink the connection's window for good. */
  if (stream->unconsumed) nghttp2_session_consume_connection(h2->session, stream->unconsumed);
  stream->unconsumed = 0;
  drop_queue(stream);
  if (stream->writable_queued) return; /* delivery takes it from that list */
  stream->next_event = h2->closed;
  h2->closed = stream;
}

/* ---- header blocks ---- */

static void fill_nv(nghttp2_nv *nv, const struct tlx_h2_header *headers, size_t n) {
  for (size_t i = 0; i < n; i++)
    nv[i] = (nghttp2_nv){(uint8_t *)headers[i].name.data, (uint8_t *)headers[i].value.data,
                         headers[i].name.len, headers[i].value.len, NGHTTP2_NV_FLAG_NONE};
}

/* Trailers are submitted when the body has gone out, so they need a copy of their own. */
static int keep_trailers(struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                         size_t n) {
  size_t len = 0;
  for (size_t i = 0; i < n; i++)
    len += headers[i].name.len + headers[i].value.len;
  stream->trailers = calloc(n, sizeof *stream->trailers);
  stream->trailer_bytes = malloc(len ? len : 1);
  if (!stream->trailers || !stream->trailer_bytes) return -ENOMEM;
  fill_nv(stream->trailers, headers, n);
  uint8_t *at = stream->trailer_bytes;
  for (size_t i = 0; i < n; i++) {
    nghttp2_nv *nv = &stream->trailers[i];
    if (nv->namelen) memcpy(at, nv->name, nv->namelen);
    nv->name = at;
    at += nv->namelen;
    if (nv->valuelen) memcpy(at, nv->value, nv->valuelen);
    nv->value = at;
    at += nv->valuelen;
  }
  stream->n_trailers = n;
  return 0;
}

/* ---- body ---- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *arg) {
  struct tlx_h2_stream *stream = source->ptr;
  struct tlx_h2 *h2 = stream->h2;
  size_t queued = tlx_h2_queued(stream), n = queued < size ? queued : size;
  if (n) memcpy(out, stream->out.data + stream->out_at, n);
  stream->out_at += n;
  h2->total_queued -= n;
  if (stream->out_at == stream->out.len) stream->out_at = stream->out.len = 0;
  if (stream->was_high && tlx_h2_queued(stream) < TLX_UNSENT_LOW) {
    stream->was_high = false;
    if (!stream->writable_queued) {
      stream->writable_queued = true;
      stream->next_event = h2->writable;
      h2->writable = stream;
    }
  }
  if (n == queued && stream->finishing) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->n_trailers) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      if (nghttp2_submit_trailer(session, id, stream->trailers, stream->n_trailers) != 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
  } else if (n == 0) {
    stream->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  return (ssize_t)n;
}

static void resume(struct tlx_h2_stream *stream) {
  if (!stream->deferred) return;
  stream->deferred = false;
  /* Fails only for a stream that is gone: its `closed` is on the way. */
  (void)nghttp2_session_resume_data(stream->h2->session, stream->id);
}

/* ---- submits ---- */

int tlx_h2_request(struct tlx_h2 *h2, const struct tlx_h2_header *headers, size_t n, void *user,
                   struct tlx_h2_stream **ret_stream) {
  nghttp2_nv nv[32];
  if (n > sizeof nv / sizeof *nv) return -EINVAL;
  if (h2->dying || !nghttp2_session_check_request_allowed(h2->session)) return TLX_E_CLOSED;
  uint32_t max =
      nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (h2->n_streams >= max) return -EAGAIN;
  struct tlx_h2_stream *stream = tlx_h2_stream_new(h2, 0);
  if (!stream) return -ENOMEM;
  fill_nv(nv, headers, n);
  nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_body};
  int32_t id = nghttp2_submit_request(h2->session, NULL, nv, n, &body, stream);
  if (id < 0) {
    tlx_h2_stream_free(stream);
    return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : TLX_E_CLOSED;
  }
  stream->id = id;
  stream->user = user;
  stream->announced = true;
  *ret_stream = stream;
  return 0;
}

int tlx_h2_respond(struct tlx_h2 *h2, struct tlx_h2_stream *stream,
                   const struct tlx_h2_header *headers, size_t n, bool end_stream) {
  nghttp2_nv nv[32];
  if (n > sizeof nv / sizeof *nv) return -EINVAL;
  if (stream->is_closed) return TLX_E_CLOSED;
  fill_nv(nv, headers, n);
  nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_body};
  int result = nghttp2_submit_response(h2->session, stream->id, nv, n, end_stream ? NULL : &body);
  if (result == NGHTTP2_ERR_NOMEM) return -ENOMEM;
  if (result != 0) return TLX_E_CLOSED;
  stream->responded = true;
  return 0;
}

int tlx_h2_send(struct tlx_h2 *h2, struct tlx_h2_stream *stream, const void *data, size_t len) {
  if (stream->is_closed) return TLX_E_CLOSED;
  if (stream->finishing) return -EINVAL;
  /* Room is made only when that is cheap. */
  if (stream->out_at > stream->out.len / 2) {
    tlx_buf_consume(&stream->out, stream->out_at);
    stream->out_at = 0;
  }
  size_t before = stream->out.len;
  tlx_buf_add(&stream->out, data, len);
  h2->total_queued += stream->out.len - before;
  if (stream->out.err) return stream->out.err;
  if (tlx_h2_queued(stream) >= TLX_UNSENT_LOW) stream->was_high = true;
  resume(stream);
  return 0;
}

int tlx_h2_finish(struct tlx_h2 *h2, struct tlx_h2_stream *stream,
                  const struct tlx_h2_header *trailers, size_t n) {
  if (stream->is_closed) return TLX_E_CLOSED;
  if (stream->finishing) return -EINVAL;
  int err = n ? keep_trailers(stream, trailers, n) : 0;
  if (err) return err;
  stream->finishing = true;
  resume(stream);
  return 0;
}

size_t tlx_h2_queued(const struct tlx_h2_stream *stream) {
  return stream->out.len - stream->out_at;
}

size_t tlx_h2_total_queued(const struct tlx_h2 *h2) {
  return h2->total_queued;
}

bool tlx_h2_sent(const struct tlx_h2_stream *stream) {
  return stream->head_sent;
}

void tlx_h2_consume(struct tlx_h2 *h2, struct tlx_h2_stream *stream, size_t len) {
  if (len > stream->unconsumed) len = stream->unconsumed;
  stream->unconsumed -= len;
  if (len && !stream->is_closed) (void)nghttp2_session_consume(h2->session, stream->id, len);
}

void tlx_h2_discard(struct tlx_h2 *h2, struct tlx_h2_stream *stream) {
  stream->discard = true;
  tlx_h2_consume(h2, stream, stream->unconsumed);
}

void tlx_h2_reset(struct tlx_h2 *h2, struct tlx_h2_stream *stream, uint32_t error) {
  if (stream->is_closed) return;
  /* Both sides have ended: it is closing by itself, and a reset would only look hostile. */
  if (stream->peer_ended && stream->finishing && stream->head_sent && !tlx_h2_queued(stream)) return;
  drop_queue(stream);
  stream->finishing = true; /* nothing more is taken */
  tlx_h2_discard(h2, stream);
  (void)nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, error);
}

void tlx_h2_each(struct tlx_h2 *h2, void (*cb)(void *arg, struct tlx_h2_stream *stream),
                 void *arg) {
  for (struct tlx_h2_stream *stream = h2->streams, *next; stream; stream = next) {
    next = stream->next;
    /* Also one that closed in the last drain: nothing has told its user yet. */
    if (stream->announced) cb(arg, stream);
  }
}

size_t tlx_h2_n_streams(const struct tlx_h2 *h2) {
  return h2->n_streams;
}

void tlx_h2_set_user(struct tlx_h2_stream *stream, void *user) {
  stream->user = user;
}

void *tlx_h2_user(const struct tlx_h2_stream *stream) {
  return stream->user;
}

int32_t tlx_h2_stream_id(const struct tlx_h2_stream *stream) {
  return stream->id;
}
