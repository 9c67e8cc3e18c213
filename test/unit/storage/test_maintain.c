// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/maintain.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/audit_tbl.h"
#include "storage/event_tbl.h"
#include "storage/meta_tbl.h"
#include "storage/operator_tbl.h"
#include "storage/order_tbl.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/token_tbl.h"

static void append(struct tlx_txn *txn) {
  struct tlx_audit_entry entry = {
      .wall_ms = FIXTURE_WALL_MS, .action_type = "console_started", .success = true};
  tlx_audit_append(txn, &entry);
}

/* Who used token_f. */
static uint8_t use_hash[32] = {6};

/* A bit of everything, two of most. */
static void furnish(struct fixture *fx) {
  uint8_t hash[32], revision[16];
  const uint8_t serial[16] = {5};
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord sensor = fixture_sensor("sensor_a", "Web");
  tlx_sensor_put(txn, &sensor);
  sensor = fixture_sensor("sensor_b", "db");
  tlx_sensor_put(txn, &sensor);
  Telovix__Store__V1__SerialRecord cert = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  cert.kind = TLX_SERIAL_OF_SENSOR;
  cert.state = TLX_SERIAL_GOOD;
  cert.owner = (char *)"sensor_a";
  tlx_serial_put(txn, serial, &cert);
  Telovix__Store__V1__TokenRecord token = fixture_token("token_a", 1, hash);
  tlx_token_add(txn, &token);
  token = fixture_token("token_b", 2, hash);
  tlx_token_add(txn, &token);
  token = fixture_token("token_f", 3, hash);
  token.kind = 2;
  token.max_uses = 5;
  token.uses = 2;
  token.used_by_sensor_id = (char *)"sensor_a";
  token.used_by_key_hash = (ProtobufCBinaryData){sizeof use_hash, use_hash};
  tlx_token_add(txn, &token);
  Telovix__Store__V1__TokenUseRecord use = TELOVIX__STORE__V1__TOKEN_USE_RECORD__INIT;
  use.token_id = (char *)"token_f";
  use.sensor_id = (char *)"sensor_a";
  tlx_token_use_put(txn, use_hash, &use);
  Telovix__Store__V1__OrderRecord order = fixture_order("kill_a", "sensor_a", 1000);
  tlx_order_add(txn, &order, 10);
  order = fixture_order("kill_b", "sensor_a", 1000);
  tlx_order_add(txn, &order, 10);
  fixture_move(txn, "kill_b", TLX_ORDER_CANCELLED);
  Telovix__Store__V1__OperatorRecord operator= TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  operator.name =(char *) "anna";
  tlx_operator_put(txn, &operator);
  Telovix__Store__V1__RequestRecord request = TELOVIX__STORE__V1__REQUEST_RECORD__INIT;
  request.created_wall_ms = 1000;
  tlx_request_put(txn, "anna", "r1", &request);
  for (unsigned i = 0; i < 4; i++)
    append(txn);
  Telovix__Store__V1__RuleRecord rule = fixture_rule("rule_a", "sensor_a", "/a", revision);
  tlx_rule_add(txn, &rule);
  rule = fixture_rule("rule_b", "sensor_a", "/b", revision);
  tlx_rule_add(txn, &rule);
  rule.removing = true;
  tlx_rule_change(txn, &rule);
  for (unsigned i = 0; i < 3; i++) {
    Telovix__Store__V1__EventRecord event = fixture_event("event_a", "sensor_a", 1000);
    tlx_event_add(txn, &event, 100);
  }
  Telovix__Store__V1__EventRecord other = fixture_event("event_b", "sensor_b", 1000);
  tlx_event_add(txn, &other, 100);
  fixture_commit(txn);
}

/* Opens a furnished store, lets |damage| at it, and expects |n| findings, one of them with |words|.
 */
static void expect(void (*damage)(struct tlx_txn *txn), uint64_t n, const char *words) {
  FIXTURE fx;
  char text[FINDINGS_MAX];
  fixture_init(&fx);
  furnish(&fx);
  cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
  struct tlx_txn *txn = fixture_write(&fx);
  damage(txn);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, text), n, "%s", text);
  cr_assert(strstr(text, words), "%s\nhas no\n%s", text, words);
}

