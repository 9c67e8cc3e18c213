// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/audit_tbl.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "storage/audit_tbl_int.h"
#include "storage/table.h"

#define DOMAIN "telovix-audit-v1" /* hashed with its NUL */

/* The hashed fields in their order; the number is the bit in `present`. */
enum audit_field {
  FIELD_SEQ,
  FIELD_CREATED_AT,
  FIELD_ACTION_TYPE,
  FIELD_OUTCOME,
  FIELD_ACTOR,
  FIELD_ACTOR_ROLE,
  FIELD_SENSOR_ID,
  FIELD_DETAIL,
  FIELD_REASON,
  FIELD_REQUEST_ID,
  FIELD_CLIENT_IP,
  FIELD_USER_AGENT,
  FIELD_PREV_HASH,
  FIELD_COUNT
};
#define PRESENT(field) (1u << FIELD_##field)
#define PRESENT_ALWAYS                                                                             \
  (PRESENT(SEQ) | PRESENT(CREATED_AT) | PRESENT(ACTION_TYPE) | PRESENT(OUTCOME) |                  \
   PRESENT(DETAIL) | PRESENT(PREV_HASH))

/* ---- the canonical form ---- */

static void hash_u32be(struct tlx_sha256 *ctx, uint32_t value) {
  const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                            (uint8_t)value};
  tlx_sha256_add(ctx, bytes, sizeof bytes);
}

static void hash_field(struct tlx_sha256 *ctx, uint32_t present, enum audit_field field,
                       const void *data, size_t len) {
  const uint8_t mark = present >> field & 1;
  if (!mark) len = 0;
  tlx_sha256_add(ctx, &mark, 1);
  hash_u32be(ctx, (uint32_t)len);
  if (len) tlx_sha256_add(ctx, data, len);
}

void tlx_audit_hash(const Telovix__Store__V1__AuditRecord *record,
                    uint8_t ret_hash[TLX_SHA256_LEN]) {
  struct tlx_sha256 ctx;
  uint8_t seq[8];
  const char *texts[FIELD_COUNT] = {
      [FIELD_CREATED_AT] = record->created_at, [FIELD_ACTION_TYPE] = record->action_type,
      [FIELD_OUTCOME] = record->outcome,       [FIELD_ACTOR] = record->actor,
      [FIELD_ACTOR_ROLE] = record->actor_role, [FIELD_SENSOR_ID] = record->sensor_id,
      [FIELD_DETAIL] = record->detail,         [FIELD_REASON] = record->reason,
      [FIELD_REQUEST_ID] = record->request_id, [FIELD_CLIENT_IP] = record->client_ip,
      [FIELD_USER_AGENT] = record->user_agent,
  };
  for (int i = 0; i < 8; i++)
    seq[i] = (uint8_t)(record->seq >> (56 - 8 * i));
  tlx_sha256_init(&ctx);
  tlx_sha256_add(&ctx, DOMAIN, sizeof DOMAIN);
  hash_field(&ctx, record->present, FIELD_SEQ, seq, sizeof seq);
  for (int field = FIELD_CREATED_AT; field < FIELD_PREV_HASH; field++) {
    const char *text = texts[field] ? texts[field] : "";
    hash_field(&ctx, record->present, (enum audit_field)field, text, strlen(text));
  }
  hash_field(&ctx, record->present, FIELD_PREV_HASH, record->prev_hash.data, record->prev_hash.len);
  tlx_sha256_final(&ctx, ret_hash);
}

const char *tlx_audit_chain_follow(struct tlx_audit_head *at,
                                   const Telovix__Store__V1__AuditRecord *record) {
  uint8_t hash[TLX_SHA256_LEN];
  const char *fault = NULL;
  tlx_audit_hash(record, hash);
  if (record->seq != at->seq + 1)
    fault = "the number does not follow the one before: records are missing or were moved";
  else if ((record->present & PRESENT_ALWAYS) != PRESENT_ALWAYS)
    fault = "a required field is missing";
  else if (record->hash.len != sizeof hash || memcmp(record->hash.data, hash, sizeof hash) != 0)
    fault = "the hash does not match the content: the record was changed";
  else if (record->prev_hash.len != sizeof hash ||
           memcmp(record->prev_hash.data, at->hash, sizeof hash) != 0)
    fault = "the hash of the record before is another one: the chain is broken here";
  /* Go on from what is stored, so that one fault is told once and not for every later record. */
  at->seq = record->seq;
  if (record->hash.len == sizeof at->hash) memcpy(at->hash, record->hash.data, sizeof at->hash);
  return fault;
}

/* ---- appending ---- */

int tlx_audit_detail_note(const char *detail, uint64_t stepped_back_ms, char **ret_detail) {
  if (!tlx_text_utf8_valid(detail, strlen(detail))) return -EINVAL;
  json_t *object = json_loads(detail, 0, NULL);
  int bad = 0;
  if (!json_is_object(object)) {
    json_decref(object);
    object = json_object();
    bad = json_object_set_new(object, "detail", json_string(detail));
  }
  json_int_t ms = stepped_back_ms > INT64_MAX ? INT64_MAX : (json_int_t)stepped_back_ms;
  bad |= json_object_set_new(object, "clock_stepped_back_ms", json_integer(ms));
  char *text = bad ? NULL : json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
  json_decref(object);
  if (!text) return -ENOMEM;
  *ret_detail = text;
  return 0;
}

