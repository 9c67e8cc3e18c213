// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/deny.h"
#include "console/limits.h"
#include "console/op_report.h"
#include "console/peers.h"
#include "console/svc.h"
#include "console/watch.h"
#include "storage/audit_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "telovix/v1/sensor.pb-c.h"

/* What sensors say: heartbeat and wake stream (SensorService). An idle heartbeat reads a little and
 * writes nothing; anything durable goes through one op, and only what it committed is acknowledged.
 */

#define BOOT_ID_LEN 16

/* ---- the connection ---- */

/* Counts the connection once for its sensor; conn_closed gives it back. */
static struct live_sensor *sensor_of(struct tlx_call *call) {
  struct caller_conn *conn = tlx_call_conn_data(call);
  struct live_sensor *live = live_get(console_of(call)->live, caller_of(call)->name);
  if (live && !*conn->sensor_id) {
    strcpy(conn->sensor_id, live->sensor_id);
    live->n_conns++;
  }
  return live;
}

/* ---- heartbeat: checks ---- */

static void check_text(struct tlx_status *status, const char *field, const char *text, size_t max) {
  if (strlen(text) >= max)
    tlx_status_add_violation(status, field, "is longer than %zu bytes", max - 1);
}

static void check_heartbeat(const Telovix__V1__HeartbeatRequest *request,
                            struct tlx_status *status) {
  const struct op_report *op = NULL;
  if (request->boot_id.len != BOOT_ID_LEN)
    tlx_status_add_violation(status, "boot_id", "has %zu bytes instead of 16",
                             request->boot_id.len);
  if (request->boot_ns == 0) tlx_status_add_violation(status, "boot_ns", "is missing");
  check_text(status, "sensor_version", request->sensor_version, sizeof op->sensor_version);
  check_text(status, "scope_cgroup", request->scope_cgroup, sizeof op->scope_cgroup);
  for (size_t i = 0; i < request->n_kill_results; i++) {
    const Telovix__V1__KillResult *result = request->kill_results[i];
    char field[64];
    snprintf(field, sizeof field, "kill_results[%zu].order_id", i);
    if (!tlx_id_valid("kill_", result->order_id))
      tlx_status_add_violation(status, field, "is not the id of a kill order");
    snprintf(field, sizeof field, "kill_results[%zu].detail", i);
    check_text(status, field, result->detail, sizeof op->results->detail);
  }
  if (request->facts) {
    check_text(status, "facts.kernel_release", request->facts->kernel_release,
               sizeof op->kernel_release);
    check_text(status, "facts.architecture", request->facts->architecture, sizeof op->architecture);
    check_text(status, "facts.os_name", request->facts->os_name, sizeof op->os_name);
  }
}

/* A sensor remembers the newest audit record that it was told of; a log that has another one there,
 * or does not reach so far, was rewritten or cut (spec §7). */
static void check_witness(struct tlx_call *call, struct tlx_txn *txn,
                          const Telovix__V1__AuditHead *seen) {
  const struct console *console = console_of(call);
  if (!seen || seen->seq == 0 || seen->hash.len != TLX_SHA256_LEN) return;
  const Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, seen->seq);
  if (record && memcmp(record->hash.data, seen->hash.data, TLX_SHA256_LEN) == 0) return;
  char hex[2 * TLX_SHA256_LEN + 1], message[160];
  tlx_hex_format(seen->hash.data, TLX_SHA256_LEN, hex);
  snprintf(message, sizeof message, "the sensor saw %llu:%s; our newest record is %llu",
           (unsigned long long)seen->seq, hex, (unsigned long long)console->head.seq);
  tlx_error(AUDIT, "audit log fork: sensor=%s %s", caller_of(call)->name, message);
  deny_note(call, "audit_fork_reported", caller_of(call)->name, "audit_fork", message);
}

/* ---- heartbeat: reply ---- */

struct pending_list {
  struct tlx_arena *arena;
  Telovix__V1__PendingKill **list;
  size_t n;
  bool failed;
};

static bool add_pending(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct pending_list *pending = arg;
  if (record->state == TLX_ORDER_QUEUED || pending->n == OPEN_ORDERS_PER_SENSOR_MAX) return true;
  Telovix__V1__PendingKill *kill = convert_pending(record, pending->arena);
  if (!kill) {
    pending->failed = true;
    return false;
  }
  pending->list[pending->n++] = kill;
  return true;
}