static struct tlx_db_key id_key(const char *id) {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_id(id, &key));
  return key;
}

static struct tlx_db_key no_key(uint64_t number) {
  struct tlx_db_key key;
  tlx_db_key_number(number, &key);
  return key;
}

static struct tlx_db_key node_key(const char *node, const char *id) {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_node(node, id, &key));
  return key;
}

static struct tlx_db_key sensor_no_key(const char *id, uint64_t number) {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_sensor_no(id, number, &key));
  return key;
}

Test(maintain, a_new_store_is_clean) {
  FIXTURE fx;
  fixture_init(&fx);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* ---- one damage a test; each says what verify must say ---- */

#define DAMAGE(name, n, words)                                                                     \
  static void name##_damage(struct tlx_txn *txn);                                                  \
  Test(maintain, name) {                                                                           \
    expect(name##_damage, n, words);                                                               \
  }                                                                                                \
  static void name##_damage(struct tlx_txn *txn)

DAMAGE(unreadable_record, 1, "table sensor, key sensor_a: the record cannot be read") {
  struct tlx_db_key key = id_key("sensor_a");
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR, &key, "\xff", 1);
}

DAMAGE(newer_record, 1, "newer version") {
  struct tlx_db_key key = id_key("sensor_a");
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR, &key, "\x08\x09", 2);
}

DAMAGE(bad_key, 1, "table operator, key 0x616e6e61: the key has no valid form") {
  struct tlx_db_key key = {.len = 4, .data = "anna"};
  tlx_table_put_raw(txn, TLX_TABLE_OPERATOR, &key, "\x08\x01", 2);
}

DAMAGE(sensor_under_another_id, 14, "table sensor, key sensor_c: the record has another id") {
  struct tlx_db_key from = id_key("sensor_a"), to = id_key("sensor_c");
  ProtobufCMessage *record = tlx_table_get(txn, TLX_TABLE_SENSOR, &from, NULL);
  tlx_table_put(txn, TLX_TABLE_SENSOR, &to, record);
  tlx_table_remove(txn, TLX_TABLE_SENSOR, &from);
  /* The index entry of sensor_a misses its sensor, and that of sensor_b is taken away. */
  struct tlx_db_key node = node_key("db", "sensor_b");
  tlx_table_remove(txn, TLX_TABLE_SENSOR_NODE, &node);
}

DAMAGE(missing_node_entry, 1, "table sensor, key sensor_a: the entry in sensor_node is missing") {
  struct tlx_db_key key = node_key("web", "sensor_a");
  tlx_table_remove(txn, TLX_TABLE_SENSOR_NODE, &key);
}

DAMAGE(stray_node_entry, 1, "table sensor_node, key web/sensor_x: the sensor is missing") {
  struct tlx_db_key key = node_key("web", "sensor_x");
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR_NODE, &key, NULL, 0);
}

DAMAGE(old_node_entry, 1, "table sensor_node, key old/sensor_a: the sensor has another node name") {
  struct tlx_db_key key = node_key("old", "sensor_a");
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR_NODE, &key, NULL, 0);
}

DAMAGE(node_entry_with_value, 1, "the value is not empty") {
  struct tlx_db_key key = node_key("web", "sensor_a");
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR_NODE, &key, "x", 1);
}

DAMAGE(sensor_without_node, 2, "the record has no key for sensor_node") {
  struct tlx_db_key key = id_key("sensor_a");
  Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, "sensor_a");
  record->node_name = (char *)"";
  tlx_table_put(txn, TLX_TABLE_SENSOR, &key, &record->base);
}

DAMAGE(bad_serial, 3, "table serial, key 05000000000000000000000000000000: kind 7 is none") {
  const uint8_t serial[16] = {5};
  Telovix__Store__V1__SerialRecord cert = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  cert.kind = 7;
  cert.state = 9;
  tlx_serial_put(txn, serial, &cert);
}

static struct tlx_db_key use_key(const char *token_id, uint8_t key_hash) {
  const uint8_t hash[32] = {key_hash};
  struct tlx_db_key key;
  cr_assert(tlx_db_key_token_use(token_id, hash, &key));
  return key;
}

