// SPDX-License-Identifier: GPL-2.0-or-later
/* A server connection and its calls (rpc/call_wire.c, rpc/call.c) over memory. The input is a
 * script for both sides: requests with chosen header fields and bodies, cancels, deadlines, and
 * what the handlers do and when. Each call gets exactly one end, a handler sees only whole requests
 * that were authorized, a client is told one status that fits, and nothing is left over. */
#include <uv.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "grpc/health/v1/health.pb-c.h"
#include "memory_conn.h"
#include "rpc/limits.h"
#include "rpc/server_int.h"

#define STREAMS_MAX 24u
#define PENDING_MAX 24u

/* ---- the server's side ---- */

static struct tlx_server server;
static struct tlx_clock_fake fake;

/* Per call, the application's. */
struct mine {
  bool authorized, called, half_closed, failed, cancelled;
  unsigned n_messages;
};

static struct tlx_call *pending[PENDING_MAX]; /* whose handler has not ended them */
static unsigned n_pending;

static bool authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status) {
  struct mine *mine = tlx_call_data(call);
  must(!mine->authorized && !mine->called && *max_message == TLX_MESSAGE_MAX);
  if (strncmp(tlx_call_user_agent(call), "deny", 4) == 0) {
    tlx_status_set(status, TLX_GRPC_PERMISSION_DENIED, "denied", "%s", "not you");
    return false;
  }
  if (strncmp(tlx_call_user_agent(call), "small", 5) == 0) *max_message = 8;
  mine->authorized = true;
  return true;
}

static void failed(struct tlx_call *call, const struct tlx_status *status) {
  struct mine *mine = tlx_call_data(call);
  must(status->code != TLX_GRPC_OK && !mine->failed);
  mine->failed = true;
}

static void forget(struct tlx_call *call) {
  for (unsigned i = 0; i < n_pending; i++)
    if (pending[i] == call) pending[i--] = pending[--n_pending];
}

static void on_cancel(struct tlx_call *call, void *arg) {
  struct mine *mine = tlx_call_data(call);
  must(!mine->cancelled && !tlx_call_alive(call));
  mine->cancelled = true;
}

static void look_at_start(struct tlx_call *call, const ProtobufCMessage *request) {
  struct mine *mine = tlx_call_data(call);
  must(mine->authorized && !mine->failed && !mine->half_closed && tlx_call_alive(call));
  must(tlx_call_time_left_ms(call) > 0);
  mine->called = true;
  if (!request) {
    mine->half_closed = true;
    return;
  }
  const char *service = ((const Grpc__Health__V1__HealthCheckRequest *)request)->service;
  must(tlx_text_utf8_valid(service, strlen(service)));
  must(strncmp(tlx_call_user_agent(call), "small", 5) != 0 || strlen(service) <= 8);
  mine->n_messages++;
}

static const Grpc__Health__V1__HealthCheckResponse *reply(void) {
  static Grpc__Health__V1__HealthCheckResponse message =
      GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
  message.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
  return &message;
}

static void unary_now(struct tlx_call *call, const ProtobufCMessage *request) {
  struct mine *mine = tlx_call_data(call);
  must(request && !mine->called);
  look_at_start(call, request);
  tlx_call_add_trailer(call, "telovix-fuzz", "1");
  tlx_call_reply(call, &reply()->base);
}

/* Ends later, or at the end of the input; sometimes its cancel ends it at once. */
static void keep(struct tlx_call *call, const ProtobufCMessage *request) {
  struct mine *mine = tlx_call_data(call);
  must(request && !mine->called);
  look_at_start(call, request);
  if (n_pending == PENDING_MAX) {
    tlx_call_end(call);
    return;
  }
  tlx_call_on_cancel(call, on_cancel, NULL);
  pending[n_pending++] = call;
}

static void bidi(struct tlx_call *call, const ProtobufCMessage *request) {
  look_at_start(call, request);
  if (!request)
    tlx_call_end(call);
  else if (tlx_call_send(call, &reply()->base) != 0)
    must(!tlx_call_alive(call));
}

static const struct tlx_method methods[] = {
    /* sorted by path */
    {"/a.A/Bidi", TLX_BIDI, &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_response__descriptor, bidi},
    {"/a.A/Keep", TLX_UNARY, &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_response__descriptor, keep},
    {"/a.A/Now", TLX_UNARY, &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_response__descriptor, unary_now},
    {"/a.A/Stream", TLX_SERVER_STREAM, &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_response__descriptor, keep},
};

static void quiet(void *arg, enum tlx_log_level level, const char *line) {
}

static void begin(void) {
  static uv_loop_t loop; /* never runs: the target is the clock */
  must(uv_loop_init(&loop) == 0);
  tlx_log_set_sink(quiet, NULL);
  tlx_clock_fake_init(&fake, 0, 1000, 0);
  server = (struct tlx_server){
      .options = {.clock = &fake.clock,
                  .n_methods = sizeof methods / sizeof *methods,
                  .call_data_len = sizeof(struct mine),
                  .authorize = authorize,
                  .failed = failed},
      .methods = (struct tlx_method *)methods,
      .group = {.clock = &fake.clock},
  };
  tlx_deadlines_init(&server.deadlines, &loop, &fake.clock);
}

