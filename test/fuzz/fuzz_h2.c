// SPDX-License-Identifier: GPL-2.0-or-later
/* HTTP/2 over memory (rpc/h2.h), a server or a client fed with arbitrary frames: where the peer
 * cuts its bytes changes neither what the application is told nor what goes out; each stream's
 * events come in order, and the last one exactly once; what comes out is whole frames. Input: role
 * and habits of the application, how to cut (2 bytes), then what the peer sends. */
#include "common/err.h"
#include "fuzz.h"
#include "h2_frames.h"
#include "rpc/h2.h"
#include "rpc/limits.h"

#define STREAMS_SEEN_MAX 256u

/* What the application was told about one stream. */
struct seen {
  int32_t id;
  uint64_t digest, end_digest;
  size_t body_len, kept;
  bool head, ended, closed;
};

struct app {
  struct tlx_h2 *h2;
  uint8_t habits;
  struct seen streams[STREAMS_SEEN_MAX];
  unsigned n_streams;
  uint64_t conn_digest;
  bool goaway;
};

static uint64_t mix(uint64_t digest, const void *data, size_t len) {
  const uint8_t *at = data;
  for (size_t i = 0; i < len; i++)
    digest = (digest ^ at[i]) * 1099511628211u;
  return digest;
}

static struct seen *seen_of(struct app *app, struct tlx_h2_stream *stream) {
  int32_t id = tlx_h2_stream_id(stream);
  for (unsigned i = 0; i < app->n_streams; i++)
    if (app->streams[i].id == id) return &app->streams[i];
  if (app->n_streams == STREAMS_SEEN_MAX) return NULL;
  app->streams[app->n_streams] = (struct seen){.id = id};
  return &app->streams[app->n_streams++];
}

#define H(n, v)                                                                                    \
  {                                                                                                \
    {(const uint8_t *)(n), sizeof(n) - 1}, {                                                       \
      (const uint8_t *)(v), sizeof(v) - 1                                                          \
    }                                                                                              \
  }
static const struct tlx_h2_header request[] = {H(":method", "POST"), H(":scheme", "https"),
                                               H(":path", "/a.B/C"), H(":authority", "localhost"),
                                               H("te", "trailers")},
                                  head[] = {H(":status", "200")},
                                  trailers[] = {H("grpc-status", "0")};

/* What an application does by its habits, decided by the stream's id and not by the moment. */
static void react(struct app *app, struct tlx_h2_stream *stream) {
  static const uint8_t body[300] = "body";
  unsigned what = (app->habits >> 1) + (unsigned)tlx_h2_stream_id(stream) / 2;
  if (what % 8 == 1) tlx_h2_reset(app->h2, stream, 8);
  if (what % 8 == 2) tlx_h2_discard(app->h2, stream);
  if (!(app->habits & 1) || what % 8 < 3) return;
  if (tlx_h2_respond(app->h2, stream, head, 1, what % 8 == 3) != 0 || what % 8 == 3) return;
  must(tlx_h2_send(app->h2, stream, body, sizeof body) == 0);
  must(tlx_h2_queued(stream) <= tlx_h2_total_queued(app->h2));
  if (what % 8 == 4) tlx_h2_finish(app->h2, stream, trailers, 1);
  if (what % 8 == 5) tlx_h2_finish(app->h2, stream, NULL, 0);
  if (what % 8 == 5) must(tlx_h2_send(app->h2, stream, body, 1) != 0);
}

static void on_headers(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                       size_t n, bool is_trailers, bool end_stream, bool overflow) {
  struct app *app = ctx;
  struct seen *seen = seen_of(app, stream);
  size_t list_len = 0;
  for (size_t i = 0; i < n; i++) {
    const struct tlx_h2_header *field = &headers[i];
    list_len += field->name.len + field->value.len + 32;
    must(field->name.len > 0);
    /* RFC 9113 §8.2.1: what would break a line or a C string never gets through. */
    for (size_t k = 0; k < field->name.len; k++)
      must(field->name.data[k] > 0x20 &&
           !(field->name.data[k] >= 'A' && field->name.data[k] <= 'Z'));
    for (size_t k = 0; k < field->value.len; k++)
      must(field->value.data[k] && !strchr("\r\n", field->value.data[k]));
    if (seen) seen->digest = mix(seen->digest, field->name.data, field->name.len);
    if (seen) seen->digest = mix(seen->digest, field->value.data, field->value.len);
  }
  must(list_len <= TLX_HEADER_LIST_MAX);
  if (!seen) return;
  must(!seen->closed && !seen->ended && is_trailers == seen->head);
  seen->head = true;
  seen->ended = end_stream;
  seen->digest = mix(seen->digest, &overflow, sizeof overflow);
  if (!is_trailers) react(app, stream);
}

static void on_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                    bool end_stream) {
  struct app *app = ctx;
  struct seen *seen = seen_of(app, stream);
  if (!seen) {
    tlx_h2_consume(app->h2, stream, len);
    return;
  }
  must(seen->head && !seen->ended && !seen->closed);
  seen->digest = mix(seen->digest, data, len);
  seen->body_len += len;
  seen->ended = end_stream;
  /* Some applications never give anything back: the window is then their bound. */
  if (app->habits & 0x80)
    seen->kept += len;
  else
    tlx_h2_consume(app->h2, stream, len);
  must(seen->kept <= TLX_STREAM_WINDOW);
}

static void on_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                      bool refused) {
  struct app *app = ctx;
  struct seen *seen = seen_of(app, stream);
  if (!seen) return;
  must(!seen->closed);
  seen->closed = true;
  seen->end_digest = mix(seen->end_digest, &error, sizeof error);
  seen->end_digest = mix(seen->end_digest, &by_peer, sizeof by_peer);
  seen->end_digest = mix(seen->end_digest, &refused, sizeof refused);
}