static void put_use(struct tlx_txn *txn, const char *key_token, uint8_t key_hash,
                    const char *token_id, const char *sensor_id) {
  struct tlx_db_key key = use_key(key_token, key_hash);
  Telovix__Store__V1__TokenUseRecord use = TELOVIX__STORE__V1__TOKEN_USE_RECORD__INIT;
  use.token_id = (char *)token_id;
  use.sensor_id = (char *)sensor_id;
  tlx_table_put(txn, TLX_TABLE_TOKEN_USE, &key, &use.base);
}

DAMAGE(missing_use, 1, "table token, key 3: the entry of its last use in token_use is missing") {
  struct tlx_db_key key = use_key("token_f", 6);
  tlx_table_remove(txn, TLX_TABLE_TOKEN_USE, &key);
}

DAMAGE(too_many_uses, 1, "table token, key 3: 2 uses, and 3 entries in token_use") {
  put_use(txn, "token_f", 7, "token_f", "sensor_a");
  put_use(txn, "token_f", 8, "token_f", "sensor_a");
}

DAMAGE(use_of_a_one_time_token, 1, "no fleet token, and there are entries in token_use") {
  put_use(txn, "token_a", 1, "token_a", "sensor_a");
}

DAMAGE(use_of_no_token, 1, "/01") {
  put_use(txn, "token_x", 1, "token_x", "sensor_a");
}

DAMAGE(use_by_no_sensor, 1, "the sensor is missing") {
  put_use(txn, "token_f", 7, "token_f", "sensor_x");
}

DAMAGE(use_under_another_token, 1, "the record is of another token") {
  put_use(txn, "token_f", 7, "token_a", "sensor_a");
}

/* What is left of a sensor that is gone: each must be told, but the tombstone. */
static void remove_sensor_b(struct tlx_txn *txn) {
  tlx_sensor_remove(txn, "sensor_b");
}

DAMAGE(event_of_no_sensor, 1, "table event, key 4: the sensor is missing") {
  remove_sensor_b(txn);
}

DAMAGE(order_of_no_sensor, 1, "table order, key 3: the sensor is missing") {
  Telovix__Store__V1__OrderRecord order = fixture_order("kill_c", "sensor_c", 1000);
  tlx_order_add(txn, &order, 10);
}

DAMAGE(certificate_of_no_sensor, 1, "the sensor is missing") {
  const uint8_t serial[16] = {6};
  Telovix__Store__V1__SerialRecord cert = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  cert.kind = TLX_SERIAL_OF_SENSOR;
  cert.state = TLX_SERIAL_REVOKED;
  cert.owner = (char *)"sensor_c";
  tlx_serial_put(txn, serial, &cert);
  const uint8_t tombstone[16] = {7};
  cert.state = TLX_SERIAL_DELETED;
  tlx_serial_put(txn, tombstone, &cert);
}

DAMAGE(tombstone_of_a_sensor, 1, "it is marked deleted, and its sensor is there") {
  const uint8_t serial[16] = {5};
  Telovix__Store__V1__SerialRecord *cert = tlx_serial_get(txn, serial);
  cert->state = TLX_SERIAL_DELETED;
  tlx_serial_put(txn, serial, cert);
}

DAMAGE(token_of_no_sensor, 2, "table token, key 1: the sensor is missing") {
  Telovix__Store__V1__TokenRecord *token = tlx_token_get(txn, "token_a");
  token->sensor_id = token->used_by_sensor_id = (char *)"sensor_c";
  tlx_token_put(txn, token);
}

DAMAGE(missing_token_hash, 1, "table token, key 1: the entry in token_hash is missing") {
  struct tlx_db_key key;
  uint8_t hash[32];
  memset(hash, 1, 32);
  cr_assert(tlx_db_key_blob(hash, 32, &key));
  tlx_table_remove(txn, TLX_TABLE_TOKEN_HASH, &key);
}

DAMAGE(token_id_to_another, 2, "table token_id, key token_a: the token 2 is another one") {
  struct tlx_db_key key = id_key("token_a");
  tlx_table_put_number(txn, TLX_TABLE_TOKEN_ID, &key, 2);
}

