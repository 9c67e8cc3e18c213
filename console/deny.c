// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/deny.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/log.h"
#include "common/text.h"
#include "console/authn.h"
#include "console/limits.h"
#include "console/op_audit.h"
#include "console/svc.h"

#define WINDOW_MS 60000u

/* One source, method and reason in the current minute. */
struct entry {
  char key[256];
  uint64_t until_mono_ms;
  unsigned n_counted;        /* beyond the one that was written */
  struct op_audit_only last; /* what a summary will say, less the count */
  UT_hash_handle hh;
};

struct deny {
  struct console *console;
  struct entry *entries;
  uint64_t anonymous_until_mono_ms;
  unsigned n_anonymous, n_anonymous_counted;
};

/* ---- writing ---- */

static void audited(struct op *op) {
  struct console *console = op->arg;
  if (op->status.code == TLX_GRPC_OK)
    console_note_head(console, &op->head);
  else
    tlx_error(AUDIT, "a refused attempt could not be recorded: %s", op->status.message);
  op_done(op);
  free(op);
}

static void write_record(struct deny *deny, const struct op_audit_only *record) {
  struct op_audit_only *op = malloc(sizeof *op);
  if (!op) return;
  *op = *record;
  op->op.run = op_audit_only_run;
  op->op.done = audited;
  op->op.arg = deny->console;
  op->op.cost = sizeof *op;
  console_submit(deny->console, &op->op);
}

static void set_detail(struct op_audit_only *record, const char *method, const char *reason,
                       const char *message, unsigned repeated) {
  json_t *detail = json_object();
  if (method) json_object_set_new(detail, "method", json_string(method));
  if (reason && *reason) json_object_set_new(detail, "reason", json_string(reason));
  if (message && *message) json_object_set_new(detail, "message", json_string(message));
  if (repeated) json_object_set_new(detail, "repeated", json_integer(repeated));
  char *text = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
  json_decref(detail);
  /* Text that does not fit would be cut in the middle of its JSON: the message goes first. */
  if (text && strlen(text) < sizeof record->detail)
    strcpy(record->detail, text);
  else if (message)
    set_detail(record, method, reason, NULL, repeated);
  else
    strcpy(record->detail, "{}");
  free(text);
}

static void add_repeated(struct op_audit_only *record, unsigned repeated) {
  json_t *detail = json_loads(record->detail, 0, NULL);
  if (!detail) return;
  json_object_set_new(detail, "repeated", json_integer(repeated));
  char *text = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
  if (text && strlen(text) < sizeof record->detail) strcpy(record->detail, text);
  free(text);
  json_decref(detail);
}

/* ---- throttle ---- */

/* Whether one more anonymous attempt is written in full this minute. */
static bool take_anonymous(struct deny *deny, uint64_t now_mono_ms) {
  if (now_mono_ms >= deny->anonymous_until_mono_ms) {
    deny->anonymous_until_mono_ms = now_mono_ms + WINDOW_MS;
    deny->n_anonymous = 0;
  }
  if (deny->n_anonymous < DENIED_ANONYMOUS_PER_MIN) {
    deny->n_anonymous++;
    return true;
  }
  deny->n_anonymous_counted++;
  return false;
}

static void note(struct tlx_call *call, const char *action_type, const char *sensor_id,
                 const char *reason, const char *message) {
  struct console *console = console_of(call);
  struct deny *deny = console->deny;
  const struct caller *caller = caller_of(call);
  uint64_t now_mono_ms = tlx_mono_ms(console->clock);
  char key[sizeof((struct entry *)0)->key];
  struct entry *entry;
  snprintf(key, sizeof key, "%s|%s|%.64s|%s|%s", action_type,
           *caller->name ? caller->name : tlx_call_client_ip(call), tlx_call_method(call), reason,
           sensor_id ? sensor_id : "");
  HASH_FIND_STR(deny->entries, key, entry);
  if (entry) {
    entry->n_counted++;
    return;
  }
  if (caller->kind == CALLER_ANONYMOUS && !take_anonymous(deny, now_mono_ms)) return;
  if (HASH_COUNT(deny->entries) >= DENIED_SOURCES_MAX || !(entry = calloc(1, sizeof *entry))) {
    deny->n_anonymous_counted++;
    return;
  }
  strcpy(entry->key, key);
  entry->until_mono_ms = now_mono_ms + WINDOW_MS;
  snprintf(entry->last.action_type, sizeof entry->last.action_type, "%s", action_type);
  if (sensor_id) snprintf(entry->last.sensor_id, sizeof entry->last.sensor_id, "%s", sensor_id);
  authn_fill_actor(call, NULL, NULL, &entry->last.op.actor);
  set_detail(&entry->last, tlx_call_method(call), reason, message, 0);
  HASH_ADD_STR(deny->entries, key, entry);
  char shown[160];
  tlx_notice(AUTH, "refused: action=%s reason=%s method=%s actor=%s client=%s", action_type, reason,
             tlx_text_escape(tlx_call_method(call), SIZE_MAX, shown, sizeof shown), caller->name,
             tlx_call_client_ip(call));
  write_record(deny, &entry->last);
}

