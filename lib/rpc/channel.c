// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "rpc/channel_int.h"
#include "rpc/limits.h"

#define CONNECT_TIMEOUT_MS 10000u
#define BACKOFF_MIN_MS 1000u
#define BACKOFF_MAX_MS 60000u
#define KEEPALIVE_MS 20000u
#define KEEPALIVE_TIMEOUT_MS 10000u

static void try_next(struct tlx_channel *channel);

static void set_state(struct tlx_channel *channel, enum tlx_channel_state state, int err,
                      const char *why) {
  if (channel->state == state && state != TLX_CHANNEL_FAILURE) return;
  channel->state = state;
  if (channel->options.state_changed)
    channel->options.state_changed(channel->options.arg, state, err, why);
}

static bool is_wanted(const struct tlx_channel *channel) {
  if (channel->closing) return false;
  if (channel->options.stay_connected) return true;
  for (const struct tlx_client_call *call = channel->calls; call; call = call->next)
    if (call->state == CLIENT_CALL_WAITING) return true;
  return false;
}

/* ---- end of the channel ---- */

static void part_closed(struct tlx_channel *channel) {
  if (--channel->n_open) return;
  void (*closed)(void *arg) = channel->closed;
  void *arg = channel->closed_arg;
  for (unsigned i = 0; i < channel->n_addresses; i++)
    free(channel->addresses[i]);
  free(channel->user_agent);
  tlx_tls_ctx_unref(channel->options.tls_ctx);
  free(channel);
  if (closed) closed(arg);
}

static void on_part_closed(void *arg) {
  part_closed(arg);
}

static void on_retry_closed(uv_handle_t *handle) {
  part_closed(handle->data);
}

/* Group, deadlines and timer go when the last connection is gone. */
static void close_rest(struct tlx_channel *channel) {
  if (!channel->closing || channel->n_open != 3) return;
  tlx_conn_group_close(&channel->group, on_part_closed, channel);
  tlx_deadlines_close(&channel->deadlines, on_part_closed, channel);
  uv_close((uv_handle_t *)&channel->retry, on_retry_closed);
}

/* ---- back-off ---- */

static void start_connecting(struct tlx_channel *channel) {
  channel->n_tried = 0;
  set_state(channel, TLX_CHANNEL_CONNECTING, 0, "");
  try_next(channel);
}

static void on_retry(uv_timer_t *timer) {
  struct tlx_channel *channel = timer->data;
  /* A call that came first has begun the attempt already. */
  if (channel->state != TLX_CHANNEL_IDLE && channel->state != TLX_CHANNEL_FAILURE) return;
  if (is_wanted(channel))
    start_connecting(channel);
  else
    set_state(channel, TLX_CHANNEL_IDLE, 0, "");
}

/* Full jitter: a fleet that lost its server at one moment does not come back at one moment. */
static void retry_later(struct tlx_channel *channel) {
  uint64_t bound_ms = channel->options.backoff_min_ms, random = 0;
  for (uint32_t i = 1; i < channel->n_failures && bound_ms < channel->options.backoff_max_ms; i++)
    bound_ms *= 2;
  if (bound_ms > channel->options.backoff_max_ms) bound_ms = channel->options.backoff_max_ms;
  (void)tlx_random(&random, sizeof random); /* without randomness there is no jitter */
  uv_timer_start(&channel->retry, on_retry, random % (bound_ms + 1), 0);
}

static void attempt_failed(struct tlx_channel *channel, int err) {
  struct tlx_status status;
  channel->n_failures++;
  set_state(channel, TLX_CHANNEL_FAILURE, err, channel->last_error);
  tlx_status_set(&status, TLX_GRPC_UNAVAILABLE, "connection_failed", "%s", channel->last_error);
  tlx_client_calls_fail_waiting(channel, false, &status);
  if (channel->closing || channel->state != TLX_CHANNEL_FAILURE) return;
  if (is_wanted(channel))
    retry_later(channel);
  else
    set_state(channel, TLX_CHANNEL_IDLE, 0, "");
}