DAMAGE(token_id_to_nothing, 2, "table token_id, key token_a: the token 9 is missing") {
  struct tlx_db_key key = id_key("token_a");
  tlx_table_put_number(txn, TLX_TABLE_TOKEN_ID, &key, 9);
}

DAMAGE(token_id_without_number, 2, "table token_id, key token_a: the value is not a number") {
  struct tlx_db_key key = id_key("token_a");
  tlx_table_put_raw(txn, TLX_TABLE_TOKEN_ID, &key, "abc", 3);
}

DAMAGE(token_with_another_number, 1, "table token, key 1: the record has another number") {
  struct tlx_db_key key = no_key(1);
  Telovix__Store__V1__TokenRecord *record = tlx_token_get(txn, "token_a");
  record->token_no = 7;
  tlx_table_put(txn, TLX_TABLE_TOKEN, &key, &record->base);
}

DAMAGE(order_gone, 3, "table order_open, key sensor_a/1: the order is missing") {
  struct tlx_db_key key = no_key(1);
  tlx_table_remove(txn, TLX_TABLE_ORDER, &key);
}

DAMAGE(order_indexes_gone, 3, "table order, key 1: the entry in order_open is missing") {
  struct tlx_db_key key = id_key("kill_a"), sensor_key = sensor_no_key("sensor_a", 1);
  tlx_table_remove(txn, TLX_TABLE_ORDER_ID, &key);
  tlx_table_remove(txn, TLX_TABLE_ORDER_SENSOR, &sensor_key);
  tlx_table_remove(txn, TLX_TABLE_ORDER_OPEN, &sensor_key);
}

DAMAGE(order_open_with_another_time, 1, "the entry in order_open has another value") {
  struct tlx_db_key key = sensor_no_key("sensor_a", 1);
  tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &key, 999);
}

DAMAGE(ended_order_still_open, 1,
       "table order, key 2: the order has ended and still has an entry in order_open") {
  struct tlx_db_key key = sensor_no_key("sensor_a", 2);
  tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &key, 1000);
}

DAMAGE(order_under_another_sensor, 1,
       "table order_sensor, key sensor_b/1: the order is one of another sensor") {
  struct tlx_db_key key = sensor_no_key("sensor_b", 1);
  tlx_table_put_raw(txn, TLX_TABLE_ORDER_SENSOR, &key, NULL, 0);
}

DAMAGE(order_id_to_another, 2, "table order_id, key kill_a: the order 2 is another one") {
  struct tlx_db_key key = id_key("kill_a");
  tlx_table_put_number(txn, TLX_TABLE_ORDER_ID, &key, 2);
}

DAMAGE(order_id_to_nothing, 1, "table order_id, key kill_z: the order 99 is missing") {
  struct tlx_db_key key = id_key("kill_z");
  tlx_table_put_number(txn, TLX_TABLE_ORDER_ID, &key, 99);
}

DAMAGE(order_in_no_state, 1, "table order, key 1: state 12 is none") {
  struct tlx_db_key key = no_key(1);
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, "kill_a");
  record->state = 12;
  tlx_table_put(txn, TLX_TABLE_ORDER, &key, &record->base);
  /* An unknown state counts as not ended. */
  struct tlx_db_key open_key = sensor_no_key("sensor_a", 1);
  tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &open_key, 1000 + TLX_ORDER_RESULT_GRACE_MS);
}

DAMAGE(order_with_another_number, 1, "table order, key 2: the record has another number") {
  struct tlx_db_key key = no_key(2);
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, "kill_b");
  record->queue_no = 7;
  tlx_table_put(txn, TLX_TABLE_ORDER, &key, &record->base);
}

DAMAGE(meta_behind, 2,
       "table meta, key store: table order has number 2, above the last one given (1)") {
  struct tlx_db_key key = id_key("store");
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  meta->queue_no = 1;
  meta->token_no = 0;
  tlx_table_put(txn, TLX_TABLE_META, &key, &meta->base);
}

DAMAGE(operator_under_another_name, 1, "table operator, key bert: the record has another name") {
  struct tlx_db_key key;
  Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, "anna");
  cr_assert(tlx_db_key_operator("bert", &key));
  tlx_table_put(txn, TLX_TABLE_OPERATOR, &key, &record->base);
}