/* ---- what is on record ---- */

/* Methods that change something: a failed attempt is audited under the action it would have been.
 */
static const struct {
  const char *method, *action_type;
} controls[] = {
    {"/telovix.v1.ContainmentService/KillProcess", "process_kill_queued"},
    {"/telovix.v1.ContainmentService/CancelKill", "process_kill_cancelled"},
    {"/telovix.v1.FleetService/DisableSensor", "sensor_disabled"},
    {"/telovix.v1.FleetService/EnableSensor", "sensor_enabled"},
    {"/telovix.v1.FleetService/RevokeSensor", "sensor_revoked"},
    {"/telovix.v1.FleetService/DeleteSensor", "sensor_deleted"},
    {"/telovix.v1.TokenService/CreateEnrollmentToken", "enrollment_token_created"},
    {"/telovix.v1.TokenService/CreateReenrollmentToken", "enrollment_token_created"},
    {"/telovix.v1.TokenService/RevokeEnrollmentToken", "enrollment_token_revoked"},
    {"/telovix.v1.ContainmentService/BlockBinary", "enforcement_rule_created"},
    {"/telovix.v1.ContainmentService/ContainSensor", "sensor_contained"},
    {"/telovix.v1.ContainmentService/ReleaseSensor", "sensor_released"},
    {"/telovix.v1.ContainmentService/SetAllowList", "containment_allow_changed"},
    {"/telovix.v1.PolicyService/SetEnforcementRuleMode", "rule_mode_changed"},
    {"/telovix.v1.PolicyService/DeleteEnforcementRule", "enforcement_rule_deleted"},
    {"/telovix.v1.OperatorService/CreateOperator", "operator_created"},
    {"/telovix.v1.OperatorService/RenewOperator", "operator_certificate_renewed"},
    {"/telovix.v1.OperatorService/SetOperatorRole", "operator_role_changed"},
    {"/telovix.v1.OperatorService/RevokeOperator", "operator_revoked"},
    {"/telovix.v1.AuditService/ExportAudit", "audit_exported"},
    {"/telovix.v1.SensorService/RenewCertificate", "sensor_certificate_renewed"},
    {"/telovix.v1.EnrollmentService/Enroll", "enrollment_failed"},
};

void deny_failed(struct tlx_call *call, const struct tlx_status *status) {
  const struct caller *caller = caller_of(call);
  const char *action_type = NULL;
  if (caller->is_clone) svc_note_clone(call);
  if (caller->audited || status->code == TLX_GRPC_CANCELLED || status->code == TLX_GRPC_UNAVAILABLE)
    return;
  for (size_t i = 0; i < sizeof controls / sizeof *controls; i++)
    if (strcmp(controls[i].method, tlx_call_method(call)) == 0)
      action_type = controls[i].action_type;
  bool is_enroll = action_type && strcmp(action_type, "enrollment_failed") == 0;
  if ((status->code == TLX_GRPC_UNAUTHENTICATED || status->code == TLX_GRPC_PERMISSION_DENIED) &&
      !is_enroll)
    action_type = caller->kind == CALLER_SENSOR ? "sensor_rejected" : "access_denied";
  if (!action_type) return;
  note(call, action_type, caller->kind == CALLER_SENSOR ? caller->name : NULL, status->reason,
       status->message);
}

void deny_note(struct tlx_call *call, const char *action_type, const char *sensor_id,
               const char *reason, const char *message) {
  note(call, action_type, sensor_id, reason, message);
}

/* ---- life ---- */

void deny_turn(struct deny *deny, bool all) {
  struct entry *entry, *next;
  uint64_t now_mono_ms = tlx_mono_ms(deny->console->clock);
  HASH_ITER(hh, deny->entries, entry, next) {
    if (!all && now_mono_ms < entry->until_mono_ms) continue;
    HASH_DEL(deny->entries, entry);
    if (entry->n_counted) {
      add_repeated(&entry->last, entry->n_counted);
      entry->last.op.actor.wall_ms = tlx_wall_ms(deny->console->clock);
      write_record(deny, &entry->last);
    }
    free(entry);
  }
  if (deny->n_anonymous_counted && (all || now_mono_ms >= deny->anonymous_until_mono_ms)) {
    struct op_audit_only summary = {.action_type = "access_denied"};
    set_detail(&summary, NULL, "anonymous_flood", "further anonymous attempts in this minute",
               deny->n_anonymous_counted);
    summary.op.actor.wall_ms = tlx_wall_ms(deny->console->clock);
    deny->n_anonymous_counted = 0;
    write_record(deny, &summary);
  }
}

int deny_new(struct console *console, struct deny **ret_deny) {
  struct deny *deny = calloc(1, sizeof *deny);
  if (!deny) return -ENOMEM;
  deny->console = console;
  *ret_deny = deny;
  return 0;
}

void deny_free(struct deny *deny) {
  struct entry *entry, *next;
  if (!deny) return;
  HASH_ITER(hh, deny->entries, entry, next) {
    HASH_DEL(deny->entries, entry);
    free(entry);
  }
  free(deny);
}
