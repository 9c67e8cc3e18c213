// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "../../harness/fault.h"
#include "../../harness/loop.h"
#include "../pki/fixture.h"
#include "common/err.h"
#include "common/log.h"
#include "rpc/call.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"
#include "rpc/server.h"
#include "telovix/v1/containment.pb-c.h"

/* A server, a channel, a unary call and a stream, from nothing to an empty loop, with the n-th
 * allocation failing, for each n. Every call that was started ends exactly once, with what is true;
 * nothing crashes, hangs or leaks. */

#define STREAM_MESSAGES 50u
#define CALL_MS 400u
#define N_MAX 20000u

struct world {
  uv_loop_t loop;
  struct fixture_ca ca;
  struct fixture_leaf server_leaf, client_leaf;
  struct tlx_tls_ctx *server_tls, *client_tls;
  struct tlx_server *server;
  struct tlx_channel *channel;
};

/* One call as the client saw it. */
struct asked {
  struct tlx_status status;
  unsigned n_messages, n_done;
  bool done;
};

static void echo(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__KillOrder reply = TELOVIX__V1__KILL_ORDER__INIT;
  reply.order_id = ((const Telovix__V1__GetKillRequest *)message)->order_id;
  tlx_call_reply(call, &reply.base);
}

static void stream(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__KillOrder reply = TELOVIX__V1__KILL_ORDER__INIT;
  for (unsigned i = 0; i < STREAM_MESSAGES; i++) {
    reply.pid = i;
    if (tlx_call_send(call, &reply.base) == 0) continue;
    struct tlx_status status;
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "no_memory", "no memory");
    tlx_call_fail(call, &status);
    return;
  }
  tlx_call_end(call);
}

static bool authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status) {
  return true;
}

static const struct tlx_method methods[] = {
    {"/t.T/Echo", TLX_UNARY, &telovix__v1__get_kill_request__descriptor,
     &telovix__v1__kill_order__descriptor, echo},
    {"/t.T/Stream", TLX_SERVER_STREAM, &telovix__v1__get_kill_request__descriptor,
     &telovix__v1__kill_order__descriptor, stream}};

static struct tlx_tls_ctx *make_tls(struct world *world, bool server) {
  const struct fixture_leaf *leaf = server ? &world->server_leaf : &world->client_leaf;
  struct tlx_bytes chain = {leaf->der.data, leaf->der.len};
  struct tlx_tls_options options = {
      .server = server, .chain = &chain, .n_chain = 1, .key = leaf->key, .ca = world->ca.bundle};
  struct tlx_tls_ctx *ctx;
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), 0);
  return ctx;
}

static void world_init(struct world *world) {
  uint64_t wall_ms = tlx_wall_ms(tlx_clock_system());
  memset(world, 0, sizeof *world);
  fixture_ca_init(&world->ca, "Test CA", wall_ms);
  fixture_leaf_init(&world->server_leaf, &world->ca, TLX_CERT_SERVER,
                    "spiffe://" FIXTURE_FLEET "/console", wall_ms, 0);
  fixture_leaf_init(&world->client_leaf, &world->ca, TLX_CERT_CLIENT,
                    "spiffe://" FIXTURE_FLEET "/operator/bob", wall_ms, 0);
  world->server_tls = make_tls(world, true);
  world->client_tls = make_tls(world, false);
}

static void world_done(struct world *world) {
  tlx_tls_ctx_unref(world->client_tls);
  tlx_tls_ctx_unref(world->server_tls);
  fixture_leaf_done(&world->client_leaf);
  fixture_leaf_done(&world->server_leaf);
  fixture_ca_done(&world->ca);
}

static void on_message(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct asked *asked = arg;
  if (asked->n_messages)
    cr_assert_eq(((const Telovix__V1__KillOrder *)message)->pid, asked->n_messages);
  asked->n_messages++;
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct asked *asked = arg;
  asked->status = *status;
  asked->n_done++;
  asked->done = true;
}

/* False: it could not even be started. */
static bool ask(struct world *world, const char *path, struct asked *asked) {
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  struct tlx_client_call *call;
  request.order_id = (char *)"kill_1";
  *asked = (struct asked){.done = false};
  struct tlx_client_call_options options = {.channel = world->channel,
                                            .path = path,
                                            .request = &request.base,
                                            .reply = &telovix__v1__kill_order__descriptor,
                                            .is_stream = strcmp(path, "/t.T/Stream") == 0,
                                            .timeout_ms = CALL_MS,
                                            .wait_for_ready = true,
                                            .message = on_message,
                                            .done = on_done,
                                            .arg = asked};
  int err = tlx_client_call_start(&options, &call);
  if (!err) return true;
  cr_assert_eq(err, -ENOMEM);
  return false;
}

/* An OK is a whole answer; anything else says so. */
static bool ends_well(struct world *world, const char *path, unsigned n_wanted) {
  struct asked asked;
  if (!ask(world, path, &asked)) return false;
  loop_until(&world->loop, &asked.done);
  if (asked.status.code != TLX_GRPC_OK) return false;
  cr_assert_eq(asked.n_messages, n_wanted, "%u messages and OK", asked.n_messages);
  return true;
}

static int make_ends(struct world *world) {
  char address[32];
  const char *list = address;
  struct tlx_server_options server = {.loop = &world->loop,
                                      .clock = tlx_clock_system(),
                                      .tls_ctx = world->server_tls,
                                      .methods = methods,
                                      .n_methods = 2,
                                      .authorize = authorize};
  struct tlx_channel_options channel = {.loop = &world->loop,
                                        .clock = tlx_clock_system(),
                                        .tls_ctx = world->client_tls,
                                        .addresses = &list,
                                        .n_addresses = 1,
                                        .backoff_min_ms = 1,
                                        .backoff_max_ms = 2};
  int err = tlx_server_new(&server, &world->server);
  if (!err) err = tlx_server_listen(world->server, "127.0.0.1:0");
  if (err) return err;
  snprintf(address, sizeof address, "127.0.0.1:%u", tlx_server_port(world->server));
  return tlx_channel_new(&channel, &world->channel);
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

/* The whole scenario; true = nothing was refused for want of memory. */
static bool live_once(struct world *world) {
  bool channel_closed = false, server_closed = false;
  world->server = NULL;
  world->channel = NULL;
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  int err = make_ends(world);
  cr_assert(err == 0 || err == -ENOMEM, "%d", err);
  bool good = err == 0;
  if (!err) {
    good = ends_well(world, "/t.T/Echo", 1) && good;
    good = ends_well(world, "/t.T/Stream", STREAM_MESSAGES) && good;
    tlx_channel_close(world->channel, on_closed, &channel_closed);
    loop_until(&world->loop, &channel_closed);
  }
  if (world->server) {
    tlx_server_close(world->server, on_closed, &server_closed);
    loop_until(&world->loop, &server_closed);
  }
  loop_done(&world->loop);
  return good;
}

Test(fault, every_allocation_once) {
  struct world world;
  unsigned n = 0, n_good = 0;
  signal(SIGPIPE,
         SIG_IGN); /* as our programs do: libuv writes to sockets that the peer has closed */
  world_init(&world);
  cr_assert(live_once(&world), "without a fault all is well");
  do {
    cr_assert_lt(++n, N_MAX);
    fault_set(n);
    n_good += live_once(&world);
  } while (fault_was_hit());
  fault_set(0);
  cr_assert_gt(n, 50, "the scenario allocates: %u", n);
  cr_assert_lt(n_good, n, "and not every failure can be made good");
  cr_assert(live_once(&world), "nothing was broken for later");
  world_done(&world);
}
