// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/maintain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "storage/audit_tbl_int.h"
#include "storage/order_tbl_int.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/table.h"
#include "storage/txn_int.h"

/* Entries looked at in one read transaction. A long one would pin every page that is freed
 * meanwhile, and the file would grow. */
#define ENTRIES_PER_TXN 256

struct verify {
  void (*finding)(void *arg, const char *text);
  void *arg;
  uint64_t n_findings;
  struct tlx_txn *txn;        /* of the present portion */
  struct tlx_arena scratch;   /* the record that is looked at and those it is compared with */
  struct tlx_audit_head head; /* where the chain is */
  /* The entry that is looked at. */
  enum tlx_table table;
  const struct tlx_cursor *at;
  struct tlx_db_key_parts parts;
};

/* ---- findings ---- */

__attribute__((format(printf, 2, 3))) static void found(struct verify *v, const char *format, ...) {
  char key[256], fault[512], text[1024];
  const struct tlx_table_info *info = tlx_table_info(v->table);
  va_list args;
  va_start(args, format);
  vsnprintf(fault, sizeof fault, format, args);
  va_end(args);
  tlx_db_key_format(info->layout, v->at->key.data, v->at->key.len, key, sizeof key);
  snprintf(text, sizeof text, "table %s, key %s: %s", info->name, key, fault);
  v->n_findings++;
  v->finding(v->arg, text);
}

/* The record under |key|, NULL (without a finding) when it is not there or cannot be read: its own
 * walk tells that. */
static void *peek(struct verify *v, enum tlx_table table, const struct tlx_db_key *key) {
  struct tlx_bytes value;
  ProtobufCMessage *record = NULL;
  if (!tlx_table_get_raw(v->txn, table, key, &value)) return NULL;
  if (tlx_record_unpack(table, value.data, value.len, &v->scratch, &record) != 0) return NULL;
  return record;
}

/* The record under the cursor. */
static void *own_record(struct verify *v) {
  ProtobufCMessage *record = NULL;
  int err = tlx_record_unpack(v->table, v->at->value.data, v->at->value.len, &v->scratch, &record);
  if (err) found(v, "the record cannot be read: %s", tlx_err_text(err));
  return record;
}

/* An index of numbers must have |key| → |number|. |key_ok| is what the key's builder said. */
static void expect_number(struct verify *v, enum tlx_table index, bool key_ok,
                          const struct tlx_db_key *key, uint64_t number) {
  struct tlx_bytes value;
  struct tlx_db_key_parts parts;
  const char *name = tlx_table_info(index)->name;
  if (!key_ok)
    found(v, "the record has no key for %s", name);
  else if (!tlx_table_get_raw(v->txn, index, key, &value))
    found(v, "the entry in %s is missing", name);
  else if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, value.data, value.len, &parts) ||
           parts.number != number)
    found(v, "the entry in %s has another value", name);
}

static void expect_entry(struct verify *v, enum tlx_table index, bool key_ok,
                         const struct tlx_db_key *key) {
  const char *name = tlx_table_info(index)->name;
  if (!key_ok)
    found(v, "the record has no key for %s", name);
  else if (!tlx_table_has(v->txn, index, key))
    found(v, "the entry in %s is missing", name);
}

/* The number that an index entry carries as its value. */
static bool own_number(struct verify *v, uint64_t *number) {
  struct tlx_db_key_parts parts;
  if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, v->at->value.data, v->at->value.len, &parts)) {
    found(v, "the value is not a number");
    return false;
  }
  *number = parts.number;
  return true;
}

/* Nothing of a deleted sensor may be left but its tombstones and the audit log. */
static bool has_sensor(struct verify *v, const char *sensor_id) {
  struct tlx_db_key key;
  return tlx_db_key_id(sensor_id, &key) && tlx_table_has(v->txn, TLX_TABLE_SENSOR, &key);
}

static void expect_sensor(struct verify *v, const char *sensor_id) {
  if (!has_sensor(v, sensor_id)) found(v, "the sensor is missing");
}

/* ---- one check a table ---- */

