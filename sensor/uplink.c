// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/uplink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"

#define HEARTBEAT_TIMEOUT_MS 10000u
#define FIRST_INTERVAL_MS 15000u
#define INTERVAL_MAX_MS (24ull * 3600 * 1000)
#define REFUSED_RETRY_MS (5u * 60 * 1000)
/* A wake stream that ended while the connection stands is opened again after a random part of this.
 */
#define WAKE_RETRY_MS 5000u

struct uplink {
  struct uplink_options options;
  struct tlx_channel *channel;
  uv_timer_t beat_timer, wake_timer;
  struct tlx_client_call *beat, *wake;
  enum uplink_state state;
  bool beat_again, was_connected, closing;
  bool is_refused, knows_refusal; /* as of the last answer */
  uint64_t interval_ms, n_reconnects, last_beat_wall_ms;
  struct tlx_tls_ctx *next_tls; /* waits for the heartbeat under way */
  char refused_reason[48];      /* what was logged; empty = we are not refused */
  char last_error[600];
  unsigned n_open;
  void (*closed)(void *arg);
  void *closed_arg;
};

static void send_beat(struct uplink *uplink);
static void open_wake(struct uplink *uplink);

static uint64_t random_below(uint64_t bound) {
  uint64_t value = 0;
  (void)tlx_random(&value, sizeof value);
  return bound ? value % bound : 0;
}

static void note_error(struct uplink *uplink, const struct tlx_status *status) {
  char shown[400];
  snprintf(uplink->last_error, sizeof uplink->last_error, "%s%s%s: %s",
           tlx_grpc_code_name(status->code), *status->reason ? " " : "", status->reason,
           tlx_text_escape(status->message, SIZE_MAX, shown, sizeof shown));
}

/* ---- timers ---- */

static void on_beat_timer(uv_timer_t *timer) {
  struct uplink *uplink = timer->data;
  if (uplink->state == UPLINK_REFUSED) {
    uplink->state = UPLINK_CONNECTING;
    tlx_channel_reconnect(uplink->channel);
  }
  send_beat(uplink);
}

/* Within a tenth of the interval, so that a fleet does not beat as one. */
static void arm_beat(struct uplink *uplink) {
  uint64_t tenth = uplink->interval_ms / 10, max_ms = 0;
  uint64_t ms = uplink->interval_ms - tenth + random_below(2 * tenth + 1);
  if (uplink->options.interval_max_ms)
    max_ms = uplink->options.interval_max_ms(uplink->options.arg);
  uv_timer_start(&uplink->beat_timer, on_beat_timer, max_ms && max_ms < ms ? max_ms : ms, 0);
}

static void on_wake_timer(uv_timer_t *timer) {
  open_wake(timer->data);
}

/* ---- heartbeat ---- */

static uint64_t refused_retry_ms(void) {
#ifndef TLX_RELEASE
  const char *text = getenv("TELOVIX_TEST_REFUSED_RETRY_MS");
  uint64_t ms;
  if (text && tlx_u64_parse(text, REFUSED_RETRY_MS, &ms) == 0) return ms;
#endif
  return REFUSED_RETRY_MS;
}

/* While it is tried again nobody knows anything new: what a refusal keeps in force stays. */
static void note_refusal(struct uplink *uplink, bool is_refused) {
  if (uplink->knows_refusal && uplink->is_refused == is_refused) return;
  uplink->knows_refusal = true;
  uplink->is_refused = is_refused;
  if (uplink->options.refusal) uplink->options.refusal(uplink->options.arg, is_refused);
}

/* Said once, however often it is tried again. */
static void refused(struct uplink *uplink, const char *reason) {
  if (strcmp(uplink->refused_reason, *reason ? reason : "unauthenticated") != 0)
    tlx_error(UPLINK,
              "the Console refuses this sensor, which keeps what it enforces and asks again every "
              "5 min or on SIGHUP: %s",
              uplink->last_error);
  snprintf(uplink->refused_reason, sizeof uplink->refused_reason, "%s",
           *reason ? reason : "unauthenticated");
  uplink->state = UPLINK_REFUSED;
  note_refusal(uplink, true);
  if (uplink->wake) tlx_client_call_cancel(uplink->wake);
  uv_timer_stop(&uplink->wake_timer);
  uv_timer_start(&uplink->beat_timer, on_beat_timer, refused_retry_ms(), 0);
  if (strcmp(reason, "certificate_expired") == 0 && uplink->options.expired)
    uplink->options.expired(uplink->options.arg);
}

static void on_beat_message(struct tlx_client_call *call, const ProtobufCMessage *message,
                            void *arg) {
  struct uplink *uplink = arg;
  if (uplink->closing) return;
  uint64_t interval_ms = uplink->options.reply(uplink->options.arg, (const void *)message);
  if (interval_ms)
    uplink->interval_ms = interval_ms < INTERVAL_MAX_MS ? interval_ms : INTERVAL_MAX_MS;
}

