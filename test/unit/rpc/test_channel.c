// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/channel.h"

#include <stdio.h>
#include <string.h>

#include "../../harness/loop.h"
#include "common/text.h"
#include "peer.h"
#include "rpc/channel_int.h"
#include "rpc/conn_int.h"
#include "telovix/v1/containment.pb-c.h"

/* The link: back-off, GOAWAY, keep-alive, addresses, against a peer that is told what to do. Time
 * is ours: the coarse timers turn at once and read a clock that we move; what back-off asks for is
 * noted and not waited for. */

int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
int __real_tlx_random(void *out, size_t len);
int __wrap_tlx_random(void *out, size_t len);

#define RETRIES_MAX 32u

struct world {
  uv_loop_t loop;
  struct tlx_clock_fake clock;
  struct peer peer;
  struct tlx_channel *channel;
  /* states the channel went through */
  enum tlx_channel_state states[64];
  unsigned n_states;
  bool closed;
};

/* One call. */
struct asked {
  struct tlx_client_call *call;
  struct tlx_status status;
  unsigned n_messages;
  bool done, was_sent;
};

static struct world *current;
static uint64_t retry_ms[RETRIES_MAX], random_value;
static unsigned n_retries;
static bool random_is_ours, hold_retries;

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms) {
  if (current && current->channel && timer == &current->channel->retry) {
    if (n_retries < RETRIES_MAX) retry_ms[n_retries] = timeout_ms;
    n_retries++;
    return hold_retries ? 0 : __real_uv_timer_start(timer, cb, 0, 0);
  }
  return repeat_ms ? __real_uv_timer_start(timer, cb, 1, 1)
                   : __real_uv_timer_start(timer, cb, timeout_ms, 0);
}

int __wrap_tlx_random(void *out, size_t len) {
  if (!random_is_ours || len != sizeof random_value) return __real_tlx_random(out, len);
  memcpy(out, &random_value, len);
  return 0;
}

static void on_state(void *arg, enum tlx_channel_state state, int err, const char *why) {
  struct world *world = arg;
  if (world->n_states < sizeof world->states / sizeof *world->states)
    world->states[world->n_states] = state;
  world->n_states++;
}

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  tlx_clock_fake_init(&world->clock, tlx_wall_ms(tlx_clock_system()), 1000000, 0);
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  peer_init(&world->peer, &world->loop, &world->clock.clock);
  world->peer.answer = peer_answer_ok;
  current = world;
}

static void open_channel(struct world *world, const char *address, bool stay_connected) {
  struct tlx_channel_options options = {.loop = &world->loop,
                                        .clock = &world->clock.clock,
                                        .tls_ctx = world->peer.client_tls,
                                        .addresses = &address,
                                        .n_addresses = 1,
                                        .backoff_min_ms = 100,
                                        .backoff_max_ms = 1000,
                                        .stay_connected = stay_connected,
                                        .state_changed = on_state,
                                        .arg = world};
  cr_assert_eq(tlx_channel_new(&options, &world->channel), 0);
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

static void world_done(struct world *world) {
  tlx_channel_close(world->channel, on_closed, &world->closed);
  loop_until(&world->loop, &world->closed);
  current = NULL;
  peer_close(&world->peer);
  loop_done(&world->loop);
  peer_free(&world->peer);
}

static void on_message(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  ((struct asked *)arg)->n_messages++;
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct asked *asked = arg;
  asked->status = *status;
  asked->was_sent = tlx_client_call_was_sent(call);
  asked->done = true;
}

static void ask(struct world *world, struct asked *asked, bool wait_for_ready,
                uint64_t timeout_ms) {
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  *asked = (struct asked){.done = false};
  struct tlx_client_call_options options = {.channel = world->channel,
                                            .path = "/t.T/Ask",
                                            .request = &request.base,
                                            .reply = &telovix__v1__kill_order__descriptor,
                                            .timeout_ms = timeout_ms,
                                            .wait_for_ready = wait_for_ready,
                                            .message = on_message,
                                            .done = on_done,
                                            .arg = asked};
  cr_assert_eq(tlx_client_call_start(&options, &asked->call), 0);
  cr_assert_not(asked->done, "never inside start");
}

static void expect_ok(struct world *world, struct asked *asked) {
  loop_until(&world->loop, &asked->done);
  cr_assert_eq(asked->status.code, TLX_GRPC_OK, "%s", asked->status.message);
  cr_assert_eq(asked->n_messages, 1);
}

static void expect_fails(struct world *world, struct asked *asked, enum tlx_grpc_code code,
                         const char *reason) {
  loop_until(&world->loop, &asked->done);
  cr_assert_eq(asked->status.code, code, "%d %s", asked->status.code, asked->status.message);
  cr_assert_str_eq(asked->status.reason, reason);
  cr_assert_eq(asked->n_messages, 0);
}

/* Moves the clock by whole seconds; every coarse timer sees each of them. */
static void pass(struct world *world, unsigned seconds) {
  while (seconds--) {
    tlx_clock_fake_advance(&world->clock, 1000);
    while (world->channel->group.wheel.tick < world->clock.mono_now_ms / 1000)
      uv_run(&world->loop, UV_RUN_ONCE);
    for (int i = 0; i < 20; i++)
      uv_run(&world->loop, UV_RUN_NOWAIT);
  }
}

/* ---- back-off ---- */

static const uint64_t bounds_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
#define N_BOUNDS (sizeof bounds_ms / sizeof *bounds_ms)

static void fail_n_times(struct world *world, const uint64_t *values, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    random_value = values[i];
    unsigned before = n_retries;
    while (n_retries == before)
      uv_run(&world->loop, UV_RUN_ONCE);
  }
}

