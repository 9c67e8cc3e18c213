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
#define REENROLLED "sensor_reenrolled"

/* Numbers of telovix.v1.TokenKind, which no op may see. */
enum { TOKEN_FLEET = 2, TOKEN_REENROLLMENT };

/* ---- may this token be used? ---- */

static bool refuse(struct op_enroll *op, enum reason reason) {
  reason_set(&op->op.status, reason);
  return false;
}

static bool is_same_node(const char *a, const char *b) {
  char folded_a[256], folded_b[256];
  tlx_name_node_fold(a, folded_a, sizeof folded_a);
  tlx_name_node_fold(b, folded_b, sizeof folded_b);
  return strcmp(folded_a, folded_b) == 0;
}

/* What this key got for the token before. */
struct given {
  const char *sensor_id;
  ProtobufCBinaryData certificate;
};

static bool find_given(const struct op_enroll *op, struct tlx_txn *txn,
                       const Telovix__Store__V1__TokenRecord *token, struct given *ret_given) {
  if (token->kind == TOKEN_FLEET) {
    const Telovix__Store__V1__TokenUseRecord *use =
        tlx_token_use_get(txn, token->token_id, op->key_hash);
    if (use) *ret_given = (struct given){use->sensor_id, use->issued_certificate};
    return use;
  }
  if (token->uses == 0 || token->used_by_key_hash.len != sizeof op->key_hash ||
      memcmp(token->used_by_key_hash.data, op->key_hash, sizeof op->key_hash) != 0)
    return false;
  *ret_given = (struct given){token->used_by_sensor_id, token->issued_certificate};
  return true;
}

/* Whether it would still be taken: to give it again otherwise would be a lie. */
static bool is_good(const struct op_enroll *op, struct tlx_txn *txn, const struct given *given) {
  struct tlx_cert cert;
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, given->sensor_id);
  if (!sensor || sensor->trust_state == OP_TRUST_REVOKED) return false;
  if (tlx_cert_parse((struct tlx_bytes){given->certificate.data, given->certificate.len}, &cert) !=
          0 ||
      cert.serial_len != TLX_SERIAL_LEN || tlx_cert_check_time(&cert, op->op.actor.wall_ms) != 0)
    return false;
  const Telovix__Store__V1__SerialRecord *serial = tlx_serial_get(txn, cert.serial);
  return serial && serial->state == TLX_SERIAL_GOOD;
}

/* Which sensor may use it. */
static bool check_binding(struct op_enroll *op, struct tlx_txn *txn,
                          const Telovix__Store__V1__TokenRecord *token) {
  if (*token->node_name && !is_same_node(token->node_name, op->node_name))
    return refuse(op, REASON_TOKEN_WRONG_NODE);
  if (token->kind != TOKEN_REENROLLMENT)
    return !*op->host_sensor_id || refuse(op, REASON_TOKEN_WRONG_SENSOR);
  if (*op->host_sensor_id && strcmp(op->host_sensor_id, token->sensor_id) != 0)
    return refuse(op, REASON_TOKEN_WRONG_SENSOR);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, token->sensor_id);
  if (!sensor) return refuse(op, REASON_TOKEN_UNKNOWN);
  if (!is_same_node(sensor->node_name, op->node_name)) return refuse(op, REASON_TOKEN_WRONG_NODE);
  return true;
}