DAMAGE(request_without_time, 1,
       "table request, key anna/r1: the entry in request_time is missing") {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_request_time("anna", 1000, "r1", &key));
  tlx_table_remove(txn, TLX_TABLE_REQUEST_TIME, &key);
}

DAMAGE(time_without_request, 1, "table request_time, key anna/7/r9: the request is missing") {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_request_time("anna", 7, "r9", &key));
  tlx_table_put_raw(txn, TLX_TABLE_REQUEST_TIME, &key, NULL, 0);
}

DAMAGE(request_of_another_time, 1,
       "table request_time, key anna/7/r1: the request is of another time") {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_request_time("anna", 7, "r1", &key));
  tlx_table_put_raw(txn, TLX_TABLE_REQUEST_TIME, &key, NULL, 0);
}

/* ---- rules and events ---- */

static struct tlx_db_key rule_key(const char *sensor_id, const char *rule_id) {
  struct tlx_db_key key;
  cr_assert(tlx_db_key_sensor_rule(sensor_id, rule_id, &key));
  return key;
}

DAMAGE(rule_loosened, 1,
       "table sensor, key sensor_a: the digest of the desired set is not that of its rules") {
  struct tlx_db_key key = rule_key("sensor_a", "rule_a");
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, "rule_a");
  record->policy = (ProtobufCBinaryData){5, (uint8_t *)"/else"};
  tlx_table_put(txn, TLX_TABLE_RULE, &key, &record->base);
}

DAMAGE(rule_brought_back, 1, "the digest of the desired set is not that of its rules") {
  struct tlx_db_key key = rule_key("sensor_a", "rule_b");
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, "rule_b");
  record->removing = false;
  tlx_table_put(txn, TLX_TABLE_RULE, &key, &record->base);
}

DAMAGE(rule_gone, 2, "table rule_id, key rule_a: the rule is missing") {
  struct tlx_db_key key = rule_key("sensor_a", "rule_a");
  tlx_table_remove(txn, TLX_TABLE_RULE, &key);
}

DAMAGE(rule_and_index_gone, 1, "the digest of the desired set is not that of its rules") {
  struct tlx_db_key key = rule_key("sensor_a", "rule_a"), rule_id = id_key("rule_a");
  tlx_table_remove(txn, TLX_TABLE_RULE, &key);
  tlx_table_remove(txn, TLX_TABLE_RULE_ID, &rule_id);
}

DAMAGE(rule_unreadable, 1, "table rule, key sensor_a/rule_b: the record cannot be read") {
  struct tlx_db_key key = rule_key("sensor_a", "rule_b");
  tlx_table_put_raw(txn, TLX_TABLE_RULE, &key, "\xff", 1);
}

DAMAGE(rule_id_gone, 1, "table rule, key sensor_a/rule_a: the entry in rule_id is missing") {
  struct tlx_db_key key = id_key("rule_a");
  tlx_table_remove(txn, TLX_TABLE_RULE_ID, &key);
}

DAMAGE(rule_id_to_another_sensor, 2,
       "table rule, key sensor_a/rule_a: the entry in rule_id has another value") {
  struct tlx_db_key key = id_key("rule_a"), value = id_key("sensor_b");
  tlx_table_put_raw(txn, TLX_TABLE_RULE_ID, &key, value.data, value.len);
}

DAMAGE(rule_id_to_nothing, 2, "table rule_id, key rule_a: the value is not the id of a sensor") {
  struct tlx_db_key key = id_key("rule_a");
  tlx_table_put_raw(txn, TLX_TABLE_RULE_ID, &key, "x", 1);
}

DAMAGE(rule_under_another_key, 4, "table rule, key sensor_a/rule_z: the record has another id") {
  struct tlx_db_key from = rule_key("sensor_a", "rule_b"), to = rule_key("sensor_a", "rule_z");
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, "rule_b");
  tlx_table_put(txn, TLX_TABLE_RULE, &to, &record->base);
  tlx_table_remove(txn, TLX_TABLE_RULE, &from);
  struct tlx_db_key node = node_key("Web", "sensor_a");
  tlx_table_remove(txn, TLX_TABLE_SENSOR_NODE, &node);
}

