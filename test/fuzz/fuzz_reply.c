// SPDX-License-Identifier: GPL-2.0-or-later
/* What a client makes of a server's answers (rpc/client_wire.c, rpc/client_call.c) over memory. The
 * input is a script for a server that may say anything: heads, messages, bytes, trailers, resets,
 * GOAWAY, at any time. Every call ends exactly once, with a status that can be shown; OK of a unary
 * call means exactly one whole message. */
#include <uv.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "memory_conn.h"
#include "rpc/channel_int.h"
#include "rpc/limits.h"
#include "rpc/server.h"
#include "telovix/v1/sensor.pb-c.h"

#define CALLS_MAX 16u
#define STREAMS_MAX 64u

static struct tlx_clock_fake fake;
static uv_loop_t loop; /* never runs: the target is the clock */
static struct tlx_channel channel;
static struct channel_conn cconn;

/* ---- the application ---- */

struct mine {
  struct tlx_client_call *call; /* NULL once it is done */
  bool is_stream, started, done;
  unsigned n_messages;
  enum tlx_grpc_code code;
};
static struct mine calls[CALLS_MAX];
static unsigned n_calls;

static void on_started(struct tlx_client_call *call, void *arg) {
  struct mine *mine = arg;
  must(!mine->done && !mine->started);
  mine->started = true;
}

static void on_message(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct mine *mine = arg;
  must(!mine->done && (mine->is_stream || mine->n_messages == 0));
  must(message->descriptor == &telovix__v1__heartbeat_reply__descriptor);
  mine->n_messages++;
}

static void on_metadata(struct tlx_client_call *call, const char *name, const char *value,
                        void *arg) {
  struct mine *mine = arg;
  must(!mine->done && *name && *name != ':' && strncmp(name, "grpc-status", 11) != 0);
  must(!strpbrk(value, "\r\n"));
}

static void look_at_text(const char *text) {
  must(tlx_text_utf8_valid(text, strlen(text)));
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct mine *mine = arg;
  must(!mine->done);
  mine->done = true;
  mine->call = NULL;
  must(status->code >= TLX_GRPC_OK && status->code <= TLX_GRPC_UNAUTHENTICATED);
  if (!mine->is_stream) must(status->code != TLX_GRPC_OK || mine->n_messages == 1);
  /* Whatever the server said can be printed, and is valid in JSON. */
  look_at_text(status->reason);
  look_at_text(status->message);
  must(status->n_violations <= TLX_STATUS_VIOLATIONS_MAX);
  must(status->n_metadata <= TLX_STATUS_METADATA_MAX);
  for (unsigned i = 0; i < status->n_violations; i++) {
    look_at_text(status->violations[i].field);
    look_at_text(status->violations[i].description);
  }
  for (unsigned i = 0; i < status->n_metadata; i++)
    look_at_text(status->metadata[i].value);
}

static void start_call(bool is_stream, uint64_t timeout_ms) {
  Telovix__V1__HeartbeatRequest request = TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  if (n_calls == CALLS_MAX) return;
  struct mine *mine = &calls[n_calls];
  *mine = (struct mine){.is_stream = is_stream};
  struct tlx_client_call_options options = {
      .channel = &channel,
      .path = "/telovix.v1.SensorService/Heartbeat",
      .request = &request.base,
      .reply = &telovix__v1__heartbeat_reply__descriptor,
      .is_stream = is_stream,
      .timeout_ms = timeout_ms,
      .wait_for_ready = true,
      .started = on_started,
      .message = on_message,
      .metadata = on_metadata,
      .done = on_done,
      .arg = mine,
  };
  n_calls++;
  must(tlx_client_call_start(&options, &mine->call) == 0);
  must(!mine->done);
}

/* ---- the server ---- */

static struct tlx_h2 *server;
static struct tlx_h2_stream *streams[STREAMS_MAX]; /* NULL = closed */
static unsigned n_streams;

static void server_headers(void *ctx, struct tlx_h2_stream *stream,
                           const struct tlx_h2_header *headers, size_t n, bool trailers,
                           bool end_stream, bool overflow) {
  /* Our client's requests are whole and in order. */
  must(!trailers && !overflow && n >= 7);
  if (n_streams == STREAMS_MAX) {
    tlx_h2_reset(server, stream, 7);
    return;
  }
  tlx_h2_set_user(stream, &streams[n_streams]);
  streams[n_streams++] = stream;
}

static void server_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                        bool end_stream) {
  tlx_h2_consume(server, stream, len);
}

static void server_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                          bool refused) {
  struct tlx_h2_stream **slot = tlx_h2_user(stream);
  if (slot) *slot = NULL;
}

static const struct tlx_h2_events server_events = {
    .headers = server_headers, .data = server_data, .closed = server_closed};

/* ---- the script ---- */

/* Header fields, each one chosen by a byte, with a value of the input. */
static size_t read_fields(struct input *input, struct tlx_h2_header *fields, size_t n) {
  static const char *const names[] = {":status",
                                      "content-type",
                                      "grpc-status",
                                      "grpc-message",
                                      "grpc-status-details-bin",
                                      "telovix-audit-head",
                                      "x-data-bin",
                                      "grpc-encoding"};
  for (uint8_t more = input_u8(input) % 6; more; more--) {
    uint8_t which = input_u8(input);
    const char *name = names[which % (sizeof names / sizeof *names)];
    fields[n].name = (struct tlx_bytes){(const uint8_t *)name, strlen(name)};
    if (which >= 0xf0) fields[n].name = input_piece(input);
    fields[n++].value = input_piece(input);
  }
  return n;
}

static struct tlx_h2_stream *pick(struct input *input) {
  uint8_t which = input_u8(input);
  return n_streams ? streams[which % n_streams] : NULL;
}

