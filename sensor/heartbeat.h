// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/clock.h"
#include "sensor/host.h"
#include "sensor/kill.h"
#include "sensor/state.h"
#include "telovix/v1/sensor.pb-c.h"

/* What a heartbeat says and what its answer asks for. Loop thread. */

/* Results of one request: the rest goes with the next one (console/op_report.h takes 128). */
#define HEARTBEAT_RESULTS_MAX 128u
/* Orders that are still alive at one time and not yet told. */
#define HEARTBEAT_PROGRESS_MAX 64u

/* Embedded by the owner, who fills clock, host, state and scope_cgroup (all outlive it). */
struct heartbeat {
  const struct tlx_clock *clock;
  const struct host *host;
  struct state *state;
  const char *scope_cgroup;
  struct tlx_arena arena; /* of the request that is filled */
  bool facts_told, facts_in_flight;
  /* STILL_ALIVE is told once and not kept on disk: the end is what counts. */
  struct kill_result progress[HEARTBEAT_PROGRESS_MAX];
  unsigned n_progress, n_progress_in_flight;
  uint64_t n_kills, n_reconnects;            /* counters that the owner keeps */
  uint64_t usage_mono_ms, rss_bytes, cpu_ms; /* last measured; 0 = never */
  bool has_more;                             /* not all results fit */
  const char *renewal_error;                 /* the owner's; NULL = none */
  /* The end of the certificate that the Console showed: it cannot tell a time behind that. 0 =
   * none. */
  uint64_t console_time_max_wall_ms;
};

/* Prepares what the owner has filled; cannot fail. */
void heartbeat_init(struct heartbeat *heartbeat);
/* Frees. An all-zero one is fine. */
void heartbeat_done(struct heartbeat *heartbeat);
/* Everything that is to be told, into |request| (initialized by the caller), in the heartbeat's
 * memory: valid until the next fill. Results that do not fit set has_more. boot_ns is read last, so
 * that it is never newer than the sending. */
void heartbeat_fill(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request);
/* What was filled has arrived; forgets what the Console acknowledged, and remembers what it told.
 * Returns the interval in ms, 0 = as before. */
uint64_t heartbeat_apply(struct heartbeat *heartbeat, const Telovix__V1__HeartbeatReply *reply);
/* What was filled may not have arrived: facts and progress are told again with the next fill. */
void heartbeat_retry(struct heartbeat *heartbeat);
/* Something to tell once: a process that was signalled and does not end. Copied; dropped when
 * HEARTBEAT_PROGRESS_MAX wait. */
void heartbeat_add_progress(struct heartbeat *heartbeat, const struct kill_result *result);
/* Serialized telovix.v1.KillResult, as kept on disk and sent. Sticky error in |buf|. */
void heartbeat_pack_result(const struct kill_result *result, struct tlx_buf *buf);
/* An order of a reply in our own form; guard_exe borrows from |pending|. False when it cannot be
 * one, and then |ret_order| is untouched. */
bool heartbeat_read_order(const Telovix__V1__PendingKill *pending, struct kill_order *ret_order);
