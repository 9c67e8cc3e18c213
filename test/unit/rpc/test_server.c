// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "../pki/fixture.h"
#include "common/err.h"
#include "rpc/call.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"
#include "rpc/conn.h"
#include "rpc/limits.h"
#include "rpc/listener.h"
#include "telovix/v1/containment.pb-c.h"

/* A server and a channel in one loop, over real sockets of the loopback and real TLS. */

#define CONSOLE "spiffe://" FIXTURE_FLEET "/console"
#define BOB "spiffe://" FIXTURE_FLEET "/operator/bob"
#define STREAM_MESSAGES 20000u

struct world {
  uv_loop_t loop;
  struct fixture_ca ca;
  struct fixture_leaf server_leaf, bob;
  struct tlx_tls_ctx *server_tls, *client_tls;
  struct tlx_server *server;
  struct tlx_channel *channel;
  uv_timer_t limit;
  /* what the server saw */
  unsigned n_cancelled, n_blocked, n_failed, n_sent, n_conns_closed;
  struct tlx_call *slow;
  bool deny;
  char peer_cn[65];
  /* what the client saw */
  struct tlx_status status;
  unsigned n_started, n_messages, n_done, n_metadata;
  bool drained, closed;
};

static struct world *world_of(struct tlx_call *call) {
  return tlx_call_ctx(call);
}

/* ---- handlers ---- */

static void echo(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetKillRequest *request = (const void *)message;
  Telovix__V1__KillOrder reply = TELOVIX__V1__KILL_ORDER__INIT;
  struct tlx_status status;
  if (tlx_call_peer_cert(call))
    strcpy(world_of(call)->peer_cn, tlx_call_peer_cert(call)->subject_cn);
  if (strcmp(request->order_id, "fail") == 0) {
    tlx_status_clear(&status);
    tlx_status_add_violation(&status, "order_id", "is bad: 100%%");
    tlx_call_fail(call, &status);
    return;
  }
  reply.order_id = request->order_id;
  tlx_call_add_trailer(call, "x-head", "7:ab");
  tlx_call_reply(call, &reply.base);
}

static void slow_cancelled(struct tlx_call *call, void *arg) {
  struct world *world = arg;
  world->n_cancelled++;
  cr_assert_not(tlx_call_alive(call));
}

static void slow(struct tlx_call *call, const ProtobufCMessage *message) {
  world_of(call)->slow = tlx_call_ref(call);
  tlx_call_on_cancel(call, slow_cancelled, world_of(call));
}

static void pour(struct tlx_call *call, void *arg) {
  struct world *world = arg;
  Telovix__V1__KillOrder message = TELOVIX__V1__KILL_ORDER__INIT;
  static char text[1001];
  memset(text, 'x', 1000);
  message.reason = text;
  while (world->n_sent < STREAM_MESSAGES) {
    message.pid = world->n_sent;
    int err = tlx_call_send(call, &message.base);
    if (err == TLX_E_LIMIT) {
      world->n_blocked++;
      cr_assert_leq(tlx_call_queued(call), TLX_STREAM_QUEUE_MAX + 2000);
      return;
    }
    cr_assert_eq(err, 0);
    world->n_sent++;
  }
  tlx_call_on_writable(call, NULL, NULL);
  tlx_call_end(call);
}

static void stream(struct tlx_call *call, const ProtobufCMessage *message) {
  tlx_call_on_writable(call, pour, world_of(call));
  pour(call, world_of(call));
}

static bool authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status) {
  if (!world_of(call)->deny) return true;
  tlx_status_set(status, TLX_GRPC_UNAUTHENTICATED, "nobody", "who are you?");
  status->http_status = 401;
  return false;
}

static void failed(struct tlx_call *call, const struct tlx_status *status) {
  world_of(call)->n_failed++;
}

static void conn_closed(void *ctx, uint64_t conn_id, void *conn_data) {
  ((struct world *)ctx)->n_conns_closed++;
}

#define ORDER &telovix__v1__kill_order__descriptor
#define ASK &telovix__v1__get_kill_request__descriptor
static const struct tlx_method methods[] = {{"/t.T/Stream", TLX_SERVER_STREAM, ASK, ORDER, stream},
                                            {"/t.T/Echo", TLX_UNARY, ASK, ORDER, echo},
                                            {"/t.T/Slow", TLX_UNARY, ASK, ORDER, slow}};

/* ---- world ---- */

