// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/store.h"
#include "storage/table.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* A store in a folder of its own, gone at the end. Every function asserts. */
struct fixture {
  char root[64], folder[96];
  struct tlx_store *store;
};
#define FIXTURE_MAP (64ull << 20)
#define FIXTURE_WALL_MS 1704164645678ull /* 2024-01-02T03:04:05.678Z */
extern const struct tlx_store_facts fixture_facts;

/* Only makes the root folder; |folder| is a name in it. */
void fixture_root(struct fixture *fx);
void fixture_init(struct fixture *fx);
void fixture_done(struct fixture *fx);
#define FIXTURE __attribute__((cleanup(fixture_done))) struct fixture

struct tlx_txn *fixture_read(struct fixture *fx);
struct tlx_txn *fixture_write(struct fixture *fx);
void fixture_commit(struct tlx_txn *txn);
/* Commits and expects this error. */
void fixture_commit_fails(struct tlx_txn *txn, int err);

/* Verifies; |ret_text| (NULL is fine, 8 KiB) gets all findings, one a line. Returns their number.
 */
#define FINDINGS_MAX 8192
uint64_t fixture_verify(struct fixture *fx, char *ret_text);

/* Records with sensible fields. They point to their arguments and to static memory. */
Telovix__Store__V1__SensorRecord fixture_sensor(const char *id, const char *node);
/* Adds a sensor of that id and node name, unless it is there: what belongs to none is a finding. */
void fixture_need_sensor(struct tlx_txn *txn, const char *id);
Telovix__Store__V1__OrderRecord fixture_order(const char *id, const char *sensor_id,
                                              uint64_t expires_wall_ms);
/* |fill| makes the secret hash. */
Telovix__Store__V1__TokenRecord fixture_token(const char *id, uint8_t fill, uint8_t hash[32]);
/* |revision| of 16 is filled; the policy is the text of the path. */
Telovix__Store__V1__RuleRecord fixture_rule(const char *id, const char *sensor_id, const char *path,
                                            uint8_t revision[16]);
Telovix__Store__V1__EventRecord fixture_event(const char *id, const char *sensor_id,
                                              uint64_t received_wall_ms);
/* Adds an order in a transaction of its own; returns its number. */
uint64_t fixture_add_order(struct fixture *fx, const char *id, const char *sensor_id,
                           uint64_t expires_wall_ms);
/* Moves an order in |txn|. */
void fixture_move(struct tlx_txn *txn, const char *order_id, unsigned state);
