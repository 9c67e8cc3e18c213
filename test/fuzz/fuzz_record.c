// SPDX-License-Identifier: GPL-2.0-or-later
/* What lies in the store's file may have any bytes: it is unpacked, hashed, listed, moved on and
 * verified as if it were sound. The first byte picks the table, the second what is done with it,
 * the third the length of the key; key and value follow. */
#include <ftw.h>

#include "common/err.h"
#include "common/log.h"
#include "fuzz.h"
#include "storage/audit_tbl_int.h"
#include "storage/event_tbl.h"
#include "storage/maintain.h"
#include "storage/meta_tbl.h"
#include "storage/operator_tbl.h"
#include "storage/order_tbl_int.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/table.h"
#include "storage/token_tbl.h"

static char root[] = "/tmp/telovix-fuzz-XXXXXX";
static struct tlx_store *store;

static void quiet(void *arg, enum tlx_log_level level, const char *line) {
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  return remove(path);
}

static void end(void) {
  tlx_store_close(store);
  nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* One store for all inputs; every input's transaction is undone. */
static void begin(void) {
  char folder[64];
  const struct tlx_store_facts facts = {.fleet_id = "fleet-x", .fleet_name = "x", .epoch = {1}};
  tlx_log_set_sink(quiet, NULL);
  must(mkdtemp(root));
  snprintf(folder, sizeof folder, "%s/store", root);
  must(tlx_store_create(folder, &facts, 64u << 20) == 0);
  must(tlx_store_open(folder, 64u << 20, &store) == 0);
  atexit(end);
}

/* ---- the record alone ---- */

static void look_at_audit(const Telovix__Store__V1__AuditRecord *record) {
  struct tlx_audit_head at = {0};
  char *noted = NULL;
  tlx_audit_chain_follow(&at, record);
  must(at.seq == record->seq);
  if (tlx_audit_detail_note(record->detail, record->seq, &noted) == 0) {
    must(strstr(noted, "clock_stepped_back_ms"));
    free(noted);
  }
}

static void look_at_order(const Telovix__Store__V1__OrderRecord *record) {
  uint64_t due_wall_ms = 0;
  must(*tlx_order_state_name(record->state));
  must(tlx_order_due(record, &due_wall_ms) == !tlx_order_state_ended(record->state));
  for (unsigned to = 0; to < 16; to++)
    if (tlx_order_move_allowed(record->state, to))
      must(to != TLX_ORDER_QUEUED && record->state <= TLX_ORDER_RESULT_UNKNOWN);
}

/* Whether it could be unpacked; then it packs to something that unpacks again. */
static bool look_at_record(enum tlx_table table, const uint8_t *data, size_t len) {
  struct tlx_arena arena;
  ProtobufCMessage *record = NULL, *again = NULL;
  tlx_arena_init(&arena, 2 * TLX_RECORD_UNPACKED_MAX);
  bool ok = tlx_record_unpack(table, data, len, &arena, &record) == 0;
  if (ok) {
    size_t packed_len = protobuf_c_message_get_packed_size(record);
    uint8_t *packed = malloc(packed_len + 1);
    must(packed && protobuf_c_message_pack(record, packed) == packed_len);
    must(tlx_record_unpack(table, packed, packed_len, &arena, &again) == 0);
    free(packed);
    if (table == TLX_TABLE_AUDIT) look_at_audit((const void *)record);
    if (table == TLX_TABLE_ORDER) look_at_order((const void *)record);
  }
  tlx_arena_done(&arena);
  return ok;
}

static void look_at_key(enum tlx_table table, const struct tlx_db_key *key) {
  struct tlx_db_key_parts parts;
  char text[64];
  enum tlx_db_key_layout layout = tlx_table_info(table)->layout;
  tlx_db_key_parse(layout, key->data, key->len, &parts);
  tlx_db_key_format(layout, key->data, key->len, text, sizeof text);
  must(strlen(text) < sizeof text);
}

/* ---- the record in a store ---- */

#define EACH(name, type)                                                                           \
  static bool name(void *arg, const Telovix__Store__V1__##type *record) {                          \
    ++*(unsigned *)arg;                                                                            \
    return true;                                                                                   \
  }
EACH(on_sensor, SensorRecord)
EACH(on_token, TokenRecord)
EACH(on_order, OrderRecord)
EACH(on_audit, AuditRecord)
EACH(on_operator, OperatorRecord)
EACH(on_rule, RuleRecord)
EACH(on_event, EventRecord)

static void read_all(struct tlx_txn *txn) {
  unsigned n = 0;
  struct tlx_audit_head head;
  tlx_meta_get(txn);
  tlx_audit_head(txn, &head);
  tlx_audit_each(txn, 0, false, on_audit, &n);
  tlx_sensor_each(txn, NULL, NULL, on_sensor, &n);
  tlx_token_each(txn, UINT64_MAX, on_token, &n);
  tlx_order_each(txn, NULL, UINT64_MAX, on_order, &n);
  tlx_order_each_due(txn, UINT64_MAX, on_order, &n);
  tlx_operator_each(txn, NULL, on_operator, &n);
  tlx_rule_each(txn, NULL, NULL, NULL, on_rule, &n);
  tlx_event_each(txn, NULL, UINT64_MAX, on_event, &n);
  tlx_event_each_after(txn, NULL, 0, on_event, &n);
  tlx_event_is_due(txn, UINT64_MAX);
}

static void append_audit(struct tlx_txn *txn) {
  const struct tlx_audit_entry entry = {.action_type = "fuzz", .detail = "{\"a\":1}"};
  tlx_audit_append(txn, &entry);
}

/* A rule needs its sensor; each change names a set, and that name never goes back. The input itself
 * may lie beside it as a further rule of the sensor. */
static void use_rule(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *rule) {
  Telovix__Store__V1__SensorRecord sensor = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  struct tlx_rule_usage usage;
  unsigned n = 0;
  sensor.sensor_id = rule->sensor_id;
  sensor.node_name = (char *)"x";
  tlx_sensor_put(txn, &sensor);
  tlx_rule_add(txn, rule);
  if (tlx_txn_err(txn)) return;
  must(rule->changed_generation == 1);
  must(tlx_rule_count(txn, rule->sensor_id) >= 1);
  tlx_rule_observe(txn, rule);
  bool was_removing = rule->removing;
  rule->removing = true;
  tlx_rule_change(txn, rule);
  must(tlx_txn_err(txn) == (was_removing ? TLX_E_CONFLICT : 0));
  if (was_removing) return;
  tlx_rule_usage(txn, rule->sensor_id, &usage);
  must(usage.n_removing >= 1);
  tlx_rule_each(txn, rule->sensor_id, NULL, NULL, on_rule, &n);
  must(n == usage.n_desired + usage.n_removing);
  tlx_rule_remove(txn, rule->rule_id);
  must(!tlx_rule_get(txn, rule->rule_id));
  must(tlx_sensor_get(txn, rule->sensor_id)->desired_generation == 2);
}

static void use_event(struct tlx_txn *txn, Telovix__Store__V1__EventRecord *event) {
  unsigned n = 0;
  for (int i = 0; i < 3; i++)
    tlx_event_add(txn, event, 2);
  if (tlx_txn_err(txn)) return;
  must(tlx_event_count(txn, event->sensor_id) == 2);
  tlx_event_each(txn, event->sensor_id, UINT64_MAX, on_event, &n);
  must(n == 2);
  tlx_event_expire(txn, event->received_wall_ms, 10);
  must(tlx_event_count(txn, event->sensor_id) == 2);
}

/* Everything that the record's own names lead to. */
static void use(struct tlx_txn *txn, enum tlx_table table, const uint8_t *data, size_t len) {
  ProtobufCMessage *record = NULL;
  unsigned n = 0;
  if (!tlx_table_info(table)->record ||
      tlx_record_unpack(table, data, len, tlx_txn_arena(txn), &record) != 0)
    return;
  if (table == TLX_TABLE_SENSOR) {
    tlx_sensor_put(txn, (void *)record);
    tlx_sensor_each(txn, NULL, NULL, on_sensor, &n);
  } else if (table == TLX_TABLE_TOKEN) {
    tlx_token_add(txn, (void *)record);
    tlx_token_put(txn, (void *)record);
    tlx_token_remove(txn, (void *)record);
  } else if (table == TLX_TABLE_TOKEN_USE) {
    uint8_t hash[32] = {1};
    tlx_token_use_put(txn, hash, (void *)record);
    tlx_token_use_forget(txn, ((Telovix__Store__V1__TokenUseRecord *)record)->sensor_id);
  } else if (table == TLX_TABLE_ORDER) {
    Telovix__Store__V1__OrderRecord *order = (void *)record;
    unsigned wanted = order->state;
    tlx_order_add(txn, order, 1);
    order->state = wanted;
    tlx_order_put(txn, order);
    tlx_order_each_open(txn, order->sensor_id, on_order, &n);
    tlx_order_each(txn, order->sensor_id, UINT64_MAX, on_order, &n);
  } else if (table == TLX_TABLE_OPERATOR) {
    tlx_operator_put(txn, (void *)record);
  } else if (table == TLX_TABLE_REQUEST) {
    tlx_request_put(txn, "anna", "r1", (void *)record);
  } else if (table == TLX_TABLE_RULE) {
    use_rule(txn, (void *)record);
  } else if (table == TLX_TABLE_EVENT) {
    use_event(txn, (void *)record);
  } else if (table == TLX_TABLE_META) {
    tlx_meta_put(txn, (void *)record);
  }
}

static void on_finding(void *arg, const char *text) {
  must(strncmp(text, "table ", 6) == 0);
}

/* verify sees committed entries only; this one is taken out again afterwards. */
static void verify_with(enum tlx_table table, const struct tlx_db_key *key, const uint8_t *data,
                        size_t len) {
  struct tlx_txn *txn;
  uint64_t n;
  if (table == TLX_TABLE_META) return; /* the store's own record would be gone */
  must(tlx_txn_begin_write(store, &txn) == 0);
  tlx_table_put_raw(txn, table, key, data, len);
  must(tlx_txn_commit(txn) == 0);
  must(tlx_store_verify(store, on_finding, NULL, &n) == 0);
  must(tlx_txn_begin_write(store, &txn) == 0);
  tlx_table_remove(txn, table, key);
  must(tlx_txn_commit(txn) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tlx_db_key key;
  struct tlx_txn *txn;
  if (!store) begin();
  if (size < 4) return 0;
  enum tlx_table table = data[0] % TLX_TABLE_COUNT;
  uint8_t how = data[1] % 16;
  key.len = data[2];
  data += 3;
  size -= 3;
  if (key.len == 0 || key.len > size) return 0;
  memcpy(key.data, data, key.len);
  data += key.len;
  size -= key.len;
  look_at_key(table, &key);
  if (tlx_table_info(table)->record) look_at_record(table, data, size);
  /* A commit syncs the disk: only a few inputs get there. */
  if (how == 0) verify_with(table, &key, data, size);
  must(tlx_txn_begin_write(store, &txn) == 0);
  tlx_table_put_raw(txn, table, &key, data, size);
  if (how & 1)
    read_all(txn);
  else if (how & 2)
    append_audit(txn);
  else
    use(txn, table, data, size);
  tlx_txn_abort(txn);
  return 0;
}