static bool add_addresses(const struct console *console, Telovix__V1__HeartbeatReply *reply,
                          struct tlx_arena *arena) {
  const struct settings *settings = &console->settings;
  reply->console_addresses = tlx_arena_alloc(arena, SETTINGS_ADVERTISE_MAX * sizeof(char *));
  if (!reply->console_addresses) return false;
  for (unsigned i = 0; i < settings->n_advertise; i++) {
    char address[SETTINGS_ADDRESS_MAX];
    settings_address(settings, i, tlx_server_port(console->server), address);
    char *copy = tlx_arena_strdup(arena, address);
    if (!copy) return false;
    reply->console_addresses[reply->n_console_addresses++] = copy;
  }
  return true;
}

/* Answers from what is committed: orders that are handed out, and the ids that are acknowledged. */
static void answer(struct tlx_call *call, char (*acknowledged)[32], unsigned n_acknowledged) {
  struct console *console = console_of(call);
  struct tlx_arena *arena = tlx_call_arena(call);
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  Telovix__V1__DesiredName desired = TELOVIX__V1__DESIRED_NAME__INIT;
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  Telovix__V1__PendingKill *list[OPEN_ORDERS_PER_SENSOR_MAX];
  char *ids[REPORT_RESULTS_MAX];
  struct pending_list pending = {.arena = arena, .list = list};
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, caller_of(call)->name);
  tlx_order_each_open(txn, caller_of(call)->name, add_pending, &pending);
  if (!svc_read_ok(call, txn)) return;
  for (unsigned i = 0; i < n_acknowledged && i < REPORT_RESULTS_MAX; i++)
    ids[reply.n_acknowledged_order_ids++] = acknowledged[i];
  reply.acknowledged_order_ids = ids;
  reply.pending_kill_pids = list;
  reply.n_pending_kill_pids = pending.n;
  reply.interval = convert_duration(console->settings.heartbeat_interval_ms, arena);
  reply.console_time = convert_time(tlx_wall_ms(console->clock), arena);
  desired.epoch = (ProtobufCBinaryData){sizeof console->epoch, console->epoch};
  desired.generation = record ? record->desired_generation : 0;
  desired.digest = (ProtobufCBinaryData){sizeof console->set_digest, console->set_digest};
  reply.desired = &desired;
  head.seq = console->head.seq;
  head.hash = (ProtobufCBinaryData){sizeof console->head.hash, console->head.hash};
  reply.audit_head = &head;
  if (pending.failed || !reply.interval || !reply.console_time ||
      !add_addresses(console, &reply, arena))
    svc_fail(call, REASON_NO_MEMORY);
  else
    tlx_call_reply(call, &reply.base);
}

/* ---- heartbeat: what is durable ---- */

static void copy_results(struct op_report *op, const Telovix__V1__HeartbeatRequest *request) {
  for (size_t i = 0; i < request->n_kill_results && i < REPORT_RESULTS_MAX; i++) {
    const Telovix__V1__KillResult *from = request->kill_results[i];
    struct report_result *to = &op->results[op->n_results++];
    snprintf(to->order_id, sizeof to->order_id, "%s", from->order_id);
    snprintf(to->detail, sizeof to->detail, "%s", from->detail);
    snprintf(to->process_state, sizeof to->process_state, "%s", from->process_state);
    snprintf(to->comm, sizeof to->comm, "%s", from->comm);
    to->state = (uint32_t)from->state;
    to->error_number = from->error_number;
    to->signalled_boot_ns = from->signalled_boot_ns;
    to->observed_boot_ns = from->observed_boot_ns;
    to->start_ticks = from->start_ticks;
  }
}

static void copy_facts(struct op_report *op, const Telovix__V1__HeartbeatRequest *request) {
  const Telovix__V1__HostFacts *facts = request->facts;
  op->has_facts = true;
  snprintf(op->kernel_release, sizeof op->kernel_release, "%s", facts->kernel_release);
  snprintf(op->architecture, sizeof op->architecture, "%s", facts->architecture);
  snprintf(op->os_name, sizeof op->os_name, "%s", facts->os_name);
  snprintf(op->sensor_version, sizeof op->sensor_version, "%s", request->sensor_version);
  snprintf(op->scope_cgroup, sizeof op->scope_cgroup, "%s", request->scope_cgroup);
}

/* The same facts with every start of a sensor need not be written again. */
static bool facts_differ(const Telovix__V1__HeartbeatRequest *request,
                         const Telovix__Store__V1__SensorRecord *record) {
  const Telovix__V1__HostFacts *facts = request->facts;
  return facts && (strcmp(facts->kernel_release, record->kernel_release) != 0 ||
                   strcmp(facts->architecture, record->architecture) != 0 ||
                   strcmp(facts->os_name, record->os_name) != 0 ||
                   strcmp(request->sensor_version, record->sensor_version) != 0 ||
                   strcmp(request->scope_cgroup, record->scope_cgroup) != 0);
}