/* ---- the client's side ---- */

/* One stream as the client sees it. */
struct seen {
  struct tlx_h2_stream *stream;
  struct tlx_frame_parser parser;
  unsigned n_messages, n_statuses;
  int code, http;
  bool head, ended, closed, raw; /* |raw|: its fields are not those of a gRPC client */
};

static struct seen seen[STREAMS_MAX];
static unsigned n_seen;
static struct tlx_h2 *client;

static void client_headers(void *ctx, struct tlx_h2_stream *stream,
                           const struct tlx_h2_header *headers, size_t n, bool trailers,
                           bool end_stream, bool overflow) {
  struct seen *one = tlx_h2_user(stream);
  must(!overflow && !one->ended && trailers == one->head);
  one->head = true;
  one->ended = end_stream;
  for (size_t i = 0; i < n; i++) {
    char value[16];
    snprintf(value, sizeof value, "%.*s", (int)headers[i].value.len, headers[i].value.data);
    if (headers[i].name.len == 7 && memcmp(headers[i].name.data, ":status", 7) == 0)
      one->http = atoi(value);
    if (headers[i].name.len != 11 || memcmp(headers[i].name.data, "grpc-status", 11) != 0) continue;
    one->n_statuses++;
    one->code = atoi(value);
    must(end_stream && one->code >= 0 && one->code <= TLX_GRPC_UNAUTHENTICATED);
  }
}

static void client_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                        bool end_stream) {
  struct seen *one = tlx_h2_user(stream);
  struct tlx_status status;
  must(one->head && one->http == 200 && !one->ended && !end_stream);
  tlx_h2_consume(client, stream, len);
  while (len) {
    struct tlx_bytes message;
    enum tlx_frame_event event = tlx_frame_feed(&one->parser, &data, &len, &message, &status);
    must(event != TLX_FRAME_ERROR);
    one->n_messages += event == TLX_FRAME_MESSAGE;
  }
}

static void client_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                          bool refused) {
  struct seen *one = tlx_h2_user(stream);
  one->closed = true;
  one->stream = NULL;
  /* In order means: whole messages and one status, or an answer that is not gRPC. */
  if (!one->ended) return;
  must(tlx_frame_at_boundary(&one->parser));
  must(one->n_statuses == 1 || (one->http == 415 || one->http == 405));
}

static const struct tlx_h2_events client_events = {
    .headers = client_headers, .data = client_data, .closed = client_closed};

/* ---- the script ---- */

static size_t add_field(struct tlx_h2_header *fields, size_t n, const char *name,
                        struct tlx_bytes value) {
  fields[n].name = (struct tlx_bytes){(const uint8_t *)name, strlen(name)};
  fields[n].value = value;
  return n + 1;
}

/* A value of the table, or the input's own. */
static struct tlx_bytes choose(struct input *input, const char *const *values, size_t n) {
  uint8_t which = input_u8(input);
  if (which >= 0xf0) return input_piece(input);
  const char *value = values[which % n];
  return (struct tlx_bytes){(const uint8_t *)value, strlen(value)};
}
#define CHOOSE(input, ...)                                                                         \
  choose(input, (const char *const[]){__VA_ARGS__},                                                \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void open_stream(struct input *input) {
  struct tlx_h2_header fields[9];
  size_t n = 0;
  if (n_seen == STREAMS_MAX) return;
  struct seen *one = &seen[n_seen];
  uint8_t which = input_u8(input);
  n = add_field(fields, n, ":method",
                which & 1 ? CHOOSE(input, "GET", "PUT") : CHOOSE(input, "POST"));
  n = add_field(fields, n, ":scheme", CHOOSE(input, "https"));
  n = add_field(fields, n, ":path",
                CHOOSE(input, "/a.A/Now", "/a.A/Keep", "/a.A/Stream", "/a.A/Bidi", "/a.A/None"));
  n = add_field(fields, n, ":authority", CHOOSE(input, "console:15483"));
  if (!(which & 2))
    n = add_field(fields, n, "content-type",
                  CHOOSE(input, "application/grpc", "application/grpc+proto",
                         "application/grpc+json", "application/grpc-web", "text/html"));
  if (which & 4)
    n = add_field(fields, n, "grpc-timeout", CHOOSE(input, "1S", "0m", "99999999H", "1", "-1S"));
  if (which & 8) n = add_field(fields, n, "grpc-encoding", CHOOSE(input, "identity", "gzip", ""));
  if (which & 16)
    n = add_field(fields, n, "user-agent", CHOOSE(input, "grpc-c/1", "deny", "small"));
  if (which & 32) n = add_field(fields, n, "x-any", input_piece(input));
  *one = (struct seen){.code = -1};
  tlx_frame_parser_init(&one->parser, TLX_MESSAGE_MAX, true);
  if (tlx_h2_request(client, fields, n, one, &one->stream) == 0)
    n_seen++;
  else
    tlx_frame_parser_done(&one->parser);
}

static struct seen *pick(struct input *input) {
  uint8_t which = input_u8(input);
  return n_seen && seen[which % n_seen].stream ? &seen[which % n_seen] : NULL;
}

static void send_message(struct seen *one, struct tlx_bytes message) {
  uint8_t head[5];
  tlx_frame_head(head, (uint32_t)message.len);
  (void)tlx_h2_send(client, one->stream, head, sizeof head);
  (void)tlx_h2_send(client, one->stream, message.data, message.len);
}

static void handler_acts(struct input *input) {
  struct tlx_status status;
  uint8_t what = input_u8(input);
  if (n_pending == 0) return;
  struct tlx_call *call = pending[what / 4 % n_pending];
  if (what % 4 == 0 && call->method->kind == TLX_SERVER_STREAM) {
    if (tlx_call_send(call, &reply()->base) == TLX_E_CLOSED) must(!tlx_call_alive(call));
    return;
  }
  forget(call);
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "gone", "%s", "it is \x01 gone \xc3\xa4");
  if (what % 4 == 1)
    tlx_call_fail(call, &status);
  else if (call->method->kind == TLX_SERVER_STREAM)
    tlx_call_end(call);
  else
    tlx_call_reply(call, &reply()->base);
}

