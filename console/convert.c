// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/convert.h"

#include <string.h>

#include "console/convert_int.h"
#include "console/desired.h"
#include "console/op_token.h"
#include "rpc/pb_scan.h"
#include "storage/order_tbl.h"

/* ---- times ---- */

Google__Protobuf__Timestamp *convert_time(uint64_t wall_ms, struct tlx_arena *arena) {
  if (!wall_ms) return NULL;
  NEW(time, Google__Protobuf__Timestamp, GOOGLE__PROTOBUF__TIMESTAMP__INIT);
  time->seconds = (int64_t)(wall_ms / 1000);
  time->nanos = (int32_t)(wall_ms % 1000 * 1000000);
  return time;
}

Google__Protobuf__Duration *convert_duration(uint64_t ms, struct tlx_arena *arena) {
  NEW(duration, Google__Protobuf__Duration, GOOGLE__PROTOBUF__DURATION__INIT);
  duration->seconds = (int64_t)(ms / 1000);
  duration->nanos = (int32_t)(ms % 1000 * 1000000);
  return duration;
}

bool convert_duration_ms(const Google__Protobuf__Duration *duration, uint64_t *ret_ms) {
  /* 10,000 years, as duration.proto bounds it. */
  if (duration->seconds < 0 || duration->seconds > 315576000000 || duration->nanos < 0 ||
      duration->nanos > 999999999)
    return false;
  *ret_ms = (uint64_t)duration->seconds * 1000 + (uint64_t)duration->nanos / 1000000;
  return true;
}

bool convert_time_ms(const Google__Protobuf__Timestamp *time, uint64_t *ret_wall_ms) {
  /* Up to 9999-12-31, as timestamp.proto bounds it. */
  if (time->seconds < 0 || time->seconds > 253402300799 || time->nanos < 0 ||
      time->nanos > 999999999)
    return false;
  *ret_wall_ms = (uint64_t)time->seconds * 1000 + (uint64_t)time->nanos / 1000000;
  return true;
}

/* ---- orders ---- */

Telovix__V1__KillOrder *convert_order(const Telovix__Store__V1__OrderRecord *record,
                                      struct tlx_arena *arena) {
  arena->refused = false;
  NEW(order, Telovix__V1__KillOrder, TELOVIX__V1__KILL_ORDER__INIT);
  order->order_id = text(arena, record->order_id);
  order->sensor_id = text(arena, record->sensor_id);
  order->node_name = text(arena, record->node_name);
  order->pid = record->pid;
  order->guard_start_ticks = record->guard_start_ticks;
  order->guard_exe = text(arena, record->guard_exe);
  order->state = (Telovix__V1__KillState)record->state;
  order->detail = text(arena, record->detail);
  order->error_number = record->error_number;
  order->process_state = text(arena, record->process_state);
  order->actor = text(arena, record->actor);
  order->reason = text(arena, record->reason);
  order->request_id = text(arena, record->request_id);
  order->queued_at = convert_time(record->queued_wall_ms, arena);
  order->delivered_at = convert_time(record->delivered_wall_ms, arena);
  order->finished_at = convert_time(record->finished_wall_ms, arena);
  order->expires_at = convert_time(record->expires_wall_ms, arena);
  order->still_alive_at = convert_time(record->still_alive_wall_ms, arena);
  if (record->signalled_boot_ns && record->observed_boot_ns >= record->signalled_boot_ns) {
    uint64_t ns = record->observed_boot_ns - record->signalled_boot_ns;
    order->died_after = convert_duration(0, arena);
    if (order->died_after) {
      order->died_after->seconds = (int64_t)(ns / 1000000000);
      order->died_after->nanos = (int32_t)(ns % 1000000000);
    }
  }
  order->comm = text(arena, record->comm);
  order->start_ticks = record->start_ticks;
  order->scope_cgroup = text(arena, record->scope_cgroup);
  DONE(order);
}