/* True: |ret_given| holds what is to be given again, or is all zero. */
static bool check(struct op_enroll *op, struct tlx_txn *txn,
                  const Telovix__Store__V1__TokenRecord *token, struct given *ret_given) {
  *ret_given = (struct given){0};
  if (!token) return refuse(op, REASON_TOKEN_UNKNOWN);
  if (token->revoked) return refuse(op, REASON_TOKEN_REVOKED);
  if (op->op.actor.wall_ms >= token->expires_wall_ms) return refuse(op, REASON_TOKEN_EXPIRED);
  if (!check_binding(op, txn, token)) return false;
  /* The reply of a former try may be lost: the same key gets the same certificate. */
  if (find_given(op, txn, token, ret_given))
    return is_good(op, txn, ret_given) || refuse(op, REASON_TOKEN_USED);
  return token->uses < token->max_uses || refuse(op, REASON_TOKEN_USED);
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

static void give_again(struct op_enroll *op, struct tlx_txn *txn, const struct given *given) {
  strcpy(op->offered_sensor_id, op->sensor_id);
  op->offered_certificate = op->certificate;
  memset(&op->certificate, 0, sizeof op->certificate);
  op->replaced = true;
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", given->sensor_id);
  tlx_buf_add(&op->certificate, given->certificate.data, given->certificate.len);
  if (op->certificate.err) tlx_txn_fail(txn, op->certificate.err);
}

enum op_enroll_verdict op_enroll_check(struct op_enroll *op, struct tlx_txn *txn) {
  const Telovix__Store__V1__TokenRecord *token = tlx_token_find(txn, op->token_hash);
  struct given given;
  tlx_status_clear(&op->op.status);
  if (!check(op, txn, token, &given) || tlx_txn_err(txn)) return OP_ENROLL_REFUSED;
  if (given.sensor_id) {
    give_again(op, txn, &given);
    return tlx_txn_err(txn) ? OP_ENROLL_REFUSED : OP_ENROLL_AGAIN;
  }
  if (token->kind == TOKEN_REENROLLMENT)
    snprintf(op->sensor_id, sizeof op->sensor_id, "%s", token->sensor_id);
  return OP_ENROLL_NEW;
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
}

/* ---- the known sensor, again ---- */

static void replace_identity(struct op_enroll *op, struct tlx_txn *txn) {
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, op->sensor_id);
  if (!sensor) return; /* the check saw it in this transaction */
  op_serial_end(txn, &sensor->serial);
  op_serial_end(txn, &sensor->previous_serial);
  sensor->trust_state = OP_TRUST_ROTATED;
  sensor->serial = (ProtobufCBinaryData){sizeof op->serial, op->serial};
  sensor->previous_serial.len = 0;
  sensor->cert_not_before_wall_ms = op->not_before_wall_ms;
  sensor->cert_not_after_wall_ms = op->not_after_wall_ms;
  sensor->clone_suspected_wall_ms = 0;
  static char none[] = "";
  sensor->renewal_error = none;
  sensor->kernel_release = op->kernel_release;
  sensor->architecture = op->architecture;
  sensor->os_name = op->os_name;
  sensor->sensor_version = op->sensor_version;
  tlx_sensor_put(txn, sensor);
}

static void put_serial(struct op_enroll *op, struct tlx_txn *txn, bool is_again) {
  Telovix__Store__V1__SerialRecord serial = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  serial.kind = TLX_SERIAL_OF_SENSOR;
  serial.owner = op->sensor_id;
  serial.not_after_wall_ms = op->not_after_wall_ms;
  serial.state = TLX_SERIAL_GOOD;
  /* Until it is used, a copy of the former identity that goes on is no sign of a clone. */
  serial.unused = is_again;
  tlx_serial_put(txn, op->serial, &serial);
}

static void use_token(struct op_enroll *op, struct tlx_txn *txn,
                      Telovix__Store__V1__TokenRecord *token) {
  ProtobufCBinaryData certificate = {op->certificate.len, op->certificate.data};
  token->uses++;
  token->used_by_sensor_id = op->sensor_id;
  token->used_by_key_hash = (ProtobufCBinaryData){sizeof op->key_hash, op->key_hash};
  if (token->kind != TOKEN_FLEET) token->issued_certificate = certificate;
  tlx_token_put(txn, token);
  if (token->kind != TOKEN_FLEET) return;
  Telovix__Store__V1__TokenUseRecord use = TELOVIX__STORE__V1__TOKEN_USE_RECORD__INIT;
  use.token_id = token->token_id;
  use.sensor_id = op->sensor_id;
  use.issued_certificate = certificate;
  tlx_token_use_put(txn, op->key_hash, &use);
}

void op_enroll_run(struct op *base, struct tlx_txn *txn) {
  struct op_enroll *op = (void *)base;
  restore_offer(op);
  op->has_replaced = false;
  Telovix__Store__V1__TokenRecord *token = tlx_token_find(txn, op->token_hash);
  bool is_again = token && token->kind == TOKEN_REENROLLMENT;
  struct given given;
  json_t *detail = json_object();
  json_object_set_new(detail, "node_name", op_json_text(op->node_name));
  if (token) json_object_set_new(detail, "token_id", json_string(token->token_id));
  if (tlx_txn_err(txn) || !check(op, txn, token, &given)) {
    op_refuse_json(base, txn, FAILED, is_again ? token->sensor_id : NULL, detail);
    return;
  }
  if (given.sensor_id) {
    /* Two requests of one key met in the queue: the first one's identity is the answer. */
    json_decref(detail);
    give_again(op, txn, &given);
    return;
  }
  if (is_again)
    replace_identity(op, txn);
  else
    put_sensor(op, txn, token);
  put_serial(op, txn, is_again);
  use_token(op, txn, token);
  op->has_replaced = is_again;
  op_audit_json(base, txn, is_again ? REENROLLED : ENROLLED, true, op->sensor_id, detail);
}

void op_enroll_free(struct op_enroll *op) {
  if (!op) return;
  tlx_buf_done(&op->certificate);
  tlx_buf_done(&op->offered_certificate);
  op_done(&op->op);
  free(op);
}
