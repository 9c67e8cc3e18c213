// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "console/convert.h"
#include "console/svc.h"
#include "console/watch_int.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"

/* Streams of one rule until the host confirmed its removal. What may be said of a rule also changes
 * by the clock (silence), so each is looked at every second as well, and sent when it differs. */

struct rule_watcher {
  struct watch *watch;
  struct rule_watcher *next, **prev;
  struct tlx_call *call; /* referenced */
  char rule_id[32], sensor_id[32], node_name[256];
  bool told;       /* something was sent, and its sensor is known */
  uint64_t digest; /* of what was sent last */
};

static void drop_rule_watcher(struct rule_watcher *watcher) {
  *watcher->prev = watcher->next;
  if (watcher->next) watcher->next->prev = watcher->prev;
  tlx_call_on_cancel(watcher->call, NULL, NULL);
  tlx_call_unref(watcher->call);
  free(watcher);
}

static void on_rule_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  drop_rule_watcher(arg);
  tlx_call_end(call);
  tlx_call_unref(call);
}

/* FNV-1a over all that is sent but for what moves with the clock. */
static int digest_rule(const Telovix__V1__EnforcementRule *rule, uint64_t *ret_digest) {
  Telovix__V1__EnforcementRule still = *rule;
  struct tlx_buf buf TLX_CLEANUP(tlx_buf_done) = {0};
  uint64_t hash = 0xcbf29ce484222325u;
  still.changed_age = NULL;
  still.verified_at = NULL;
  tlx_pb_pack(&still.base, &buf);
  if (buf.err) return buf.err;
  for (size_t i = 0; i < buf.len; i++)
    hash = (hash ^ buf.data[i]) * 0x100000001b3u;
  *ret_digest = hash;
  return 0;
}

/* Sends the rule when it is not what was sent last. 0 or a negative error. */
static int send_if_new(struct rule_watcher *watcher, struct tlx_txn *txn,
                       const Telovix__Store__V1__RuleRecord *record) {
  struct rule_view view;
  struct tlx_arena arena;
  uint64_t digest;
  convert_rule_view(watcher->watch->console, tlx_sensor_get(txn, record->sensor_id), &view);
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__EnforcementRule *rule = convert_rule(record, &view, &arena);
  int err = rule ? digest_rule(rule, &digest) : -ENOMEM;
  if (!err && (!watcher->told || digest != watcher->digest)) {
    err = tlx_call_send(watcher->call, &rule->base);
    watcher->told = true;
    snprintf(watcher->sensor_id, sizeof watcher->sensor_id, "%s", record->sensor_id);
    snprintf(watcher->node_name, sizeof watcher->node_name, "%s", record->node_name);
    watcher->digest = digest;
  }
  tlx_arena_done(&arena);
  return err;
}

static void fail_deleted(struct rule_watcher *watcher) {
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_SENSOR),
                 "%s was deleted: what its host makes of the rule nobody will know",
                 watcher->node_name);
  svc_fail_status(watcher->call, &status);
}

/* Brings the watcher up to date. False when the stream is over. */
static bool update(struct rule_watcher *watcher) {
  struct tlx_call *call = watcher->call;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return false;
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, watcher->rule_id);
  if (!svc_read_ok(call, txn)) return false;
  if (!record && watcher->told) {
    bool is_there = tlx_sensor_get(txn, watcher->sensor_id) != NULL;
    if (!svc_read_ok(call, txn)) return false;
    if (is_there)
      tlx_call_end(call); /* the host confirmed that it is out of force */
    else
      fail_deleted(watcher); /* nobody confirmed anything */
    return false;
  }
  if (!record) {
    svc_fail(call, REASON_UNKNOWN_RULE);
    return false;
  }
  int err = send_if_new(watcher, txn, record);
  if (err == TLX_E_LIMIT)
    svc_fail(call, REASON_WATCH_TOO_SLOW);
  else if (err) /* whatever it is: an orderly end would say that the rule is gone */
    svc_fail(call, REASON_NO_MEMORY);
  return !err;
}

void watch_rule(struct watch *watch, struct tlx_call *call, const char *rule_id) {
  struct rule_watcher *watcher = calloc(1, sizeof *watcher);
  if (!watcher) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  watcher->watch = watch;
  watcher->call = tlx_call_ref(call);
  snprintf(watcher->rule_id, sizeof watcher->rule_id, "%s", rule_id);
  watcher->next = watch->rules;
  watcher->prev = &watch->rules;
  if (watch->rules) watch->rules->prev = &watcher->next;
  watch->rules = watcher;
  svc_add_head(call);
  tlx_call_on_cancel(call, on_rule_cancelled, watcher);
  if (!update(watcher)) drop_rule_watcher(watcher);
}

void watch_rule_changed(struct watch *watch, const char *rule_id) {
  for (struct rule_watcher *watcher = watch->rules, *next; watcher; watcher = next) {
    next = watcher->next;
    if (strcmp(watcher->rule_id, rule_id) == 0 && !update(watcher)) drop_rule_watcher(watcher);
  }
}

void watch_rule_turn(struct watch *watch) {
  for (struct rule_watcher *watcher = watch->rules, *next; watcher; watcher = next) {
    next = watcher->next;
    if (!update(watcher)) drop_rule_watcher(watcher);
  }
}

void watch_rule_end_all(struct watch *watch, const struct tlx_status *status) {
  while (watch->rules) {
    struct tlx_call *call = tlx_call_ref(watch->rules->call);
    drop_rule_watcher(watch->rules);
    tlx_call_fail(call, status);
    tlx_call_unref(call);
  }
}