DAMAGE(generation_behind, 1,
       "table rule, key sensor_a/rule_b: generation 3 is above the sensor's (1)") {
  struct tlx_db_key key = id_key("sensor_a");
  Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, "sensor_a");
  record->desired_generation = 1;
  tlx_table_put(txn, TLX_TABLE_SENSOR, &key, &record->base);
}

DAMAGE(event_gone, 1, "table event_sensor, key sensor_a/2: the event is missing") {
  struct tlx_db_key key = no_key(2);
  tlx_table_remove(txn, TLX_TABLE_EVENT, &key);
}

/* Missing in the middle, the count has a hole as well. */
DAMAGE(event_index_gone, 2, "table event, key 2: the entry in event_sensor is missing") {
  struct tlx_db_key key = sensor_no_key("sensor_a", 2);
  tlx_table_remove(txn, TLX_TABLE_EVENT_SENSOR, &key);
}

DAMAGE(event_count_off, 2, "table event_sensor, key sensor_a/1: the next entry does not count on") {
  struct tlx_db_key key = sensor_no_key("sensor_a", 2);
  tlx_table_put_number(txn, TLX_TABLE_EVENT_SENSOR, &key, 9);
}

DAMAGE(event_of_another_sensor, 1,
       "table event_sensor, key sensor_c/4: the event is one of another sensor") {
  struct tlx_db_key key = sensor_no_key("sensor_c", 4);
  tlx_table_put_number(txn, TLX_TABLE_EVENT_SENSOR, &key, 1);
}

DAMAGE(event_with_another_number, 1, "table event, key 4: the record has another number") {
  struct tlx_db_key key = no_key(4);
  Telovix__Store__V1__EventRecord *record = tlx_table_get(txn, TLX_TABLE_EVENT, &key, NULL);
  record->event_no = 3;
  tlx_table_put(txn, TLX_TABLE_EVENT, &key, &record->base);
}

DAMAGE(events_above_meta, 1,
       "table meta, key store: table event has number 4, above the last one given (2)") {
  struct tlx_db_key key = id_key("store");
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  meta->event_no = 2;
  tlx_table_put(txn, TLX_TABLE_META, &key, &meta->base);
}

/* ---- the chain ---- */

/* Flips one bit in the stored bytes, wherever it is. */
DAMAGE(audit_bit_flipped, 1, "table audit, key 2:") {
  struct tlx_db_key key = no_key(2);
  struct tlx_bytes value;
  uint8_t copy[1024];
  cr_assert(tlx_table_get_raw(txn, TLX_TABLE_AUDIT, &key, &value));
  cr_assert_lt(value.len, sizeof copy);
  memcpy(copy, value.data, value.len);
  uint8_t *text = memmem(copy, value.len, "console_started", 15);
  cr_assert(text);
  text[3] ^= 1;
  tlx_table_put_raw(txn, TLX_TABLE_AUDIT, &key, copy, value.len);
}

DAMAGE(audit_dropped, 1, "table audit, key 3: the number does not follow") {
  struct tlx_db_key key = no_key(2);
  tlx_table_remove(txn, TLX_TABLE_AUDIT, &key);
}

DAMAGE(audit_first_dropped, 1, "table audit, key 2: the number does not follow") {
  struct tlx_db_key key = no_key(1);
  tlx_table_remove(txn, TLX_TABLE_AUDIT, &key);
}

/* The two records in each other's place, keys and all: numbers, order and hashes tell. */
DAMAGE(audit_swapped, 5, "table audit, key 2: the record has another number") {
  struct tlx_db_key two = no_key(2), three = no_key(3);
  ProtobufCMessage *a = tlx_table_get(txn, TLX_TABLE_AUDIT, &two, NULL);
  ProtobufCMessage *b = tlx_table_get(txn, TLX_TABLE_AUDIT, &three, NULL);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &two, b);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &three, a);
}

/* Swapped and renumbered, with the hashes made again: the links still tell. */
DAMAGE(audit_swapped_and_rehashed, 3, "the chain is broken here") {
  struct tlx_db_key two = no_key(2), three = no_key(3);
  Telovix__Store__V1__AuditRecord *a = tlx_audit_get(txn, 2), *b = tlx_audit_get(txn, 3);
  a->seq = 3;
  b->seq = 2;
  tlx_audit_hash(a, a->hash.data);
  tlx_audit_hash(b, b->hash.data);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &two, &b->base);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &three, &a->base);
}

