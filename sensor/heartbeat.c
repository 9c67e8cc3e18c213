// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/heartbeat.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"

#define USAGE_MS 1000u

void heartbeat_init(struct heartbeat *heartbeat) {
  tlx_arena_init(&heartbeat->arena, TLX_ARENA_MAX);
}

void heartbeat_done(struct heartbeat *heartbeat) {
  tlx_arena_done(&heartbeat->arena);
}

/* ---- results ---- */

static void to_message(const struct kill_result *result, Telovix__V1__KillResult *message) {
  *message = (Telovix__V1__KillResult)TELOVIX__V1__KILL_RESULT__INIT;
  message->order_id = (char *)result->order_id;
  message->state = (Telovix__V1__KillState)result->state;
  message->error_number = result->error_number;
  message->detail = (char *)result->detail;
  message->process_state = (char *)result->process_state;
  message->signalled_boot_ns = result->signalled_boot_ns;
  message->observed_boot_ns = result->observed_boot_ns;
  message->boot_id = (ProtobufCBinaryData){sizeof result->boot_id, (uint8_t *)result->boot_id};
  message->start_ticks = result->start_ticks;
  message->comm = (char *)result->comm;
}

void heartbeat_pack_result(const struct kill_result *result, struct tlx_buf *buf) {
  Telovix__V1__KillResult message;
  char comm[PROC_COMM_LEN];
  to_message(result, &message);
  /* A process may call itself anything; the wire takes UTF-8 alone. Whoever shows it escapes it. */
  memcpy(comm, result->comm, sizeof comm);
  tlx_text_utf8_repair(comm);
  message.comm = comm;
  tlx_pb_pack(&message.base, buf);
}

struct filling {
  struct heartbeat *heartbeat;
  Telovix__V1__HeartbeatRequest *request;
};

static bool add_packed(struct filling *filling, struct tlx_bytes packed) {
  Telovix__V1__HeartbeatRequest *request = filling->request;
  ProtobufCMessage *message;
  if (request->n_kill_results == HEARTBEAT_RESULTS_MAX) {
    filling->heartbeat->has_more = true;
    return false;
  }
  if (tlx_pb_unpack_trusted(&telovix__v1__kill_result__descriptor, packed,
                            &filling->heartbeat->arena, &message) == 0)
    request->kill_results[request->n_kill_results++] = (void *)message;
  return true;
}

static bool add_result(void *arg, const char *order_id, struct tlx_bytes result) {
  return add_packed(arg, result);
}

static void fill_results(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request) {
  struct filling filling = {heartbeat, request};
  struct tlx_buf packed = {0};
  request->kill_results =
      tlx_arena_alloc(&heartbeat->arena, HEARTBEAT_RESULTS_MAX * sizeof *request->kill_results);
  if (!request->kill_results) return;
  heartbeat->has_more = false;
  for (unsigned i = 0; i < heartbeat->n_progress; i++) {
    packed.len = 0;
    heartbeat_pack_result(&heartbeat->progress[i], &packed);
    if (!packed.err) add_packed(&filling, (struct tlx_bytes){packed.data, packed.len});
  }
  heartbeat->n_progress_in_flight = heartbeat->n_progress;
  tlx_buf_done(&packed);
  state_result_each(heartbeat->state, add_result, &filling);
}

void heartbeat_add_progress(struct heartbeat *heartbeat, const struct kill_result *result) {
  if (heartbeat->n_progress < HEARTBEAT_PROGRESS_MAX)
    heartbeat->progress[heartbeat->n_progress++] = *result;
}

/* ---- request ---- */

static void fill_facts(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request) {
  static char version[] = TLX_VERSION;
  request->sensor_version = version;
  request->scope_cgroup = (char *)heartbeat->scope_cgroup;
  if (heartbeat->renewal_error) request->renewal_error = (char *)heartbeat->renewal_error;
  request->kills_refused = !heartbeat->host->in_initial_namespaces;
  heartbeat->facts_in_flight = !heartbeat->facts_told;
  if (heartbeat->facts_told) return;
  Telovix__V1__HostFacts *facts = tlx_arena_alloc(&heartbeat->arena, sizeof *facts);
  if (!facts) return;
  *facts = (Telovix__V1__HostFacts)TELOVIX__V1__HOST_FACTS__INIT;
  facts->kernel_release = (char *)heartbeat->host->kernel_release;
  facts->architecture = (char *)heartbeat->host->architecture;
  facts->os_name = (char *)heartbeat->host->os_name;
  facts->sensor_version = version;
  request->facts = facts;
}

static void fill_head(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request) {
  struct tlx_arena *arena = &heartbeat->arena;
  uint8_t hash[32];
  uint64_t seq = state_audit_head(heartbeat->state, hash);
  Telovix__V1__AuditHead *head = seq ? tlx_arena_alloc(arena, sizeof *head) : NULL;
  if (head) {
    *head = (Telovix__V1__AuditHead)TELOVIX__V1__AUDIT_HEAD__INIT;
    head->seq = seq;
    head->hash.data = tlx_arena_memdup(arena, hash, sizeof hash);
    head->hash.len = head->hash.data ? sizeof hash : 0;
    request->audit_head = head;
  }
}

/* What we use of the host changes slowly; a result is not held up for it. */
static void measure_usage(struct heartbeat *heartbeat) {
  uint64_t now_mono_ms = tlx_mono_ms(heartbeat->clock);
  if (heartbeat->usage_mono_ms && now_mono_ms - heartbeat->usage_mono_ms < USAGE_MS) return;
  heartbeat->usage_mono_ms = now_mono_ms;
  host_usage(&heartbeat->rss_bytes, &heartbeat->cpu_ms);
}

