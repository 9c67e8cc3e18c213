// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/sensor_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fixture.h"

static void put(struct tlx_txn *txn, const char *id, const char *node) {
  Telovix__Store__V1__SensorRecord record = fixture_sensor(id, node);
  tlx_sensor_put(txn, &record);
}

Test(sensor_tbl, put_and_get_whole) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__SensorRecord record = fixture_sensor("sensor_a", "Web-1");
  Telovix__Store__V1__Label label = TELOVIX__STORE__V1__LABEL__INIT, *labels[1] = {&label};
  uint8_t serial[16] = {0x42};
  label.key = (char *)"site";
  label.value = (char *)"berlin";
  record.labels = labels;
  record.n_labels = 1;
  record.serial = (ProtobufCBinaryData){16, serial};
  record.disabled = true;
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_sensor_put(txn, &record);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *back = tlx_sensor_get(txn, "sensor_a");
  cr_assert(back);
  cr_assert_str_eq(back->node_name, "Web-1", "the name as given");
  cr_assert_eq(back->n_labels, 1);
  cr_assert_str_eq(back->labels[0]->value, "berlin");
  cr_assert_eq(back->serial.data[0], 0x42);
  cr_assert(back->disabled);
  cr_assert_null(tlx_sensor_get(txn, "sensor_b"));
  cr_assert_null(tlx_sensor_get(txn, ""));
  cr_assert_null(tlx_sensor_get(txn, NULL));
  fixture_commit(txn);
}

Test(sensor_tbl, bad_names_are_refused) {
  FIXTURE fx;
  fixture_init(&fx);
  char node[300];
  memset(node, 'n', sizeof node);
  node[254] = 0;
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "", "web");
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  put(txn, "sensor_a", "");
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  put(txn, "sensor_a", node);
  fixture_commit_fails(txn, -EINVAL);
  node[253] = 0;
  txn = fixture_write(&fx);
  put(txn, "sensor_a", node);
  fixture_commit(txn);
}

Test(sensor_tbl, rename_moves_the_index) {
  FIXTURE fx;
  fixture_init(&fx);
  char ids[2][32];
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "sensor_a", "web");
  put(txn, "sensor_a", "WEB"); /* the same name for the index */
  cr_assert_eq(tlx_sensor_find_node(txn, "web", ids, 2), 1);
  put(txn, "sensor_a", "db");
  cr_assert_eq(tlx_sensor_find_node(txn, "web", ids, 2), 0);
  cr_assert_eq(tlx_sensor_find_node(txn, "DB", ids, 2), 1);
  cr_assert_str_eq(ids[0], "sensor_a");
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_SENSOR_NODE), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(sensor_tbl, find_counts_past_the_room) {
  FIXTURE fx;
  fixture_init(&fx);
  char ids[3][32] = {"", "", "untouched"};
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "sensor_c", "web");
  put(txn, "sensor_a", "Web");
  put(txn, "sensor_b", "WEB");
  put(txn, "sensor_d", "webx");
  put(txn, "sensor_e", "we");
  cr_assert_eq(tlx_sensor_find_node(txn, "wEb", ids, 2), 3);
  cr_assert_str_eq(ids[0], "sensor_a");
  cr_assert_str_eq(ids[1], "sensor_b");
  cr_assert_str_eq(ids[2], "untouched");
  cr_assert_eq(tlx_sensor_find_node(txn, "w", ids, 2), 0);
  cr_assert_eq(tlx_sensor_find_node(txn, "", ids, 2), 0);
  cr_assert_eq(tlx_sensor_find_node(txn, NULL, ids, 2), 0);
  fixture_commit(txn);
}

struct walk {
  char text[256];
  unsigned stop_after, n;
  struct tlx_txn *rename_in;
};

static bool add_id(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  struct walk *walk = arg;
  strcat(strcat(walk->text, record->sensor_id + strlen("sensor_")), " ");
  if (walk->rename_in) put(walk->rename_in, record->sensor_id, "zzz");
  return ++walk->n != walk->stop_after;
}

static const char *ids_after(struct tlx_txn *txn, const char *node, const char *id) {
  static struct walk walk;
  walk = (struct walk){0};
  tlx_sensor_each(txn, node, id, add_id, &walk);
  return walk.text;
}

