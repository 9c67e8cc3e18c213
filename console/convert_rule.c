// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "console/convert_int.h"

/* Rules and events as messages of the wire. */

#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name

void convert_rule_view(struct console *console, const Telovix__Store__V1__SensorRecord *sensor,
                       struct rule_view *ret_view) {
  struct rule_view view = {.now_wall_ms = tlx_wall_ms(console->clock), .is_silent = true};
  struct health health;
  if (sensor) {
    const struct live_sensor *live = live_find(console->live, sensor->sensor_id);
    convert_health(console, sensor, &health);
    view.is_silent = health.is_silent;
    view.unconfirmed_since_restart = health.unconfirmed_since_restart;
    snprintf(view.scope_cgroup, sizeof view.scope_cgroup, "%s", sensor->scope_cgroup);
    bool is_live = live && live->seen_since_start;
    view.has_boot_id = is_live || sensor->boot_id.len == sizeof view.boot_id;
    if (view.has_boot_id)
      memcpy(view.boot_id, is_live ? live->boot_id : sensor->boot_id.data, sizeof view.boot_id);
    if (live) view.verified_wall_ms = live->engine.verified_wall_ms;
    view.is_rolled_back = is_live && live->engine.desired_rollback;
    view.is_engine_down = is_live && live->engine.has_beat &&
                          live->engine.state == TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_DOWN;
  }
  *ret_view = view;
}

/* ---- what may be said ---- */

static bool same_blob(const ProtobufCBinaryData *blob, const void *data, size_t len) {
  return blob->len == len && memcmp(blob->data, data, len) == 0;
}

struct observed {
  Telovix__V1__RuleState state;
  const char *reason, *detail; /* instead of the reported ones; NULL = the report is good */
};

static struct observed observe(const Telovix__Store__V1__RuleRecord *record,
                               const struct rule_view *view) {
  static const char silent[] = "the sensor is silent for longer than the stale threshold";
  if (record->removing)
    return (struct observed){STATE(REMOVING), view->is_silent ? "sensor_silent" : "",
                             view->is_silent ? silent : ""};
  if (!same_blob(&record->observed_revision, record->revision.data, record->revision.len))
    return (struct observed){STATE(PENDING), view->is_silent ? "sensor_silent" : "",
                             view->is_silent ? silent : ""};
  if (view->is_silent) return (struct observed){STATE(UNKNOWN), "sensor_silent", silent};
  if (!view->has_boot_id ||
      !same_blob(&record->observed_boot_id, view->boot_id, sizeof view->boot_id))
    return (struct observed){STATE(UNKNOWN), "new_boot", "the host has booted since it reported"};
  /* What was reported under our copy of the past says nothing of a set that we do not know. */
  if (view->is_rolled_back)
    return (struct observed){STATE(UNKNOWN), "desired_rollback",
                             "the host keeps a newer set than ours: this Console was rolled back"};
  Telovix__V1__RuleState state = (Telovix__V1__RuleState)record->observed_state;
  /* An engine that hangs from its start on reports no rule. */
  if (view->is_engine_down && (state == STATE(APPLIED) || state == STATE(PARTIAL)))
    return (struct observed){STATE(UNKNOWN), "engine_down",
                             "the sensor cannot prove any more what it enforces"};
  return (struct observed){.state = state};
}

static bool add_gaps(Telovix__V1__EnforcementRule *rule,
                     const Telovix__Store__V1__RuleRecord *record, struct tlx_arena *arena) {
  rule->gaps = tlx_arena_alloc(arena, (record->n_gaps + 1) * sizeof *rule->gaps);
  if (!rule->gaps) return false;
  for (size_t i = 0; i < record->n_gaps; i++) {
    Telovix__V1__RuleGap *gap = tlx_arena_alloc(arena, sizeof *gap);
    if (!gap) return false;
    *gap = (Telovix__V1__RuleGap)TELOVIX__V1__RULE_GAP__INIT;
    gap->gap = text(arena, record->gaps[i]->gap);
    gap->detail = text(arena, record->gaps[i]->detail);
    gap->by_kernel = record->gaps[i]->by_kernel;
    rule->gaps[rule->n_gaps++] = gap;
  }
  return true;
}

