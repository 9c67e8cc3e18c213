// SPDX-License-Identifier: GPL-2.0-or-later
#include "fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/maintain.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"

const struct tlx_store_facts fixture_facts = {
    .fleet_id = "fleet-abcdefghij012345",
    .fleet_name = "Test",
    .epoch = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .created_wall_ms = FIXTURE_WALL_MS,
};

void fixture_root(struct fixture *fx) {
  memset(fx, 0, sizeof *fx);
  snprintf(fx->root, sizeof fx->root, "/tmp/telovix-store-XXXXXX");
  cr_assert(mkdtemp(fx->root));
  snprintf(fx->folder, sizeof fx->folder, "%s/store", fx->root);
}

void fixture_init(struct fixture *fx) {
  fixture_root(fx);
  cr_assert_eq(tlx_store_create(fx->folder, &fixture_facts, FIXTURE_MAP), 0);
  cr_assert_eq(tlx_store_open(fx->folder, FIXTURE_MAP, &fx->store), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  return remove(path);
}

void fixture_done(struct fixture *fx) {
  tlx_store_close(fx->store);
  fx->store = NULL;
  if (*fx->root) nftw(fx->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct tlx_txn *fixture_read(struct fixture *fx) {
  struct tlx_txn *txn = NULL;
  cr_assert_eq(tlx_txn_begin_read(fx->store, &txn), 0);
  return txn;
}

struct tlx_txn *fixture_write(struct fixture *fx) {
  struct tlx_txn *txn = NULL;
  cr_assert_eq(tlx_txn_begin_write(fx->store, &txn), 0);
  return txn;
}

void fixture_commit(struct tlx_txn *txn) {
  int err = tlx_txn_commit(txn);
  cr_assert_eq(err, 0, "commit: %d", err);
}

void fixture_commit_fails(struct tlx_txn *txn, int expected) {
  int err = tlx_txn_commit(txn);
  cr_assert_eq(err, expected, "commit: %d, expected %d", err, expected);
}

static void collect(void *arg, const char *text) {
  char *all = arg;
  size_t len = strlen(all);
  if (len + strlen(text) + 2 < FINDINGS_MAX) sprintf(all + len, "%s\n", text);
}

uint64_t fixture_verify(struct fixture *fx, char *ret_text) {
  static char text[FINDINGS_MAX];
  uint64_t n = UINT64_MAX;
  text[0] = 0;
  cr_assert_eq(tlx_store_verify(fx->store, collect, text, &n), 0);
  if (ret_text) memcpy(ret_text, text, FINDINGS_MAX);
  return n;
}

Telovix__Store__V1__SensorRecord fixture_sensor(const char *id, const char *node) {
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  record.sensor_id = (char *)id;
  record.node_name = (char *)node;
  record.trust_state = 2;
  return record;
}

void fixture_need_sensor(struct tlx_txn *txn, const char *id) {
  Telovix__Store__V1__SensorRecord record = fixture_sensor(id, id);
  if (!tlx_sensor_get(txn, id)) tlx_sensor_put(txn, &record);
}

Telovix__Store__V1__OrderRecord fixture_order(const char *id, const char *sensor_id,
                                              uint64_t expires_wall_ms) {
  Telovix__Store__V1__OrderRecord record = TELOVIX__STORE__V1__ORDER_RECORD__INIT;
  record.order_id = (char *)id;
  record.sensor_id = (char *)sensor_id;
  record.pid = 4711;
  record.expires_wall_ms = expires_wall_ms;
  return record;
}

Telovix__Store__V1__TokenRecord fixture_token(const char *id, uint8_t fill, uint8_t hash[32]) {
  Telovix__Store__V1__TokenRecord record = TELOVIX__STORE__V1__TOKEN_RECORD__INIT;
  memset(hash, fill, 32);
  record.token_id = (char *)id;
  record.secret_hash = (ProtobufCBinaryData){32, hash};
  record.max_uses = 1;
  return record;
}

Telovix__Store__V1__RuleRecord fixture_rule(const char *id, const char *sensor_id, const char *path,
                                            uint8_t revision[16]) {
  Telovix__Store__V1__RuleRecord record = TELOVIX__STORE__V1__RULE_RECORD__INIT;
  memset(revision, 0x11, 16);
  record.rule_id = (char *)id;
  record.sensor_id = (char *)sensor_id;
  record.path = (char *)path;
  record.desired_mode = 1;
  record.revision = (ProtobufCBinaryData){16, revision};
  record.policy = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
  return record;
}

Telovix__Store__V1__EventRecord fixture_event(const char *id, const char *sensor_id,
                                              uint64_t received_wall_ms) {
  Telovix__Store__V1__EventRecord record = TELOVIX__STORE__V1__EVENT_RECORD__INIT;
  record.event_id = (char *)id;
  record.sensor_id = (char *)sensor_id;
  record.received_wall_ms = received_wall_ms;
  record.type = 1;
  record.count = 1;
  return record;
}

uint64_t fixture_add_order(struct fixture *fx, const char *id, const char *sensor_id,
                           uint64_t expires_wall_ms) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__OrderRecord record = fixture_order(id, sensor_id, expires_wall_ms);
  fixture_need_sensor(txn, sensor_id);
  tlx_order_add(txn, &record, 1000);
  fixture_commit(txn);
  return record.queue_no;
}

void fixture_move(struct tlx_txn *txn, const char *order_id, unsigned state) {
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, order_id);
  cr_assert(record);
  record->state = state;
  tlx_order_put(txn, record);
}
