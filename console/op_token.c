// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_token.h"

#include <errno.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_int.h"
#include "console/reasons.h"

#define CREATED "enrollment_token_created"
#define REVOKED "enrollment_token_revoked"

/* Numbers of telovix.v1.TokenStatus, which no op may see. */
enum { STATUS_PENDING = 1, STATUS_USED, STATUS_EXPIRED, STATUS_REVOKED };
/* Of telovix.v1.TokenKind. */
enum { KIND_ONE_TIME = 1, KIND_FLEET, KIND_REENROLLMENT };

unsigned token_status(const Telovix__Store__V1__TokenRecord *record, uint64_t now_wall_ms) {
  if (record->uses >= record->max_uses) return STATUS_USED;
  if (record->revoked) return STATUS_REVOKED;
  if (now_wall_ms >= record->expires_wall_ms) return STATUS_EXPIRED;
  return STATUS_PENDING;
}

/* ---- create ---- */

struct oldest {
  uint64_t now_wall_ms;
  Telovix__Store__V1__TokenRecord found;
  bool is_found;
};

static bool note_oldest(void *arg, const Telovix__Store__V1__TokenRecord *record) {
  struct oldest *oldest = arg;
  if (token_status(record, oldest->now_wall_ms) == STATUS_PENDING) return true;
  /* Newest first: the last one noted is the oldest. Only the number is needed. */
  oldest->found = (Telovix__Store__V1__TokenRecord)TELOVIX__STORE__V1__TOKEN_RECORD__INIT;
  oldest->found.token_no = record->token_no;
  oldest->is_found = true;
  return true;
}

/* Room for one more: what can no longer be used is history, which the audit log keeps. */
static bool make_room(struct op *base, struct tlx_txn *txn) {
  while (tlx_token_count(txn) >= TOKENS_MAX && !tlx_txn_err(txn)) {
    struct oldest oldest = {.now_wall_ms = base->actor.wall_ms};
    tlx_token_each(txn, UINT64_MAX, note_oldest, &oldest);
    if (!oldest.is_found) return false;
    tlx_token_remove(txn, &oldest.found);
  }
  return true;
}

static json_t *asked_token(const struct op_token_create *op) {
  json_t *asked = json_object();
  json_object_set_new(asked, "token_id", json_string(op->token_id));
  json_object_set_new(asked, "expires", op_json_time(op->expires_wall_ms));
  static const char *const kinds[] = {"", "one_time", "fleet", "reenrollment"};
  if (op->kind <= KIND_REENROLLMENT)
    json_object_set_new(asked, "kind", json_string(kinds[op->kind]));
  if (op->kind == KIND_FLEET) json_object_set_new(asked, "max_uses", json_integer(op->max_uses));
  if (*op->name) json_object_set_new(asked, "name", op_json_text(op->name));
  if (*op->node_name) json_object_set_new(asked, "node_name", op_json_text(op->node_name));
  return asked;
}

static Telovix__Store__V1__TokenRecord *build(struct op_token_create *op, struct tlx_txn *txn,
                                              const Telovix__Store__V1__SensorRecord *sensor) {
  struct tlx_arena *arena = tlx_txn_arena(txn);
  Telovix__Store__V1__TokenRecord *record = tlx_arena_alloc(arena, sizeof *record);
  Telovix__Store__V1__Label **labels =
      tlx_arena_alloc(arena, (op->n_labels ? op->n_labels : 1) * sizeof *labels);
  Telovix__Store__V1__Label *storage =
      tlx_arena_alloc(arena, (op->n_labels ? op->n_labels : 1) * sizeof *storage);
  if (!record || !labels || !storage) {
    tlx_txn_fail(txn, -ENOMEM);
    return NULL;
  }
  *record = (Telovix__Store__V1__TokenRecord)TELOVIX__STORE__V1__TOKEN_RECORD__INIT;
  record->token_id = op->token_id;
  record->kind = op->kind;
  record->name = op->name;
  record->node_name = sensor ? sensor->node_name : op->node_name;
  if (sensor) record->sensor_id = sensor->sensor_id;
  for (unsigned i = 0; i < op->n_labels; i++) {
    storage[i] = (Telovix__Store__V1__Label)TELOVIX__STORE__V1__LABEL__INIT;
    storage[i].key = op->labels[i].key;
    storage[i].value = op->labels[i].value;
    labels[i] = &storage[i];
  }
  record->labels = labels;
  record->n_labels = op->n_labels;
  record->max_uses = op->kind == KIND_FLEET ? op->max_uses : 1;
  record->created_by = op->op.actor.name;
  record->created_wall_ms = op->op.actor.wall_ms;
  record->expires_wall_ms = op->expires_wall_ms;
  record->secret_hash = (ProtobufCBinaryData){sizeof op->secret_hash, op->secret_hash};
  return record;
}

