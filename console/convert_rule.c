// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "console/convert_int.h"
#include "storage/rule_tbl.h"

/* Rules and events as messages of the wire. */

void convert_rule_view(struct console *console, const Telovix__Store__V1__SensorRecord *sensor,
                       struct rule_view *ret_view) {
  struct rule_view view = {.now_wall_ms = tlx_wall_ms(console->clock),
                           .stale_after_ms = console->settings.stale_after_ms,
                           .is_silent = true};
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
    view.is_revoked = sensor->trust_state == OP_TRUST_REVOKED;
    view.is_lifted = sensor->lifted_wall_ms != 0;
    if (is_live) {
      view.desired_rollback = live->engine.desired_rollback;
      view.is_engine_down = live->engine.has_beat &&
                            live->engine.state == TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_DOWN;
      view.verified_wall_ms = live->engine.verified_wall_ms;
      view.verified_age_ms =
          live->engine.verified_age_ms + tlx_mono_ms(console->clock) - live->last_seen_mono_ms;
    }
  }
  *ret_view = view;
}

/* ---- what may be said ---- */

bool convert_texts(char *const *from, size_t n, char ***ret_texts, size_t *ret_n,
                   struct tlx_arena *arena) {
  char **texts = tlx_arena_alloc(arena, (n + 1) * sizeof *texts);
  if (!texts) return false;
  for (size_t i = 0; i < n; i++)
    texts[i] = text(arena, from[i]);
  *ret_texts = texts;
  *ret_n = n;
  return true;
}

bool convert_gaps(Telovix__Store__V1__Gap *const *from, size_t n, Telovix__V1__RuleGap ***ret_gaps,
                  size_t *ret_n, struct tlx_arena *arena) {
  Telovix__V1__RuleGap **gaps = tlx_arena_alloc(arena, (n + 1) * sizeof *gaps);
  if (!gaps) return false;
  for (size_t i = 0; i < n; i++) {
    Telovix__V1__RuleGap *gap = tlx_arena_alloc(arena, sizeof *gap);
    if (!gap) return false;
    *gap = (Telovix__V1__RuleGap)TELOVIX__V1__RULE_GAP__INIT;
    gap->gap = text(arena, from[i]->gap);
    gap->detail = text(arena, from[i]->detail);
    gap->by_kernel = from[i]->by_kernel;
    gaps[i] = gap;
  }
  *ret_gaps = gaps;
  *ret_n = n;
  return true;
}

/* Only what holds now: how it stood in another boot or under another revision is no answer. */
static bool add_observed(Telovix__V1__EnforcementRule *rule,
                         const Telovix__Store__V1__RuleRecord *record, const struct rule_view *view,
                         struct tlx_arena *arena) {
  struct observed observed = observed_rule(record, view);
  rule->observed_state = observed.state;
  rule->hits = record->hits;
  rule->would_hits = record->would_hits;
  rule->applied_at = convert_time(record->applied_wall_ms, arena);
  rule->observed_reason = text(arena, observed.reason);
  rule->observed_detail = text(arena, observed.detail);
  rule->backend = text(arena, observed.is_reported ? record->backend : "");
  rule->file = text(arena, observed.is_reported ? record->file : "");
  if (!observed.is_reported) return true;
  rule->error_number = record->error_number;
  rule->verified_at = convert_time(view->verified_wall_ms, arena);
  return convert_gaps(record->gaps, record->n_gaps, &rule->gaps, &rule->n_gaps, arena);
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
  bool is_containment = tlx_rule_is_containment(record);
  rule->hook = text(arena, is_containment ? "cgroup_skb" : "sys_execve");
  rule->action = text(arena, is_containment ? "Deny" : "Sigkill");
  rule->on_lost_console = (Telovix__V1__OnLostConsole)record->on_lost_console;
  if (!convert_texts(record->allow, record->n_allow, &rule->allow, &rule->n_allow, arena))
    return NULL;
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
