// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "console/op_int.h"
#include "console/op_report_int.h"
#include "storage/rule_tbl.h"

/* What sensors report of rules. */

/* Of telovix.v1.RuleState. */
enum { STATE_APPLIED = 2, STATE_PARTIAL = 3, STATE_UNKNOWN = 6 };

#define VERIFIED "containment_verified"

static void note_changed(struct op_report *op, const char *rule_id) {
  if (op->n_changed_rules < REPORT_CHANGED_RULES_MAX)
    snprintf(op->changed_rules[op->n_changed_rules++], sizeof *op->changed_rules, "%s", rule_id);
}

/* ---- reports ---- */

static bool is_blob(const ProtobufCBinaryData *blob, const uint8_t bytes[16]) {
  return blob->len == 16 && memcmp(blob->data, bytes, 16) == 0;
}

static bool same_gaps(const Telovix__Store__V1__RuleRecord *record,
                      const struct report_rule *report) {
  if (record->n_gaps != report->n_gaps) return false;
  for (size_t i = 0; i < report->n_gaps; i++)
    if (strcmp(record->gaps[i]->gap, report->gaps[i]->gap) != 0 ||
        strcmp(record->gaps[i]->detail, report->gaps[i]->detail) != 0 ||
        record->gaps[i]->by_kernel != report->gaps[i]->by_kernel)
      return false;
  return true;
}

/* A heartbeat that tells the same as the one before costs no disk. */
static bool says_the_same(const struct op_report *op, const Telovix__Store__V1__RuleRecord *record,
                          const struct report_rule *report) {
  return is_blob(&record->observed_revision, report->revision) &&
         is_blob(&record->observed_boot_id, op->seen.boot_id) &&
         record->observed_state == report->state && record->error_number == report->error_number &&
         record->hits == report->hits && record->would_hits == report->would_hits &&
         strcmp(record->observed_reason, report->reason) == 0 &&
         strcmp(record->observed_detail, report->detail) == 0 &&
         strcmp(record->backend, report->backend) == 0 && strcmp(record->file, report->file) == 0 &&
         same_gaps(record, report);
}

/* The host proved this revision for the first time: in part, or whole. At most one record each,
 * however often it drifts and is proved again. */
static void note_proof(struct op_report *op, struct tlx_txn *txn,
                       Telovix__Store__V1__RuleRecord *record) {
  bool is_whole = record->observed_state == STATE_APPLIED;
  if (!is_whole && record->observed_state != STATE_PARTIAL) return;
  if (record->proved_state == STATE_APPLIED || record->proved_state == record->observed_state)
    return;
  record->proved_state = record->observed_state;
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, record->sensor_id);
  json_t *detail = json_object(), *gaps = json_array();
  json_object_set_new(detail, "rule_id", json_string(record->rule_id));
  json_object_set_new(detail, "node_name", op_json_text(record->node_name));
  json_object_set_new(detail, "state", json_string(is_whole ? "contained" : "partial"));
  json_object_set_new(detail, "backend", op_json_text(record->backend));
  for (size_t i = 0; i < record->n_gaps; i++)
    json_array_append_new(gaps, op_json_text(record->gaps[i]->gap));
  json_object_set_new(detail, "gaps", gaps);
  const char *scope = op->has_facts ? op->scope_cgroup : sensor ? sensor->scope_cgroup : "";
  if (*scope) json_object_set_new(detail, "scope_cgroup", op_json_text(scope));
  op_audit_json(&op->op, txn, VERIFIED, true, record->sensor_id, detail);
}

static void take_report(struct op_report *op, struct tlx_txn *txn, struct report_rule *report) {
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, report->rule_id);
  if (!record) return; /* gone since it was handed out */
  if (strcmp(record->sensor_id, op->sensor_id) != 0) {
    op_report_reject(op, REPORT_FOREIGN_RULE, report->rule_id);
    return;
  }
  bool is_containment = tlx_rule_is_containment(record);
  /* Whether a file is blocked can always be told; a containment can drift between two proofs. */
  if (report->state == STATE_UNKNOWN && !is_containment) {
    op_report_reject(op, REPORT_IMPOSSIBLE_STATE, report->rule_id);
    return;
  }
  /* What a former revision did says nothing about this one, which stays pending. */
  if (record->removing || !is_blob(&record->revision, report->revision)) return;
  if (says_the_same(op, record, report)) return;
  record->observed_revision = (ProtobufCBinaryData){sizeof report->revision, report->revision};
  record->observed_boot_id = (ProtobufCBinaryData){sizeof op->seen.boot_id, op->seen.boot_id};
  record->observed_state = report->state;
  record->observed_reason = report->reason;
  record->observed_detail = report->detail;
  record->error_number = report->error_number;
  record->backend = report->backend;
  record->file = report->file;
  record->gaps = report->gaps;
  record->n_gaps = report->n_gaps;
  record->hits = report->hits;
  record->would_hits = report->would_hits;
  if (report->state == STATE_APPLIED && !record->applied_wall_ms)
    record->applied_wall_ms = op->op.actor.wall_ms;
  if (is_containment) note_proof(op, txn, record);
  tlx_rule_observe(txn, record);
  note_changed(op, record->rule_id);
}

void op_report_rules(struct op_report *op, struct tlx_txn *txn) {
  for (size_t i = 0; i < op->n_rules; i++)
    take_report(op, txn, &op->rules[i]);
}

/* ---- removal ---- */

/* Rules that the host no longer has: ids are collected first, because dropping moves the walk. */
struct gone {
  uint64_t generation; /* in force */
  char (*ids)[32];
  size_t n, max;
};

static bool collect_gone(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct gone *gone = arg;
  if (!record->removing || record->changed_generation > gone->generation) return true;
  if (gone->n == gone->max) return false; /* the rest with the next heartbeat that brings news */
  snprintf(gone->ids[gone->n++], sizeof *gone->ids, "%s", record->rule_id);
  return true;
}

/* Whether what is in force is a set of this store's history. A host that is ahead of it has the set
 * of a Console that was rolled back since, and says nothing about our deletions. */
static bool is_ours(const struct op_report *op, const Telovix__Store__V1__SensorRecord *sensor) {
  const struct report_name *in_force = &op->in_force;
  if (!op->has_in_force || memcmp(in_force->epoch, op->epoch, sizeof op->epoch) != 0) return false;
  if (in_force->generation != sensor->desired_generation)
    return in_force->generation < sensor->desired_generation;
  return sensor->desired_digest.len == sizeof in_force->digest &&
         memcmp(sensor->desired_digest.data, in_force->digest, sizeof in_force->digest) == 0;
}

void op_report_removals(struct op_report *op, struct tlx_txn *txn,
                        const Telovix__Store__V1__SensorRecord *sensor) {
  if (!is_ours(op, sensor)) return;
  struct gone gone = {.generation = op->in_force.generation,
                      .ids = op->changed_rules + op->n_changed_rules,
                      .max = REPORT_CHANGED_RULES_MAX - op->n_changed_rules};
  tlx_rule_each(txn, op->sensor_id, NULL, NULL, collect_gone, &gone);
  for (size_t i = 0; i < gone.n; i++)
    tlx_rule_remove(txn, gone.ids[i]);
  op->n_changed_rules += (unsigned)gone.n;
}