/* The newest record, in |cursor|'s memory; NULL when the log is empty or the transaction has
 * failed. */
static const Telovix__Store__V1__AuditRecord *last_record(struct tlx_cursor *cursor) {
  struct tlx_db_key_parts parts;
  if (!tlx_cursor_last(cursor)) return NULL;
  const Telovix__Store__V1__AuditRecord *record = tlx_cursor_record(cursor);
  if (!record) return NULL;
  if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor->key.data, cursor->key.len, &parts) ||
      parts.number != record->seq || record->seq == UINT64_MAX) {
    tlx_txn_fail(cursor->txn, TLX_E_CORRUPT);
    return NULL;
  }
  return record;
}

/* Points |field| at |text| and marks it as present, unless it is NULL. */
static void set_text(Telovix__Store__V1__AuditRecord *record, enum audit_field bit, char **field,
                     const char *text) {
  if (!text) return;
  *field = (char *)text;
  record->present |= 1u << bit;
}

void tlx_audit_append(struct tlx_txn *txn, const struct tlx_audit_entry *entry) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  Telovix__Store__V1__AuditRecord record = TELOVIX__STORE__V1__AUDIT_RECORD__INIT;
  char created_at[TLX_TIME_TEXT_MAX];
  char *noted TLX_AUTOFREE = NULL;
  uint8_t hash[TLX_SHA256_LEN], prev_hash[TLX_SHA256_LEN] = {0};
  uint64_t last_wall_ms = 0;
  const char *detail = entry->detail ? entry->detail : "{}";
  if (!entry->action_type || !*entry->action_type) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  tlx_cursor_open(&cursor, txn, TLX_TABLE_AUDIT);
  const Telovix__Store__V1__AuditRecord *last = last_record(&cursor);
  if (tlx_txn_err(txn)) return;
  record.seq = 1;
  if (last) {
    record.seq = last->seq + 1;
    memcpy(prev_hash, last->hash.data, sizeof prev_hash);
    if (tlx_time_parse(last->created_at, &last_wall_ms) != 0) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      return;
    }
  }
  if (entry->wall_ms < last_wall_ms) {
    int err = tlx_audit_detail_note(detail, last_wall_ms - entry->wall_ms, &noted);
    if (err) {
      tlx_txn_fail(txn, err);
      return;
    }
    detail = noted;
  }
  tlx_time_format(entry->wall_ms, created_at);
  record.present = PRESENT(SEQ) | PRESENT(PREV_HASH);
  record.prev_hash = (ProtobufCBinaryData){sizeof prev_hash, prev_hash};
  set_text(&record, FIELD_CREATED_AT, &record.created_at, created_at);
  set_text(&record, FIELD_ACTION_TYPE, &record.action_type, entry->action_type);
  set_text(&record, FIELD_OUTCOME, &record.outcome, entry->success ? "success" : "failure");
  set_text(&record, FIELD_ACTOR, &record.actor, entry->actor);
  set_text(&record, FIELD_ACTOR_ROLE, &record.actor_role, entry->actor_role);
  set_text(&record, FIELD_SENSOR_ID, &record.sensor_id, entry->sensor_id);
  set_text(&record, FIELD_DETAIL, &record.detail, detail);
  set_text(&record, FIELD_REASON, &record.reason, entry->reason);
  set_text(&record, FIELD_REQUEST_ID, &record.request_id, entry->request_id);
  set_text(&record, FIELD_CLIENT_IP, &record.client_ip, entry->client_ip);
  set_text(&record, FIELD_USER_AGENT, &record.user_agent, entry->user_agent);
  tlx_audit_hash(&record, hash);
  record.hash = (ProtobufCBinaryData){sizeof hash, hash};
  struct tlx_db_key key;
  tlx_db_key_number(record.seq, &key);
  tlx_table_append(txn, TLX_TABLE_AUDIT, &key, &record.base);
}

/* ---- reading ---- */

void tlx_audit_head(struct tlx_txn *txn, struct tlx_audit_head *ret_head) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_audit_head head = {0};
  tlx_cursor_open(&cursor, txn, TLX_TABLE_AUDIT);
  const Telovix__Store__V1__AuditRecord *last = last_record(&cursor);
  if (last) {
    head.seq = last->seq;
    memcpy(head.hash, last->hash.data, sizeof head.hash);
  }
  *ret_head = head;
}

Telovix__Store__V1__AuditRecord *tlx_audit_get(struct tlx_txn *txn, uint64_t seq) {
  struct tlx_db_key key;
  tlx_db_key_number(seq, &key);
  return tlx_table_get(txn, TLX_TABLE_AUDIT, &key, NULL);
}

void tlx_audit_each(struct tlx_txn *txn, uint64_t from_seq, bool descending,
                    bool (*cb)(void *arg, const Telovix__Store__V1__AuditRecord *record),
                    void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key from;
  bool on;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_AUDIT);
  if (descending && from_seq == UINT64_MAX) {
    on = tlx_cursor_last(&cursor);
  } else {
    /* Downwards: the last one before from_seq + 1 is from_seq itself, or what is left below it. */
    tlx_db_key_number(descending ? from_seq + 1 : from_seq, &from);
    on = descending ? tlx_cursor_seek_before(&cursor, &from) : tlx_cursor_seek(&cursor, &from);
  }
  for (; on; on = descending ? tlx_cursor_prev(&cursor) : tlx_cursor_next(&cursor)) {
    const Telovix__Store__V1__AuditRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}
