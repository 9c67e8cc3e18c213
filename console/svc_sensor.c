// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "console/beat.h"
#include "console/convert.h"
#include "console/deny.h"
#include "console/desired.h"
#include "console/limits.h"
#include "console/op_report.h"
#include "console/peers.h"
#include "console/svc.h"
#include "console/watch.h"
#include "rpc/pb_scan.h"
#include "storage/audit_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "telovix/v1/sensor.pb-c.h"

/* What sensors say: heartbeat and wake stream (SensorService). An idle heartbeat reads a little and
 * writes nothing; anything durable goes through one op, and only what it committed is acknowledged.
 */

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

/* ---- heartbeat: witness ---- */

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

/* ---- heartbeat: rules ---- */

/* Brings up to date what is remembered of the sensor's rules: how many failed, whether a
 * containment is wanted, and whether each has its report. Once all have, nothing changes without a
 * new generation, a new boot, or a report. */
static void look_at_rules(struct tlx_txn *txn, struct live_sensor *live,
                          uint64_t desired_generation) {
  struct live_engine *engine = &live->engine;
  struct desired_look look;
  if (engine->is_complete && engine->complete_generation == desired_generation &&
      memcmp(engine->complete_boot_id, live->boot_id, sizeof live->boot_id) == 0)
    return;
  desired_look(txn, live->sensor_id, live->boot_id, NULL, &look);
  engine->n_rules_failed = look.n_failed;
  engine->n_rules_partial = look.n_partial;
  engine->is_contained = look.is_contained;
  engine->is_complete = look.n_unreported == 0;
  engine->complete_generation = desired_generation;
  memcpy(engine->complete_boot_id, live->boot_id, sizeof live->boot_id);
}

/* Whether the set in force tells for the first time that rules are gone. */
static bool has_droppable(struct tlx_txn *txn, struct live_sensor *live,
                          uint64_t desired_generation) {
  struct live_engine *engine = &live->engine;
  struct desired_look look;
  if (!engine->has_in_force ||
      (engine->is_settled && engine->settled_generation == desired_generation &&
       live_name_equal(&engine->settled, &engine->in_force)))
    return false;
  desired_look(txn, live->sensor_id, live->boot_id, &engine->in_force, &look);
  if (look.n_droppable) return true;
  engine->settled = engine->in_force;
  engine->settled_generation = desired_generation;
  engine->is_settled = true;
  return false;
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

/* Whether the sensor must tell all there is: we do not know its engine, or it has what we want and
 * some rule has no report. */
static bool must_report_all(struct console *console, struct live_sensor *live,
                            const struct live_name *desired) {
  struct live_engine *engine = &live->engine;
  if (engine->report.len == 0) return live_may_ask_all(console->live, live);
  if (!engine->has_in_force || !live_name_equal(&engine->in_force, desired)) return false;
  return !engine->is_complete && live_may_ask_all(console->live, live);
}

/* What is wanted: its name, and the whole set when the sensor has another one. False when there is
 * no memory: a set without some of its rules would loosen. */
static bool add_desired(struct tlx_call *call, struct tlx_txn *txn, struct live_sensor *live,
                        struct live_name *name, Telovix__V1__DesiredName *message,
                        Telovix__V1__HeartbeatReply *reply) {
  const struct live_engine *engine = &live->engine;
  *message = desired_name_message(name);
  reply->desired = message;
  if (engine->has_in_force && live_name_equal(&engine->in_force, name)) return true;
  reply->desired_set = desired_build(txn, live->sensor_id, name, tlx_call_arena(call));
  return reply->desired_set != NULL;
}

/* What is acknowledged: ids of orders, and the stream of events that the request named (NULL =
 * none). */
struct acknowledged {
  char (*order_ids)[32];
  unsigned n_order_ids;
  const uint8_t *event_stream;
};

static uint64_t acknowledged_seq(const Telovix__Store__V1__SensorRecord *record,
                                 const uint8_t *event_stream) {
  bool known = event_stream && record->event_stream.len == 16 &&
               memcmp(record->event_stream.data, event_stream, 16) == 0;
  return known ? record->event_seq : 0;
}

/* Whether a third of the certificate's life or less is left: the sensor should have renewed it by
 * itself. */
static bool must_renew(const struct console *console,
                       const Telovix__Store__V1__SensorRecord *record) {
  uint64_t life_ms = record->cert_not_after_wall_ms - record->cert_not_before_wall_ms;
  return tlx_wall_ms(console->clock) + life_ms / 3 >= record->cert_not_after_wall_ms;
}

/* Answers from what is committed: orders that are handed out, the desired state, and what is
 * acknowledged. */
static void answer(struct tlx_call *call, const struct acknowledged *acknowledged) {
  struct console *console = console_of(call);
  struct live_sensor *live = live_find(console->live, caller_of(call)->name);
  struct tlx_arena *arena = tlx_call_arena(call);
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  Telovix__V1__DesiredName desired;
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  Telovix__V1__PendingKill *list[OPEN_ORDERS_PER_SENSOR_MAX];
  char *ids[REPORT_RESULTS_MAX];
  struct live_name name;
  struct pending_list pending = {.arena = arena, .list = list};
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, caller_of(call)->name);
  if (!svc_read_ok(call, txn)) return;
  if (!record || !live) {
    svc_fail(call, REASON_CERTIFICATE_UNKNOWN);
    return;
  }
  tlx_order_each_open(txn, record->sensor_id, add_pending, &pending);
  desired_name(console->epoch, record, &name);
  bool has_room = add_desired(call, txn, live, &name, &desired, &reply);
  look_at_rules(txn, live, name.generation);
  reply.contained = live->engine.is_contained;
  reply.report_all = must_report_all(console, live, &name);
  if (!svc_read_ok(call, txn)) return;
  for (unsigned i = 0; i < acknowledged->n_order_ids && i < REPORT_RESULTS_MAX; i++)
    ids[reply.n_acknowledged_order_ids++] = acknowledged->order_ids[i];
  reply.acknowledged_order_ids = ids;
  reply.acknowledged_event_seq = acknowledged_seq(record, acknowledged->event_stream);
  reply.pending_kill_pids = list;
  reply.n_pending_kill_pids = pending.n;
  reply.interval = convert_duration(console->settings.heartbeat_interval_ms, arena);
  reply.console_time = convert_time(tlx_wall_ms(console->clock), arena);
  reply.renew_certificate = must_renew(console, record);
  head.seq = console->head.seq;
  head.hash = (ProtobufCBinaryData){sizeof console->head.hash, console->head.hash};
  reply.audit_head = &head;
  if (pending.failed || !has_room || !reply.interval || !reply.console_time ||
      !add_addresses(console, &reply, arena))
    svc_fail(call, REASON_NO_MEMORY);
  else
    tlx_call_reply(call, &reply.base);
}