/* ---- connections ---- */

static void on_ready(void *ctx, struct tlx_conn *conn) {
  struct channel_conn *cconn = ctx;
  struct tlx_channel *channel = cconn->channel;
  cconn->is_ready = true;
  if (channel->current != cconn) return;
  channel->n_failures = 0;
  channel->last_error[0] = '\0';
  if (channel->resolved) uv_freeaddrinfo(channel->resolved);
  channel->resolved = channel->next_resolved = NULL;
  set_state(channel, TLX_CHANNEL_READY, 0, "");
  tlx_channel_send_waiting(channel);
}

static void on_conn_closed(void *ctx, struct tlx_conn *conn, int err, const char *why) {
  struct channel_conn *cconn = ctx;
  struct tlx_channel *channel = cconn->channel;
  bool was_current = channel->current == cconn, was_ready = cconn->is_ready;
  if (was_current) channel->current = NULL;
  if (was_current && !channel->closing) {
    snprintf(channel->last_error, sizeof channel->last_error, "%s: %s", tlx_conn_peer_address(conn),
             *why ? why : tlx_err_text(err ? err : TLX_E_CLOSED));
    if (!was_ready) {
      try_next(channel);
    } else if (is_wanted(channel)) {
      set_state(channel, TLX_CHANNEL_FAILURE, err ? err : TLX_E_CLOSED, channel->last_error);
      retry_later(channel);
    } else {
      set_state(channel, TLX_CHANNEL_IDLE, err, channel->last_error);
    }
  }
  tlx_conn_unref(cconn->conn);
  free(cconn);
  channel->n_open--;
  close_rest(channel);
}

static const struct tlx_conn_events conn_events = {.ready = on_ready, .closed = on_conn_closed};

static int connect_to(struct tlx_channel *channel, const struct sockaddr *address) {
  struct channel_conn *cconn = calloc(1, sizeof *cconn);
  if (!cconn) return -ENOMEM;
  cconn->channel = channel;
  struct tlx_conn_options options = {
      .group = &channel->group,
      .tls_ctx = channel->options.tls_ctx,
      .h2_events = &tlx_client_h2_events,
      .events = &conn_events,
      .ctx = cconn,
      .socket_made = channel->options.socket_made,
      .socket_arg = channel->options.arg,
      .handshake_timeout_ms = channel->options.connect_timeout_ms,
      .keepalive_ms = channel->keepalive_ms,
      .keepalive_timeout_ms = channel->options.keepalive_timeout_ms,
  };
  int err = tlx_conn_connect(&options, address, &cconn->conn);
  if (err) {
    free(cconn);
    return err;
  }
  tlx_conn_ref(cconn->conn);
  channel->current = cconn;
  channel->n_open++;
  return 0;
}

/* ---- addresses ---- */

static void note_failure(struct tlx_channel *channel, const char *address, const char *why) {
  snprintf(channel->last_error, sizeof channel->last_error, "%s: %s", address, why);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *result) {
  struct tlx_channel *channel = request->data;
  channel->resolving = false;
  channel->n_open--;
  if (channel->closing) {
    uv_freeaddrinfo(result);
    close_rest(channel);
    return;
  }
  const char *address = channel->addresses[channel->next_address % channel->n_addresses];
  if (status < 0) {
    char why[128];
    snprintf(why, sizeof why, "the name cannot be resolved: %s", uv_strerror(status));
    note_failure(channel, address, why);
  } else {
    channel->resolved = channel->next_resolved = result;
  }
  channel->next_address = (channel->next_address + 1) % channel->n_addresses;
  try_next(channel);
}

static int resolve(struct tlx_channel *channel, const char *address) {
  char host[256], service[8];
  uint16_t port;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  if (tlx_address_parse(address, host, &port) != 0) return -EINVAL;
  snprintf(service, sizeof service, "%u", port);
  channel->resolver.data = channel;
  int err =
      uv_getaddrinfo(channel->options.loop, &channel->resolver, on_resolved, host, service, &hints);
  if (err) return err;
  channel->resolving = true;
  channel->n_open++;
  return 0;
}