/* The numbers that were given must not lie above what meta says was given. */
static void check_last_number(struct verify *v, enum tlx_table table, uint64_t last_given) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts parts;
  tlx_cursor_open(&cursor, v->txn, table);
  if (tlx_cursor_last(&cursor) &&
      tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor.key.data, cursor.key.len, &parts) &&
      parts.number > last_given)
    found(v, "table %s has number %llu, above the last one given (%llu)",
          tlx_table_info(table)->name, (unsigned long long)parts.number,
          (unsigned long long)last_given);
}

static void check_meta(struct verify *v) {
  const Telovix__Store__V1__MetaRecord *meta = own_record(v);
  if (!meta) return;
  check_last_number(v, TLX_TABLE_ORDER, meta->queue_no);
  check_last_number(v, TLX_TABLE_TOKEN, meta->token_no);
  check_last_number(v, TLX_TABLE_EVENT, meta->event_no);
}

/* The digest of the sensor's rules as they lie there. False when one of them cannot be read, which
 * its own check tells. */
static bool digest_rules(struct verify *v, uint8_t ret_digest[TLX_SHA256_LEN]) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix;
  struct tlx_sha256 ctx;
  bool readable = tlx_db_key_sensor_rule(v->parts.id, NULL, &prefix);
  tlx_rule_digest_begin(&ctx);
  tlx_cursor_open(&cursor, v->txn, TLX_TABLE_RULE);
  for (bool on = readable && tlx_cursor_seek(&cursor, &prefix); on && readable;
       on = tlx_cursor_next(&cursor)) {
    ProtobufCMessage *record = NULL;
    /* KEY_LAYOUT: rule starts with the sensor's id. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    tlx_arena_reset(&cursor.scratch);
    readable = tlx_record_unpack(TLX_TABLE_RULE, cursor.value.data, cursor.value.len,
                                 &cursor.scratch, &record) == 0;
    const Telovix__Store__V1__RuleRecord *rule = (const void *)record;
    if (readable && !rule->removing) tlx_rule_digest_add(&ctx, rule->policy.data, rule->policy.len);
  }
  tlx_sha256_final(&ctx, ret_digest);
  return readable;
}

/* The name of the desired set must be that of the rules. */
static void check_desired(struct verify *v, const Telovix__Store__V1__SensorRecord *record) {
  struct tlx_sha256 ctx;
  uint8_t rules[TLX_SHA256_LEN], named[TLX_SHA256_LEN];
  tlx_rule_digest_begin(&ctx);
  tlx_sha256_final(&ctx, named); /* empty stands for the empty set */
  if (record->desired_digest.len) memcpy(named, record->desired_digest.data, sizeof named);
  if (digest_rules(v, rules) && memcmp(rules, named, sizeof rules) != 0)
    found(v, "the digest of the desired set is not that of its rules");
}

static void check_sensor(struct verify *v) {
  const Telovix__Store__V1__SensorRecord *record = own_record(v);
  struct tlx_db_key key;
  if (!record) return;
  if (strcmp(record->sensor_id, v->parts.id) != 0) found(v, "the record has another id");
  bool key_ok = tlx_db_key_node(record->node_name, record->sensor_id, &key);
  expect_entry(v, TLX_TABLE_SENSOR_NODE, key_ok, &key);
  check_desired(v, record);
}

static void check_sensor_node(struct verify *v) {
  struct tlx_db_key key;
  if (v->at->value.len != 0) found(v, "the value is not empty");
  if (!tlx_db_key_id(v->parts.id, &key)) return;
  if (!tlx_table_has(v->txn, TLX_TABLE_SENSOR, &key)) {
    found(v, "the sensor is missing");
    return;
  }
  const Telovix__Store__V1__SensorRecord *record = peek(v, TLX_TABLE_SENSOR, &key);
  if (!record) return;
  if (!tlx_db_key_node(record->node_name, record->sensor_id, &key) || key.len != v->at->key.len ||
      !tlx_db_key_has_prefix(&key, &v->at->key, key.len))
    found(v, "the sensor has another node name");
}

static void check_serial(struct verify *v) {
  const Telovix__Store__V1__SerialRecord *record = own_record(v);
  if (!record) return;
  if (record->kind != TLX_SERIAL_OF_SENSOR && record->kind != TLX_SERIAL_OF_OPERATOR)
    found(v, "kind %u is none", record->kind);
  if (record->state < TLX_SERIAL_GOOD || record->state > TLX_SERIAL_DELETED)
    found(v, "state %u is none", record->state);
  if (!*record->owner) found(v, "there is no owner");
  if (record->kind != TLX_SERIAL_OF_SENSOR) return;
  bool is_deleted = record->state == TLX_SERIAL_DELETED;
  if (is_deleted && has_sensor(v, record->owner))
    found(v, "it is marked deleted, and its sensor is there");
  if (!is_deleted) expect_sensor(v, record->owner);
}

/* Kind of TokenRecord: telovix.v1.TokenKind, which the store does not see. */
#define TOKEN_KIND_FLEET 2

/* A fleet token has at most one entry in token_use for each use (a deleted sensor's is gone), and
 * one for the last if that sensor is there. */
static void check_token_uses(struct verify *v, const Telovix__Store__V1__TokenRecord *record) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix, last, sensor;
  uint64_t n = 0;
  if (!tlx_db_key_token_use(record->token_id, NULL, &prefix)) return;
  tlx_cursor_open(&cursor, v->txn, TLX_TABLE_TOKEN_USE);
  for (bool on = tlx_cursor_seek(&cursor, &prefix); on; on = tlx_cursor_next(&cursor), n++)
    /* KEY_LAYOUT: token_use starts with the token's id. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
  if (record->kind != TOKEN_KIND_FLEET) {
    if (n) found(v, "no fleet token, and there are entries in token_use");
    return;
  }
  if (n > record->uses)
    found(v, "%u uses, and %llu entries in token_use", record->uses, (unsigned long long)n);
  if (record->used_by_key_hash.len == 32 && tlx_db_key_id(record->used_by_sensor_id, &sensor) &&
      tlx_table_has(v->txn, TLX_TABLE_SENSOR, &sensor) &&
      tlx_db_key_token_use(record->token_id, record->used_by_key_hash.data, &last) &&
      !tlx_table_has(v->txn, TLX_TABLE_TOKEN_USE, &last))
    found(v, "the entry of its last use in token_use is missing");
}

static void check_token_use(struct verify *v) {
  const Telovix__Store__V1__TokenUseRecord *record = own_record(v);
  struct tlx_db_key key;
  if (!record) return;
  if (strcmp(record->token_id, v->parts.id) != 0) found(v, "the record is of another token");
  if (!tlx_db_key_id(v->parts.id, &key) || !tlx_table_has(v->txn, TLX_TABLE_TOKEN_ID, &key))
    found(v, "the token is missing");
  expect_sensor(v, record->sensor_id);
}

static void check_token(struct verify *v) {
  const Telovix__Store__V1__TokenRecord *record = own_record(v);
  struct tlx_db_key key;
  if (!record) return;
  if (record->token_no != v->parts.number) found(v, "the record has another number");
  bool key_ok = tlx_db_key_id(record->token_id, &key);
  expect_number(v, TLX_TABLE_TOKEN_ID, key_ok, &key, v->parts.number);
  key_ok = tlx_db_key_blob(record->secret_hash.data, record->secret_hash.len, &key);
  expect_number(v, TLX_TABLE_TOKEN_HASH, key_ok, &key, v->parts.number);
  check_token_uses(v, record);
  if (*record->sensor_id) expect_sensor(v, record->sensor_id);
  if (*record->used_by_sensor_id) expect_sensor(v, record->used_by_sensor_id);
}

static void check_token_index(struct verify *v) {
  struct tlx_db_key key;
  uint64_t number;
  if (!own_number(v, &number)) return;
  tlx_db_key_number(number, &key);
  if (!tlx_table_has(v->txn, TLX_TABLE_TOKEN, &key)) {
    found(v, "the token %llu is missing", (unsigned long long)number);
    return;
  }
  const Telovix__Store__V1__TokenRecord *record = peek(v, TLX_TABLE_TOKEN, &key);
  if (!record) return;
  bool same = v->table == TLX_TABLE_TOKEN_ID
                  ? strcmp(record->token_id, v->parts.id) == 0
                  : memcmp(record->secret_hash.data, v->parts.blob, sizeof v->parts.blob) == 0;
  if (!same) found(v, "the token %llu is another one", (unsigned long long)number);
}

static void check_order(struct verify *v) {
  const Telovix__Store__V1__OrderRecord *record = own_record(v);
  struct tlx_db_key key;
  uint64_t due_wall_ms;
  if (!record) return;
  if (record->queue_no != v->parts.number) found(v, "the record has another number");
  if (record->state < TLX_ORDER_QUEUED || record->state > TLX_ORDER_RESULT_UNKNOWN)
    found(v, "state %u is none", record->state);
  bool key_ok = tlx_db_key_id(record->order_id, &key);
  expect_number(v, TLX_TABLE_ORDER_ID, key_ok, &key, v->parts.number);
  key_ok = tlx_db_key_sensor_no(record->sensor_id, v->parts.number, &key);
  expect_entry(v, TLX_TABLE_ORDER_SENSOR, key_ok, &key);
  if (tlx_order_due(record, &due_wall_ms))
    expect_number(v, TLX_TABLE_ORDER_OPEN, key_ok, &key, due_wall_ms);
  else if (key_ok && tlx_table_has(v->txn, TLX_TABLE_ORDER_OPEN, &key))
    found(v, "the order has ended and still has an entry in order_open");
  expect_sensor(v, record->sensor_id);
}

static void check_order_id(struct verify *v) {
  struct tlx_db_key key;
  uint64_t number;
  if (!own_number(v, &number)) return;
  tlx_db_key_number(number, &key);
  if (!tlx_table_has(v->txn, TLX_TABLE_ORDER, &key)) {
    found(v, "the order %llu is missing", (unsigned long long)number);
    return;
  }
  const Telovix__Store__V1__OrderRecord *record = peek(v, TLX_TABLE_ORDER, &key);
  if (record && strcmp(record->order_id, v->parts.id) != 0)
    found(v, "the order %llu is another one", (unsigned long long)number);
}

/* order_sensor and order_open: the key names sensor and order. What order_open's value must be is
 * looked at from the order's side. */
static void check_order_of_sensor(struct verify *v) {
  struct tlx_db_key key;
  if (v->table == TLX_TABLE_ORDER_SENSOR && v->at->value.len != 0)
    found(v, "the value is not empty");
  tlx_db_key_number(v->parts.number, &key);
  if (!tlx_table_has(v->txn, TLX_TABLE_ORDER, &key)) {
    found(v, "the order is missing");
    return;
  }
  const Telovix__Store__V1__OrderRecord *record = peek(v, TLX_TABLE_ORDER, &key);
  if (record && strcmp(record->sensor_id, v->parts.id) != 0)
    found(v, "the order is one of another sensor");
}

static void check_rule(struct verify *v) {
  const Telovix__Store__V1__RuleRecord *record = own_record(v);
  struct tlx_db_key key, value;
  struct tlx_bytes stored;
  if (!record) return;
  if (strcmp(record->sensor_id, v->parts.id) != 0) found(v, "the record is of another sensor");
  if (strcmp(record->rule_id, v->parts.rule_id) != 0) found(v, "the record has another id");
  if (tlx_db_key_id(v->parts.rule_id, &key) && tlx_db_key_id(v->parts.id, &value)) {
    if (!tlx_table_get_raw(v->txn, TLX_TABLE_RULE_ID, &key, &stored))
      found(v, "the entry in rule_id is missing");
    else if (stored.len != value.len || memcmp(stored.data, value.data, value.len) != 0)
      found(v, "the entry in rule_id has another value");
  }
  if (!tlx_db_key_id(v->parts.id, &key) || !tlx_table_has(v->txn, TLX_TABLE_SENSOR, &key)) {
    found(v, "the sensor is missing");
    return;
  }
  const Telovix__Store__V1__SensorRecord *sensor = peek(v, TLX_TABLE_SENSOR, &key);
  if (sensor && record->changed_generation > sensor->desired_generation)
    found(v, "generation %llu is above the sensor's (%llu)",
          (unsigned long long)record->changed_generation,
          (unsigned long long)sensor->desired_generation);
}

static void check_rule_id(struct verify *v) {
  struct tlx_db_key key;
  struct tlx_db_key_parts sensor;
  if (!tlx_db_key_parse(TLX_DB_KEY_ID, v->at->value.data, v->at->value.len, &sensor)) {
    found(v, "the value is not the id of a sensor");
    return;
  }
  if (!tlx_db_key_sensor_rule(sensor.id, v->parts.id, &key) ||
      !tlx_table_has(v->txn, TLX_TABLE_RULE, &key))
    found(v, "the rule is missing");
}

static void check_event(struct verify *v) {
  const Telovix__Store__V1__EventRecord *record = own_record(v);
  struct tlx_db_key key;
  if (!record) return;
  if (record->event_no != v->parts.number) found(v, "the record has another number");
  bool key_ok = tlx_db_key_sensor_no(record->sensor_id, v->parts.number, &key);
  expect_entry(v, TLX_TABLE_EVENT_SENSOR, key_ok, &key);
  expect_sensor(v, record->sensor_id);
}

/* The counts of one sensor go up by one: how many events it has is told from the first and the
 * last. */
static void check_event_count(struct verify *v, uint64_t count) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts next;
  tlx_cursor_open(&cursor, v->txn, TLX_TABLE_EVENT_SENSOR);
  if (!tlx_cursor_seek(&cursor, &v->at->key) || !tlx_cursor_next(&cursor)) return;
  /* KEY_LAYOUT: event_sensor starts with the sensor's id. */
  if (tlx_db_key_has_prefix(&cursor.key, &v->at->key, TLX_DB_KEY_ID_WIDTH) &&
      (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor.value.data, cursor.value.len, &next) ||
       next.number != count + 1))
    found(v, "the next entry does not count on from %llu", (unsigned long long)count);
}