/* ---- heartbeat: what is durable ---- */

static bool find_queued(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  *(bool *)arg = record->state == TLX_ORDER_QUEUED;
  return !*(bool *)arg;
}

static void note_rejected(struct tlx_call *call, const struct op_report *op) {
  for (unsigned i = 0; i < REPORT_REJECT_COUNT; i++) {
    char message[64];
    if (!*op->rejected[i]) continue;
    snprintf(message, sizeof message, "report of %s", op->rejected[i]);
    deny_note(call, "sensor_rejected", op->sensor_id, report_reject_word(i), message);
  }
}

/* What was committed becomes known here. */
static void remember(struct console *console, const struct op_report *op) {
  struct live_sensor *live = live_find(console->live, op->sensor_id);
  if (!live) return;
  struct live_engine *engine = &live->engine;
  engine->n_tamper_audits += op->n_tamper_audits;
  live_verified(live, op->seen.boot_id, op->seen.boot_ns, op->verified_boot_ns);
  if (op->is_first_use) live_serial_used(console->live, live);
  if (op->n_changed_rules) engine->is_complete = false; /* to be looked at again */
  if (!op->has_in_force) return;
  engine->is_settled = true;
  engine->settled_generation = op->desired_generation;
  memcpy(engine->settled.epoch, op->in_force.epoch, sizeof engine->settled.epoch);
  memcpy(engine->settled.digest, op->in_force.digest, sizeof engine->settled.digest);
  engine->settled.generation = op->in_force.generation;
}

static void tell_watchers(struct console *console, const struct op_report *op) {
  for (unsigned i = 0; i < op->n_changed; i++)
    watch_order_changed(console->watch, op->changed[i]);
  for (unsigned i = 0; i < op->n_changed_rules; i++)
    watch_rule_changed(console->watch, op->changed_rules[i]);
  if (op->n_events_stored) watch_events_added(console->watch);
}

static void reported(struct op *base) {
  struct op_report *op = (void *)base;
  struct tlx_call *call = svc_op_call(base);
  struct console *console = console_of(call);
  if (base->status.code == TLX_GRPC_OK) {
    remember(console, op);
    note_rejected(call, op);
    answer(call,
           &(struct acknowledged){.order_ids = op->acknowledged,
                                  .n_order_ids = op->n_acknowledged,
                                  .event_stream = op->has_event_stream ? op->event_stream : NULL});
    /* Who waits is told before the sensor: the connection that was dirtied last is written first.
     */
    tell_watchers(console, op);
    if (op->first_seen || op->n_changed || op->n_changed_rules || op->has_hazards ||
        op->is_armed_again || op->n_events_stored || op->has_renewal_error || op->verified_boot_ns)
      watch_sensor_changed(console->watch, op->sensor_id);
  } else {
    svc_fail_status(call, &base->status);
  }
  tlx_call_unref(call);
  op_report_free(op);
}