/* Time passes, and what is due by then expires. */
static void wait_ms(uint64_t ms) {
  tlx_clock_fake_advance(&fake, ms);
  for (struct tlx_deadline *at = server.deadlines.list, *next; at; at = next) {
    next = at->next;
    if (at->due_mono_ms > tlx_mono_ms(&fake.clock)) continue;
    tlx_deadline_clear(at);
    at->expired(at);
    next = server.deadlines.list; /* it may have cleared others */
  }
}

/* The server stops (server.c): the answer to the PING brings the second GOAWAY. */
static void drain(struct server_conn *sconn) {
  static const uint8_t opaque[8] = "drain";
  if (sconn->is_draining) return;
  sconn->is_draining = true;
  tlx_h2_shutdown_notice(sconn->conn->h2);
  tlx_h2_ping(sconn->conn->h2, opaque);
}

static void step(struct input *input, struct server_conn *sconn) {
  struct tlx_h2 *h2 = sconn->conn->h2;
  struct seen *one;
  switch (input_u8(input) % 10) {
  case 0:
    open_stream(input);
    return;
  case 1:
    if ((one = pick(input))) send_message(one, input_piece(input));
    return;
  case 2: /* any bytes, for the framing */
    if ((one = pick(input))) {
      struct tlx_bytes bytes = input_piece(input);
      (void)tlx_h2_send(client, one->stream, bytes.data, bytes.len);
    }
    return;
  case 3:
    if ((one = pick(input))) (void)tlx_h2_finish(client, one->stream, NULL, 0);
    return;
  case 4:
    if ((one = pick(input))) tlx_h2_reset(client, one->stream, input_u8(input));
    return;
  case 5:
    memory_conn_move(client, h2, 1u + input_u8(input));
    return;
  case 6:
    memory_conn_move(h2, client, 1u << 16);
    return;
  case 7:
    handler_acts(input);
    return;
  case 8:
    wait_ms(100ull * input_u8(input));
    return;
  case 9:
    drain(sconn);
    return;
  }
}

static bool settle(struct tlx_h2 *h2) {
  for (int i = 0; i < 1000; i++) {
    bool moved = memory_conn_move(client, h2, 1u << 16);
    moved |= memory_conn_move(h2, client, 1u << 16);
    if (!moved) return true;
  }
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  if (!server.options.clock) begin();
  struct server_conn *sconn = calloc(1, sizeof *sconn);
  must(sconn);
  sconn->server = &server;
  sconn->n_refs = 1;
  sconn->id = 1;
  sconn->is_ready = true;
  server.n_open = 1000; /* the server itself never ends here */
  struct tlx_conn *conn = memory_conn_new(&server.group, true, &tlx_call_h2_events, sconn);
  sconn->conn = tlx_conn_ref(conn);
  struct tlx_h2_options options = {.events = &client_events, .clock = &fake.clock};
  must(tlx_h2_new(&options, &client) == 0);
  n_seen = n_pending = 0;
  must(settle(conn->h2));
  for (int i = 0; input.left && i < 400; i++)
    step(&input, sconn);
  must(settle(conn->h2));
  /* The connection goes; handlers that still work are told, and end their calls into the void. */
  memory_conn_lose(conn);
  must(!sconn->calls);
  for (unsigned i = 0; i < n_pending; i++) {
    struct mine *mine = tlx_call_data(pending[i]);
    must(!tlx_call_alive(pending[i]) && mine->cancelled);
  }
  while (n_pending) {
    struct tlx_call *call = pending[0];
    forget(call);
    tlx_call_end(call);
  }
  must(!server.deadlines.list && sconn->n_refs == 1);
  tlx_server_conn_unref(sconn);
  tlx_conn_unref(conn);
  must(server.n_open == 999);
  tlx_h2_free(client);
  for (unsigned i = 0; i < n_seen; i++)
    tlx_frame_parser_done(&seen[i].parser);
  return 0;
}
