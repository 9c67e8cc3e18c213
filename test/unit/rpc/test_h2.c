// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/h2.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/limits.h"

/* Both ends of HTTP/2 over memory. The server answers each request by its path. */
struct end {
  struct tlx_h2 *h2;
  struct tlx_buf out;
  /* what happened */
  unsigned n_heads, n_trailers, n_closed, n_goaways, n_pongs, n_writable;
  size_t n_body;
  bool end_stream, overflow, refused, by_peer;
  uint32_t error, goaway_error;
  char debug[64], status[8], path[64];
  struct tlx_h2_stream *stream;
  bool hold; /* received body is not given back */
};

static void on_headers(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                       size_t n, bool trailers, bool end_stream, bool overflow) {
  struct end *end = ctx;
  end->stream = stream;
  trailers ? end->n_trailers++ : end->n_heads++;
  end->end_stream |= end_stream;
  end->overflow |= overflow;
  for (size_t i = 0; i < n; i++) {
    if (headers[i].name.len == 7 && memcmp(headers[i].name.data, ":status", 7) == 0)
      snprintf(end->status, sizeof end->status, "%.*s", (int)headers[i].value.len,
               headers[i].value.data);
    if (headers[i].name.len == 5 && memcmp(headers[i].name.data, ":path", 5) == 0)
      snprintf(end->path, sizeof end->path, "%.*s", (int)headers[i].value.len,
               headers[i].value.data);
  }
}

static void on_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                    bool end_stream) {
  struct end *end = ctx;
  end->n_body += len;
  end->end_stream |= end_stream;
  if (!end->hold) tlx_h2_consume(end->h2, stream, len);
}

static void on_writable(void *ctx, struct tlx_h2_stream *stream) {
  ((struct end *)ctx)->n_writable++;
}

static void on_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                      bool refused) {
  struct end *end = ctx;
  end->n_closed++;
  end->error = error;
  end->by_peer = by_peer;
  end->refused = refused;
  end->stream = NULL;
}

static void on_goaway(void *ctx, int32_t last, uint32_t error, const uint8_t *debug, size_t len) {
  struct end *end = ctx;
  end->n_goaways++;
  end->goaway_error = error;
  snprintf(end->debug, sizeof end->debug, "%.*s", (int)len, debug);
}

static void on_pong(void *ctx, const uint8_t opaque[8]) {
  ((struct end *)ctx)->n_pongs++;
}

static const struct tlx_h2_events events = {on_headers, on_data,   on_writable,
                                            on_closed,  on_goaway, on_pong};

struct link {
  struct tlx_clock_fake clock;
  struct end client, server;
};

static void link_init(struct link *link) {
  *link = (struct link){0};
  tlx_clock_fake_init(&link->clock, 0, 1000, 0);
  struct tlx_h2_options client = {
      .events = &events, .ctx = &link->client, .clock = &link->clock.clock};
  struct tlx_h2_options server = {
      .server = true, .events = &events, .ctx = &link->server, .clock = &link->clock.clock};
  cr_assert_eq(tlx_h2_new(&client, &link->client.h2), 0);
  cr_assert_eq(tlx_h2_new(&server, &link->server.h2), 0);
}

static void link_done(struct link *link) {
  tlx_h2_free(link->client.h2);
  tlx_h2_free(link->server.h2);
  tlx_buf_done(&link->client.out);
  tlx_buf_done(&link->server.out);
}

/* One direction; returns how many bytes went. */
static size_t pass(struct end *from, struct end *to, int *ret_err) {
  from->out.len = 0;
  cr_assert_eq(tlx_h2_drain(from->h2, &from->out, 1 << 20), 0);
  tlx_h2_after_drain(from->h2);
  *ret_err = from->out.len ? tlx_h2_feed(to->h2, from->out.data, from->out.len) : 0;
  return from->out.len;
}

static int pump(struct link *link) {
  int to_server = 0, to_client = 0;
  for (int i = 0; i < 1000; i++) {
    int err;
    size_t n = pass(&link->client, &link->server, &err);
    if (err) to_server = err;
    n += pass(&link->server, &link->client, &err);
    if (err) to_client = err;
    if (n == 0) break;
  }
  return to_server ? to_server : to_client;
}

#define H(n, v)                                                                                    \
  {                                                                                                \
    {(const uint8_t *)(n), sizeof(n) - 1}, {                                                       \
      (const uint8_t *)(v), sizeof(v) - 1                                                          \
    }                                                                                              \
  }
static const struct tlx_h2_header request[] = {H(":method", "POST"), H(":scheme", "https"),
                                               H(":path", "/a/B"), H(":authority", "x")};