/* What of a heartbeat must be stored. */
struct durable {
  bool first_seen, has_facts, has_queued, has_droppable, has_hazards, is_armed_again;
  bool is_first_use, has_renewal_error;
};

static void submit_report(struct tlx_call *call, const Telovix__V1__HeartbeatRequest *request,
                          struct live_sensor *live, const struct durable *durable) {
  struct console *console = console_of(call);
  struct op_report *op = calloc(1, sizeof *op);
  if (!op || beat_copy(request, durable->has_facts, durable->has_hazards, live->last_seen_wall_ms,
                       op) != 0) {
    op_report_free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", live->sensor_id);
  if (request->engine_beat) op->verified_boot_ns = request->engine_beat->verified_boot_ns;
  op->first_seen = durable->first_seen;
  op->deliver = durable->has_queued;
  op->is_armed_again = durable->is_armed_again;
  op->is_first_use = durable->is_first_use;
  memcpy(op->serial, tlx_call_peer_cert(call)->serial, sizeof op->serial);
  op->has_renewal_error = durable->has_renewal_error;
  if (op->has_renewal_error)
    snprintf(op->renewal_error, sizeof op->renewal_error, "%s", request->renewal_error);
  op->tamper_audits_max = live_tamper_budget(console->live, live);
  memcpy(op->epoch, console->epoch, sizeof op->epoch);
  snprintf(op->seen.sensor_id, sizeof op->seen.sensor_id, "%s", live->sensor_id);
  op->seen.last_seen_wall_ms = live->last_seen_wall_ms;
  op->seen.boot_ns = live->boot_ns;
  memcpy(op->seen.boot_id, live->boot_id, sizeof op->seen.boot_id);
  snprintf(op->seen.peer_address, sizeof op->seen.peer_address, "%s", live->peer_address);
  op->op.run = op_report_run;
  op->op.done = reported;
  svc_submit(call, &op->op, NULL, NULL);
}

/* What it says of the host, as far as it lives in memory alone. */
static void take_live(struct tlx_call *call, const Telovix__V1__HeartbeatRequest *request,
                      struct live_sensor *live) {
  struct console *console = console_of(call);
  struct live_beat beat;
  live_touch(console->live, live, request->boot_id.data, request->boot_ns,
             tlx_call_client_ip(call));
  peers_add(console->peers, tlx_call_client_ip(call));
  if (request->usage)
    live_usage(console->live, live, request->usage->rss_bytes, request->usage->cpu_ms,
               request->counters ? request->counters->error_lines : live->error_lines);
  beat_live(request, &beat);
  live_beat(console->live, live, &beat);
  if (!request->engine) return;
  struct tlx_buf packed TLX_CLEANUP(tlx_buf_done) = {0};
  tlx_pb_pack(&request->engine->base, &packed);
  if (packed.err || live_engine_report(live, packed.data, packed.len, request->engine->reason) != 0)
    tlx_warn(RULE, "no memory for the engine report of %s", live->sensor_id);
}

void svc_heartbeat(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__HeartbeatRequest *request = (const void *)message;
  struct console *console = console_of(call);
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  struct durable durable = {.first_seen = false};
  tlx_status_clear(&status);
  beat_check(request, &status);
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
  tlx_order_each_open(txn, live->sensor_id, find_queued, &durable.has_queued);
  check_witness(call, txn, request->audit_head);
  if (!svc_read_ok(call, txn)) return;
  if (!record) {
    svc_fail(call, REASON_CERTIFICATE_UNKNOWN);
    return;
  }
  take_live(call, request, live);
  look_at_rules(txn, live, record->desired_generation);
  watch_sensor_changed(console->watch, live->sensor_id);
  /* An order that the writer still has is not in the store that was read: only behind it can this
   * be answered. */
  durable.has_queued |= live->n_changing > 0;
  durable.first_seen = record->trust_state == OP_TRUST_BOOTSTRAP_PENDING;
  durable.has_facts = beat_facts_differ(request, record);
  durable.has_hazards = beat_hazards_differ(request, record);
  durable.is_armed_again = beat_is_armed_again(request, record);
  durable.is_first_use = caller_of(call)->is_first_use;
  durable.has_renewal_error = beat_renewal_differs(request, record);
  durable.has_droppable = has_droppable(txn, live, record->desired_generation);
  if (!svc_read_ok(call, txn)) return;
  tlx_txn_abort(txn);
  txn = NULL;
  if (request->n_kill_results || request->n_rule_reports || request->n_events ||
      durable.first_seen || durable.has_facts || durable.has_queued || durable.has_droppable ||
      durable.has_hazards || durable.is_armed_again || durable.is_first_use ||
      durable.has_renewal_error)
    submit_report(call, request, live, &durable);
  else
    answer(call, &(struct acknowledged){.event_stream = request->event_stream.len
                                                            ? request->event_stream.data
                                                            : NULL});
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