static struct tlx_tls_ctx *make_tls(bool server, const struct fixture_leaf *leaf,
                                    const struct fixture_ca *ca) {
  struct tlx_tls_ctx *ctx;
  struct tlx_bytes chain = {leaf->der.data, leaf->der.len};
  struct tlx_tls_options options = {.server = server,
                                    .chain = &chain,
                                    .n_chain = 1,
                                    .key = leaf->key,
                                    .ca = ca->bundle,
                                    .server_uri = server ? NULL : CONSOLE};
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), 0);
  return ctx;
}

static void on_limit(uv_timer_t *timer) {
  cr_assert_fail("nothing happened for 20 s");
}

static void start_server(struct world *world, const char *address) {
  struct tlx_server_options options = {.loop = &world->loop,
                                       .clock = tlx_clock_system(),
                                       .tls_ctx = world->server_tls,
                                       .methods = methods,
                                       .n_methods = 3,
                                       .ctx = world,
                                       .authorize = authorize,
                                       .failed = failed,
                                       .conn_closed = conn_closed};
  cr_assert_eq(tlx_server_new(&options, &world->server), 0);
  cr_assert_eq(tlx_server_listen(world->server, address), 0);
}

static void world_init(struct world *world) {
  uint64_t wall_ms = tlx_wall_ms(tlx_clock_system());
  char address[32];
  const char *list = address;
  signal(SIGPIPE, SIG_IGN); /* as our programs do: the other end may be gone when libuv writes */
  *world = (struct world){0};
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  fixture_ca_init(&world->ca, "Test CA", wall_ms);
  fixture_leaf_init(&world->server_leaf, &world->ca, TLX_CERT_SERVER, CONSOLE, wall_ms, 0);
  fixture_leaf_init(&world->bob, &world->ca, TLX_CERT_CLIENT, BOB, wall_ms, 0);
  world->server_tls = make_tls(true, &world->server_leaf, &world->ca);
  world->client_tls = make_tls(false, &world->bob, &world->ca);
  start_server(world, "127.0.0.1:0");
  snprintf(address, sizeof address, "127.0.0.1:%u", tlx_server_port(world->server));
  struct tlx_channel_options options = {.loop = &world->loop,
                                        .clock = tlx_clock_system(),
                                        .tls_ctx = world->client_tls,
                                        .addresses = &list,
                                        .n_addresses = 1,
                                        .backoff_min_ms = 10,
                                        .backoff_max_ms = 50};
  cr_assert_eq(tlx_channel_new(&options, &world->channel), 0);
  uv_timer_init(&world->loop, &world->limit);
  uv_timer_start(&world->limit, on_limit, 20000, 0);
  uv_unref((uv_handle_t *)&world->limit);
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

/* Every test ends with an empty loop. */
static void world_done(struct world *world) {
  bool channel_closed = false;
  tlx_channel_close(world->channel, on_closed, &channel_closed);
  if (world->slow) {
    struct tlx_status status;
    tlx_status_set(&status, TLX_GRPC_CANCELLED, NULL, "late");
    tlx_call_fail(world->slow, &status);
    tlx_call_unref(world->slow);
  }
  tlx_server_close(world->server, on_closed, &world->closed);
  uv_close((uv_handle_t *)&world->limit, NULL);
  uv_run(&world->loop, UV_RUN_DEFAULT);
  cr_assert(world->closed && channel_closed);
  cr_assert_eq(uv_loop_close(&world->loop), 0);
  tlx_tls_ctx_unref(world->client_tls);
  tlx_tls_ctx_unref(world->server_tls);
  fixture_leaf_done(&world->bob);
  fixture_leaf_done(&world->server_leaf);
  fixture_ca_done(&world->ca);
}

static void on_started(struct tlx_client_call *call, void *arg) {
  ((struct world *)arg)->n_started++;
}

static void on_message(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct world *world = arg;
  const Telovix__V1__KillOrder *order = (const void *)message;
  if (order->reason[0]) cr_assert_eq(order->pid, world->n_messages, "order is kept");
  world->n_messages++;
}

static void on_metadata(struct tlx_client_call *call, const char *name, const char *value,
                        void *arg) {
  struct world *world = arg;
  if (strcmp(name, "x-head") == 0 && strcmp(value, "7:ab") == 0) world->n_metadata++;
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct world *world = arg;
  world->status = *status;
  world->n_done++;
}

static struct tlx_client_call *call(struct world *world, const char *path, const char *id,
                                    uint64_t timeout_ms) {
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  struct tlx_client_call *client_call;
  request.order_id = (char *)id;
  struct tlx_client_call_options options = {.channel = world->channel,
                                            .path = path,
                                            .request = &request.base,
                                            .reply = ORDER,
                                            .is_stream = strcmp(path, "/t.T/Stream") == 0,
                                            .timeout_ms = timeout_ms,
                                            .wait_for_ready = true,
                                            .started = on_started,
                                            .message = on_message,
                                            .metadata = on_metadata,
                                            .done = on_done,
                                            .arg = world};
  cr_assert_eq(tlx_client_call_start(&options, &client_call), 0);
  return client_call;
}

static void run_until_done(struct world *world, unsigned n) {
  while (world->n_done < n)
    uv_run(&world->loop, UV_RUN_ONCE);
}

/* ---- tests ---- */

Test(server, unary) {
  struct world world;
  world_init(&world);
  for (unsigned i = 1; i <= 300; i++) {
    call(&world, "/t.T/Echo", "kill_1", 5000);
    run_until_done(&world, i);
    cr_assert_eq(world.status.code, TLX_GRPC_OK, "%s", world.status.message);
  }
  cr_assert_eq(world.n_messages, 300);
  cr_assert_eq(world.n_metadata, 300);
  cr_assert_str_eq(world.peer_cn, "leaf");
  cr_assert_eq(tlx_server_n_conns(world.server), 1,
               "one connection for all, and no glitch ended it");
  world_done(&world);
}

Test(server, many_at_once_wait_for_free_streams) {
  struct world world;
  world_init(&world);
  for (unsigned i = 0; i < 5 * TLX_STREAMS_MAX; i++)
    call(&world, "/t.T/Echo", "kill_1", 10000);
  run_until_done(&world, 5 * TLX_STREAMS_MAX);
  cr_assert_eq(world.n_messages, 5 * TLX_STREAMS_MAX);
  world_done(&world);
}

Test(server, errors_come_with_details) {
  struct world world;
  world_init(&world);
  call(&world, "/t.T/Echo", "fail", 5000);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_INVALID_ARGUMENT);
  cr_assert_str_eq(world.status.message, "order_id: is bad: 100%");
  cr_assert_str_eq(world.status.violations[0].field, "order_id");
  cr_assert_str_eq(world.status.reason, "invalid_argument");
  call(&world, "/t.T/None", "x", 5000);
  run_until_done(&world, 2);
  cr_assert_eq(world.status.code, TLX_GRPC_UNIMPLEMENTED);
  world.deny = true;
  call(&world, "/t.T/Echo", "x", 5000);
  run_until_done(&world, 3);
  cr_assert_eq(world.status.code, TLX_GRPC_UNAUTHENTICATED);
  cr_assert_str_eq(world.status.reason, "nobody");
  cr_assert_eq(world.n_messages, 0);
  cr_assert_eq(world.n_failed, 3);
  world_done(&world);
}