static void on_goaway(void *ctx, int32_t last_stream_id, uint32_t error, const uint8_t *debug,
                      size_t len) {
  struct app *app = ctx;
  app->goaway = true;
  app->conn_digest = mix(app->conn_digest, &last_stream_id, sizeof last_stream_id);
  app->conn_digest = mix(app->conn_digest, &error, sizeof error);
  app->conn_digest = mix(app->conn_digest, debug, len);
}

static void on_pong(void *ctx, const uint8_t opaque[8]) {
  struct app *app = ctx;
  app->conn_digest = mix(app->conn_digest, opaque, 8);
}

static const struct tlx_h2_events events = {.headers = on_headers,
                                            .data = on_data,
                                            .closed = on_closed,
                                            .goaway = on_goaway,
                                            .pong = on_pong};

struct outcome {
  struct app app;
  int err;
  bool alive;
  struct tlx_buf out;
};

static void look_at_open(void *arg, struct tlx_h2_stream *stream) {
  struct app *app = arg;
  struct seen *seen = seen_of(app, stream);
  must(!seen || !seen->closed);
}

static void run(uint8_t habits, struct tlx_bytes bytes, uint32_t seed, bool in_pieces,
                struct outcome *ret) {
  static struct tlx_clock_fake clock;
  struct app *app = &ret->app;
  memset(ret, 0, sizeof *ret);
  tlx_clock_fake_init(&clock, 0, 1000, 0);
  struct tlx_h2_options options = {
      .server = habits & 1, .events = &events, .ctx = app, .clock = &clock.clock};
  app->habits = habits;
  must(tlx_h2_new(&options, &app->h2) == 0);
  if (!options.server)
    for (int i = 0; i < 3; i++) {
      struct tlx_h2_stream *stream;
      must(tlx_h2_request(app->h2, request, 5, NULL, &stream) == 0);
      if (i) must(tlx_h2_finish(app->h2, stream, NULL, 0) == 0);
    }
  must(tlx_h2_drain(app->h2, &ret->out, SIZE_MAX) == 0);
  tlx_h2_after_drain(app->h2);
  while (bytes.len && !ret->err) {
    size_t n = in_pieces ? next_piece(&seed) : bytes.len;
    if (n > bytes.len) n = bytes.len;
    uint8_t *copy = exact_copy((struct tlx_bytes){bytes.data, n});
    ret->err = tlx_h2_feed(app->h2, copy, n);
    free(copy);
    bytes.data += n;
    bytes.len -= n;
  }
  must(ret->err == 0 || ret->err == TLX_E_PROTOCOL);
  if (ret->err) must(tlx_h2_feed(app->h2, "", 0) == TLX_E_PROTOCOL);
  /* A drain is bounded, and it ends. */
  size_t limit = in_pieces ? 1 : SIZE_MAX;
  for (int i = 0; tlx_h2_wants_drain(app->h2); i++) {
    size_t before = ret->out.len;
    int err = tlx_h2_drain(app->h2, &ret->out, limit);
    if (err) break;
    if (ret->out.len == before) break;
    must(i < 100000);
  }
  tlx_h2_after_drain(app->h2);
  ret->alive = tlx_h2_alive(app->h2);
  if (ret->err) must(!ret->alive);
  tlx_h2_each(app->h2, look_at_open, app);
  tlx_h2_free(app->h2);
}

static int by_id(const void *a, const void *b) {
  int32_t x = ((const struct seen *)a)->id, y = ((const struct seen *)b)->id;
  return x < y ? -1 : x > y;
}

static void compare(struct outcome *a, struct outcome *b) {
  /* After the peer's GOAWAY and the last stream the session is over; what else was in the same piece
   * is still read, and in the next one it is not. */
  if (a->app.goaway || b->app.goaway) return;
  must(a->err == b->err && a->alive == b->alive);
  must(a->app.conn_digest == b->app.conn_digest);
  must(a->app.n_streams == b->app.n_streams);
  /* Beyond what is recorded, which ones are depends on the order of `closed`. */
  if (a->app.n_streams == STREAMS_SEEN_MAX) return;
  qsort(a->app.streams, a->app.n_streams, sizeof *a->app.streams, by_id);
  qsort(b->app.streams, b->app.n_streams, sizeof *b->app.streams, by_id);
  for (unsigned i = 0; i < a->app.n_streams; i++) {
    const struct seen *x = &a->app.streams[i], *y = &b->app.streams[i];
    must(x->id == y->id && x->digest == y->digest && x->body_len == y->body_len);
    must(x->head == y->head && x->ended == y->ended);
    if (!a->err) must(x->closed == y->closed && x->end_digest == y->end_digest);
  }
  /* What follows a fault in the same piece is not told, but it still closes and acknowledges. */
  if (a->err) return;
  must(bytes_equal((struct tlx_bytes){a->out.data, a->out.len},
                   (struct tlx_bytes){b->out.data, b->out.len}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct outcome whole, pieces;
  struct input input = {data, size};
  uint8_t habits = input_u8(&input);
  uint32_t seed = input_u16(&input);
  struct tlx_bytes bytes = {input.at, input.left};
  run(habits, bytes, seed, false, &whole);
  run(habits, bytes, seed, true, &pieces);
  compare(&whole, &pieces);
  frames_look_at(whole.out.data, whole.out.len, !(habits & 1));
  tlx_buf_done(&whole.out);
  tlx_buf_done(&pieces.out);
  return 0;
}