Test(sensor_tbl, each_in_order_and_from_a_place_on) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert_str_eq(ids_after(txn, NULL, NULL), "");
  put(txn, "sensor_1", "web");
  put(txn, "sensor_2", "WEB");
  put(txn, "sensor_3", "db");
  put(txn, "sensor_4", "webcam");
  cr_assert_str_eq(ids_after(txn, NULL, NULL), "3 1 2 4 ");
  cr_assert_str_eq(ids_after(txn, "", ""), "3 1 2 4 ");
  cr_assert_str_eq(ids_after(txn, "DB", "sensor_3"), "1 2 4 ");
  cr_assert_str_eq(ids_after(txn, "Web", NULL), "1 2 4 ");
  cr_assert_str_eq(ids_after(txn, "web", "sensor_1"), "2 4 ");
  cr_assert_str_eq(ids_after(txn, "web", "sensor_15"), "2 4 ", "one that is gone");
  cr_assert_str_eq(ids_after(txn, "webcam", "sensor_4"), "");
  struct walk two = {.stop_after = 2};
  tlx_sensor_each(txn, NULL, NULL, add_id, &two);
  cr_assert_str_eq(two.text, "3 1 ");
  /* A callback that renames what it gets sees each once, and then those it put behind. */
  struct walk rename = {.rename_in = txn, .stop_after = 4};
  tlx_sensor_each(txn, NULL, NULL, add_id, &rename);
  cr_assert_str_eq(rename.text, "3 1 2 4 ");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  txn = fixture_read(&fx);
  ids_after(txn, "web", "an-id-that-is-longer-than-any-id-can-be");
  fixture_commit_fails(txn, -EINVAL);
}

Test(sensor_tbl, index_entry_without_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_db_key key;
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert(tlx_db_key_node("web", "sensor_a", &key));
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR_NODE, &key, NULL, 0);
  cr_assert_str_eq(ids_after(txn, NULL, NULL), "");
  fixture_commit_fails(txn, -1004); /* TLX_E_CORRUPT */
}

/* ---- checkpoint ---- */

Test(sensor_tbl, checkpoint_changes_its_fields_only) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "sensor_a", "web");
  put(txn, "sensor_b", "db");
  put(txn, "sensor_c", "mail");
  fixture_commit(txn);
  struct tlx_sensor_seen list[] = {
      {.sensor_id = "sensor_c", .last_seen_wall_ms = 3, .boot_ns = 33, .peer_address = "::1"},
      {.sensor_id = "sensor_gone", .last_seen_wall_ms = 9},
      {.sensor_id = "sensor_a",
       .last_seen_wall_ms = 1,
       .boot_ns = 11,
       .boot_id = {0xaa},
       .peer_address = "192.0.2.1"},
      {.sensor_id = ""},
  };
  txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord *changed = tlx_sensor_get(txn, "sensor_a");
  changed->disabled = true;
  tlx_sensor_put(txn, changed);
  tlx_sensor_checkpoint(txn, list, 4);
  fixture_commit(txn);
  cr_assert_str_eq(list[1].sensor_id, "sensor_a", "sorted");
  txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, "sensor_a");
  cr_assert_eq(record->last_seen_wall_ms, 1);
  cr_assert_eq(record->boot_ns, 11);
  cr_assert_eq(record->boot_id.len, 16);
  cr_assert_eq(record->boot_id.data[0], 0xaa);
  cr_assert_str_eq(record->peer_address, "192.0.2.1");
  cr_assert(record->disabled);
  cr_assert_str_eq(record->node_name, "web");
  cr_assert_eq(record->trust_state, 2);
  cr_assert_eq(tlx_sensor_get(txn, "sensor_b")->last_seen_wall_ms, 0);
  cr_assert_eq(tlx_sensor_get(txn, "sensor_c")->boot_ns, 33);
  cr_assert_null(tlx_sensor_get(txn, "sensor_gone"));
  fixture_commit(txn);
}

Test(sensor_tbl, checkpoint_writes_nothing_that_is_there) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "sensor_a", "web");
  struct tlx_sensor_seen seen = {.sensor_id = "sensor_a", .last_seen_wall_ms = 1, .boot_id = {1}};
  tlx_sensor_checkpoint(txn, &seen, 1);
  struct tlx_cursor cursor;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_SENSOR);
  cr_assert(tlx_cursor_first(&cursor));
  uint64_t changes = cursor.n_changes;
  tlx_sensor_checkpoint(txn, &seen, 1);
  cr_assert(tlx_cursor_first(&cursor));
  cr_assert_eq(cursor.n_changes, changes);
  seen.boot_ns = 1;
  tlx_sensor_checkpoint(txn, &seen, 1);
  cr_assert(tlx_cursor_first(&cursor));
  cr_assert_neq(cursor.n_changes, changes);
  tlx_cursor_close(&cursor);
  tlx_sensor_checkpoint(txn, NULL, 0);
  fixture_commit(txn);
}

