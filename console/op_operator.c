// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_operator.h"

#include <errno.h>
#include <string.h>

#include "console/authz.h"
#include "console/limits.h"
#include "console/op_int.h"
#include "console/reasons.h"

#define CREATED "operator_created"
#define RENEWED "operator_certificate_renewed"
#define ROLE_CHANGED "operator_role_changed"
#define REVOKED "operator_revoked"

static json_t *asked_of(const char *name) {
  json_t *asked = json_object();
  json_object_set_new(asked, "name", op_json_text(name));
  return asked;
}

static ProtobufCBinaryData blob(uint8_t *serial) {
  return (ProtobufCBinaryData){TLX_SERIAL_LEN, serial};
}

static void put_serial(struct tlx_txn *txn, const uint8_t *serial, char *owner,
                       uint64_t not_after_wall_ms, bool unused) {
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  record.kind = TLX_SERIAL_OF_OPERATOR;
  record.owner = owner;
  record.not_after_wall_ms = not_after_wall_ms;
  record.state = TLX_SERIAL_GOOD;
  record.unused = unused;
  tlx_serial_put(txn, serial, &record);
}

static void end_serial(struct tlx_txn *txn, const ProtobufCBinaryData *serial,
                       enum tlx_serial_state state) {
  if (serial->len != TLX_SERIAL_LEN) return;
  Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial->data);
  if (!record) return;
  record->state = state;
  tlx_serial_put(txn, serial->data, record);
}

/* ---- create ---- */

static Telovix__Store__V1__OperatorRecord *build(struct op_operator_create *op,
                                                 struct tlx_txn *txn) {
  Telovix__Store__V1__OperatorRecord *record = tlx_arena_alloc(tlx_txn_arena(txn), sizeof *record);
  if (!record) {
    tlx_txn_fail(txn, -ENOMEM);
    return NULL;
  }
  *record = (Telovix__Store__V1__OperatorRecord)TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  record->name = op->name;
  record->role = op->role;
  record->created_wall_ms = op->op.actor.wall_ms;
  record->created_by = op->op.actor.name;
  record->serial = blob(op->serial);
  record->cert_not_after_wall_ms = op->not_after_wall_ms;
  return record;
}

static bool may_create(struct op_operator_create *op, struct tlx_txn *txn) {
  struct tlx_status *status = &op->op.status;
  const Telovix__Store__V1__OperatorRecord *old = tlx_operator_get(txn, op->name);
  if (old)
    tlx_status_set(status, TLX_GRPC_ALREADY_EXISTS, reason_word(REASON_OPERATOR_EXISTS),
                   old->revoked ? "there was an operator %s, who is revoked: a name is not given "
                                  "twice"
                                : "there is an operator %s",
                   op->name);
  else if (tlx_operator_count(txn) >= OPERATORS_MAX)
    reason_set(status, REASON_TOO_MANY_OPERATORS);
  return status->code == TLX_GRPC_OK;
}

void op_operator_create_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_create *op = (void *)base;
  json_t *asked = asked_of(op->name);
  json_object_set_new(asked, "role", json_string(authz_role_name(op->role)));
  op->record = NULL;
  if (!may_create(op, txn)) {
    op_refuse_json(base, txn, CREATED, NULL, asked);
    return;
  }
  op->record = build(op, txn);
  if (op->record) {
    tlx_operator_put(txn, op->record);
    put_serial(txn, op->serial, op->name, op->not_after_wall_ms, false);
  }
  op_audit_json(base, txn, CREATED, true, NULL, asked);
}

/* ---- renew ---- */

static bool is_serial(const ProtobufCBinaryData *blob, const uint8_t *serial) {
  return blob->len == TLX_SERIAL_LEN && memcmp(blob->data, serial, TLX_SERIAL_LEN) == 0;
}

void op_operator_renew_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_renew *op = (void *)base;
  json_t *asked = asked_of(base->actor.name);
  op->record = tlx_operator_get(txn, base->actor.name);
  if (!op->record) {
    reason_set(&base->status, REASON_CERTIFICATE_UNKNOWN);
    op_refuse_json(base, txn, RENEWED, NULL, asked);
    return;
  }
  Telovix__Store__V1__OperatorRecord *record = op->record;
  bool is_current = is_serial(&record->serial, op->own_serial);
  if (!is_current && !is_serial(&record->previous_serial, op->own_serial)) {
    reason_set(&base->status, REASON_CERTIFICATE_SUPERSEDED);
    op_refuse_json(base, txn, RENEWED, NULL, asked);
    return;
  }
  /* Two at most are good: the one that asks, and the new one. */
  end_serial(txn, is_current ? &record->previous_serial : &record->serial, TLX_SERIAL_SUPERSEDED);
  record->previous_serial = blob(op->own_serial);
  record->serial = blob(op->serial);
  record->cert_not_after_wall_ms = op->not_after_wall_ms;
  tlx_operator_put(txn, record);
  put_serial(txn, op->serial, base->actor.name, op->not_after_wall_ms, true);
  json_object_set_new(asked, "expires", op_json_time(op->not_after_wall_ms));
  op_audit_json(base, txn, RENEWED, true, NULL, asked);
}