static bool find_queued(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  *(bool *)arg = record->state == TLX_ORDER_QUEUED;
  return !*(bool *)arg;
}

static void note_rejected(struct tlx_call *call, const struct op_report *op) {
  for (unsigned i = 0; i < REPORT_REJECT_COUNT; i++) {
    char message[64];
    if (!*op->rejected[i]) continue;
    snprintf(message, sizeof message, "result of %s", op->rejected[i]);
    deny_note(call, "sensor_rejected", op->sensor_id, report_reject_word(i), message);
  }
}

static void reported(struct op *base) {
  struct op_report *op = (void *)base;
  struct tlx_call *call = svc_op_call(base);
  struct console *console = console_of(call);
  if (base->status.code == TLX_GRPC_OK) {
    for (unsigned i = 0; i < op->n_changed; i++)
      watch_order_changed(console->watch, op->changed[i]);
    note_rejected(call, op);
    if (op->first_seen || op->n_changed) watch_sensor_changed(console->watch, op->sensor_id);
    answer(call, op->acknowledged, op->n_acknowledged);
  } else {
    svc_fail_status(call, &base->status);
  }
  tlx_call_unref(call);
  op_report_free(op);
}

static void submit_report(struct tlx_call *call, const Telovix__V1__HeartbeatRequest *request,
                          const struct live_sensor *live, bool first_seen, bool has_facts,
                          bool deliver) {
  struct op_report *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", live->sensor_id);
  copy_results(op, request);
  if (has_facts) copy_facts(op, request);
  op->first_seen = first_seen;
  op->deliver = deliver;
  snprintf(op->seen.sensor_id, sizeof op->seen.sensor_id, "%s", live->sensor_id);
  op->seen.last_seen_wall_ms = live->last_seen_wall_ms;
  op->seen.boot_ns = live->boot_ns;
  memcpy(op->seen.boot_id, live->boot_id, sizeof op->seen.boot_id);
  snprintf(op->seen.peer_address, sizeof op->seen.peer_address, "%s", live->peer_address);
  op->op.run = op_report_run;
  op->op.done = reported;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, NULL, NULL);
}

void svc_heartbeat(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__HeartbeatRequest *request = (const void *)message;
  struct console *console = console_of(call);
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  bool has_queued = false;
  tlx_status_clear(&status);
  check_heartbeat(request, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct live_sensor *live = sensor_of(call);
  if (!live) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, live->sensor_id);
  tlx_order_each_open(txn, live->sensor_id, find_queued, &has_queued);
  check_witness(call, txn, request->audit_head);
  if (!svc_read_ok(call, txn)) return;
  if (!record) {
    svc_fail(call, REASON_CERTIFICATE_UNKNOWN);
    return;
  }
  live_touch(console->live, live, request->boot_id.data, request->boot_ns,
             tlx_call_client_ip(call));
  peers_add(console->peers, tlx_call_client_ip(call));
  if (request->usage)
    live_usage(console->live, live, request->usage->rss_bytes, request->usage->cpu_ms,
               request->counters ? request->counters->error_lines : live->error_lines);
  watch_sensor_changed(console->watch, live->sensor_id);
  bool first_seen = record->trust_state == OP_TRUST_BOOTSTRAP_PENDING;
  bool has_facts = facts_differ(request, record);
  tlx_txn_abort(txn);
  txn = NULL;
  if (request->n_kill_results || first_seen || has_facts || has_queued)
    submit_report(call, request, live, first_seen, has_facts, has_queued);
  else
    answer(call, NULL, 0);
}

/* ---- wake ---- */

static void on_wake_cancelled(struct tlx_call *call, void *arg) {
  struct console *console = console_of(call);
  struct live_sensor *live = live_find(console->live, caller_of(call)->name);
  tlx_call_ref(call);
  if (live) live_drop_wake(console->live, live, call);
  tlx_call_end(call);
  tlx_call_unref(call);
}

void svc_wake(struct tlx_call *call, const ProtobufCMessage *message) {
  struct console *console = console_of(call);
  struct live_sensor *live = sensor_of(call);
  if (!live) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  tlx_call_start_stream(call);
  tlx_call_on_cancel(call, on_wake_cancelled, NULL);
  live_set_wake(console->live, live, call);
}