Test(sensor_tbl, checkpoint_of_a_large_fleet) {
  FIXTURE fx;
  fixture_init(&fx);
  enum { N = 3000 };
  static struct tlx_sensor_seen list[N];
  char node[32];
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < N; i++) {
    /* Not in key order. */
    unsigned number = i * 7919u % N;
    snprintf(list[i].sensor_id, sizeof list[i].sensor_id, "sensor_%06u", number);
    snprintf(node, sizeof node, "node%u", number);
    put(txn, list[i].sensor_id, node);
    tlx_txn_forget(txn);
    list[i].last_seen_wall_ms = number + 1;
  }
  fixture_commit(txn);
  txn = fixture_write(&fx);
  tlx_sensor_checkpoint(txn, list, N);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_sensor_get(txn, "sensor_000000")->last_seen_wall_ms, 1);
  cr_assert_eq(tlx_sensor_get(txn, "sensor_001234")->last_seen_wall_ms, 1235);
  cr_assert_eq(tlx_sensor_get(txn, "sensor_002999")->last_seen_wall_ms, 3000);
  fixture_commit(txn);
}

/* ---- certificates ---- */

Test(sensor_tbl, serials) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  const uint8_t serial[16] = {1, 0, 0}, other[16] = {1, 0, 1};
  record.kind = TLX_SERIAL_OF_SENSOR;
  record.owner = (char *)"sensor_a";
  record.state = TLX_SERIAL_GOOD;
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_serial_put(txn, serial, &record);
  record.state = TLX_SERIAL_REVOKED;
  tlx_serial_put(txn, serial, &record);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__SerialRecord *back = tlx_serial_get(txn, serial);
  cr_assert(back);
  cr_assert_eq(back->state, TLX_SERIAL_REVOKED);
  cr_assert_str_eq(back->owner, "sensor_a");
  cr_assert_null(tlx_serial_get(txn, other));
  cr_assert_null(tlx_serial_get(txn, NULL));
  fixture_commit(txn);
  txn = fixture_write(&fx);
  tlx_serial_put(txn, NULL, &record);
  fixture_commit_fails(txn, -EINVAL);
}

static bool list_serial(void *arg, const uint8_t serial[16],
                        const Telovix__Store__V1__SerialRecord *record) {
  char *out = arg;
  sprintf(out + strlen(out), "%u%s ", serial[0], record->owner);
  return serial[0] != 9;
}

static void expect_serials(struct tlx_txn *txn, const uint8_t *after, const char *expected) {
  char text[128] = "";
  tlx_serial_each(txn, after, list_serial, text);
  cr_assert_str_eq(text, expected);
}

Test(sensor_tbl, serials_in_order_and_gone) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  static const uint8_t serials[4][16] = {{3}, {1}, {9}, {10}};
  const uint8_t between[16] = {1, 1};
  struct tlx_txn *txn = fixture_write(&fx);
  expect_serials(txn, NULL, "");
  expect_serials(txn, serials[0], "");
  record.kind = TLX_SERIAL_OF_OPERATOR;
  record.state = TLX_SERIAL_GOOD;
  for (unsigned i = 0; i < 4; i++) {
    const char *owners[] = {"c", "a", "i", "j"};
    record.owner = (char *)owners[i];
    tlx_serial_put(txn, serials[i], &record);
  }
  expect_serials(txn, NULL, "1a 3c 9i ");
  expect_serials(txn, serials[1], "3c 9i ");
  expect_serials(txn, between, "3c 9i ");
  expect_serials(txn, serials[2], "10j ");
  expect_serials(txn, serials[3], "");
  tlx_serial_remove(txn, serials[0]);
  tlx_serial_remove(txn, serials[0]);
  tlx_serial_remove(txn, NULL);
  expect_serials(txn, NULL, "1a 9i ");
  fixture_commit(txn);
}

Test(sensor_tbl, removed) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "sensor_a", "Web");
  put(txn, "sensor_b", "web");
  tlx_sensor_remove(txn, "sensor_a");
  tlx_sensor_remove(txn, "sensor_a");
  tlx_sensor_remove(txn, "sensor_x");
  tlx_sensor_remove(txn, NULL);
  cr_assert_null(tlx_sensor_get(txn, "sensor_a"));
  char ids[2][32];
  cr_assert_eq(tlx_sensor_find_node(txn, "WEB", ids, 2), 1);
  cr_assert_str_eq(ids[0], "sensor_b");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(sensor_tbl, the_desired_state_never_goes_back) {
  FIXTURE fx;
  uint8_t newer[32] = {2}, older[32] = {1};
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord sensor = fixture_sensor("sensor_a", "web");
  sensor.desired_generation = 2;
  sensor.desired_digest = (ProtobufCBinaryData){32, newer};
  tlx_sensor_put(txn, &sensor);
  /* A copy from before the change, put for another reason. */
  sensor.desired_generation = 1;
  sensor.desired_digest = (ProtobufCBinaryData){32, older};
  sensor.disabled = true;
  tlx_sensor_put(txn, &sensor);
  const Telovix__Store__V1__SensorRecord *back = tlx_sensor_get(txn, "sensor_a");
  cr_assert(back->disabled);
  cr_assert_eq(back->desired_generation, 2);
  cr_assert_arr_eq(back->desired_digest.data, newer, 32);
  fixture_commit(txn);
}