static const struct tlx_h2_header head[] = {H(":status", "200")};
static const struct tlx_h2_header trailers[] = {H("grpc-status", "0")};

static struct tlx_h2_stream *ask(struct link *link, const char *body, bool finish) {
  struct tlx_h2_stream *stream;
  cr_assert_eq(tlx_h2_request(link->client.h2, request, 4, NULL, &stream), 0);
  if (*body) cr_assert_eq(tlx_h2_send(link->client.h2, stream, body, strlen(body)), 0);
  if (finish) cr_assert_eq(tlx_h2_finish(link->client.h2, stream, NULL, 0), 0);
  return stream;
}

Test(h2, request_and_reply_with_trailers) {
  struct link link;
  link_init(&link);
  ask(&link, "ping", true);
  cr_assert_eq(pump(&link), 0);
  cr_assert_str_eq(link.server.path, "/a/B");
  cr_assert_eq(link.server.n_body, 4);
  cr_assert(link.server.end_stream);
  cr_assert_eq(tlx_h2_respond(link.server.h2, link.server.stream, head, 1, false), 0);
  cr_assert_eq(tlx_h2_send(link.server.h2, link.server.stream, "pong!", 5), 0);
  cr_assert_eq(tlx_h2_finish(link.server.h2, link.server.stream, trailers, 1), 0);
  cr_assert_eq(pump(&link), 0);
  cr_assert_str_eq(link.client.status, "200");
  cr_assert_eq(link.client.n_body, 5);
  cr_assert_eq(link.client.n_trailers, 1);
  cr_assert_eq(link.client.n_closed, 1);
  cr_assert_eq(link.client.error, 0);
  cr_assert_eq(link.server.n_closed, 1);
  cr_assert_eq(tlx_h2_n_streams(link.server.h2), 0);
  link_done(&link);
}

Test(h2, an_answer_before_the_end_of_the_request_resets_with_no_error) {
  struct link link;
  link_init(&link);
  ask(&link, "part", false);
  pump(&link);
  cr_assert_eq(tlx_h2_respond(link.server.h2, link.server.stream, head, 1, true), 0);
  cr_assert_eq(pump(&link), 0);
  cr_assert_eq(link.client.n_heads, 1);
  cr_assert_eq(link.client.n_closed, 1);
  cr_assert_eq(link.client.error, 0);
  link_done(&link);
}

Test(h2, a_reader_that_gives_nothing_back_stops_only_its_stream) {
  struct link link;
  link_init(&link);
  link.server.hold = true;
  size_t len = TLX_STREAM_WINDOW + 100000;
  char *body = calloc(1, len + 1);
  memset(body, 'x', len);
  struct tlx_h2_stream *stream = ask(&link, body, true);
  pump(&link);
  cr_assert_eq(link.server.n_body, TLX_STREAM_WINDOW, "%zu", link.server.n_body);
  cr_assert_eq(tlx_h2_queued(stream), 100000);
  cr_assert_eq(tlx_h2_total_queued(link.client.h2), 100000);
  /* Another stream goes on. */
  struct tlx_h2_stream *held = link.server.stream;
  ask(&link, "small", true);
  pump(&link);
  cr_assert_eq(link.server.n_body, TLX_STREAM_WINDOW + 5);
  /* Given back, it flows again. */
  link.server.hold = false;
  tlx_h2_consume(link.server.h2, held, TLX_STREAM_WINDOW);
  pump(&link);
  cr_assert_eq(link.server.n_body, len + 5);
  cr_assert_eq(link.client.n_writable, 1);
  free(body);
  link_done(&link);
}

Test(h2, discarded_bytes_are_credited) {
  struct link link;
  link_init(&link);
  link.server.hold = true;
  size_t len = 3 * TLX_STREAM_WINDOW;
  char *body = calloc(1, len);
  struct tlx_h2_stream *stream = ask(&link, "x", false);
  pump(&link);
  tlx_h2_discard(link.server.h2, link.server.stream);
  cr_assert_eq(tlx_h2_send(link.client.h2, stream, body, len), 0);
  pump(&link);
  cr_assert_eq(tlx_h2_queued(stream), 0, "the windows were opened again");
  cr_assert_eq(link.server.n_body, 1, "and the application saw nothing of it");
  free(body);
  link_done(&link);
}

Test(h2, a_large_header_list_is_marked) {
  struct link link;
  struct tlx_h2_stream *stream;
  char value[2000];
  link_init(&link);
  memset(value, 'v', sizeof value);
  struct tlx_h2_header fields[16];
  memcpy(fields, request, sizeof request);
  for (int i = 4; i < 16; i++)
    fields[i] =
        (struct tlx_h2_header){{(const uint8_t *)"x-y", 3}, {(const uint8_t *)value, sizeof value}};
  cr_assert_eq(tlx_h2_request(link.client.h2, fields, 16, NULL, &stream), 0);
  cr_assert_eq(pump(&link), 0);
  cr_assert(link.server.overflow);
  link_done(&link);
}