static void check_event_sensor(struct verify *v) {
  struct tlx_db_key key;
  uint64_t count;
  if (!own_number(v, &count)) return;
  check_event_count(v, count);
  tlx_db_key_number(v->parts.number, &key);
  if (!tlx_table_has(v->txn, TLX_TABLE_EVENT, &key)) {
    found(v, "the event is missing");
    return;
  }
  const Telovix__Store__V1__EventRecord *record = peek(v, TLX_TABLE_EVENT, &key);
  if (record && strcmp(record->sensor_id, v->parts.id) != 0)
    found(v, "the event is one of another sensor");
}

static void check_audit(struct verify *v) {
  const Telovix__Store__V1__AuditRecord *record = own_record(v);
  if (!record) {
    /* The next one is judged by its own content and reported for the gap. */
    return;
  }
  if (record->seq != v->parts.number) found(v, "the record has another number");
  const char *fault = tlx_audit_chain_follow(&v->head, record);
  if (fault) found(v, "%s", fault);
}

static void check_operator(struct verify *v) {
  const Telovix__Store__V1__OperatorRecord *record = own_record(v);
  if (record && strcmp(record->name, v->parts.name) != 0) found(v, "the record has another name");
}

static void check_request(struct verify *v) {
  const Telovix__Store__V1__RequestRecord *record = own_record(v);
  struct tlx_db_key key;
  if (!record) return;
  bool key_ok =
      tlx_db_key_request_time(v->parts.name, record->created_wall_ms, v->parts.request_id, &key);
  expect_entry(v, TLX_TABLE_REQUEST_TIME, key_ok, &key);
}