/* A new connection with what was set; the old one's wake stream ends with it. */
static void change_tls(struct uplink *uplink) {
  tlx_channel_set_tls(uplink->channel, uplink->next_tls);
  tlx_tls_ctx_unref(uplink->next_tls);
  uplink->next_tls = NULL;
  uplink->state = UPLINK_CONNECTING;
  tlx_channel_reconnect(uplink->channel);
}

static void on_beat_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct uplink *uplink = arg;
  uplink->beat = NULL;
  if (uplink->closing) return;
  if (status->code == TLX_GRPC_OK) {
    uplink->state = UPLINK_CONNECTED;
    uplink->refused_reason[0] = '\0';
    note_refusal(uplink, false);
    uplink->last_error[0] = '\0';
    uplink->last_beat_wall_ms = tlx_wall_ms(uplink->options.clock);
    if (uplink->next_tls) {
      change_tls(uplink);
      return;
    }
    open_wake(uplink);
    arm_beat(uplink);
    if (uplink->beat_again) send_beat(uplink);
    return;
  }
  uplink->options.failed(uplink->options.arg, tlx_client_call_was_answered(call));
  note_error(uplink, status);
  if (uplink->next_tls) {
    change_tls(uplink);
    return;
  }
  if (status->code == TLX_GRPC_UNAUTHENTICATED) {
    refused(uplink, status->reason);
    return;
  }
  tlx_warn(UPLINK, "heartbeat failed: %s", uplink->last_error);
  if (status->code == TLX_GRPC_DEADLINE_EXCEEDED) tlx_channel_reconnect(uplink->channel);
  /* The connection brings the next one when it is back; if it stands, the interval does. */
  arm_beat(uplink);
}

static void send_beat(struct uplink *uplink) {
  if (uplink->closing || uplink->state == UPLINK_REFUSED) return;
  if (uplink->beat) {
    uplink->beat_again = true;
    return;
  }
  if (tlx_channel_state(uplink->channel) != TLX_CHANNEL_READY) return; /* on_state sends it */
  Telovix__V1__HeartbeatRequest request = TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  uplink->beat_again = false;
  uplink->options.fill(uplink->options.arg, &request);
  struct tlx_client_call_options options = {.channel = uplink->channel,
                                            .path = "/telovix.v1.SensorService/Heartbeat",
                                            .request = &request.base,
                                            .reply = &telovix__v1__heartbeat_reply__descriptor,
                                            .timeout_ms = HEARTBEAT_TIMEOUT_MS,
                                            .message = on_beat_message,
                                            .done = on_beat_done,
                                            .arg = uplink};
  int err = tlx_client_call_start(&options, &uplink->beat);
  if (err) {
    tlx_error(UPLINK, "heartbeat cannot be sent: %s", tlx_err_text(err));
    uplink->options.failed(uplink->options.arg, false);
    arm_beat(uplink);
  }
}

/* ---- wake ---- */

static void on_wake(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  send_beat(arg);
}

static void on_wake_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct uplink *uplink = arg;
  uplink->wake = NULL;
  if (uplink->closing || uplink->next_tls || uplink->state == UPLINK_REFUSED) return;
  if (status->code == TLX_GRPC_UNAUTHENTICATED) {
    note_error(uplink, status);
    refused(uplink, status->reason);
    return;
  }
  tlx_debug(UPLINK, "wake stream ended: %s %s", tlx_grpc_code_name(status->code), status->reason);
  uv_timer_start(&uplink->wake_timer, on_wake_timer, random_below(WAKE_RETRY_MS), 0);
}

static void open_wake(struct uplink *uplink) {
  Telovix__V1__WakeRequest request = TELOVIX__V1__WAKE_REQUEST__INIT;
  if (uplink->options.no_wake || uplink->wake || uplink->closing ||
      uv_is_active((uv_handle_t *)&uplink->wake_timer) ||
      tlx_channel_state(uplink->channel) != TLX_CHANNEL_READY)
    return;
  struct tlx_client_call_options options = {.channel = uplink->channel,
                                            .path = "/telovix.v1.SensorService/Wake",
                                            .request = &request.base,
                                            .reply = &telovix__v1__wake_message__descriptor,
                                            .is_stream = true,
                                            .message = on_wake,
                                            .done = on_wake_done,
                                            .arg = uplink};
  int err = tlx_client_call_start(&options, &uplink->wake);
  if (err) tlx_warn(UPLINK, "wake stream cannot be opened: %s", tlx_err_text(err));
}

/* ---- connection ---- */