DAMAGE(audit_unreadable, 2, "table audit, key 2: the record cannot be read") {
  struct tlx_db_key key = no_key(2);
  tlx_table_put_raw(txn, TLX_TABLE_AUDIT, &key, "\xff", 1);
}

/* Every single byte of a stored record is covered. */
Test(maintain, any_changed_byte_of_an_audit_record_is_found) {
  FIXTURE fx;
  struct tlx_bytes value;
  struct tlx_db_key key = no_key(2);
  uint8_t was[1024];
  fixture_init(&fx);
  furnish(&fx);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert(tlx_table_get_raw(txn, TLX_TABLE_AUDIT, &key, &value));
  size_t len = value.len;
  memcpy(was, value.data, len);
  fixture_commit(txn);
  for (size_t i = 0; i < len; i++) {
    txn = fixture_write(&fx);
    uint8_t now[1024];
    memcpy(now, was, len);
    now[i] ^= 0x01;
    tlx_table_put_raw(txn, TLX_TABLE_AUDIT, &key, now, len);
    fixture_commit(txn);
    cr_assert_gt(fixture_verify(&fx, NULL), 0, "byte %zu", i);
  }
}

/* ---- the walk ---- */

Test(maintain, more_than_one_portion) {
  FIXTURE fx;
  char id[32], node[32], text[FINDINGS_MAX];
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 1000; i++) {
    snprintf(id, sizeof id, "sensor_%u", i);
    snprintf(node, sizeof node, "node%u", i);
    Telovix__Store__V1__SensorRecord sensor = fixture_sensor(id, node);
    tlx_sensor_put(txn, &sensor);
    append(txn);
    tlx_txn_forget(txn);
  }
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
  /* A fault in each portion of 256, at its edges. */
  static const unsigned at[] = {1, 256, 257, 512, 1000};
  txn = fixture_write(&fx);
  for (size_t i = 0; i < 5; i++) {
    struct tlx_db_key key = no_key(at[i]);
    Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, at[i]);
    record->detail = (char *)"{\"forged\":1}";
    tlx_table_put(txn, TLX_TABLE_AUDIT, &key, &record->base);
  }
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, text), 5, "%s", text);
  cr_assert(strstr(text, "table audit, key 257:"));
  cr_assert(strstr(text, "table audit, key 1000:"));
}

struct writing {
  struct tlx_store *store;
  atomic_bool stop;
  atomic_uint n, n_failed;
};

static void *write_on(void *arg) {
  struct writing *writing = arg;
  char id[32];
  for (unsigned i = 0; !atomic_load(&writing->stop); i++) {
    struct tlx_txn *txn;
    if (tlx_txn_begin_write(writing->store, &txn) != 0) break;
    snprintf(id, sizeof id, "kill_%u", i);
    Telovix__Store__V1__OrderRecord order = fixture_order(id, "sensor_a", 1000);
    tlx_order_add(txn, &order, 5);
    Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, id);
    if (record && i % 2) {
      record->state = TLX_ORDER_CANCELLED;
      tlx_order_put(txn, record);
    }
    append(txn);
    if (tlx_txn_commit(txn) != 0) atomic_fetch_add(&writing->n_failed, 1);
    atomic_fetch_add(&writing->n, 1);
  }
  return NULL;
}

Test(maintain, clean_beside_a_writer) {
  FIXTURE fx;
  char text[FINDINGS_MAX];
  fixture_init(&fx);
  furnish(&fx);
  struct writing writing = {.store = fx.store};
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, write_on, &writing), 0);
  /* At least twenty looks, and as many as it takes for the writer to have changed something in
   * between. */
  for (unsigned i = 0; i < 20 || (atomic_load(&writing.n) < 100 && i < 100000); i++)
    cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
  atomic_store(&writing.stop, true);
  pthread_join(thread, NULL);
  cr_assert_eq(writing.n_failed, 0);
  cr_assert_geq(writing.n, 100);
  cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
}