Telovix__V1__PendingKill *convert_pending(const Telovix__Store__V1__OrderRecord *record,
                                          struct tlx_arena *arena) {
  arena->refused = false;
  NEW(pending, Telovix__V1__PendingKill, TELOVIX__V1__PENDING_KILL__INIT);
  pending->order_id = text(arena, record->order_id);
  pending->pid = record->pid;
  pending->boot_id = blob(arena, &record->boot_id);
  pending->baseline_boot_ns = record->baseline_boot_ns;
  if (record->guard_start_ticks || (record->guard_exe && *record->guard_exe)) {
    NEW(guards, Telovix__V1__KillGuards, TELOVIX__V1__KILL_GUARDS__INIT);
    guards->start_ticks = record->guard_start_ticks;
    guards->exe = text(arena, record->guard_exe);
    pending->guards = guards;
  }
  DONE(pending);
}

/* ---- sensors ---- */

void convert_health(struct console *console, const Telovix__Store__V1__SensorRecord *record,
                    struct health *ret_health) {
  struct health_input input = {
      .disabled = record->disabled,
      .trust_state = record->trust_state,
      .last_seen_wall_ms = record->last_seen_wall_ms,
      .enrolled_wall_ms = record->enrolled_wall_ms,
      .cert_not_before_wall_ms = record->cert_not_before_wall_ms,
      .cert_not_after_wall_ms = record->cert_not_after_wall_ms,
      .clone_suspected_wall_ms = record->clone_suspected_wall_ms,
      .renewal_failed = *record->renewal_error != 0,
      .now_wall_ms = tlx_wall_ms(console->clock),
      .now_mono_ms = tlx_mono_ms(console->clock),
      .started_mono_ms = console->started_mono_ms,
      .stale_after_ms = console->settings.stale_after_ms,
      .desired_generation = record->desired_generation,
      .lifted_wall_ms = record->lifted_wall_ms,
  };
  live_health_input(console->live, live_find(console->live, record->sensor_id), &input);
  health_compute(&input, ret_health);
}

static bool add_reasons(Telovix__V1__Sensor *sensor, const struct health *health,
                        struct tlx_arena *arena) {
  sensor->health_reasons =
      tlx_arena_alloc(arena, (health->n_reasons ? health->n_reasons : 1) * sizeof(void *));
  if (!sensor->health_reasons) return false;
  for (unsigned i = 0; i < health->n_reasons; i++) {
    Telovix__V1__HealthReason *reason = tlx_arena_alloc(arena, sizeof *reason);
    if (!reason) return false;
    *reason = (Telovix__V1__HealthReason)TELOVIX__V1__HEALTH_REASON__INIT;
    reason->reason = text(arena, health->reasons[i].reason);
    reason->state = (Telovix__V1__HealthState)health->reasons[i].state;
    reason->value = text(arena, health->reasons[i].value);
    reason->limit = text(arena, health->reasons[i].limit);
    sensor->health_reasons[sensor->n_health_reasons++] = reason;
  }
  return true;
}

static bool add_labels(Telovix__V1__Sensor *sensor, const Telovix__Store__V1__SensorRecord *record,
                       struct tlx_arena *arena) {
  sensor->labels =
      tlx_arena_alloc(arena, (record->n_labels ? record->n_labels : 1) * sizeof(void *));
  if (!sensor->labels) return false;
  for (size_t i = 0; i < record->n_labels; i++) {
    Telovix__V1__Sensor__LabelsEntry *entry = tlx_arena_alloc(arena, sizeof *entry);
    if (!entry) return false;
    *entry = (Telovix__V1__Sensor__LabelsEntry)TELOVIX__V1__SENSOR__LABELS_ENTRY__INIT;
    entry->key = text(arena, record->labels[i]->key);
    entry->value = text(arena, record->labels[i]->value);
    sensor->labels[sensor->n_labels++] = entry;
  }
  return true;
}

static Telovix__V1__DesiredName *name_message(const struct live_name *from,
                                              struct tlx_arena *arena) {
  struct live_name *copy = tlx_arena_memdup(arena, from, sizeof *from);
  NEW(name, Telovix__V1__DesiredName, TELOVIX__V1__DESIRED_NAME__INIT);
  if (!copy) return NULL;
  *name = desired_name_message(copy);
  return name;
}

