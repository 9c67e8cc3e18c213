// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/rule_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "storage/sensor_tbl.h"
#include "storage/table.h"

/* ---- the digest of a set ---- */

void tlx_rule_digest_begin(struct tlx_sha256 *ctx) {
  static const char domain[] = "telovix-set-v1"; /* with its NUL */
  tlx_sha256_init(ctx);
  tlx_sha256_add(ctx, domain, sizeof domain);
}

void tlx_rule_digest_add(struct tlx_sha256 *ctx, const void *policy, size_t len) {
  const uint8_t head[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                          (uint8_t)len};
  tlx_sha256_add(ctx, head, sizeof head);
  tlx_sha256_add(ctx, policy, len);
}

/* ---- one rule ---- */

Telovix__Store__V1__RuleRecord *tlx_rule_get(struct tlx_txn *txn, const char *rule_id) {
  struct tlx_db_key key;
  struct tlx_db_key_parts parts;
  struct tlx_bytes value;
  if (!tlx_db_key_id(rule_id, &key) || !tlx_table_get_raw(txn, TLX_TABLE_RULE_ID, &key, &value))
    return NULL;
  Telovix__Store__V1__RuleRecord *record = NULL;
  /* The value of rule_id has the form of an id key. */
  if (tlx_db_key_parse(TLX_DB_KEY_ID, value.data, value.len, &parts) &&
      tlx_db_key_sensor_rule(parts.id, rule_id, &key))
    record = tlx_table_get(txn, TLX_TABLE_RULE, &key, NULL);
  if (!record) tlx_txn_fail(txn, TLX_E_CORRUPT);
  return record;
}

static bool digest_one(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  if (!record->removing) tlx_rule_digest_add(arg, record->policy.data, record->policy.len);
  return true;
}

/* Stores |record|, whose desired part is new, and names the set that it makes. */
static void put_desired(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *record,
                        const struct tlx_db_key *key) {
  struct tlx_sha256 ctx;
  uint8_t digest[TLX_SHA256_LEN];
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, record->sensor_id);
  if (!sensor) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  record->changed_generation = ++sensor->desired_generation;
  tlx_table_put(txn, TLX_TABLE_RULE, key, &record->base);
  tlx_rule_digest_begin(&ctx);
  tlx_rule_each(txn, record->sensor_id, NULL, NULL, digest_one, &ctx);
  tlx_sha256_final(&ctx, digest);
  sensor->desired_digest = (ProtobufCBinaryData){sizeof digest, digest};
  tlx_sensor_put(txn, sensor);
}