static const struct tlx_h2_header status_200 = {{(const uint8_t *)":status", 7},
                                                {(const uint8_t *)"200", 3}};

static void answer(struct input *input) {
  struct tlx_h2_header fields[8];
  struct tlx_h2_stream *stream = pick(input);
  uint8_t how = input_u8(input);
  size_t n = 0;
  if (!stream) return;
  if (how & 1) fields[n++] = status_200;
  n = read_fields(input, fields, n);
  (void)tlx_h2_respond(server, stream, fields, n, how & 2);
}

static void server_send(struct input *input, bool framed) {
  struct tlx_h2_stream *stream = pick(input);
  struct tlx_bytes bytes = input_piece(input);
  uint8_t head[5];
  if (!stream) return;
  tlx_frame_head(head, (uint32_t)bytes.len);
  if (framed) (void)tlx_h2_send(server, stream, head, sizeof head);
  (void)tlx_h2_send(server, stream, bytes.data, bytes.len);
}

static void finish(struct input *input) {
  struct tlx_h2_header fields[8];
  struct tlx_h2_stream *stream = pick(input);
  size_t n = read_fields(input, fields, 0);
  if (stream) (void)tlx_h2_finish(server, stream, fields, n);
}

/* Time passes, and what is due by then expires. */
static void wait_ms(uint64_t ms) {
  tlx_clock_fake_advance(&fake, ms);
  for (struct tlx_deadline *at = channel.deadlines.list, *next; at; at = next) {
    next = at->next;
    if (at->due_mono_ms > tlx_mono_ms(&fake.clock)) continue;
    tlx_deadline_clear(at);
    at->expired(at);
    next = channel.deadlines.list; /* it may have cleared others */
  }
}

static void move(struct tlx_h2 *from, struct tlx_h2 *to, size_t limit) {
  (void)memory_conn_move(from, to, limit);
}

static void step(struct input *input) {
  struct tlx_h2 *client = cconn.conn->h2;
  struct tlx_h2_stream *stream;
  uint8_t what = input_u8(input);
  switch (what % 10) {
  case 0:
    start_call(what & 0x80, what & 0x40 ? 1000 : 0);
    move(client, server, 1u << 16);
    return;
  case 1:
    answer(input);
    return;
  case 2:
    server_send(input, true);
    return;
  case 3:
    server_send(input, false);
    return;
  case 4:
    finish(input);
    return;
  case 5:
    if ((stream = pick(input))) tlx_h2_reset(server, stream, input_u8(input));
    return;
  case 6:
    tlx_h2_goaway(server, input_u8(input) % 16, what & 0x80 ? "too_many_pings" : NULL);
    return;
  case 7:
    move(server, client, 1u + input_u8(input));
    move(client, server, 1u << 16);
    return;
  case 8:
    wait_ms(50ull * input_u8(input));
    return;
  case 9:
    if (n_calls && calls[what / 10 % n_calls].call)
      tlx_client_call_cancel(calls[what / 10 % n_calls].call);
    return;
  }
}

static void quiet(void *arg, enum tlx_log_level level, const char *line) {
}

static void begin(void) {
  static char user_agent[] = "telovix-fuzz/1";
  must(uv_loop_init(&loop) == 0);
  tlx_log_set_sink(quiet, NULL);
  tlx_clock_fake_init(&fake, 0, 1000, 0);
  channel = (struct tlx_channel){.options = {.loop = &loop,
                                             .clock = &fake.clock,
                                             .backoff_min_ms = 1000,
                                             .backoff_max_ms = 60000},
                                 .user_agent = user_agent,
                                 .group = {.clock = &fake.clock}};
  tlx_deadlines_init(&channel.deadlines, &loop, &fake.clock);
  must(uv_timer_init(&loop, &channel.retry) == 0);
  channel.retry.data = &channel;
}

static void open_link(void) {
  struct tlx_h2_options options = {.server = true, .events = &server_events, .clock = &fake.clock};
  cconn = (struct channel_conn){.channel = &channel, .is_ready = true};
  cconn.conn = memory_conn_new(&channel.group, false, &tlx_client_h2_events, &cconn);
  must(tlx_h2_new(&options, &server) == 0);
  channel.current = &cconn;
  channel.state = TLX_CHANNEL_READY;
  channel.closing = false;
  channel.keepalive_ms = 1000;
  channel.n_open = 1000; /* the channel itself never ends here */
  channel.last_error[0] = '\0';
  n_calls = n_streams = 0;
  for (int i = 0; i < 3; i++) {
    move(cconn.conn->h2, server, 1u << 16);
    move(server, cconn.conn->h2, 1u << 16);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  struct tlx_status status;
  if (!channel.options.loop) begin();
  open_link();
  for (int i = 0; input.left && i < 400; i++)
    step(&input);
  for (int i = 0; i < 20; i++) {
    move(server, cconn.conn->h2, 1u << 16);
    move(cconn.conn->h2, server, 1u << 16);
  }
  /* The connection is lost; whoever then still waits is told that the channel closes. */
  memory_conn_lose(cconn.conn);
  for (unsigned i = 0; i < n_calls; i++)
    must(!calls[i].call || !calls[i].call->stream);
  channel.closing = true;
  tlx_status_set(&status, TLX_GRPC_CANCELLED, "channel_closed", "%s", "the channel was closed");
  tlx_client_calls_fail_waiting(&channel, true, &status);
  for (unsigned i = 0; i < n_calls; i++)
    must(calls[i].done);
  must(!channel.calls && !channel.deadlines.list);
  uv_timer_stop(&channel.retry);
  tlx_conn_unref(cconn.conn);
  tlx_h2_free(server);
  return 0;
}
