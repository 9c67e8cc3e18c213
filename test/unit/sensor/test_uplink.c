// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/uplink.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../../harness/loop.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"

/* ---- a channel without a network, and one heartbeat at a time ---- */

static struct tlx_channel_options channel;
static enum tlx_channel_state channel_state;
static struct tlx_client_call_options beat; /* under way when it has a path */
static unsigned n_reconnects;
static bool was_answered; /* the status that comes is the server's own */

int tlx_channel_new(const struct tlx_channel_options *options, struct tlx_channel **ret_channel) {
  channel = *options;
  *ret_channel = (struct tlx_channel *)&channel;
  return 0;
}
enum tlx_channel_state tlx_channel_state(const struct tlx_channel *unused) {
  return channel_state;
}
int tlx_channel_set_addresses(struct tlx_channel *unused, const char *const *addresses, size_t n) {
  return 0;
}
void tlx_channel_set_tls(struct tlx_channel *unused, struct tlx_tls_ctx *tls_ctx) {
}

void tlx_channel_reconnect(struct tlx_channel *unused) {
  n_reconnects++;
}
int tlx_channel_socket(const struct tlx_channel *unused) {
  return -1;
}
void tlx_channel_close(struct tlx_channel *unused, void (*closed)(void *arg), void *arg) {
  closed(arg);
}
int tlx_client_call_start(const struct tlx_client_call_options *options,
                          struct tlx_client_call **ret_call) {
  cr_assert_null(beat.path, "one at a time");
  beat = *options;
  *ret_call = (struct tlx_client_call *)&beat;
  return 0;
}
void tlx_client_call_cancel(struct tlx_client_call *call) {
}
bool tlx_client_call_was_answered(const struct tlx_client_call *call) {
  return was_answered;
}

int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
static uint64_t asked_ms;

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms) {
  asked_ms = timeout_ms;
  return __real_uv_timer_start(timer, cb, timeout_ms, repeat_ms);
}

/* ---- the owner ---- */

static char told[32]; /* a letter for each word on refusal: R, or A for accepted */

static void on_fill(void *arg, Telovix__V1__HeartbeatRequest *request) {
}
static uint64_t on_reply(void *arg, const Telovix__V1__HeartbeatReply *reply) {
  return 60000;
}
static unsigned n_failed, n_failed_answered;
static uint64_t interval_max_ms;

static void on_failed(void *arg, bool is_answered) {
  n_failed++;
  n_failed_answered += is_answered;
}
static uint64_t on_interval_max(void *arg) {
  return interval_max_ms;
}
static void on_refusal(void *arg, bool is_refused) {
  strcat(told, is_refused ? "R" : "A");
}

static void ready(void) {
  channel_state = TLX_CHANNEL_READY;
  channel.state_changed(channel.arg, channel_state, 0, "");
}

static void answer(enum tlx_grpc_code code) {
  struct tlx_client_call_options call = beat;
  struct tlx_status status;
  cr_assert(call.path, "no heartbeat is under way");
  memset(&beat, 0, sizeof beat);
  tlx_status_clear(&status);
  if (code != TLX_GRPC_OK) tlx_status_set(&status, code, "", "no");
  call.done(NULL, &status, call.arg);
}

/* ---- tests ---- */

/* A sensor that was refused knows nothing better until a heartbeat is accepted: neither a new try
 * nor a connection that breaks or stands is a word of the Console. */
Test(uplink, a_refusal_lasts_until_a_heartbeat_is_accepted) {
  uv_loop_t loop;
  struct uplink *uplink = NULL;
  struct uplink_options options = {.loop = &loop,
                                   .clock = tlx_clock_system(),
                                   .no_wake = true,
                                   .fill = on_fill,
                                   .reply = on_reply,
                                   .failed = on_failed,
                                   .refusal = on_refusal};
  cr_assert_eq(uv_loop_init(&loop), 0);
  cr_assert_eq(uplink_new(&options, &uplink), 0);
  ready();
  cr_assert_str_eq(told, "", "nothing was answered yet");
  answer(TLX_GRPC_UNAUTHENTICATED);
  cr_assert_str_eq(told, "R");
  cr_assert_eq(uplink_state(uplink), UPLINK_REFUSED);
  for (unsigned i = 0; i < 3; i++) {
    uplink_retry(uplink);
    cr_assert_eq(n_reconnects, i + 1);
    cr_assert_eq(uplink_state(uplink), UPLINK_CONNECTING);
    channel_state = TLX_CHANNEL_FAILURE;
    channel.state_changed(channel.arg, channel_state, -111, "refused");
    ready();
    cr_assert_str_eq(told, "R", "a handshake is no answer");
    answer(i == 1 ? TLX_GRPC_UNAVAILABLE : TLX_GRPC_UNAUTHENTICATED);
    cr_assert_str_eq(told, "R");
  }
  uplink_retry(uplink);
  ready();
  answer(TLX_GRPC_OK);
  cr_assert_str_eq(told, "RA");
  uplink_beat(uplink);
  answer(TLX_GRPC_OK);
  cr_assert_str_eq(told, "RA");
  uplink_close(uplink, NULL, NULL);
  loop_done(&loop);
}

/* Whoever counts how long the Console is gone must not count a Console that has no time for us, nor
 * wait for a heartbeat that is not due. */
Test(uplink, a_console_that_answers_is_there_and_is_asked_in_time) {
  uv_loop_t loop;
  struct uplink *uplink = NULL;
  struct uplink_options options = {.loop = &loop,
                                   .clock = tlx_clock_system(),
                                   .no_wake = true,
                                   .fill = on_fill,
                                   .reply = on_reply,
                                   .failed = on_failed,
                                   .interval_max_ms = on_interval_max};
  cr_assert_eq(uv_loop_init(&loop), 0);
  cr_assert_eq(uplink_new(&options, &uplink), 0);
  ready();
  beat.message(NULL, NULL, beat.arg); /* asks for a minute */
  answer(TLX_GRPC_OK);
  cr_assert(asked_ms >= 54000 && asked_ms <= 66000, "%u ms", (unsigned)asked_ms);
  interval_max_ms = 20000;
  static const struct {
    enum tlx_grpc_code code;
    bool is_answered;
  } ends[] = {{TLX_GRPC_RESOURCE_EXHAUSTED, true}, {TLX_GRPC_INTERNAL, true},
              {TLX_GRPC_INVALID_ARGUMENT, true},   {TLX_GRPC_UNAVAILABLE, true},
              {TLX_GRPC_UNAVAILABLE, false},       {TLX_GRPC_DEADLINE_EXCEEDED, false}};
  unsigned n_answered = 0;
  for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
    uplink_beat(uplink);
    was_answered = ends[i].is_answered;
    n_answered += was_answered;
    answer(ends[i].code);
    cr_assert_eq(n_failed, i + 1);
    cr_assert_eq(n_failed_answered, n_answered, "%s", tlx_grpc_code_name(ends[i].code));
    cr_assert_eq(asked_ms, 20000, "%u ms", (unsigned)asked_ms);
  }
  uplink_beat(uplink);
  answer(TLX_GRPC_OK);
  cr_assert_eq(n_failed, sizeof ends / sizeof *ends);
  cr_assert_eq(asked_ms, 20000, "%u ms", (unsigned)asked_ms);
  interval_max_ms = 0;
  uplink_beat(uplink);
  answer(TLX_GRPC_OK);
  cr_assert_geq(asked_ms, 54000, "%u ms", (unsigned)asked_ms);
  uplink_close(uplink, NULL, NULL);
  loop_done(&loop);
}
