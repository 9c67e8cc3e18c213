// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_renew.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/limits.h"
#include "console/op_int.h"
#include "console/reasons.h"

#define RENEWED "sensor_certificate_renewed"
#define CLONE "clone_suspected"

static bool is_serial(const ProtobufCBinaryData *blob, const uint8_t *serial) {
  return blob->len == TLX_SERIAL_LEN && memcmp(blob->data, serial, TLX_SERIAL_LEN) == 0;
}

static Telovix__Store__V1__SerialRecord *get(struct tlx_txn *txn,
                                             const ProtobufCBinaryData *serial) {
  return serial->len == TLX_SERIAL_LEN ? tlx_serial_get(txn, serial->data) : NULL;
}

/* ---- ends of certificates ---- */

void op_serial_end(struct tlx_txn *txn, const ProtobufCBinaryData *serial) {
  Telovix__Store__V1__SerialRecord *record = get(txn, serial);
  /* What was revoked stays revoked: its holder is told so. */
  if (!record || record->state != TLX_SERIAL_GOOD) return;
  record->state = TLX_SERIAL_SUPERSEDED;
  record->unused = false;
  record->key_hash.len = record->issued_certificate.len = 0;
  tlx_serial_put(txn, serial->data, record);
}

void op_serial_used(struct tlx_txn *txn, Telovix__Store__V1__SensorRecord *sensor) {
  Telovix__Store__V1__SerialRecord *record = get(txn, &sensor->serial);
  if (record && record->unused) {
    record->unused = false;
    record->key_hash.len = record->issued_certificate.len = 0;
    tlx_serial_put(txn, sensor->serial.data, record);
  }
  op_serial_end(txn, &sensor->previous_serial);
  sensor->previous_serial.len = 0;
}

/* ---- renewal ---- */

static enum op_renew_verdict refuse(struct op_renew *op, enum reason reason) {
  reason_set(&op->op.status, reason);
  return OP_RENEW_REFUSED;
}

/* Whether a certificate of that start was made less than |interval_ms| ago. A start in the future
 * is the work of a clock that was wrong, and holds nobody up. */
static bool is_fresh(const struct op_renew *op, uint64_t not_before_wall_ms, uint64_t interval_ms) {
  uint64_t made_wall_ms = not_before_wall_ms + NOT_BEFORE_SLACK_MS;
  return op->op.actor.wall_ms >= made_wall_ms && op->op.actor.wall_ms < made_wall_ms + interval_ms;
}

enum op_renew_verdict op_renew_check(struct op_renew *op, struct tlx_txn *txn,
                                     ProtobufCBinaryData *ret_given) {
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, op->sensor_id);
  tlx_status_clear(&op->op.status);
  if (!sensor) return refuse(op, REASON_CERTIFICATE_UNKNOWN);
  if (sensor->trust_state == OP_TRUST_REVOKED) return refuse(op, REASON_INVALID_SENSOR_TRUST);
  if (is_serial(&sensor->serial, op->own_serial))
    return is_fresh(op, sensor->cert_not_before_wall_ms, SENSOR_RENEW_INTERVAL_MS)
               ? refuse(op, REASON_RENEWED_RECENTLY)
               : OP_RENEW_NEW;
  const Telovix__Store__V1__SerialRecord *previous = get(txn, &sensor->previous_serial);
  const Telovix__Store__V1__SerialRecord *current = get(txn, &sensor->serial);
  if (!is_serial(&sensor->previous_serial, op->own_serial) || !previous || !current ||
      previous->state != TLX_SERIAL_GOOD || !current->unused)
    return refuse(op, REASON_CERTIFICATE_SUPERSEDED);
  if (current->key_hash.len == sizeof op->key_hash &&
      memcmp(current->key_hash.data, op->key_hash, sizeof op->key_hash) == 0) {
    *ret_given = current->issued_certificate;
    return OP_RENEW_AGAIN;
  }
  return is_fresh(op, sensor->cert_not_before_wall_ms, SENSOR_RENEW_INTERVAL_MS)
             ? refuse(op, REASON_RENEWED_RECENTLY)
             : OP_RENEW_NEW;
}

static void put_new(struct op_renew *op, struct tlx_txn *txn,
                    Telovix__Store__V1__SensorRecord *sensor) {
  Telovix__Store__V1__SerialRecord serial = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  static char none[] = "";
  if (is_serial(&sensor->serial, op->own_serial))
    op_serial_used(txn, sensor);
  else
    op_serial_end(txn, &sensor->serial); /* who comes with it has a copy, or is the original */
  sensor->previous_serial = (ProtobufCBinaryData){sizeof op->own_serial, op->own_serial};
  sensor->serial = (ProtobufCBinaryData){sizeof op->serial, op->serial};
  sensor->cert_not_before_wall_ms = op->not_before_wall_ms;
  sensor->cert_not_after_wall_ms = op->not_after_wall_ms;
  sensor->renewal_error = none;
  tlx_sensor_put(txn, sensor);
  serial.kind = TLX_SERIAL_OF_SENSOR;
  serial.owner = op->sensor_id;
  serial.not_after_wall_ms = op->not_after_wall_ms;
  serial.state = TLX_SERIAL_GOOD;
  serial.unused = true;
  serial.key_hash = (ProtobufCBinaryData){sizeof op->key_hash, op->key_hash};
  serial.issued_certificate = (ProtobufCBinaryData){op->certificate.len, op->certificate.data};
  tlx_serial_put(txn, op->serial, &serial);
}

void op_renew_run(struct op *base, struct tlx_txn *txn) {
  struct op_renew *op = (void *)base;
  ProtobufCBinaryData given = {0};
  json_t *detail = json_object();
  switch (op_renew_check(op, txn, &given)) {
  case OP_RENEW_REFUSED:
    op_refuse_json(base, txn, RENEWED, op->sensor_id, detail);
    return;
  case OP_RENEW_AGAIN:
    /* Two requests of one key met in the queue: the first one's certificate is the answer. */
    json_decref(detail);
    tlx_buf_consume(&op->certificate, op->certificate.len);
    tlx_buf_add(&op->certificate, given.data, given.len);
    if (op->certificate.err) tlx_txn_fail(txn, op->certificate.err);
    return;
  case OP_RENEW_NEW:
    break;
  }
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, op->sensor_id);
  if (sensor) put_new(op, txn, sensor);
  json_object_set_new(detail, "expires", op_json_time(op->not_after_wall_ms));
  op_audit_json(base, txn, RENEWED, true, op->sensor_id, detail);
}

void op_renew_free(struct op_renew *op) {
  if (!op) return;
  tlx_buf_done(&op->certificate);
  op_done(&op->op);
  free(op);
}

/* ---- clones ---- */

void op_clone_run(struct op *base, struct tlx_txn *txn) {
  struct op_clone *op = (void *)base;
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, op->sensor_id);
  char hex[2 * TLX_SERIAL_LEN + 1];
  op->is_noted = false;
  if (!sensor || sensor->clone_suspected_wall_ms) return;
  sensor->clone_suspected_wall_ms = base->actor.wall_ms;
  tlx_sensor_put(txn, sensor);
  tlx_hex_format(op->serial, sizeof op->serial, hex);
  json_t *detail = json_object();
  json_object_set_new(detail, "node_name", op_json_text(sensor->node_name));
  json_object_set_new(detail, "serial", json_string(hex));
  op_audit_json(base, txn, CLONE, true, op->sensor_id, detail);
  op->is_noted = true;
}