static void on_socket_made(void *arg, int fd) {
  struct uplink *uplink = arg;
  if (uplink->options.socket_made) uplink->options.socket_made(uplink->options.arg, fd);
}

static void on_state(void *arg, enum tlx_channel_state state, int err, const char *why) {
  struct uplink *uplink = arg;
  if (uplink->closing) return;
  switch (state) {
  case TLX_CHANNEL_READY:
    if (uplink->was_connected) uplink->n_reconnects++;
    uplink->was_connected = true;
    tlx_notice(UPLINK, "connected");
    uv_timer_stop(&uplink->wake_timer);
    send_beat(uplink);
    if (uplink->state != UPLINK_REFUSED) open_wake(uplink);
    return;
  case TLX_CHANNEL_FAILURE:
    if (uplink->state == UPLINK_CONNECTED) uplink->state = UPLINK_CONNECTING;
    snprintf(uplink->last_error, sizeof uplink->last_error, "%s", why);
    tlx_warn(UPLINK, "no connection: %s", why);
    return;
  default:
    return;
  }
}

/* ---- life ---- */

static void part_closed(struct uplink *uplink) {
  if (--uplink->n_open) return;
  void (*closed)(void *arg) = uplink->closed;
  void *arg = uplink->closed_arg;
  tlx_tls_ctx_unref(uplink->next_tls);
  free(uplink);
  if (closed) closed(arg);
}

static void on_timer_closed(uv_handle_t *handle) {
  part_closed(handle->data);
}

static void on_channel_closed(void *arg) {
  part_closed(arg);
}

int uplink_new(const struct uplink_options *options, struct uplink **ret_uplink) {
  struct uplink *uplink = calloc(1, sizeof *uplink);
  if (!uplink) return -ENOMEM;
  uplink->options = *options;
  uplink->interval_ms = FIRST_INTERVAL_MS;
  struct tlx_channel_options channel_options = {.loop = options->loop,
                                                .clock = options->clock,
                                                .tls_ctx = options->tls_ctx,
                                                .addresses = options->addresses,
                                                .n_addresses = options->n_addresses,
                                                .user_agent = "telovix-sensor/" TLX_VERSION,
                                                .stay_connected = true,
                                                .state_changed = on_state,
                                                .socket_made = on_socket_made,
                                                .arg = uplink};
  int err = tlx_channel_new(&channel_options, &uplink->channel);
  if (err) {
    free(uplink);
    return err;
  }
  uv_timer_init(options->loop, &uplink->beat_timer);
  uv_timer_init(options->loop, &uplink->wake_timer);
  uplink->beat_timer.data = uplink->wake_timer.data = uplink;
  uplink->n_open = 3;
  *ret_uplink = uplink;
  return 0;
}

void uplink_beat(struct uplink *uplink) {
  send_beat(uplink);
}

void uplink_set_addresses(struct uplink *uplink, const char *const *addresses, size_t n) {
  int err = tlx_channel_set_addresses(uplink->channel, addresses, n);
  if (err) tlx_warn(UPLINK, "new Console addresses are not used: %s", tlx_err_text(err));
}

void uplink_set_tls(struct uplink *uplink, struct tlx_tls_ctx *tls_ctx) {
  if (uplink->closing) return;
  tlx_tls_ctx_unref(uplink->next_tls);
  uplink->next_tls = tlx_tls_ctx_ref(tls_ctx);
  if (!uplink->beat) change_tls(uplink);
}

struct tlx_channel *uplink_channel(struct uplink *uplink) {
  return uplink->channel;
}

int uplink_socket(const struct uplink *uplink) {
  return tlx_channel_socket(uplink->channel);
}

void uplink_retry(struct uplink *uplink) {
  uplink->state = UPLINK_CONNECTING;
  tlx_channel_reconnect(uplink->channel);
}

void uplink_close(struct uplink *uplink, void (*closed)(void *arg), void *arg) {
  uplink->closing = true;
  uplink->closed = closed;
  uplink->closed_arg = arg;
  uv_close((uv_handle_t *)&uplink->beat_timer, on_timer_closed);
  uv_close((uv_handle_t *)&uplink->wake_timer, on_timer_closed);
  tlx_channel_close(uplink->channel, on_channel_closed, uplink);
}

/* ---- facts ---- */

enum uplink_state uplink_state(const struct uplink *uplink) {
  return uplink->state;
}

const char *uplink_state_name(enum uplink_state state) {
  static const char *const names[] = {"connecting", "connected", "refused"};
  return names[state];
}

const char *uplink_last_error(const struct uplink *uplink) {
  return uplink->last_error;
}

uint64_t uplink_reconnects(const struct uplink *uplink) {
  return uplink->n_reconnects;
}

uint64_t uplink_last_beat_wall_ms(const struct uplink *uplink) {
  return uplink->last_beat_wall_ms;
}
