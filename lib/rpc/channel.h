// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "rpc/tls_ctx.h"

/* A client's link to one server that may have several addresses: connects when a call needs it (or
 * when told), reconnects with exponential back-off and full jitter, keeps alive, honours GOAWAY.
 * gRPC's connectivity states. Loop thread. */
struct tlx_channel;

enum tlx_channel_state {
  TLX_CHANNEL_IDLE,       /* no connection, none wanted */
  TLX_CHANNEL_CONNECTING, /* TCP, TLS or SETTINGS under way */
  TLX_CHANNEL_READY,      /* calls go out at once */
  TLX_CHANNEL_FAILURE,    /* last attempt failed; the next one waits for its back-off */
  TLX_CHANNEL_CLOSED,
};

struct tlx_channel_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  struct tlx_tls_ctx *tls_ctx;  /* referenced */
  const char *const *addresses; /* HOST:PORT each, tried in turn; copied; names are resolved */
  size_t n_addresses;
  const char *user_agent;                      /* copied; NULL = "telovix-c/VERSION" */
  uint32_t connect_timeout_ms;                 /* TCP + TLS; 0 = 10 s */
  uint32_t backoff_min_ms, backoff_max_ms;     /* 0 = 1 s, 60 s; first retry waits random(0, min) */
  uint32_t keepalive_ms, keepalive_timeout_ms; /* 0 = 20 s, 10 s; pings only while a call runs */
  bool stay_connected;                         /* connect at once and after each loss */
  /* Each new socket before its connect(2), so that it can be told apart on the host before its
   * first packet (may be NULL). |fd| stays the channel's. */
  void (*socket_made)(void *arg, int fd);
  /* Each change of state (may be NULL). |err|, |why| of a failure in words for the log. */
  void (*state_changed)(void *arg, enum tlx_channel_state state, int err, const char *why);
  void *arg;
};

/* Makes a channel without connecting, unless stay_connected: then the first attempt begins in the
 * next turn of the loop. 0; -EINVAL (no address, or more than 16), -ENOMEM, or a negative errno of
 * the loop. */
int tlx_channel_new(const struct tlx_channel_options *options, struct tlx_channel **ret_channel);
/* Where it stands; TLX_CHANNEL_CLOSED from tlx_channel_close on. */
enum tlx_channel_state tlx_channel_state(const struct tlx_channel *channel);
/* Other addresses (1 to 16, copied) from the next connection on; the present one lives. 0, -EINVAL
 * or -ENOMEM, and then the old ones stay. */
int tlx_channel_set_addresses(struct tlx_channel *channel, const char *const *addresses, size_t n);
/* Other identity or trust (referenced) from the next connection on. */
void tlx_channel_set_tls(struct tlx_channel *channel, struct tlx_tls_ctx *tls_ctx);
/* Drops the connection (calls end UNAVAILABLE) and connects again at once, without back-off. */
void tlx_channel_reconnect(struct tlx_channel *channel);
/* Descriptor of the connection that is being made or ready; borrowed, for this turn of the loop; -1
 * = none. */
int tlx_channel_socket(const struct tlx_channel *channel);
/* Peer chain of the ready connection, leaf first, DER each; borrowed, lives with the connection.
 * Returns how many; 0 when not ready, and then |ret_chain| is untouched. */
size_t tlx_channel_peer_chain(const struct tlx_channel *channel,
                              const struct tlx_bytes **ret_chain);
/* Why the last connection attempt failed, with the address, in words; empty = it did not. Lives
 * until the channel changes state. */
const char *tlx_channel_last_error(const struct tlx_channel *channel);
/* Ends all calls with CANCELLED, closes; |closed| when all handles are closed and the memory is
 * gone. */
void tlx_channel_close(struct tlx_channel *channel, void (*closed)(void *arg), void *arg);