/* Doubles from min to max; anything from nothing to the bound is possible. */
Test(channel, back_off_with_full_jitter) {
  for (int high = 0; high < 2; high++) {
    struct world world;
    uint64_t values[N_BOUNDS];
    n_retries = 0;
    world_init(&world);
    peer_stop_listening(&world.peer);
    random_is_ours = true;
    for (unsigned i = 0; i < N_BOUNDS; i++)
      values[i] = bounds_ms[i] + (high ? 0 : 1);
    random_value = values[0];
    open_channel(&world, world.peer.address, false);
    struct asked asked;
    ask(&world, &asked, true, 0);
    fail_n_times(&world, values, N_BOUNDS);
    for (unsigned i = 0; i < N_BOUNDS; i++)
      cr_assert_eq(retry_ms[i], high ? bounds_ms[i] : 0, "retry %u: %lu", i,
                   (unsigned long)retry_ms[i]);
    cr_assert_not(asked.done, "it waits for ready");
    random_is_ours = false;
    peer_listen(&world.peer);
    expect_ok(&world, &asked);
    /* A connection that stood makes the next loss a first one. */
    random_is_ours = true;
    random_value = 100;
    unsigned before = n_retries;
    world.peer.answer = NULL;
    ask(&world, &asked, true, 0);
    while (world.peer.n_requests < 2)
      uv_run(&world.loop, UV_RUN_ONCE);
    struct asked waiting;
    ask(&world, &waiting, true, 0);
    while (world.peer.n_requests < 3)
      uv_run(&world.loop, UV_RUN_ONCE);
    random_is_ours = false;
    tlx_client_call_cancel(waiting.call);
    tlx_client_call_cancel(asked.call);
    cr_assert_eq(n_retries, before);
    world_done(&world);
  }
}

Test(channel, a_loss_after_ready_starts_small) {
  struct world world;
  world_init(&world);
  open_channel(&world, world.peer.address, true);
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  n_retries = 0;
  random_is_ours = true;
  random_value = 100;
  tlx_conn_close(world.peer.conns[0].conn, 0, "");
  while (n_retries == 0)
    uv_run(&world.loop, UV_RUN_ONCE);
  random_is_ours = false;
  cr_assert_eq(retry_ms[0], 100, "the smallest bound: %lu", (unsigned long)retry_ms[0]);
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(world.peer.n_conns, 2);
  world_done(&world);
}

Test(channel, reconnect_waits_for_nothing) {
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, true);
  ask(&world, &asked, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  n_retries = 0;
  tlx_channel_reconnect(world.channel);
  expect_fails(&world, &asked, TLX_GRPC_UNAVAILABLE, "connection_lost");
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(n_retries, 0);
  cr_assert_eq(world.peer.n_conns, 2);
  world_done(&world);
}

