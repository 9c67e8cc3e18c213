// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/block.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/page.h"
#include "console/svc_rule.h"
#include "console/watch.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "storage/rule_tbl.h"
#include "telovix/v1/policy.pb-c.h"

/* Rules: read, change the mode, delete (PolicyService). */

/* ---- what all changes share ---- */

void svc_rule_check_mode(struct tlx_status *status, Telovix__V1__RuleMode *mode,
                         Telovix__V1__RuleMode unset) {
  if (*mode == TELOVIX__V1__RULE_MODE__RULE_MODE_UNSPECIFIED) *mode = unset;
  if (*mode != TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE &&
      *mode != TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE)
    tlx_status_add_violation(status, "mode", "is neither ENFORCE nor OBSERVE");
}

int svc_rule_take_sensor(struct tlx_call *call, const Telovix__Store__V1__SensorRecord *sensor,
                         struct op_rule *op) {
  struct console *console = console_of(call);
  struct health health;
  op->pack_arg = calloc(1, sizeof(struct rule_view));
  if (!op->pack_arg) return -ENOMEM;
  convert_rule_view(console, sensor, op->pack_arg);
  op->silent = ((struct rule_view *)op->pack_arg)->is_silent;
  if (!sensor) return 0;
  convert_health(console, sensor, &health);
  op->critical = health.state == (uint32_t)TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_CRITICAL;
  health_critical_text(&health, op->health, sizeof op->health);
  /* Nobody has heard of it yet: there is no next heartbeat to speak of within seconds. */
  if (health.never_seen) op->silent = true;
  return 0;
}

static void pack_rule(const struct op *base, struct tlx_buf *buf) {
  const struct op_rule *op = (const void *)base;
  Telovix__V1__EnforcementRuleReply reply = TELOVIX__V1__ENFORCEMENT_RULE_REPLY__INIT;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  reply.rule = convert_rule(op->record, op->pack_arg, &arena);
  reply.notice = (char *)op->notice;
  if (reply.rule)
    tlx_pb_pack(&reply.base, buf);
  else
    buf->err = -ENOMEM;
  tlx_arena_done(&arena);
}

static void rule_changed(struct op *base) {
  struct op_rule *op = (void *)base;
  struct console *console = console_of(base->arg);
  if (base->status.code == TLX_GRPC_OK && !base->replayed && op->changed) {
    live_wake(console->live, op->sensor_id);
    watch_rule_changed(console->watch, op->rule_id);
    watch_sensor_changed(console->watch, op->sensor_id);
  }
  svc_op_answer(base);
  op_rule_free(op);
}

void svc_rule_submit(struct tlx_call *call, struct op_rule *op,
                     void (*run)(struct op *op, struct tlx_txn *txn), const char *action_type,
                     size_t op_len, const char *reason, const char *request_id) {
  op->op.run = run;
  if (!op->op.pack) op->op.pack = pack_rule;
  op->op.action_type = action_type;
  op->op.done = rule_changed;
  op->op.cost = op_len + op->policy.len + sizeof(struct rule_view);
  svc_submit(call, &op->op, reason, request_id);
}

static void check_rule_id(struct tlx_status *status, const char *rule_id) {
  if (!tlx_id_valid("rule_", rule_id))
    tlx_status_add_violation(status, "rule_id", "is not the id of a rule");
}

/* Finds what is known now of the rule's sensor. |*ret_record| NULL when there is no such rule: then
 * the op refuses, which also audits it. False when the call has ended. */
static bool take_rule(struct tlx_call *call, struct tlx_txn *txn, struct op_rule *op,
                      const Telovix__Store__V1__RuleRecord **ret_record) {
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, op->rule_id);
  const Telovix__Store__V1__SensorRecord *sensor =
      record ? tlx_sensor_get(txn, record->sensor_id) : NULL;
  if (!svc_read_ok(call, txn)) return false;
  if (svc_rule_take_sensor(call, sensor, op) != 0) {
    svc_fail(call, REASON_NO_MEMORY);
    return false;
  }
  *ret_record = record;
  return true;
}