static bool needs_admin(struct op *base, const char *what) {
  if (strcmp(base->actor.role, "admin") == 0) return true;
  tlx_status_set(&base->status, TLX_GRPC_PERMISSION_DENIED, reason_word(REASON_ROLE_TOO_LOW),
                 "%s needs the role admin; %s is %s", what, base->actor.name, base->actor.role);
  return false;
}

static bool may_create(struct op_token_create *op, struct tlx_txn *txn,
                       Telovix__Store__V1__SensorRecord **ret_sensor) {
  struct op *base = &op->op;
  if (op->kind == KIND_FLEET && !needs_admin(base, "a fleet token")) return false;
  if (op->kind == KIND_REENROLLMENT) {
    *ret_sensor = op_find_sensor(base, txn, op->sensor);
    if (!*ret_sensor) return false;
    if ((*ret_sensor)->trust_state == OP_TRUST_REVOKED &&
        !needs_admin(base, "the re-enrollment of a revoked sensor"))
      return false;
  }
  if (make_room(base, txn)) return true;
  reason_set(&base->status, REASON_TOO_MANY_TOKENS);
  return false;
}

void op_token_create_run(struct op *base, struct tlx_txn *txn) {
  struct op_token_create *op = (void *)base;
  Telovix__Store__V1__SensorRecord *sensor = NULL;
  op->record = NULL;
  if (!may_create(op, txn, &sensor)) {
    op_refuse_json(base, txn, CREATED, sensor ? sensor->sensor_id : NULL, asked_token(op));
    return;
  }
  op->record = build(op, txn, sensor);
  if (!op->record) return;
  tlx_token_add(txn, op->record);
  op_audit_json(base, txn, CREATED, true, sensor ? sensor->sensor_id : NULL, asked_token(op));
  op_reply_once(base, reason_word(REASON_TOKEN_ALREADY_CREATED),
                "this request created %s, whose secret was shown once; revoke it and create "
                "another with a new request id",
                op->token_id);
}

/* ---- revoke ---- */

void op_token_revoke_run(struct op *base, struct tlx_txn *txn) {
  struct op_token_revoke *op = (void *)base;
  static const char *const words[] = {"", "pending", "used", "expired", "revoked"};
  json_t *asked = json_object();
  json_object_set_new(asked, "token_id", op_json_text(op->token_id));
  op->record = tlx_token_get(txn, op->token_id);
  if (!op->record) {
    tlx_status_set(&base->status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_TOKEN),
                   "there is no token %s", op->token_id);
    op_refuse_json(base, txn, REVOKED, NULL, asked);
    return;
  }
  unsigned status = token_status(op->record, base->actor.wall_ms);
  if (status != STATUS_PENDING) {
    tlx_status_set(&base->status, TLX_GRPC_FAILED_PRECONDITION,
                   reason_word(REASON_TOKEN_NOT_PENDING),
                   "token %s is %s: there is nothing to revoke", op->token_id, words[status]);
    op_refuse_json(base, txn, REVOKED, NULL, asked);
    return;
  }
  op->record->revoked = true;
  tlx_token_put(txn, op->record);
  op_audit_json(base, txn, REVOKED, true, NULL, asked);
}