/* The next resolved address, or the next configured one, or the attempt has failed. */
static void try_next(struct tlx_channel *channel) {
  while (channel->next_resolved) {
    struct addrinfo *at = channel->next_resolved;
    channel->next_resolved = at->ai_next;
    int err = connect_to(channel, at->ai_addr);
    if (!err) return;
    note_failure(channel, "connect", tlx_err_text(err));
  }
  if (channel->resolved) uv_freeaddrinfo(channel->resolved);
  channel->resolved = NULL;
  while (channel->n_tried < channel->n_addresses) {
    const char *address = channel->addresses[channel->next_address % channel->n_addresses];
    channel->n_tried++;
    int err = resolve(channel, address);
    if (!err) return;
    note_failure(channel, address, tlx_err_text(err));
    channel->next_address = (channel->next_address + 1) % channel->n_addresses;
  }
  attempt_failed(channel, -ECONNREFUSED);
}

/* ---- what calls ask for ---- */

void tlx_channel_want(struct tlx_channel *channel) {
  if (channel->state == TLX_CHANNEL_IDLE) start_connecting(channel);
}

void tlx_channel_send_waiting(struct tlx_channel *channel) {
  /* Newest first in the list; the oldest is to go first. */
  struct tlx_client_call *oldest = NULL;
  while (channel->state == TLX_CHANNEL_READY && channel->current) {
    oldest = NULL;
    for (struct tlx_client_call *call = channel->calls; call; call = call->next)
      if (call->state == CLIENT_CALL_WAITING) oldest = call;
    if (!oldest || tlx_client_call_send(oldest, channel->current) != 0) return;
  }
}

void tlx_channel_goaway(struct channel_conn *cconn, uint32_t error, const uint8_t *debug,
                        size_t len) {
  struct tlx_channel *channel = cconn->channel;
  static const char pings[] = "too_many_pings";
  if (error == 11 && len == sizeof pings - 1 && memcmp(debug, pings, len) == 0) {
    channel->keepalive_ms *= 2;
    tlx_warn(RPC, "the server finds our keep-alive too frequent: now every %u s",
             channel->keepalive_ms / 1000);
  }
  tlx_conn_close_when_idle(cconn->conn);
  if (channel->current != cconn) return;
  channel->current = NULL;
  snprintf(channel->last_error, sizeof channel->last_error, "%s: the server is going away",
           tlx_conn_peer_address(cconn->conn));
  if (channel->closing) return;
  if (is_wanted(channel)) {
    set_state(channel, TLX_CHANNEL_FAILURE, TLX_E_CLOSED, channel->last_error);
    retry_later(channel);
  } else {
    set_state(channel, TLX_CHANNEL_IDLE, 0, "");
  }
}

/* ---- public ---- */

int tlx_channel_set_addresses(struct tlx_channel *channel, const char *const *addresses, size_t n) {
  char *copies[CHANNEL_ADDRESSES_MAX] = {0};
  if (n == 0 || n > CHANNEL_ADDRESSES_MAX) return -EINVAL;
  for (size_t i = 0; i < n; i++) {
    copies[i] = strdup(addresses[i]);
    if (!copies[i]) {
      while (i--)
        free(copies[i]);
      return -ENOMEM;
    }
  }
  for (unsigned i = 0; i < channel->n_addresses; i++)
    free(channel->addresses[i]);
  memcpy(channel->addresses, copies, sizeof copies);
  channel->n_addresses = (unsigned)n;
  channel->next_address = 0;
  return 0;
}

static void apply_defaults(struct tlx_channel_options *options) {
  if (!options->connect_timeout_ms) options->connect_timeout_ms = CONNECT_TIMEOUT_MS;
  if (!options->backoff_min_ms) options->backoff_min_ms = BACKOFF_MIN_MS;
  if (!options->backoff_max_ms) options->backoff_max_ms = BACKOFF_MAX_MS;
  if (!options->keepalive_ms) options->keepalive_ms = KEEPALIVE_MS;
  if (!options->keepalive_timeout_ms) options->keepalive_timeout_ms = KEEPALIVE_TIMEOUT_MS;
}

