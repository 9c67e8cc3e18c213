// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/client_call.h"

#include <string.h>

#include "../../harness/loop.h"
#include "common/err.h"
#include "peer.h"
#include "rpc/limits.h"
#include "telovix/v1/containment.pb-c.h"

/* What a client makes of every answer that a server can give, right or wrong. */

struct world {
  uv_loop_t loop;
  struct peer peer;
  struct tlx_channel *channel;
  /* the call */
  struct tlx_client_call *call;
  struct tlx_status status;
  unsigned n_started, n_messages, n_done, n_metadata, cancel_at;
  bool done, was_sent, was_answered, closed;
  /* the answer that the peer gives */
  const char *http_status, *trailer, *value;
  uint8_t body[256];
  size_t len;
};

static struct world *current;

static void answer(struct peer *peer, struct peer_request *request) {
  peer_answer_raw(request, current->http_status, current->body, current->len, current->trailer,
                  current->value);
}

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  current = world;
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  peer_init(&world->peer, &world->loop, tlx_clock_system());
  world->peer.answer = answer;
  world->http_status = "200";
  world->trailer = "grpc-status";
  world->value = "0";
  const char *address = world->peer.address;
  struct tlx_channel_options options = {.loop = &world->loop,
                                        .clock = tlx_clock_system(),
                                        .tls_ctx = world->peer.client_tls,
                                        .addresses = &address,
                                        .n_addresses = 1,
                                        .user_agent = "test/1"};
  cr_assert_eq(tlx_channel_new(&options, &world->channel), 0);
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

static void world_done(struct world *world) {
  tlx_channel_close(world->channel, on_closed, &world->closed);
  loop_until(&world->loop, &world->closed);
  peer_close(&world->peer);
  loop_done(&world->loop);
  peer_free(&world->peer);
}

/* Appends a frame of a message with |len| bytes of order_id. */
static void add_message(struct world *world, const char *order_id) {
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  order.order_id = (char *)order_id;
  size_t len = telovix__v1__kill_order__get_packed_size(&order);
  uint8_t head[5] = {0, 0, 0, 0, (uint8_t)len};
  memcpy(world->body + world->len, head, 5);
  telovix__v1__kill_order__pack(&order, world->body + world->len + 5);
  world->len += 5 + len;
}

static void on_started(struct tlx_client_call *call, void *arg) {
  ((struct world *)arg)->n_started++;
}

static void on_message(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct world *world = arg;
  world->n_messages++;
  if (world->n_messages == world->cancel_at) tlx_client_call_cancel(call);
}

static void on_metadata(struct tlx_client_call *call, const char *name, const char *value,
                        void *arg) {
  if (strcmp(name, "x-mine") == 0 && strcmp(value, "7") == 0) ((struct world *)arg)->n_metadata++;
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct world *world = arg;
  world->status = *status;
  world->was_sent = tlx_client_call_was_sent(call);
  world->was_answered = tlx_client_call_was_answered(call);
  world->n_done++;
  world->done = true;
}

static void ask(struct world *world, bool is_stream, uint64_t timeout_ms, size_t max_message) {
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  struct tlx_client_call_options options = {.channel = world->channel,
                                            .path = "/t.T/Ask",
                                            .request = &request.base,
                                            .reply = &telovix__v1__kill_order__descriptor,
                                            .is_stream = is_stream,
                                            .timeout_ms = timeout_ms,
                                            .wait_for_ready = true,
                                            .max_message = max_message,
                                            .started = on_started,
                                            .message = on_message,
                                            .metadata = on_metadata,
                                            .done = on_done,
                                            .arg = world};
  world->done = false;
  world->n_done = world->n_messages = 0;
  cr_assert_eq(tlx_client_call_start(&options, &world->call), 0);
}

static void expect(struct world *world, bool is_stream, enum tlx_grpc_code code, const char *reason,
                   unsigned n) {
  ask(world, is_stream, 0, 0);
  loop_until(&world->loop, &world->done);
  cr_assert_eq(world->status.code, code, "%d %s", world->status.code, world->status.message);
  cr_assert_str_eq(world->status.reason, reason, "%s", world->status.message);
  cr_assert_eq(world->n_messages, n);
  cr_assert_eq(world->n_done, 1);
  cr_assert(world->was_sent);
  cr_assert(world->was_answered);
}

