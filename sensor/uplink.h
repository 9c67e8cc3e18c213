// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "rpc/channel.h"
#include "rpc/tls_ctx.h"
#include "telovix/v1/sensor.pb-c.h"

/* The link to the Console: one connection, a heartbeat in its interval or at once when something
 * happened, a wake stream beside it, and silence when the Console refuses us (spec §4). It knows no
 * orders: its owner fills requests and takes replies. Loop thread. */
struct uplink;

enum uplink_state {
  UPLINK_CONNECTING, /* no connection; tries again by itself */
  UPLINK_CONNECTED,  /* heartbeats go out */
  UPLINK_REFUSED,    /* 401: heartbeats stopped, tried again every 5 min or when told */
};

struct uplink_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  struct tlx_tls_ctx *tls_ctx;
  const char *const *addresses;
  size_t n_addresses;
  bool no_wake; /* tests: live from the heartbeat interval alone */
  /* Fills |request|, which is packed when the function returns. */
  void (*fill)(void *arg, Telovix__V1__HeartbeatRequest *request);
  /* The request that was filled last was received; |reply| lives for the callback. Returns the
   * interval to the next heartbeat. */
  uint64_t (*reply)(void *arg, const Telovix__V1__HeartbeatReply *reply);
  /* It was not, or nobody knows. |was_answered|: the Console is there all the same, and said so. */
  void (*failed)(void *arg, bool was_answered);
  /* The longest that may pass from one heartbeat to the next as things are, whatever the Console
   * asks for; 0 = any time. Asked after each heartbeat. NULL = any time. */
  uint64_t (*interval_max_ms)(void *arg);
  /* We are refused because the certificate has ended (may be NULL): a call over uplink_channel may
   * renew it. Comes with each try. */
  void (*expired)(void *arg);
  /* The Console refuses this sensor (401), or has accepted a heartbeat of it again: told whenever
   * it is another one of these, and with the first answer. Neither a lost connection nor a new try
   * changes it. NULL = nobody asks. */
  void (*refusal)(void *arg, bool is_refused);
  /* Each new socket before its connect(2). */
  void (*socket_made)(void *arg, int fd);
  void *arg;
};

/* Starts to connect in the next turn of the loop. What |options| points to must outlive it, but for
 * the addresses, which are copied. 0, -EINVAL (no address) or -ENOMEM. */
int uplink_new(const struct uplink_options *options, struct uplink **ret_uplink);
/* Something is to be told: a heartbeat goes out at once, or as soon as there is a connection; one
 * that is under way is followed by another. */
void uplink_beat(struct uplink *uplink);
/* Other addresses from the next connection on. */
void uplink_set_addresses(struct uplink *uplink, const char *const *addresses, size_t n);
/* Another identity or other trust (referenced): the connection is made anew with it as soon as no
 * heartbeat is under way, so that nothing of the former identity arrives behind it. Ends the
 * silence after a refusal. */
void uplink_set_tls(struct uplink *uplink, struct tlx_tls_ctx *tls_ctx);
/* The channel, for other calls than heartbeats; borrowed, until uplink_close. */
struct tlx_channel *uplink_channel(struct uplink *uplink);
/* SIGHUP: ends the silence after a refusal, and any wait. */
void uplink_retry(struct uplink *uplink);
/* Ends the connection; no callback of |options| comes after the call. |closed| when all handles are
 * closed and the memory is gone. */
void uplink_close(struct uplink *uplink, void (*closed)(void *arg), void *arg);

/* Descriptor of the connection that is being made or stands; borrowed, for this turn of the loop;
 * -1 = none. */
int uplink_socket(const struct uplink *uplink);

/* ---- facts, for `status` ---- */
/* Where the link stands. */
enum uplink_state uplink_state(const struct uplink *uplink);
/* "connecting", "connected", "refused". Static storage. */
const char *uplink_state_name(enum uplink_state state);
/* Why the last heartbeat or connection failed, escaped; empty = it did not. Lives with |uplink|. */
const char *uplink_last_error(const struct uplink *uplink);
/* Connections after the first one. */
uint64_t uplink_reconnects(const struct uplink *uplink);
/* Wall time of the last answered heartbeat; 0 = none. */
uint64_t uplink_last_beat_wall_ms(const struct uplink *uplink);