/* ---- SetEnforcementRuleMode ---- */

/* The policy with the new mode, made from the rule as it is now; the op refuses when the rule has
 * changed meanwhile. Whether files such as shells may be hit stays as it was when the rule was
 * made: forcing past critical health is another thing. */
static int make_policy(const Telovix__Store__V1__RuleRecord *record, struct op_rule_set_mode *op) {
  struct op_rule *rule = &op->rule;
  struct block_policy policy = {.rule_id = record->rule_id,
                                .name = record->name,
                                .path = record->path,
                                .mode = op->mode,
                                .force = block_is_forced(record->policy.data, record->policy.len)};
  int err = tlx_random(rule->revision, sizeof rule->revision);
  if (err) return err;
  memcpy(op->from_revision, record->revision.data, sizeof op->from_revision);
  memcpy(policy.revision, rule->revision, sizeof policy.revision);
  block_pack(&policy, &rule->policy);
  return rule->policy.err;
}

void svc_set_rule_mode(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__SetEnforcementRuleModeRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  Telovix__V1__RuleMode mode = request->mode;
  const Telovix__Store__V1__RuleRecord *record;
  tlx_status_clear(&status);
  check_rule_id(&status, request->rule_id);
  svc_rule_check_mode(&status, &mode, TELOVIX__V1__RULE_MODE__RULE_MODE_UNSPECIFIED);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  struct op_rule_set_mode *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->rule.rule_id, sizeof op->rule.rule_id, "%s", request->rule_id);
  op->rule.force = request->force;
  op->mode = (uint32_t)mode;
  if (!take_rule(call, txn, &op->rule, &record)) {
    op_rule_free(&op->rule);
    return;
  }
  if (record && make_policy(record, op) != 0) {
    op_rule_free(&op->rule);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  svc_rule_submit(call, &op->rule, op_rule_set_mode_run, "rule_mode_changed", sizeof *op,
                  request->reason, request->request_id);
}

/* ---- DeleteEnforcementRule ---- */

void svc_delete_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__DeleteEnforcementRuleRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  const Telovix__Store__V1__RuleRecord *record;
  tlx_status_clear(&status);
  check_rule_id(&status, request->rule_id);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  struct op_rule *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->rule_id, sizeof op->rule_id, "%s", request->rule_id);
  if (!take_rule(call, txn, op, &record)) {
    op_rule_free(op);
    return;
  }
  svc_rule_submit(call, op, op_rule_delete_run, "enforcement_rule_deleted", sizeof *op,
                  request->reason, request->request_id);
}

/* ---- reading ---- */

void svc_get_template(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetTemplateRequest *request = (const void *)message;
  const struct settings *settings = &console_of(call)->settings;
  Telovix__V1__Template reply = TELOVIX__V1__TEMPLATE__INIT;
  const char *allow[TLX_ALLOW_LIST_MAX];
  if (strcmp(request->template_, CONTAIN_TEMPLATE) != 0) {
    svc_fail(call, REASON_UNKNOWN_TEMPLATE);
    return;
  }
  reply.template_ = (char *)CONTAIN_TEMPLATE;
  reply.description = (char *)contain_description;
  for (unsigned i = 0; i < settings->containment_allow.n; i++)
    allow[i] = settings->containment_allow.entries[i];
  reply.allow = (char **)allow;
  reply.n_allow = settings->containment_allow.n;
  reply.on_lost_console = (Telovix__V1__OnLostConsole)settings->containment_on_lost;
  svc_reply(call, &reply.base);
}

void svc_get_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetEnforcementRuleRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct rule_view view;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, request->rule_id);
  if (!svc_read_ok(call, txn)) return;
  if (!record) {
    svc_fail(call, REASON_UNKNOWN_RULE);
    return;
  }
  convert_rule_view(console_of(call), tlx_sensor_get(txn, record->sensor_id), &view);
  const Telovix__V1__EnforcementRule *rule = convert_rule(record, &view, tlx_call_arena(call));
  if (svc_read_ok(call, txn)) svc_reply(call, rule ? &rule->base : NULL);
}