#define ANSWERS(name, change, is_stream, code, reason, n)                                          \
  Test(client_call, name) {                                                                        \
    struct world world;                                                                            \
    world_init(&world);                                                                            \
    change;                                                                                        \
    expect(&world, is_stream, TLX_GRPC_##code, reason, n);                                         \
    world_done(&world);                                                                            \
  }

ANSWERS(one_reply, add_message(&world, "a"), false, OK, "", 1)
ANSWERS(a_stream_of_three,
        (add_message(&world, "a"), add_message(&world, "b"), add_message(&world, "c")), true, OK,
        "", 3)
ANSWERS(an_empty_stream, (void)0, true, OK, "", 0)
ANSWERS(an_empty_message, world.len = 5, false, OK, "", 1)
ANSWERS(no_reply, (void)0, false, INTERNAL, "reply_missing", 0)
ANSWERS(half_a_reply, (add_message(&world, "abc"), world.len -= 2), false, INTERNAL,
        "reply_missing", 0)
ANSWERS(two_replies, (add_message(&world, "a"), add_message(&world, "b")), false, INTERNAL,
        "too_many_messages", 0)
ANSWERS(no_protobuf, (add_message(&world, "abc"), world.body[6] = 0x7f), false, INTERNAL,
        "reply_malformed", 0)
ANSWERS(no_protobuf_in_a_stream,
        (add_message(&world, "abc"), add_message(&world, "abc"), world.body[world.len - 4] = 0x7f),
        true, INTERNAL, "reply_malformed", 1)
ANSWERS(a_nul_in_a_text, (add_message(&world, "abc"), world.body[world.len - 2] = 0), false,
        INTERNAL, "reply_malformed", 0)
ANSWERS(no_status, (add_message(&world, "a"), world.trailer = NULL), false, INTERNAL,
        "status_missing", 0)
ANSWERS(other_trailers_are_no_status, (add_message(&world, "a"), world.trailer = "x-other"), false,
        INTERNAL, "status_missing", 0)
ANSWERS(an_error, world.value = "5", false, NOT_FOUND, "", 0)
ANSWERS(an_error_after_a_message, (add_message(&world, "a"), world.value = "14"), true, UNAVAILABLE,
        "", 1)
ANSWERS(a_reply_before_an_error_counts_for_nothing, (add_message(&world, "a"), world.value = "14"),
        false, UNAVAILABLE, "", 0)
ANSWERS(a_code_that_is_none, world.value = "99", false, UNKNOWN, "", 0)
ANSWERS(a_status_that_is_no_number, (add_message(&world, "a"), world.value = "0x0"), false,
        INTERNAL, "status_missing", 0)
ANSWERS(a_proxy_that_answers, (world.http_status = "503", world.trailer = "x-other"), false,
        UNAVAILABLE, "status_missing", 0)
ANSWERS(a_proxy_that_refuses, (world.http_status = "403", world.trailer = "x-other"), false,
        PERMISSION_DENIED, "status_missing", 0)

Test(client_call, what_a_request_says) {
  struct world world;
  world_init(&world);
  add_message(&world, "a");
  expect(&world, false, TLX_GRPC_OK, "", 1);
  cr_assert_str_eq(world.peer.requests[0].path, "/t.T/Ask");
  cr_assert_str_eq(world.peer.requests[0].user_agent, "test/1");
  cr_assert_str_empty(world.peer.requests[0].timeout, "no deadline, no header");
  ask(&world, false, 60000, 0);
  loop_until(&world.loop, &world.done);
  const char *timeout = world.peer.requests[1].timeout;
  cr_assert(*timeout && strlen(timeout) <= 9 && strchr("HMSmun", timeout[strlen(timeout) - 1]),
            "%s", timeout);
  world_done(&world);
}

Test(client_call, head_and_metadata) {
  struct world world;
  world_init(&world);
  world.trailer = "x-mine";
  world.value = "7";
  expect(&world, true, TLX_GRPC_INTERNAL, "status_missing", 0);
  cr_assert_eq(world.n_metadata, 1);
  cr_assert_eq(world.n_started, 1);
  world_done(&world);
}

Test(client_call, a_reply_beyond_the_limit) {
  struct world world;
  world_init(&world);
  add_message(&world, "0123456789");
  ask(&world, false, 0, world.len - 5);
  loop_until(&world.loop, &world.done);
  cr_assert_eq(world.status.code, TLX_GRPC_OK, "%s", world.status.message);
  ask(&world, false, 0, world.len - 6);
  loop_until(&world.loop, &world.done);
  cr_assert_eq(world.status.code, TLX_GRPC_RESOURCE_EXHAUSTED, "%s", world.status.message);
  cr_assert_eq(world.n_messages, 0);
  world_done(&world);
}

/* The request never leaves: no callback runs, and the caller knows why. */
Test(client_call, a_request_beyond_the_limit) {
  struct world world;
  static char text[TLX_MESSAGE_MAX];
  world_init(&world);
  memset(text, 'x', sizeof text - 1);
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  request.order_id = text;
  struct tlx_client_call_options options = {.channel = world.channel,
                                            .path = "/t.T/Ask",
                                            .request = &request.base,
                                            .reply = &telovix__v1__kill_order__descriptor,
                                            .done = on_done,
                                            .arg = &world};
  cr_assert_eq(tlx_client_call_start(&options, &world.call), TLX_E_TOO_LARGE);
  cr_assert_not(world.done);
  world_done(&world);
}

/* From inside a message's callback: nothing of what was read already is delivered any more. */
Test(client_call, cancel_in_a_stream) {
  struct world world;
  world_init(&world);
  for (int i = 0; i < 4; i++)
    add_message(&world, "a");
  world.cancel_at = 2;
  expect(&world, true, TLX_GRPC_CANCELLED, "cancelled", 2);
  world_done(&world);
}

Test(client_call, cancel_of_an_ending_call) {
  struct world world;
  world_init(&world);
  world.peer.answer = NULL;
  ask(&world, false, 0, 0);
  tlx_client_call_cancel(world.call);
  tlx_client_call_cancel(world.call);
  cr_assert_not(world.done, "in a later turn");
  loop_until(&world.loop, &world.done);
  cr_assert_eq(world.status.code, TLX_GRPC_CANCELLED);
  cr_assert_not(world.was_sent, "it had no connection yet");
  cr_assert_eq(world.n_done, 1);
  world_done(&world);
}

Test(client_call, the_deadline) {
  struct world world;
  world_init(&world);
  add_message(&world, "a");
  expect(&world, false, TLX_GRPC_OK, "", 1); /* now there is a connection */
  world.peer.answer = NULL;
  ask(&world, false, 50, 0);
  loop_until(&world.loop, &world.done);
  cr_assert_eq(world.status.code, TLX_GRPC_DEADLINE_EXCEEDED);
  cr_assert(world.was_sent);
  cr_assert_not(world.was_answered, "that was our own word");
  while (world.peer.requests[1].stream)
    uv_run(&world.loop, UV_RUN_ONCE); /* and the server is told */
  world_done(&world);
}