void op_operator_used_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_used *op = (void *)base;
  Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, op->name);
  if (!record || !is_serial(&record->serial, op->serial)) return;
  Telovix__Store__V1__SerialRecord *serial = tlx_serial_get(txn, op->serial);
  if (!serial || !serial->unused) return;
  serial->unused = false;
  tlx_serial_put(txn, op->serial, serial);
  end_serial(txn, &record->previous_serial, TLX_SERIAL_SUPERSEDED);
  record->previous_serial = (ProtobufCBinaryData){0, NULL};
  tlx_operator_put(txn, record);
}

/* ---- role and revocation ---- */

struct admins {
  const char *but;
  uint64_t now_wall_ms;
  unsigned n;
};

static bool count_admin(void *arg, const Telovix__Store__V1__OperatorRecord *record) {
  struct admins *admins = arg;
  /* One whose certificate has ended can do nothing, and renew nothing. */
  admins->n += record->role == AUTHZ_ADMIN && !record->revoked &&
               record->cert_not_after_wall_ms > admins->now_wall_ms &&
               strcmp(record->name, admins->but) != 0;
  return true;
}

/* Whether somebody stays who can make operators, when |op|->record is none of them any more. */
static bool others_remain(const struct op_operator_change *op, struct tlx_txn *txn) {
  const Telovix__Store__V1__OperatorRecord *record = op->record;
  struct admins admins = {.but = record->name, .now_wall_ms = op->op.actor.wall_ms};
  if (record->role != AUTHZ_ADMIN || record->revoked) return true;
  tlx_operator_each(txn, NULL, count_admin, &admins);
  return admins.n > 0;
}

static void refuse_last(struct op_operator_change *op) {
  tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_LAST_ADMIN),
                 "%s is the last admin: make another one first", op->name);
}

static bool find(struct op_operator_change *op, struct tlx_txn *txn) {
  op->record = tlx_operator_get(txn, op->name);
  if (op->record) return true;
  tlx_status_set(&op->op.status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_OPERATOR),
                 "there is no operator %s", op->name);
  return false;
}

static bool may_have_role(struct op_operator_change *op, struct tlx_txn *txn) {
  if (!find(op, txn)) return false;
  if (op->record->revoked)
    tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION,
                   reason_word(REASON_OPERATOR_IS_REVOKED),
                   "%s is revoked, and a role would not change that", op->name);
  else if (op->role != AUTHZ_ADMIN && !others_remain(op, txn))
    refuse_last(op);
  return op->op.status.code == TLX_GRPC_OK;
}

void op_operator_role_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_change *op = (void *)base;
  json_t *asked = asked_of(op->name);
  json_object_set_new(asked, "role", json_string(authz_role_name(op->role)));
  if (!may_have_role(op, txn)) {
    op_refuse_json(base, txn, ROLE_CHANGED, NULL, asked);
    return;
  }
  json_object_set_new(asked, "former_role", json_string(authz_role_name(op->record->role)));
  json_object_set_new(asked, "changed", json_boolean(op->record->role != op->role));
  op->record->role = op->role;
  tlx_operator_put(txn, op->record);
  op_audit_json(base, txn, ROLE_CHANGED, true, NULL, asked);
}

void op_operator_revoke_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_change *op = (void *)base;
  json_t *asked = asked_of(op->name);
  bool ok = find(op, txn);
  if (ok && !others_remain(op, txn)) {
    refuse_last(op);
    ok = false;
  }
  if (!ok) {
    op_refuse_json(base, txn, REVOKED, NULL, asked);
    return;
  }
  json_object_set_new(asked, "changed", json_boolean(!op->record->revoked));
  op->record->revoked = true;
  tlx_operator_put(txn, op->record);
  end_serial(txn, &op->record->serial, TLX_SERIAL_REVOKED);
  end_serial(txn, &op->record->previous_serial, TLX_SERIAL_REVOKED);
  op_audit_json(base, txn, REVOKED, true, NULL, asked);
}