Test(h2, goaway_refuses_what_was_not_looked_at) {
  struct link link;
  struct tlx_h2_stream *stream;
  link_init(&link);
  ask(&link, "one", true);
  pump(&link);
  tlx_h2_goaway(link.server.h2, 0, "bye");
  ask(&link, "two", true); /* crosses the GOAWAY on its way */
  pump(&link);
  cr_assert_eq(link.client.n_goaways, 1);
  cr_assert_str_eq(link.client.debug, "bye");
  cr_assert_eq(link.client.n_closed, 1);
  cr_assert(link.client.refused);
  cr_assert_eq(tlx_h2_request(link.client.h2, request, 4, NULL, &stream), TLX_E_CLOSED);
  link_done(&link);
}

static void count_stream(void *arg, struct tlx_h2_stream *stream) {
  ++*(unsigned *)arg;
}

/* A connection that ends drains once more and is over: whoever waits for a stream that this drain
 * closed is still to be told. */
Test(h2, a_stream_closed_by_the_last_drain_is_not_forgotten) {
  struct link link;
  unsigned n = 0;
  int err;
  link_init(&link);
  pump(&link);
  struct tlx_h2_stream *stream = ask(&link, "never leaves", true);
  tlx_h2_goaway(link.server.h2, 0, "bye");
  pass(&link.server, &link.client, &err);
  cr_assert_eq(tlx_h2_drain(link.client.h2, &link.client.out, 1 << 20), 0);
  cr_assert_eq(link.client.n_closed, 0);
  cr_assert(!tlx_h2_sent(stream));
  tlx_h2_each(link.client.h2, count_stream, &n);
  cr_assert_eq(n, 1);
  link_done(&link);
}

Test(h2, cancel_reaches_the_other_end) {
  struct link link;
  link_init(&link);
  struct tlx_h2_stream *stream = ask(&link, "x", true);
  pump(&link);
  tlx_h2_reset(link.client.h2, stream, 8);
  pump(&link);
  cr_assert_eq(link.server.n_closed, 1);
  cr_assert_eq(link.server.error, 8);
  cr_assert(link.server.by_peer);
  link_done(&link);
}

/* ---- hostile frames ---- */

static int flood(struct link *link, const char *frame, size_t len, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    int err = tlx_h2_feed(link->server.h2, frame, len);
    if (err) return err;
  }
  return 0;
}

Test(h2, pings_too_often_end_the_connection) {
  struct link link;
  int err;
  link_init(&link);
  pump(&link);
  static const char ping[] = "\0\0\x08\x06\0\0\0\0\0telovix!";
  /* As fast as is permitted. */
  for (int i = 0; i < 10; i++) {
    cr_assert_eq(flood(&link, ping, 17, 1), 0);
    tlx_clock_fake_advance(&link.clock, TLX_PING_INTERVAL_MIN_MS);
  }
  cr_assert_eq(flood(&link, ping, 17, 10), TLX_E_PROTOCOL);
  pass(&link.server, &link.client, &err);
  cr_assert_eq(link.client.goaway_error, 11);
  cr_assert_str_eq(link.client.debug, "too_many_pings");
  cr_assert_not(tlx_h2_alive(link.server.h2));
  link_done(&link);
}

Test(h2, settings_and_unknown_frames_have_a_budget) {
  static const struct {
    const char *frame;
    size_t len;
  } frames[] = {{"\0\0\0\x04\0\0\0\0\0", 9},
                {"\0\0\0\x63\0\0\0\0\0", 9},
                {"\0\0\x04\x08\0\0\0\0\0\0\0\0\1", 13}};
  for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
    struct link link;
    link_init(&link);
    pump(&link);
    int err = 0;
    for (int k = 0; k < 1000 && !err; k++) {
      err = flood(&link, frames[i].frame, frames[i].len, 1);
      link.server.out.len = 0;
      tlx_h2_drain(link.server.h2, &link.server.out, 1 << 20); /* acknowledgements do not pile up */
    }
    cr_assert_eq(err, TLX_E_PROTOCOL, "frame %zu", i);
    link_done(&link);
  }
}

Test(h2, garbage_is_a_protocol_error) {
  struct link link;
  link_init(&link);
  cr_assert_eq(tlx_h2_feed(link.server.h2, "GET / HTTP/1.1\r\n\r\nxxxxxxxx", 26), TLX_E_PROTOCOL);
  link_done(&link);
}