static void check_request_time(struct verify *v) {
  struct tlx_db_key key;
  if (v->at->value.len != 0) found(v, "the value is not empty");
  if (!tlx_db_key_request(v->parts.name, v->parts.request_id, &key)) return;
  if (!tlx_table_has(v->txn, TLX_TABLE_REQUEST, &key)) {
    found(v, "the request is missing");
    return;
  }
  const Telovix__Store__V1__RequestRecord *record = peek(v, TLX_TABLE_REQUEST, &key);
  if (record && record->created_wall_ms != v->parts.number)
    found(v, "the request is of another time");
}

static void (*const checks[TLX_TABLE_COUNT])(struct verify *v) = {
    [TLX_TABLE_META] = check_meta,
    [TLX_TABLE_SENSOR] = check_sensor,
    [TLX_TABLE_SENSOR_NODE] = check_sensor_node,
    [TLX_TABLE_SERIAL] = check_serial,
    [TLX_TABLE_TOKEN] = check_token,
    [TLX_TABLE_TOKEN_HASH] = check_token_index,
    [TLX_TABLE_TOKEN_ID] = check_token_index,
    [TLX_TABLE_TOKEN_USE] = check_token_use,
    [TLX_TABLE_ORDER] = check_order,
    [TLX_TABLE_ORDER_ID] = check_order_id,
    [TLX_TABLE_ORDER_SENSOR] = check_order_of_sensor,
    [TLX_TABLE_ORDER_OPEN] = check_order_of_sensor,
    [TLX_TABLE_AUDIT] = check_audit,
    [TLX_TABLE_OPERATOR] = check_operator,
    [TLX_TABLE_REQUEST] = check_request,
    [TLX_TABLE_REQUEST_TIME] = check_request_time,
    [TLX_TABLE_RULE] = check_rule,
    [TLX_TABLE_RULE_ID] = check_rule_id,
    [TLX_TABLE_EVENT] = check_event,
    [TLX_TABLE_EVENT_SENSOR] = check_event_sensor,
};