void tlx_rule_add(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *record) {
  struct tlx_db_key key, id_key, sensor_key;
  if (!tlx_db_key_id(record->rule_id, &id_key) || !tlx_db_key_id(record->sensor_id, &sensor_key) ||
      !tlx_db_key_sensor_rule(record->sensor_id, record->rule_id, &key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  if (tlx_table_has(txn, TLX_TABLE_RULE_ID, &id_key) ||
      (!record->removing && tlx_rule_find_path(txn, record->sensor_id, record->path))) {
    tlx_txn_fail(txn, TLX_E_EXISTS);
    return;
  }
  tlx_table_put_raw(txn, TLX_TABLE_RULE_ID, &id_key, sensor_key.data, sensor_key.len);
  put_desired(txn, record, &key);
}

/* The stored rule that |record| replaces; NULL (and the transaction has failed) when there is none.
 */
static Telovix__Store__V1__RuleRecord *get_stored(struct tlx_txn *txn,
                                                  const Telovix__Store__V1__RuleRecord *record,
                                                  struct tlx_db_key *ret_key) {
  Telovix__Store__V1__RuleRecord *stored = tlx_rule_get(txn, record->rule_id);
  if (!stored) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return NULL;
  }
  /* What the index points with and what is unique never changes. */
  if (strcmp(stored->sensor_id, record->sensor_id) != 0 ||
      strcmp(stored->path, record->path) != 0 ||
      !tlx_db_key_sensor_rule(record->sensor_id, record->rule_id, ret_key)) {
    tlx_txn_fail(txn, -EINVAL);
    return NULL;
  }
  return stored;
}

void tlx_rule_change(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *record) {
  struct tlx_db_key key;
  const Telovix__Store__V1__RuleRecord *stored = get_stored(txn, record, &key);
  if (!stored) return;
  if (stored->removing) {
    tlx_txn_fail(txn, TLX_E_CONFLICT);
    return;
  }
  put_desired(txn, record, &key);
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

void tlx_rule_observe(struct tlx_txn *txn, const Telovix__Store__V1__RuleRecord *record) {
  struct tlx_db_key key;
  const Telovix__Store__V1__RuleRecord *stored = get_stored(txn, record, &key);
  if (!stored) return;
  if (stored->removing != record->removing || stored->desired_mode != record->desired_mode ||
      stored->changed_generation != record->changed_generation ||
      !same_bytes(&stored->revision, &record->revision) ||
      !same_bytes(&stored->policy, &record->policy)) {
    tlx_txn_fail(txn, TLX_E_CONFLICT);
    return;
  }
  tlx_table_put(txn, TLX_TABLE_RULE, &key, &record->base);
}

void tlx_rule_remove(struct tlx_txn *txn, const char *rule_id) {
  struct tlx_db_key key, id_key;
  const Telovix__Store__V1__RuleRecord *stored = tlx_rule_get(txn, rule_id);
  if (!stored) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  if (!stored->removing) {
    tlx_txn_fail(txn, TLX_E_CONFLICT);
    return;
  }
  if (!tlx_db_key_id(rule_id, &id_key) ||
      !tlx_db_key_sensor_rule(stored->sensor_id, rule_id, &key)) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return;
  }
  tlx_table_remove(txn, TLX_TABLE_RULE, &key);
  tlx_table_remove(txn, TLX_TABLE_RULE_ID, &id_key);
}

unsigned tlx_rule_remove_all(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix, id_key;
  struct tlx_db_key_parts parts;
  unsigned n = 0;
  if (!tlx_db_key_sensor_rule(sensor_id, NULL, &prefix)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_RULE);
  for (bool on = tlx_cursor_seek(&cursor, &prefix); on; on = tlx_cursor_next(&cursor)) {
    /* KEY_LAYOUT: rule starts with the sensor's id. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    struct tlx_db_key key = cursor.key;
    if (!tlx_db_key_parse(TLX_DB_KEY_SENSOR_RULE, key.data, key.len, &parts) ||
        !tlx_db_key_id(parts.rule_id, &id_key)) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      break;
    }
    tlx_table_remove(txn, TLX_TABLE_RULE, &key);
    tlx_table_remove(txn, TLX_TABLE_RULE_ID, &id_key);
    n++;
  }
  return n;
}

/* ---- walks ---- */

/* Places the cursor on the first rule behind (after_sensor, after_rule) that |prefix| (NULL = any)
 * allows. */
static bool seek_behind(struct tlx_cursor *cursor, const struct tlx_db_key *prefix,
                        const char *after_sensor, const char *after_rule) {
  struct tlx_db_key after;
  if (!after_sensor || !after_rule)
    return prefix ? tlx_cursor_seek(cursor, prefix) : tlx_cursor_first(cursor);
  if (!tlx_db_key_sensor_rule(after_sensor, after_rule, &after)) {
    tlx_txn_fail(cursor->txn, -EINVAL);
    return false;
  }
  if (!tlx_cursor_seek(cursor, &after)) return false;
  bool same =
      cursor->key.len == after.len && tlx_db_key_has_prefix(&cursor->key, &after, after.len);
  return same ? tlx_cursor_next(cursor) : true;
}

void tlx_rule_each(struct tlx_txn *txn, const char *sensor_id, const char *after_sensor,
                   const char *after_rule,
                   bool (*cb)(void *arg, const Telovix__Store__V1__RuleRecord *record), void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix;
  if (sensor_id && !tlx_db_key_sensor_rule(sensor_id, NULL, &prefix)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_RULE);
  for (bool on = seek_behind(&cursor, sensor_id ? &prefix : NULL, after_sensor, after_rule); on;
       on = tlx_cursor_next(&cursor)) {
    /* KEY_LAYOUT: rule starts with the sensor's id. */
    if (sensor_id && !tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    const Telovix__Store__V1__RuleRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}

unsigned tlx_rule_count(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix;
  unsigned n = 0;
  if (!tlx_db_key_sensor_rule(sensor_id, NULL, &prefix)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_RULE);
  for (bool on = tlx_cursor_seek(&cursor, &prefix); on; on = tlx_cursor_next(&cursor)) {
    /* KEY_LAYOUT: rule starts with the sensor's id. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    n++;
  }
  return n;
}

static bool add_usage(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct tlx_rule_usage *usage = arg;
  if (record->removing) {
    usage->n_removing++;
  } else {
    usage->n_desired++;
    usage->desired_len += record->policy.len;
  }
  return true;
}

void tlx_rule_usage(struct tlx_txn *txn, const char *sensor_id, struct tlx_rule_usage *ret_usage) {
  memset(ret_usage, 0, sizeof *ret_usage);
  tlx_rule_each(txn, sensor_id, NULL, NULL, add_usage, ret_usage);
}

/* Looks for a path; the id of what is found outlives the walk. */
struct path_search {
  const char *path;
  char rule_id[TLX_DB_KEY_ID_WIDTH];
};

static bool is_path(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct path_search *search = arg;
  if (record->removing || strcmp(record->path, search->path) != 0) return true;
  snprintf(search->rule_id, sizeof search->rule_id, "%s", record->rule_id);
  return false;
}

Telovix__Store__V1__RuleRecord *tlx_rule_find_path(struct tlx_txn *txn, const char *sensor_id,
                                                   const char *path) {
  struct path_search search = {.path = path};
  tlx_rule_each(txn, sensor_id, NULL, NULL, is_path, &search);
  return *search.rule_id ? tlx_rule_get(txn, search.rule_id) : NULL;
}

/* ---- containments ---- */

bool tlx_rule_is_containment(const Telovix__Store__V1__RuleRecord *record) {
  return strcmp(record->template_, "network-containment") == 0;
}

/* Ids of what is found outlive the walk. */
struct containment_search {
  char rule_id[TLX_DB_KEY_ID_WIDTH], removing_id[TLX_DB_KEY_ID_WIDTH];
  uint64_t removing_generation;
};

static bool is_containment(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct containment_search *search = arg;
  if (!tlx_rule_is_containment(record)) return true;
  if (!record->removing) {
    snprintf(search->rule_id, sizeof search->rule_id, "%s", record->rule_id);
    return false;
  }
  if (record->changed_generation >= search->removing_generation) {
    search->removing_generation = record->changed_generation;
    snprintf(search->removing_id, sizeof search->removing_id, "%s", record->rule_id);
  }
  return true;
}

Telovix__Store__V1__RuleRecord *tlx_rule_find_containment(struct tlx_txn *txn,
                                                          const char *sensor_id, bool or_removing) {
  struct containment_search search = {.removing_generation = 0};
  tlx_rule_each(txn, sensor_id, NULL, NULL, is_containment, &search);
  if (*search.rule_id) return tlx_rule_get(txn, search.rule_id);
  return or_removing && *search.removing_id ? tlx_rule_get(txn, search.removing_id) : NULL;
}