static void fill_numbers(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request) {
  struct tlx_arena *arena = &heartbeat->arena;
  Telovix__V1__SensorUsage *usage = tlx_arena_alloc(arena, sizeof *usage);
  Telovix__V1__SensorCounters *counters = tlx_arena_alloc(arena, sizeof *counters);
  Google__Protobuf__Timestamp *wall = tlx_arena_alloc(arena, sizeof *wall);
  uint64_t wall_ms = tlx_wall_ms(heartbeat->clock);
  if (!usage || !counters || !wall) return;
  *usage = (Telovix__V1__SensorUsage)TELOVIX__V1__SENSOR_USAGE__INIT;
  *counters = (Telovix__V1__SensorCounters)TELOVIX__V1__SENSOR_COUNTERS__INIT;
  *wall = (Google__Protobuf__Timestamp)GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  measure_usage(heartbeat);
  usage->rss_bytes = heartbeat->rss_bytes;
  usage->cpu_ms = heartbeat->cpu_ms;
  counters->kills = heartbeat->n_kills;
  counters->reconnects = heartbeat->n_reconnects;
  counters->error_lines = tlx_log_error_count();
  wall->seconds = (int64_t)(wall_ms / 1000);
  wall->nanos = (int32_t)(wall_ms % 1000 * 1000000);
  request->usage = usage;
  request->counters = counters;
  request->wall_time = wall;
}

void heartbeat_fill(struct heartbeat *heartbeat, Telovix__V1__HeartbeatRequest *request) {
  tlx_arena_reset(&heartbeat->arena);
  fill_facts(heartbeat, request);
  fill_head(heartbeat, request);
  fill_numbers(heartbeat, request);
  fill_results(heartbeat, request);
  request->boot_id =
      (ProtobufCBinaryData){sizeof heartbeat->host->boot_id, (uint8_t *)heartbeat->host->boot_id};
  /* Last, so that it is not older than it must be; it may be older than the sending, never newer.
   */
  request->boot_ns = tlx_boot_ns(heartbeat->clock);
}

/* ---- reply ---- */

/* A log that ends before the record that we saw was cut or rolled back: the Console is told with
 * the next heartbeat, which keeps naming the highest one. */
static void take_head(struct heartbeat *heartbeat, const Telovix__V1__AuditHead *head) {
  uint8_t hash[32];
  uint64_t seq = state_audit_head(heartbeat->state, hash);
  if (!head || head->hash.len != sizeof hash || head->seq == 0) return;
  if (head->seq > seq) {
    state_set_audit_head(heartbeat->state, head->seq, head->hash.data);
  } else if (head->seq < seq || memcmp(head->hash.data, hash, sizeof hash) != 0) {
    tlx_error(UPLINK,
              "the Console's audit log was rewritten or rolled back: we saw record %llu, it now "
              "ends at %llu",
              (unsigned long long)seq, (unsigned long long)head->seq);
  }
}

/* A Console with a clock that is far ahead must not set ours for good: then its own certificate,
 * once its clock is right again, would look expired here. */
static void take_time(struct heartbeat *heartbeat, const Google__Protobuf__Timestamp *time) {
  if (!time || time->seconds <= 0) return;
  uint64_t wall_ms = (uint64_t)time->seconds * 1000;
  if (!heartbeat->console_time_max_wall_ms || wall_ms <= heartbeat->console_time_max_wall_ms)
    state_set_console_time(heartbeat->state, wall_ms);
}

uint64_t heartbeat_apply(struct heartbeat *heartbeat, const Telovix__V1__HeartbeatReply *reply) {
  uint64_t interval_ms = 0;
  if (heartbeat->facts_in_flight) heartbeat->facts_told = true;
  unsigned told = heartbeat->n_progress_in_flight;
  memmove(heartbeat->progress, heartbeat->progress + told,
          (heartbeat->n_progress - told) * sizeof *heartbeat->progress);
  heartbeat->n_progress -= told;
  heartbeat->n_progress_in_flight = 0;
  for (size_t i = 0; i < reply->n_acknowledged_order_ids; i++)
    state_result_remove(heartbeat->state, reply->acknowledged_order_ids[i]);
  take_head(heartbeat, reply->audit_head);
  take_time(heartbeat, reply->console_time);
  const Google__Protobuf__Duration *interval = reply->interval;
  if (interval && interval->seconds >= 0 && interval->seconds < 86400 && interval->nanos >= 0 &&
      interval->nanos < 1000000000)
    interval_ms = (uint64_t)interval->seconds * 1000 + (uint64_t)interval->nanos / 1000000;
  return interval_ms;
}

void heartbeat_retry(struct heartbeat *heartbeat) {
  heartbeat->facts_in_flight = false;
  heartbeat->n_progress_in_flight = 0;
}

bool heartbeat_read_order(const Telovix__V1__PendingKill *pending, struct kill_order *ret_order) {
  if (!tlx_id_valid("kill_", pending->order_id) ||
      pending->boot_id.len != sizeof ret_order->boot_id || pending->pid == 0 ||
      pending->pid > INT32_MAX)
    return false;
  *ret_order = (struct kill_order){
      .pid = pending->pid, .baseline_boot_ns = pending->baseline_boot_ns, .guard_exe = ""};
  snprintf(ret_order->order_id, sizeof ret_order->order_id, "%s", pending->order_id);
  memcpy(ret_order->boot_id, pending->boot_id.data, sizeof ret_order->boot_id);
  if (pending->guards) {
    ret_order->guard_start_ticks = pending->guards->start_ticks;
    ret_order->guard_exe = pending->guards->exe;
  }
  return true;
}