void svc_watch_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetEnforcementRuleRequest *request = (const void *)message;
  watch_rule(console_of(call)->watch, call, request->rule_id);
}

/* One page of rules while it is collected. Rules of one sensor stand together, so that its state is
 * looked up once. */
struct rule_page {
  struct console *console;
  struct tlx_txn *txn;
  struct tlx_arena *arena;
  Telovix__V1__EnforcementRule **rules;
  size_t n, max, bytes;
  struct rule_view view;
  char view_sensor_id[32], last_sensor_id[32], last_rule_id[32];
  bool more, failed;
};

static bool collect_rule(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct rule_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  if (strcmp(page->view_sensor_id, record->sensor_id) != 0) {
    convert_rule_view(page->console, tlx_sensor_get(page->txn, record->sensor_id), &page->view);
    snprintf(page->view_sensor_id, sizeof page->view_sensor_id, "%s", record->sensor_id);
  }
  Telovix__V1__EnforcementRule *rule = convert_rule(record, &page->view, page->arena);
  if (!rule) {
    page->failed = true;
    return false;
  }
  page->rules[page->n++] = rule;
  page->bytes += protobuf_c_message_get_packed_size(&rule->base);
  snprintf(page->last_sensor_id, sizeof page->last_sensor_id, "%s", record->sensor_id);
  snprintf(page->last_rule_id, sizeof page->last_rule_id, "%s", record->rule_id);
  return true;
}

/* The key of a page token: sensor id, NUL, rule id. False for one that no token of ours holds. */
static bool split_key(uint8_t key[PAGE_KEY_MAX + 1], size_t key_len, const char **ret_sensor,
                      const char **ret_rule) {
  key[key_len] = 0;
  size_t sensor_len = strlen((char *)key);
  if (sensor_len + 1 >= key_len) return false;
  *ret_sensor = (char *)key;
  *ret_rule = (char *)key + sensor_len + 1;
  return tlx_id_valid("sensor_", *ret_sensor) && tlx_id_valid("rule_", *ret_rule);
}

static void finish_page(struct tlx_call *call, struct rule_page *page, const char *filter) {
  Telovix__V1__ListEnforcementRulesReply reply = TELOVIX__V1__LIST_ENFORCEMENT_RULES_REPLY__INIT;
  char key[80], token[512];
  reply.rules = page->rules;
  reply.n_rules = page->n;
  if (page->more) {
    int len = snprintf(key, sizeof key, "%s%c%s", page->last_sensor_id, '\0', page->last_rule_id);
    page_token_format(filter, key, (size_t)len, token);
    reply.next_page_token = token;
  }
  svc_reply(call, &reply.base);
}

void svc_list_rules(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListEnforcementRulesRequest *request = (const void *)message;
  struct rule_page page = {.console = console_of(call),
                           .arena = tlx_call_arena(call),
                           .max = page_size(request->page_size, PAGE_MAX)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  uint8_t key[PAGE_KEY_MAX + 1];
  size_t key_len = 0;
  char filter[320];
  const char *after_sensor = NULL, *after_rule = NULL;
  tlx_status_clear(&status);
  snprintf(filter, sizeof filter, "ListEnforcementRules|%.253s", request->sensor);
  if (page_token_parse(request->page_token, filter, key, &key_len, &status) == 0 && key_len &&
      !split_key(key, key_len, &after_sensor, &after_rule))
    tlx_status_add_violation(&status, "page_token", "is not a token of this list");
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  page.txn = txn;
  const Telovix__Store__V1__SensorRecord *sensor = NULL;
  if (*request->sensor && !(sensor = svc_find_sensor(call, txn, request->sensor))) return;
  page.rules = tlx_arena_alloc(page.arena, page.max * sizeof *page.rules);
  if (!page.rules) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  tlx_rule_each(txn, sensor ? sensor->sensor_id : NULL, after_sensor, after_rule, collect_rule,
                &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed)
    svc_fail(call, REASON_NO_MEMORY);
  else
    finish_page(call, &page, filter);
}