Test(server, a_deadline_ends_the_call_and_tells_the_handler) {
  struct world world;
  world_init(&world);
  call(&world, "/t.T/Slow", "x", 200);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_DEADLINE_EXCEEDED);
  while (!world.n_cancelled)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(world.n_cancelled, 1);
  world_done(&world);
}

Test(server, cancel_reaches_the_handler) {
  struct world world;
  world_init(&world);
  struct tlx_client_call *slow_call = call(&world, "/t.T/Slow", "x", 0);
  while (!world.slow)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert(tlx_client_call_was_sent(slow_call));
  tlx_client_call_cancel(slow_call);
  cr_assert_eq(world.n_done, 0, "done comes in a later turn");
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_CANCELLED);
  while (!world.n_cancelled)
    uv_run(&world.loop, UV_RUN_ONCE);
  /* The handler's late answer goes nowhere, and the connection serves on. */
  call(&world, "/t.T/Echo", "x", 5000);
  run_until_done(&world, 2);
  cr_assert_eq(world.status.code, TLX_GRPC_OK);
  world_done(&world);
}

Test(server, a_long_stream_waits_for_its_reader) {
  struct world world;
  world_init(&world);
  call(&world, "/t.T/Stream", "x", 0);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_OK, "%s", world.status.message);
  cr_assert_eq(world.n_messages, STREAM_MESSAGES);
  cr_assert_eq(world.n_started, 1);
  cr_assert_gt(world.n_blocked, 0, "20 MB do not fit into the queue");
  world_done(&world);
}

Test(server, a_drain_lets_calls_end_and_then_ends_them) {
  struct world world;
  struct tlx_status status;
  world_init(&world);
  call(&world, "/t.T/Slow", "x", 0);
  while (!world.slow)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_status_set(&status, TLX_GRPC_UNAVAILABLE, "stopping", "try again");
  tlx_server_drain(world.server, 100, &status, on_closed, &world.drained);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_UNAVAILABLE);
  cr_assert_str_eq(world.status.reason, "stopping");
  cr_assert_eq(world.n_cancelled, 1);
  tlx_call_fail(world.slow, &status);
  tlx_call_unref(world.slow);
  world.slow = NULL;
  while (!world.drained)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(tlx_server_n_conns(world.server), 0);
  cr_assert_eq(world.n_conns_closed, 1);
  world_done(&world);
}