/* Only what holds now: how it stood in another boot or under another revision is no answer. */
static bool add_observed(Telovix__V1__EnforcementRule *rule,
                         const Telovix__Store__V1__RuleRecord *record, const struct rule_view *view,
                         struct tlx_arena *arena) {
  struct observed observed = observe(record, view);
  rule->observed_state = observed.state;
  rule->hits = record->hits;
  rule->would_hits = record->would_hits;
  rule->applied_at = convert_time(record->applied_wall_ms, arena);
  rule->observed_reason = text(arena, observed.reason ? observed.reason : record->observed_reason);
  rule->observed_detail = text(arena, observed.detail ? observed.detail : record->observed_detail);
  rule->backend = text(arena, observed.reason ? "" : record->backend);
  rule->file = text(arena, observed.reason ? "" : record->file);
  if (observed.reason) return true;
  rule->error_number = record->error_number;
  rule->verified_at = convert_time(view->verified_wall_ms, arena);
  return add_gaps(rule, record, arena);
}

Telovix__V1__EnforcementRule *convert_rule(const Telovix__Store__V1__RuleRecord *record,
                                           const struct rule_view *view, struct tlx_arena *arena) {
  arena->refused = false;
  NEW(rule, Telovix__V1__EnforcementRule, TELOVIX__V1__ENFORCEMENT_RULE__INIT);
  rule->rule_id = text(arena, record->rule_id);
  rule->sensor_id = text(arena, record->sensor_id);
  rule->node_name = text(arena, record->node_name);
  rule->name = text(arena, record->name);
  rule->template_ = text(arena, record->template_);
  /* Labels for people (spec §5.2); what is really used is |backend|. */
  rule->hook = text(arena, "sys_execve");
  rule->action = text(arena, "Sigkill");
  rule->path = text(arena, record->path);
  rule->desired_mode = (Telovix__V1__RuleMode)record->desired_mode;
  rule->forced = record->forced;
  rule->actor = text(arena, record->actor);
  rule->reason = text(arena, record->reason);
  rule->request_id = text(arena, record->request_id);
  rule->created_at = convert_time(record->created_wall_ms, arena);
  rule->changed_at = convert_time(record->changed_wall_ms, arena);
  uint64_t now_wall_ms = view->now_wall_ms, changed_wall_ms = record->changed_wall_ms;
  rule->changed_age =
      convert_duration(now_wall_ms > changed_wall_ms ? now_wall_ms - changed_wall_ms : 0, arena);
  rule->scope_cgroup = text(arena, view->scope_cgroup);
  rule->unconfirmed_since_restart = view->unconfirmed_since_restart;
  if (!add_observed(rule, record, view, arena)) return NULL;
  DONE(rule);
}

/* ---- events ---- */

Telovix__V1__Event *convert_event(const Telovix__Store__V1__EventRecord *record,
                                  struct tlx_arena *arena) {
  arena->refused = false;
  NEW(event, Telovix__V1__Event, TELOVIX__V1__EVENT__INIT);
  event->event_id = text(arena, record->event_id);
  event->sensor_id = text(arena, record->sensor_id);
  event->node_name = text(arena, record->node_name);
  event->received_at = convert_time(record->received_wall_ms, arena);
  event->happened_at = convert_time(record->happened_wall_ms, arena);
  event->type = (Telovix__V1__EventType)record->type;
  event->rule_id = text(arena, record->rule_id);
  event->path = text(arena, record->path);
  event->pid = record->pid;
  event->parent_pid = record->parent_pid;
  event->uid = record->uid;
  event->comm = text(arena, record->comm);
  event->count = record->count;
  event->detail = text(arena, record->detail);
  DONE(event);
}
