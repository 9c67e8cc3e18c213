// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/op_int.h"
#include "console/reasons.h"
#include "storage/token_tbl.h"

#define FAILED "enrollment_failed"
#define ENROLLED "sensor_enrolled"

/* ---- may this token be used? ---- */

static bool refuse(struct op_enroll *op, enum reason reason) {
  reason_set(&op->op.status, reason);
  return false;
}

static bool is_same_key(const struct op_enroll *op, const Telovix__Store__V1__TokenRecord *token) {
  return token->used_by_key_hash.len == sizeof op->key_hash &&
         memcmp(token->used_by_key_hash.data, op->key_hash, sizeof op->key_hash) == 0;
}

static bool check(struct op_enroll *op, const Telovix__Store__V1__TokenRecord *token) {
  char bound[256], given[256];
  if (!token) return refuse(op, REASON_TOKEN_UNKNOWN);
  if (token->revoked) return refuse(op, REASON_TOKEN_REVOKED);
  if (op->op.actor.wall_ms >= token->expires_wall_ms) return refuse(op, REASON_TOKEN_EXPIRED);
  if (*token->node_name) {
    tlx_name_node_fold(token->node_name, bound, sizeof bound);
    tlx_name_node_fold(op->node_name, given, sizeof given);
    if (strcmp(bound, given) != 0) return refuse(op, REASON_TOKEN_WRONG_NODE);
  }
  /* The reply of a former try may be lost: the same key gets the same certificate. */
  if (token->uses >= token->max_uses && !is_same_key(op, token))
    return refuse(op, REASON_TOKEN_USED);
  return true;
}

bool op_enroll_check(struct op_enroll *op, struct tlx_txn *txn) {
  tlx_status_clear(&op->op.status);
  return check(op, tlx_token_find(txn, op->token_hash)) && !tlx_txn_err(txn);
}

/* ---- retry ---- */

/* Puts back what an earlier run of this op replaced. */
static void restore_offer(struct op_enroll *op) {
  if (!op->replaced) return;
  strcpy(op->sensor_id, op->offered_sensor_id);
  tlx_buf_done(&op->certificate);
  op->certificate = op->offered_certificate;
  memset(&op->offered_certificate, 0, sizeof op->offered_certificate);
  op->replaced = false;
}

static void give_again(struct op_enroll *op, struct tlx_txn *txn,
                       const Telovix__Store__V1__TokenRecord *token) {
  strcpy(op->offered_sensor_id, op->sensor_id);
  op->offered_certificate = op->certificate;
  memset(&op->certificate, 0, sizeof op->certificate);
  op->replaced = true;
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", token->used_by_sensor_id);
  tlx_buf_add(&op->certificate, token->issued_certificate.data, token->issued_certificate.len);
  if (op->certificate.err) tlx_txn_fail(txn, op->certificate.err);
}

/* ---- the new sensor ---- */

struct labels {
  Telovix__Store__V1__Label storage[ENROLL_LABELS_MAX], *list[ENROLL_LABELS_MAX];
  size_t n;
};

static void add_label(struct labels *labels, char *key, char *value) {
  for (size_t i = 0; i < labels->n; i++)
    if (strcmp(labels->storage[i].key, key) == 0) return;
  if (labels->n == ENROLL_LABELS_MAX) return;
  Telovix__Store__V1__Label *label = &labels->storage[labels->n];
  *label = (Telovix__Store__V1__Label)TELOVIX__STORE__V1__LABEL__INIT;
  label->key = key;
  label->value = value;
  labels->list[labels->n++] = label;
}

static void put_sensor(struct op_enroll *op, struct tlx_txn *txn,
                       const Telovix__Store__V1__TokenRecord *token) {
  Telovix__Store__V1__SensorRecord sensor = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  Telovix__Store__V1__SerialRecord serial = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  struct labels *labels = calloc(1, sizeof *labels);
  if (!labels) {
    tlx_txn_fail(txn, -ENOMEM);
    return;
  }
  /* The token's come first, and so they win. */
  for (size_t i = 0; i < token->n_labels; i++)
    add_label(labels, token->labels[i]->key, token->labels[i]->value);
  for (unsigned i = 0; i < op->n_labels; i++)
    add_label(labels, op->labels[i].key, op->labels[i].value);
  sensor.sensor_id = op->sensor_id;
  sensor.node_name = op->node_name;
  sensor.labels = labels->list;
  sensor.n_labels = labels->n;
  sensor.trust_state = OP_TRUST_BOOTSTRAP_PENDING;
  sensor.enrolled_wall_ms = op->op.actor.wall_ms;
  sensor.serial = (ProtobufCBinaryData){sizeof op->serial, op->serial};
  sensor.cert_not_before_wall_ms = op->not_before_wall_ms;
  sensor.cert_not_after_wall_ms = op->not_after_wall_ms;
  sensor.kernel_release = op->kernel_release;
  sensor.architecture = op->architecture;
  sensor.os_name = op->os_name;
  sensor.sensor_version = op->sensor_version;
  sensor.peer_address = op->op.actor.client_ip;
  tlx_sensor_put(txn, &sensor);
  free(labels);
  serial.kind = TLX_SERIAL_OF_SENSOR;
  serial.owner = op->sensor_id;
  serial.not_after_wall_ms = op->not_after_wall_ms;
  serial.state = TLX_SERIAL_GOOD;
  tlx_serial_put(txn, op->serial, &serial);
}

static void use_token(struct op_enroll *op, struct tlx_txn *txn,
                      Telovix__Store__V1__TokenRecord *token) {
  token->uses++;
  token->used_by_sensor_id = op->sensor_id;
  token->used_by_key_hash = (ProtobufCBinaryData){sizeof op->key_hash, op->key_hash};
  token->issued_certificate = (ProtobufCBinaryData){op->certificate.len, op->certificate.data};
  tlx_token_put(txn, token);
}

void op_enroll_run(struct op *base, struct tlx_txn *txn) {
  struct op_enroll *op = (void *)base;
  restore_offer(op);
  Telovix__Store__V1__TokenRecord *token = tlx_token_find(txn, op->token_hash);
  json_t *detail = json_object();
  json_object_set_new(detail, "node_name", op_json_text(op->node_name));
  if (token) json_object_set_new(detail, "token_id", json_string(token->token_id));
  if (tlx_txn_err(txn) || !check(op, token)) {
    op_refuse_json(base, txn, FAILED, NULL, detail);
    return;
  }
  if (token->uses >= token->max_uses) {
    give_again(op, txn, token);
    json_object_set_new(detail, "repeated", json_true());
  } else {
    put_sensor(op, txn, token);
    use_token(op, txn, token);
  }
  op_audit_json(base, txn, ENROLLED, true, op->sensor_id, detail);
}

void op_enroll_free(struct op_enroll *op) {
  if (!op) return;
  tlx_buf_done(&op->certificate);
  tlx_buf_done(&op->offered_certificate);
  op_done(&op->op);
  free(op);
}
