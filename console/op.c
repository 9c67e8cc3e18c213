// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/text.h"
#include "console/op_int.h"
#include "console/reasons.h"
#include "storage/meta_tbl.h"
#include "storage/operator_tbl.h"

/* How many ids an ambiguous name is answered with: as many as fit into the sentence. */
#define AMBIGUOUS_IDS_MAX 8u

/* A remembered reply is a protobuf message, and none starts with this byte (field number 0). Behind
 * it stand, each with its NUL, the reason and the sentence of the refusal that a retry gets in
 * place of a reply that was shown once. */
#define ONCE_MARK 0x00

/* ---- running with the rules of request ids ---- */

static void reset(struct op *op) {
  tlx_status_clear(&op->status);
  tlx_buf_done(&op->reply);
  op->replayed = false;
  memset(&op->head, 0, sizeof op->head);
  op->once_reason[0] = 0;
  op->once_message[0] = 0;
}

void op_reply_once(struct op *op, const char *reason, const char *format, ...) {
  va_list args;
  snprintf(op->once_reason, sizeof op->once_reason, "%s", reason);
  va_start(args, format);
  vsnprintf(op->once_message, sizeof op->once_message, format, args);
  va_end(args);
}

static void refuse_early(struct op *op, struct tlx_txn *txn) {
  op_refuse(op, txn, op->action_type ? op->action_type : "request_refused", NULL);
}

/* Answers the retry of a request whose reply was shown once. */
static void refuse_once_shown(struct op *op, struct tlx_txn *txn, const ProtobufCBinaryData *memo) {
  struct tlx_reader reader;
  tlx_reader_init(&reader, memo->data, memo->len);
  tlx_read_u8(&reader);
  const char *reason = (const char *)reader.at;
  size_t left = tlx_reader_left(&reader), reason_len = strnlen(reason, left);
  const char *message = reason + reason_len + 1;
  if (reason_len + 1 >= left || strnlen(message, left - reason_len - 1) == left - reason_len - 1) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return;
  }
  tlx_status_set(&op->status, TLX_GRPC_ALREADY_EXISTS, reason, "%s", message);
  refuse_early(op, txn);
}

/* True when the request id settles the answer without a run. */
static bool answered_before(struct op *op, struct tlx_txn *txn) {
  const Telovix__Store__V1__RequestRecord *record =
      tlx_request_get(txn, op->actor.name, op->actor.request_id, op->actor.wall_ms);
  if (!record) return false;
  if (record->request_hash.len != sizeof op->actor.request_hash ||
      memcmp(record->request_hash.data, op->actor.request_hash, record->request_hash.len) != 0) {
    tlx_status_set(&op->status, TLX_GRPC_ALREADY_EXISTS, "request_id_reused",
                   "request id %s was used for another request in the last 24 h: take a new one",
                   op->actor.request_id);
    refuse_early(op, txn);
    return true;
  }
  if (record->reply.len > 0 && record->reply.data[0] == ONCE_MARK) {
    refuse_once_shown(op, txn, &record->reply);
    return true;
  }
  tlx_buf_add(&op->reply, record->reply.data, record->reply.len);
  if (op->reply.err) tlx_txn_fail(txn, op->reply.err);
  op->replayed = true;
  return true;
}

static void remember(struct op *op, struct tlx_txn *txn) {
  Telovix__Store__V1__RequestRecord record = TELOVIX__STORE__V1__REQUEST_RECORD__INIT;
  struct tlx_buf memo TLX_CLEANUP(tlx_buf_done) = {0};
  const struct tlx_buf *reply = &op->reply;
  if (*op->once_reason) {
    tlx_buf_add_u8(&memo, ONCE_MARK);
    tlx_buf_add(&memo, op->once_reason, strlen(op->once_reason) + 1);
    tlx_buf_add(&memo, op->once_message, strlen(op->once_message) + 1);
    reply = &memo;
  }
  if (reply->err) {
    tlx_txn_fail(txn, reply->err);
    return;
  }
  record.created_wall_ms = op->actor.wall_ms;
  record.request_hash =
      (ProtobufCBinaryData){sizeof op->actor.request_hash, op->actor.request_hash};
  record.reply = (ProtobufCBinaryData){reply->len, reply->data};
  tlx_request_put(txn, op->actor.name, op->actor.request_id, &record);
}

/* What was waiting to be stored when its operator was revoked or got a lower role must not be done
 * after that. */
static bool still_may(struct op *op, struct tlx_txn *txn) {
  if (op->actor.least_role == 0) return true;
  const Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, op->actor.name);
  if (record && !record->revoked && record->role >= op->actor.least_role) return true;
  if (tlx_txn_err(txn)) return false;
  reason_set(&op->status,
             record && !record->revoked ? REASON_ROLE_TOO_LOW : REASON_OPERATOR_REVOKED);
  refuse_early(op, txn);
  return false;
}

static void execute(struct op *op, struct tlx_txn *txn) {
  /* A request id belongs to an operator; without a name there is nobody whose retry it could be. */
  bool has_id = op->pack && *op->actor.name && *op->actor.request_id;
  if (!still_may(op, txn) || (has_id && answered_before(op, txn))) return;
  op->run(op, txn);
  if (!op->pack || op->status.code != TLX_GRPC_OK || tlx_txn_err(txn)) return;
  op->pack(op, &op->reply);
  if (op->reply.err) tlx_txn_fail(txn, op->reply.err);
  if (has_id) remember(op, txn);
}