/* What is wanted, and apart from it what the sensor said since our start. */
static bool add_enforcement(struct console *console, const Telovix__Store__V1__SensorRecord *record,
                            const struct live_sensor *live, Telovix__V1__Sensor *sensor,
                            struct tlx_arena *arena) {
  struct live_name desired;
  desired_name(console->epoch, record, &desired);
  sensor->desired = name_message(&desired, arena);
  if (!live) return true;
  const struct live_engine *engine = &live->engine;
  if (engine->has_in_force) sensor->in_force = name_message(&engine->in_force, arena);
  sensor->enforcement_verified_at = convert_time(engine->verified_wall_ms, arena);
  if (engine->report.len == 0) return true;
  ProtobufCMessage *report = NULL;
  int err = tlx_pb_unpack_trusted(&telovix__v1__engine_report__descriptor,
                                  (struct tlx_bytes){engine->report.data, engine->report.len},
                                  arena, &report);
  sensor->engine = (void *)report;
  return err == 0;
}

/* Desired and observed, side by side. */
static bool add_containment(struct console *console, struct tlx_txn *txn,
                            const Telovix__Store__V1__SensorRecord *record,
                            Telovix__V1__Sensor *sensor, struct tlx_arena *arena) {
  const Telovix__Store__V1__RuleRecord *rule =
      tlx_rule_find_containment(txn, record->sensor_id, true);
  struct rule_view view;
  convert_rule_view(console, record, &view);
  struct observed_containment observed = observed_containment(rule, &view);
  sensor->is_contained = rule && !rule->removing;
  sensor->containment_state = observed.state;
  sensor->containment_reason = text(arena, observed.reason);
  sensor->containment_detail = text(arena, observed.detail);
  sensor->containment_rule_id = text(arena, rule ? rule->rule_id : "");
  if (!convert_texts(record->hazards, record->n_hazards, &sensor->hazards, &sensor->n_hazards,
                     arena))
    return false;
  if (!observed.is_reported) return true;
  if (observed.state == TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_CONTAINED ||
      observed.state == TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_PARTIAL)
    sensor->containment_verified_at = convert_time(view.verified_wall_ms, arena);
  return convert_gaps(rule->gaps, rule->n_gaps, &sensor->containment_gaps,
                      &sensor->n_containment_gaps, arena);
}

Telovix__V1__Sensor *convert_sensor(struct console *console, struct tlx_txn *txn,
                                    const Telovix__Store__V1__SensorRecord *record,
                                    struct tlx_arena *arena) {
  const struct live_sensor *live = live_find(console->live, record->sensor_id);
  struct health health;
  arena->refused = false;
  NEW(sensor, Telovix__V1__Sensor, TELOVIX__V1__SENSOR__INIT);
  convert_health(console, record, &health);
  sensor->sensor_id = text(arena, record->sensor_id);
  sensor->node_name = text(arena, record->node_name);
  if (!add_labels(sensor, record, arena) || !add_reasons(sensor, &health, arena)) return NULL;
  sensor->status = (Telovix__V1__SensorStatus)health.status;
  sensor->health_state = (Telovix__V1__HealthState)health.state;
  sensor->trust_state = (Telovix__V1__TrustState)record->trust_state;
  sensor->trust_health = (Telovix__V1__TrustHealth)health.trust_health;
  sensor->enrolled_at = convert_time(record->enrolled_wall_ms, arena);
  uint64_t last_seen_wall_ms =
      live && live->seen_since_start ? live->last_seen_wall_ms : record->last_seen_wall_ms;
  sensor->last_seen_at = convert_time(last_seen_wall_ms, arena);
  if (!health.never_seen) sensor->last_seen_age = convert_duration(health.age_ms, arena);
  sensor->unconfirmed_since_restart = health.unconfirmed_since_restart;
  sensor->connected = live && live->n_conns > 0;
  NEW(facts, Telovix__V1__HostFacts, TELOVIX__V1__HOST_FACTS__INIT);
  facts->kernel_release = text(arena, record->kernel_release);
  facts->architecture = text(arena, record->architecture);
  facts->os_name = text(arena, record->os_name);
  facts->sensor_version = text(arena, record->sensor_version);
  sensor->facts = facts;
  sensor->certificate_expires_at = convert_time(record->cert_not_after_wall_ms, arena);
  sensor->open_orders = tlx_order_count_open(txn, record->sensor_id);
  sensor->scope_cgroup = text(arena, record->scope_cgroup);
  sensor->peer_address =
      text(arena, live && *live->peer_address ? live->peer_address : record->peer_address);
  if (live && live->rss_bytes) {
    NEW(usage, Telovix__V1__SensorUsage, TELOVIX__V1__SENSOR_USAGE__INIT);
    usage->rss_bytes = live->rss_bytes;
    usage->cpu_ms = live->cpu_ms;
    sensor->usage = usage;
  }
  if (!add_enforcement(console, record, live, sensor, arena) ||
      !add_containment(console, txn, record, sensor, arena))
    return NULL;
  sensor->rules = tlx_rule_count(txn, record->sensor_id);
  DONE(sensor);
}