static bool match_asked(void *arg, void *conn_data) {
  return *(bool *)arg;
}

/* What a revocation does: the call ends with the reason, then the connection, and no other. */
Test(server, connections_are_ended_with_what_runs_on_them) {
  struct world world;
  struct tlx_status status;
  bool matches = false;
  world_init(&world);
  call(&world, "/t.T/Slow", "x", 0);
  while (!world.slow)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_status_set(&status, TLX_GRPC_UNAUTHENTICATED, "revoked", "not any more");
  tlx_server_end_conns(world.server, match_asked, &matches, &status);
  call(&world, "/t.T/Echo", "x", 0);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_OK, "who is not meant goes on");
  cr_assert_eq(world.n_cancelled, 0);
  matches = true;
  tlx_server_end_conns(world.server, match_asked, &matches, &status);
  run_until_done(&world, 2);
  cr_assert_eq(world.status.code, TLX_GRPC_UNAUTHENTICATED);
  cr_assert_str_eq(world.status.reason, "revoked");
  cr_assert_eq(world.n_cancelled, 1);
  cr_assert_eq(world.n_failed, 0, "nobody was refused anything");
  while (world.n_conns_closed == 0)
    uv_run(&world.loop, UV_RUN_ONCE);
  /* The handler's late end is no harm, and the next connection is judged for itself. */
  tlx_call_fail(world.slow, &status);
  tlx_call_unref(world.slow);
  world.slow = NULL;
  call(&world, "/t.T/Echo", "x", 0);
  run_until_done(&world, 3);
  cr_assert_eq(world.status.code, TLX_GRPC_OK);
  world_done(&world);
}

Test(server, the_channel_comes_back) {
  struct world world;
  char address[32];
  world_init(&world);
  call(&world, "/t.T/Echo", "x", 5000);
  run_until_done(&world, 1);
  snprintf(address, sizeof address, "127.0.0.1:%u", tlx_server_port(world.server));
  tlx_server_close(world.server, on_closed, &world.closed);
  while (!world.closed)
    uv_run(&world.loop, UV_RUN_ONCE);
  world.closed = false;
  /* Waits for ready: it is made before there is a server. */
  call(&world, "/t.T/Echo", "x", 10000);
  for (int i = 0; i < 50; i++)
    uv_run(&world.loop, UV_RUN_NOWAIT);
  start_server(&world, address);
  run_until_done(&world, 2);
  cr_assert_eq(world.status.code, TLX_GRPC_OK, "%s", world.status.message);
  world_done(&world);
}

Test(server, no_server_no_waiting) {
  struct world world;
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  struct tlx_client_call *client_call;
  world_init(&world);
  static const char *const nowhere[] = {"127.0.0.1:1"};
  cr_assert_eq(tlx_channel_set_addresses(world.channel, nowhere, 1), 0);
  struct tlx_client_call_options options = {.channel = world.channel,
                                            .path = "/t.T/Echo",
                                            .request = &request.base,
                                            .reply = ORDER,
                                            .done = on_done,
                                            .arg = &world};
  cr_assert_eq(tlx_client_call_start(&options, &client_call), 0);
  run_until_done(&world, 1);
  cr_assert_eq(world.status.code, TLX_GRPC_UNAVAILABLE);
  cr_assert(strstr(world.status.message, "127.0.0.1:1"), "%s", world.status.message);
  world_done(&world);
}

Test(server, addresses_to_listen_on) {
  uv_loop_t loop;
  struct tlx_listener *listener;
  uv_loop_init(&loop);
  static const char *const bad[] = {"",       "localhost:1", "127.0.0.1", "127.0.0.1:65536",
                                    "[::1:1", "::1:1"};
  for (int i = 0; i < 6; i++)
    cr_assert_eq(tlx_listener_new(&loop, bad[i], NULL, NULL, &listener), -EINVAL, "%s", bad[i]);
  cr_assert_eq(tlx_listener_new(&loop, "127.0.0.1:0", NULL, NULL, &listener), 0);
  cr_assert_gt(tlx_listener_port(listener), 0);
  char taken[32];
  struct tlx_listener *second;
  snprintf(taken, sizeof taken, "127.0.0.1:%u", tlx_listener_port(listener));
  cr_assert_eq(tlx_listener_new(&loop, taken, NULL, NULL, &second), -EADDRINUSE);
  tlx_listener_close(listener, NULL, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  cr_assert_eq(uv_loop_close(&loop), 0);
}