/* ---- the walk ---- */

static void check_entry(struct verify *v, const struct tlx_cursor *cursor) {
  v->at = cursor;
  tlx_arena_reset(&v->scratch);
  if (!tlx_db_key_parse(tlx_table_info(v->table)->layout, cursor->key.data, cursor->key.len,
                        &v->parts)) {
    found(v, "the key has no valid form");
    return;
  }
  checks[v->table](v);
}

/* Looks at up to ENTRIES_PER_TXN entries behind |after| (an empty key = from the start) and moves
 * |after| on. An entry and what it is compared with are of one snapshot, so that a writer beside
 * makes no false finding. */
static int walk_portion(struct verify *v, struct tlx_store *store, struct tlx_db_key *after,
                        bool *more) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  int err = tlx_txn_begin_read(store, &txn);
  if (err) return err;
  v->txn = txn;
  tlx_cursor_open(&cursor, txn, v->table);
  bool on = after->len ? tlx_cursor_seek(&cursor, after) : tlx_cursor_first(&cursor);
  if (on && cursor.key.len == after->len && tlx_db_key_has_prefix(&cursor.key, after, after->len))
    on = tlx_cursor_next(&cursor);
  for (int n = 0; on && n < ENTRIES_PER_TXN; n++, on = tlx_cursor_next(&cursor)) {
    *after = cursor.key;
    check_entry(v, &cursor);
  }
  *more = on;
  return tlx_txn_err(txn);
}

int tlx_store_verify(struct tlx_store *store, void (*finding)(void *arg, const char *text),
                     void *arg, uint64_t *ret_n) {
  struct verify v = {.finding = finding, .arg = arg};
  int err = 0;
  /* Room for the record itself and those it points to. */
  tlx_arena_init(&v.scratch, 2 * TLX_RECORD_UNPACKED_MAX);
  for (int table = 0; table < TLX_TABLE_COUNT && !err; table++) {
    struct tlx_db_key after = {.len = 0};
    bool more = true;
    v.table = (enum tlx_table)table;
    while (more && !err)
      err = walk_portion(&v, store, &after, &more);
  }
  tlx_arena_done(&v.scratch);
  if (err) return err;
  *ret_n = v.n_findings;
  return 0;
}