/* ---- tokens ---- */

Telovix__V1__EnrollmentToken *convert_token(const Telovix__Store__V1__TokenRecord *record,
                                            uint64_t now_wall_ms, struct tlx_arena *arena) {
  arena->refused = false;
  NEW(token, Telovix__V1__EnrollmentToken, TELOVIX__V1__ENROLLMENT_TOKEN__INIT);
  token->token_id = text(arena, record->token_id);
  token->kind = (Telovix__V1__TokenKind)record->kind;
  token->status = (Telovix__V1__TokenStatus)token_status(record, now_wall_ms);
  token->name = text(arena, record->name);
  token->node_name = text(arena, record->node_name);
  token->max_uses = record->max_uses;
  token->uses = record->uses;
  token->created_by = text(arena, record->created_by);
  token->created_at = convert_time(record->created_wall_ms, arena);
  token->expires_at = convert_time(record->expires_wall_ms, arena);
  token->used_by_sensor_id = text(arena, record->used_by_sensor_id);
  token->sensor_id = text(arena, record->sensor_id);
  token->labels =
      tlx_arena_alloc(arena, (record->n_labels ? record->n_labels : 1) * sizeof(void *));
  if (!token->labels) return NULL;
  for (size_t i = 0; i < record->n_labels; i++) {
    NEW(entry, Telovix__V1__EnrollmentToken__LabelsEntry,
        TELOVIX__V1__ENROLLMENT_TOKEN__LABELS_ENTRY__INIT);
    entry->key = text(arena, record->labels[i]->key);
    entry->value = text(arena, record->labels[i]->value);
    token->labels[token->n_labels++] = entry;
  }
  DONE(token);
}

/* ---- audit ---- */

/* The fields that may be absent, by their number in the hashed order (storage/audit_tbl.c). */
static const struct {
  unsigned bit;
  const char *name;
} optional_fields[] = {{4, "actor"},      {5, "actor_role"}, {6, "sensor_id"},  {8, "reason"},
                       {9, "request_id"}, {10, "client_ip"}, {11, "user_agent"}};
#define N_OPTIONAL (sizeof optional_fields / sizeof *optional_fields)

Telovix__V1__AuditRecord *convert_audit(const Telovix__Store__V1__AuditRecord *record,
                                        struct tlx_arena *arena) {
  arena->refused = false;
  NEW(audit, Telovix__V1__AuditRecord, TELOVIX__V1__AUDIT_RECORD__INIT);
  audit->seq = record->seq;
  audit->created_at = text(arena, record->created_at);
  audit->action_type = text(arena, record->action_type);
  audit->outcome = strcmp(record->outcome, "success") == 0
                       ? TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS
                       : TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_FAILURE;
  audit->actor = text(arena, record->actor);
  audit->actor_role = text(arena, record->actor_role);
  audit->sensor_id = text(arena, record->sensor_id);
  audit->detail = text(arena, record->detail);
  audit->reason = text(arena, record->reason);
  audit->request_id = text(arena, record->request_id);
  audit->client_ip = text(arena, record->client_ip);
  audit->user_agent = text(arena, record->user_agent);
  audit->prev_hash = blob(arena, &record->prev_hash);
  audit->hash = blob(arena, &record->hash);
  audit->absent = tlx_arena_alloc(arena, N_OPTIONAL * sizeof *audit->absent);
  if (!audit->absent) return NULL;
  for (size_t i = 0; i < N_OPTIONAL; i++)
    if (!(record->present >> optional_fields[i].bit & 1))
      audit->absent[audit->n_absent++] = text(arena, optional_fields[i].name);
  DONE(audit);
}