void op_execute(struct op *op, struct tlx_txn *txn) {
  reset(op);
  execute(op, txn);
  tlx_audit_head(txn, &op->head);
}

void op_done(struct op *op) {
  if (op) tlx_buf_done(&op->reply);
}

/* ---- audit ---- */

/* Absent when empty; escaped when it is not UTF-8, which a record that is sent must be. */
static const char *audit_text(struct tlx_txn *txn, const char *text) {
  if (!text || !*text) return NULL;
  size_t len = strlen(text);
  if (tlx_text_utf8_valid(text, len)) return text;
  size_t size = 4 * len + 1;
  char *escaped = tlx_arena_alloc(tlx_txn_arena(txn), size);
  if (!escaped) {
    tlx_txn_fail(txn, -ENOMEM);
    return NULL;
  }
  return tlx_text_escape(text, len, escaped, size);
}

void op_audit(struct op *op, struct tlx_txn *txn, const char *action_type, bool success,
              const char *sensor_id, const char *detail) {
  struct tlx_audit_entry entry = {
      .wall_ms = op->actor.wall_ms,
      .action_type = action_type,
      .success = success,
      .actor = audit_text(txn, op->actor.name),
      .actor_role = audit_text(txn, op->actor.role),
      .sensor_id = audit_text(txn, sensor_id),
      .detail = detail,
      .reason = audit_text(txn, op->actor.reason),
      .request_id = audit_text(txn, op->actor.request_id),
      .client_ip = audit_text(txn, op->actor.client_ip),
      .user_agent = audit_text(txn, op->actor.user_agent),
  };
  tlx_audit_append(txn, &entry);
}

void op_audit_json(struct op *op, struct tlx_txn *txn, const char *action_type, bool success,
                   const char *sensor_id, json_t *detail) {
  char *text TLX_AUTOFREE = detail ? json_dumps(detail, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
  json_decref(detail);
  if (!text) {
    tlx_txn_fail(txn, -ENOMEM);
    return;
  }
  op_audit(op, txn, action_type, success, sensor_id, text);
}

void op_refuse_json(struct op *op, struct tlx_txn *txn, const char *action_type,
                    const char *sensor_id, json_t *asked) {
  if (json_object_set_new(asked, "reason", json_string(op->status.reason)) != 0) {
    json_decref(asked);
    asked = NULL;
  }
  op_audit_json(op, txn, action_type, false, sensor_id, asked);
}

void op_refuse(struct op *op, struct tlx_txn *txn, const char *action_type, const char *sensor_id) {
  op_refuse_json(op, txn, action_type, sensor_id, json_object());
}

/* ---- text ---- */

json_t *op_json_text(const char *text) {
  size_t len = strlen(text);
  if (tlx_text_utf8_valid(text, len)) return json_string(text);
  size_t size = 4 * len + 1;
  char *escaped TLX_AUTOFREE = malloc(size);
  return escaped ? json_string(tlx_text_escape(text, len, escaped, size)) : NULL;
}

json_t *op_json_u64(uint64_t value) {
  return value <= INT64_MAX ? json_integer((json_int_t)value)
                            : json_sprintf("%llu", (unsigned long long)value);
}

json_t *op_json_time(uint64_t wall_ms) {
  char text[TLX_TIME_TEXT_MAX];
  tlx_time_format(wall_ms, text);
  return json_string(text);
}

void op_text_mend(char *text) {
  size_t len = strlen(text);
  while (len > 0 && !tlx_text_utf8_valid(text, len))
    len--;
  text[len] = 0;
}

/* ---- the sensor that is meant ---- */

Telovix__Store__V1__SensorRecord *op_find_sensor(struct op *op, struct tlx_txn *txn,
                                                 const char *sensor) {
  char ids[AMBIGUOUS_IDS_MAX][32], name[280], list[AMBIGUOUS_IDS_MAX * 34 + 32];
  Telovix__Store__V1__SensorRecord *record = NULL;
  unsigned n = 0;
  if (tlx_id_valid("sensor_", sensor)) {
    record = tlx_sensor_get(txn, sensor);
  } else {
    n = tlx_sensor_find_node(txn, sensor, ids, AMBIGUOUS_IDS_MAX);
    if (n == 1) record = tlx_sensor_get(txn, ids[0]);
  }
  if (record) return record;
  tlx_text_escape(sensor, SIZE_MAX, name, sizeof name);
  if (n <= 1) {
    tlx_status_set(&op->status, TLX_GRPC_NOT_FOUND, "unknown_sensor",
                   "no sensor has the id or the node name \"%s\"", name);
    return NULL;
  }
  size_t at = 0;
  for (unsigned i = 0; i < n && i < AMBIGUOUS_IDS_MAX; i++)
    at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", ids[i]);
  if (n > AMBIGUOUS_IDS_MAX)
    snprintf(list + at, sizeof list - at, " and %u more", n - AMBIGUOUS_IDS_MAX);
  name[120] = 0; /* the ids matter more than the end of a name that the caller knows */
  op_text_mend(name);
  tlx_status_set(&op->status, TLX_GRPC_FAILED_PRECONDITION, "ambiguous_name",
                 "%u sensors have the node name \"%s\": name one by its id: %s", n, name, list);
  return NULL;
}