int tlx_channel_new(const struct tlx_channel_options *options, struct tlx_channel **ret_channel) {
  struct tlx_channel *channel = calloc(1, sizeof *channel);
  if (!channel) return -ENOMEM;
  channel->options = *options;
  apply_defaults(&channel->options);
  channel->keepalive_ms = channel->options.keepalive_ms;
  channel->user_agent =
      strdup(options->user_agent ? options->user_agent : "telovix-c/" TLX_VERSION);
  int err = channel->user_agent ? 0 : -ENOMEM;
  if (!err) err = tlx_channel_set_addresses(channel, options->addresses, options->n_addresses);
  if (!err) err = tlx_conn_group_init(&channel->group, options->loop, options->clock);
  if (err) {
    for (unsigned i = 0; i < channel->n_addresses; i++)
      free(channel->addresses[i]);
    free(channel->user_agent);
    free(channel);
    return err;
  }
  tlx_tls_ctx_ref(options->tls_ctx);
  tlx_deadlines_init(&channel->deadlines, options->loop, options->clock);
  uv_timer_init(options->loop, &channel->retry);
  channel->retry.data = channel;
  channel->n_open = 3;
  *ret_channel = channel;
  /* At once, but not inside this call: the caller does not have the pointer yet. */
  if (options->stay_connected) uv_timer_start(&channel->retry, on_retry, 0, 0);
  return 0;
}

enum tlx_channel_state tlx_channel_state(const struct tlx_channel *channel) {
  return channel->closing ? TLX_CHANNEL_CLOSED : channel->state;
}

void tlx_channel_set_tls(struct tlx_channel *channel, struct tlx_tls_ctx *tls_ctx) {
  tlx_tls_ctx_ref(tls_ctx);
  tlx_tls_ctx_unref(channel->options.tls_ctx);
  channel->options.tls_ctx = tls_ctx;
}

void tlx_channel_reconnect(struct tlx_channel *channel) {
  if (channel->closing) return;
  struct channel_conn *old = channel->current;
  channel->n_failures = 0;
  channel->current = NULL;
  if (old) tlx_conn_close(old->conn, TLX_E_CLOSED, "reconnecting");
  if (channel->resolving) return; /* an attempt has just begun */
  uv_timer_stop(&channel->retry);
  start_connecting(channel);
}

size_t tlx_channel_peer_chain(const struct tlx_channel *channel,
                              const struct tlx_bytes **ret_chain) {
  if (channel->state != TLX_CHANNEL_READY || !channel->current) return 0;
  return tlx_conn_peer_chain(channel->current->conn, ret_chain);
}

int tlx_channel_socket(const struct tlx_channel *channel) {
  return channel->current ? tlx_conn_socket(channel->current->conn) : -1;
}

const char *tlx_channel_last_error(const struct tlx_channel *channel) {
  return channel->last_error;
}

void tlx_channel_close(struct tlx_channel *channel, void (*closed)(void *arg), void *arg) {
  struct tlx_status status;
  if (channel->closing) return;
  channel->closing = true;
  channel->closed = closed;
  channel->closed_arg = arg;
  uv_timer_stop(&channel->retry);
  tlx_status_set(&status, TLX_GRPC_CANCELLED, "channel_closed", "the channel was closed");
  tlx_client_calls_fail_waiting(channel, true, &status);
  if (channel->resolving) uv_cancel((uv_req_t *)&channel->resolver);
  if (channel->resolved) uv_freeaddrinfo(channel->resolved);
  channel->resolved = channel->next_resolved = NULL;
  if (channel->current) tlx_conn_close(channel->current->conn, 0, "");
  channel->current = NULL;
  close_rest(channel);
}