/* ---- sockets ---- */

struct shown {
  int fd;
  unsigned n;
  bool was_connected;
};

static void on_socket_made(void *arg, int fd) {
  struct shown *shown = arg;
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  shown->fd = fd;
  shown->n++;
  shown->was_connected |= getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

static void note_closed(void *arg) {
  *(bool *)arg = true;
}

/* Before its first packet, each time; and the one in use can be asked for. */
Test(channel, shows_each_socket_before_it_connects) {
  struct world world;
  struct shown shown = {.fd = -1};
  struct tlx_channel *channel = NULL;
  bool closed = false;
  world_init(&world);
  open_channel(&world, world.peer.address, false);
  const char *address = world.peer.address;
  struct tlx_channel_options options = {.loop = &world.loop,
                                        .clock = &world.clock.clock,
                                        .tls_ctx = world.peer.client_tls,
                                        .addresses = &address,
                                        .n_addresses = 1,
                                        .stay_connected = true,
                                        .socket_made = on_socket_made,
                                        .arg = &shown};
  cr_assert_eq(tlx_channel_new(&options, &channel), 0);
  cr_expect_eq(tlx_channel_socket(channel), -1);
  while (tlx_channel_state(channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_expect_eq(shown.n, 1);
  cr_expect_not(shown.was_connected);
  cr_expect_eq(tlx_channel_socket(channel), shown.fd);
  tlx_channel_reconnect(channel);
  while (shown.n < 2 || tlx_channel_state(channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_expect_not(shown.was_connected);
  cr_expect_eq(tlx_channel_socket(channel), shown.fd);
  tlx_channel_close(channel, note_closed, &closed);
  cr_expect_eq(tlx_channel_socket(channel), -1);
  loop_until(&world.loop, &closed);
  world_done(&world);
}

/* ---- wait for ready, deadlines without a connection ---- */

Test(channel, who_does_not_wait_is_told_at_once) {
  struct world world;
  struct asked first, second, waiting;
  world_init(&world);
  peer_stop_listening(&world.peer);
  hold_retries = true;
  open_channel(&world, world.peer.address, false);
  ask(&world, &waiting, true, 0);
  ask(&world, &first, false, 0);
  expect_fails(&world, &first, TLX_GRPC_UNAVAILABLE, "connection_failed");
  cr_assert(strstr(first.status.message, world.peer.address), "%s", first.status.message);
  cr_assert_not(first.was_sent);
  cr_assert_eq(tlx_channel_state(world.channel), TLX_CHANNEL_FAILURE);
  ask(&world, &second, false, 0);
  expect_fails(&world, &second, TLX_GRPC_UNAVAILABLE, "connection_failed");
  cr_assert_not(waiting.done);
  tlx_client_call_cancel(waiting.call);
  expect_fails(&world, &waiting, TLX_GRPC_CANCELLED, "cancelled");
  world_done(&world);
}

Test(channel, nobody_wants_it_it_rests) {
  struct world world;
  struct asked asked;
  world_init(&world);
  peer_stop_listening(&world.peer);
  n_retries = 0;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, false, 0);
  expect_fails(&world, &asked, TLX_GRPC_UNAVAILABLE, "connection_failed");
  cr_assert_eq(tlx_channel_state(world.channel), TLX_CHANNEL_IDLE);
  cr_assert_eq(n_retries, 0);
  world_done(&world);
}

Test(channel, the_deadline_names_the_missing_connection) {
  struct world world;
  struct asked asked;
  world_init(&world);
  peer_stop_listening(&world.peer);
  hold_retries = true;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 50);
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_FAILURE)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_clock_fake_advance(&world.clock, 50);
  expect_fails(&world, &asked, TLX_GRPC_DEADLINE_EXCEEDED, "deadline_exceeded");
  cr_assert(strstr(asked.status.message, world.peer.address), "%s", asked.status.message);
  cr_assert_not(asked.was_sent);
  world_done(&world);
}

/* ---- GOAWAY and refused streams ---- */

/* What the peer has read stays with it; what it has not goes to the next connection by itself. */
Test(channel, goaway_moves_only_what_was_not_read) {
  struct world world;
  struct asked read, unread, later;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  ask(&world, &read, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  struct peer_conn *first = &world.peer.conns[0];
  tlx_conn_stop_reading(first->conn);
  ask(&world, &unread, true, 0);
  while (!tlx_client_call_was_sent(unread.call))
    uv_run(&world.loop, UV_RUN_ONCE);
  world.peer.answer = peer_answer_ok;
  peer_goaway(first, 0, NULL);
  expect_ok(&world, &unread);
  ask(&world, &later, true, 0);
  expect_ok(&world, &later);
  cr_assert_not(read.done, "it has a place and waits there");
  cr_assert_eq(world.peer.requests[1].at, &world.peer.conns[1]);
  cr_assert_eq(world.peer.n_conns, 2);
  peer_answer_ok(&world.peer, &world.peer.requests[0]);
  expect_ok(&world, &read);
  while (first->conn)
    uv_run(&world.loop, UV_RUN_ONCE); /* the old one ends with its last call */
  cr_assert_eq(world.peer.n_requests, 3, "nothing was asked twice");
  world_done(&world);
}

Test(channel, a_refused_stream_is_asked_again_once) {
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = peer_answer_refuse;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  expect_fails(&world, &asked, TLX_GRPC_UNAVAILABLE, "stream_reset");
  cr_assert_eq(world.peer.n_requests, 2);
  cr_assert_eq(world.peer.n_conns, 1, "on the connection there is");
  world_done(&world);
}

/* A reset that is no refusal may have had effects: it is never repeated by itself. */
Test(channel, other_resets_are_not_repeated) {
  static const struct {
    uint32_t error;
    enum tlx_grpc_code code;
  } cases[] = {{2, TLX_GRPC_INTERNAL}, {8, TLX_GRPC_CANCELLED}, {11, TLX_GRPC_RESOURCE_EXHAUSTED}};
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  for (unsigned i = 0; i < 3; i++) {
    ask(&world, &asked, true, 0);
    while (world.peer.n_requests < i + 1)
      uv_run(&world.loop, UV_RUN_ONCE);
    peer_reset(&world.peer.requests[i], cases[i].error);
    expect_fails(&world, &asked, cases[i].code, "stream_reset");
    cr_assert(asked.was_sent);
  }
  cr_assert_eq(world.peer.n_requests, 3);
  world_done(&world);
}

Test(channel, a_lost_connection_is_not_repeated) {
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_conn_close(world.peer.conns[0].conn, 0, "");
  expect_fails(&world, &asked, TLX_GRPC_UNAVAILABLE, "connection_lost");
  cr_assert(asked.was_sent);
  cr_assert_eq(world.peer.n_requests, 1);
  world_done(&world);
}

/* ---- keep-alive ---- */

/* 20 s without a word, a ping, and 10 s for its answer; each timer may be a second late. */
Test(channel, keep_alive_notices_a_silent_peer) {
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_conn_stop_reading(world.peer.conns[0].conn);
  pass(&world, 29);
  cr_assert_not(asked.done, "%s", asked.status.message);
  pass(&world, 4);
  expect_fails(&world, &asked, TLX_GRPC_UNAVAILABLE, "connection_lost");
  world_done(&world);
}

Test(channel, answered_pings_keep_a_quiet_call) {
  struct world world;
  struct asked asked;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  pass(&world, 300);
  cr_assert_not(asked.done, "%s", asked.status.message);
  cr_assert_eq(world.channel->keepalive_ms, 20000, "none of them was too many");
  peer_answer_ok(&world.peer, &world.peer.requests[0]);
  expect_ok(&world, &asked);
  world_done(&world);
}

/* Without a call nobody is asked whether he lives: a thousand resting operators cost nothing. */
Test(channel, no_call_no_ping) {
  struct world world;
  struct asked asked;
  world_init(&world);
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  expect_ok(&world, &asked);
  tlx_conn_stop_reading(world.peer.conns[0].conn);
  pass(&world, 120);
  cr_assert_eq(tlx_channel_state(world.channel), TLX_CHANNEL_READY);
  tlx_conn_start_reading(world.peer.conns[0].conn);
  world_done(&world);
}

Test(channel, too_many_pings_doubles_the_interval) {
  struct world world;
  struct asked asked;
  world_init(&world);
  open_channel(&world, world.peer.address, false);
  ask(&world, &asked, true, 0);
  expect_ok(&world, &asked);
  peer_goaway(&world.peer.conns[0], 11, "too_many_pings");
  while (tlx_channel_state(world.channel) == TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(world.channel->keepalive_ms, 40000);
  ask(&world, &asked, true, 0);
  expect_ok(&world, &asked);
  cr_assert_eq(world.peer.n_conns, 2);
  world_done(&world);
}

/* ---- addresses ---- */

Test(channel, the_next_address) {
  struct world world;
  struct asked asked;
  char by_name[32];
  world_init(&world);
  open_channel(&world, "127.0.0.1:1", false);
  const char *list[] = {"127.0.0.1:1", "not an address", world.peer.address};
  cr_assert_eq(tlx_channel_set_addresses(world.channel, list, 3), 0);
  ask(&world, &asked, false, 0);
  expect_ok(&world, &asked);
  snprintf(by_name, sizeof by_name, "localhost%s", strchr(world.peer.address, ':'));
  list[0] = by_name;
  cr_assert_eq(tlx_channel_set_addresses(world.channel, list, 1), 0);
  tlx_channel_reconnect(world.channel);
  ask(&world, &asked, true, 0);
  expect_ok(&world, &asked);
  cr_assert_eq(tlx_channel_set_addresses(world.channel, list, 0), -EINVAL);
  cr_assert_eq(tlx_channel_set_addresses(world.channel, list, CHANNEL_ADDRESSES_MAX + 1), -EINVAL);
  world_done(&world);
}

/* ---- states, close ---- */

Test(channel, states) {
  struct world world;
  world_init(&world);
  open_channel(&world, world.peer.address, true);
  cr_assert_eq(tlx_channel_state(world.channel), TLX_CHANNEL_IDLE);
  const struct tlx_bytes *chain;
  cr_assert_eq(tlx_channel_peer_chain(world.channel, &chain), 0);
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_READY)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(tlx_channel_peer_chain(world.channel, &chain), 1);
  cr_assert_arr_eq(chain[0].data, world.peer.server.der.data, chain[0].len);
  cr_assert_eq(world.n_states, 2);
  cr_assert_eq(world.states[0], TLX_CHANNEL_CONNECTING);
  cr_assert_eq(world.states[1], TLX_CHANNEL_READY);
  peer_stop_listening(&world.peer);
  hold_retries = true;
  tlx_conn_close(world.peer.conns[0].conn, 0, "");
  while (tlx_channel_state(world.channel) != TLX_CHANNEL_FAILURE)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert(strstr(tlx_channel_last_error(world.channel), world.peer.address), "%s",
            tlx_channel_last_error(world.channel));
  world_done(&world);
}

Test(channel, closing_ends_every_call) {
  struct world world;
  struct asked open, waiting, late;
  world_init(&world);
  world.peer.answer = NULL;
  open_channel(&world, world.peer.address, false);
  ask(&world, &open, true, 0);
  while (world.peer.n_requests < 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  struct tlx_channel *channel = world.channel;
  peer_goaway(&world.peer.conns[0], 0, NULL);
  peer_stop_listening(&world.peer);
  hold_retries = true;
  ask(&world, &waiting, true, 0);
  while (tlx_channel_state(channel) != TLX_CHANNEL_FAILURE)
    uv_run(&world.loop, UV_RUN_ONCE);
  tlx_channel_close(channel, on_closed, &world.closed);
  cr_assert(open.done && waiting.done);
  cr_assert_eq(open.status.code, TLX_GRPC_CANCELLED);
  cr_assert_str_eq(waiting.status.reason, "channel_closed");
  cr_assert_eq(tlx_channel_state(channel), TLX_CHANNEL_CLOSED);
  ask(&world, &late, true, 0);
  expect_fails(&world, &late, TLX_GRPC_CANCELLED, "channel_closed");
  loop_until(&world.loop, &world.closed);
  current = NULL;
  peer_close(&world.peer);
  loop_done(&world.loop);
  peer_free(&world.peer);
}
