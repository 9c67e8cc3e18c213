// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "../storage/fixture.h"
#include "console/op.h"

/* Ops run against a real store. */

#define SENSOR_A "sensor_aaaaaaaaaaaaaaaa"
#define SENSOR_B "sensor_bbbbbbbbbbbbbbbb"
#define ORDER_1 "kill_1111111111111111"
#define ORDER_2 "kill_2222222222222222"

/* A sensor that has been seen, with a baseline, whose certificate has the serial number of zeros:
 * as in an op_report that names none. */
void op_fixture_sensor(struct fixture *fx, const char *id, const char *node);
/* Fills the actor: operator "bob" at |wall_ms|. */
void op_fixture_actor(struct op *op, uint64_t wall_ms);
/* Runs and commits. */
void op_fixture_run(struct fixture *fx, struct op *op);
/* Action type and outcome of the newest audit record; its detail in |detail| (1 KiB). */
void op_fixture_expect_audit(struct fixture *fx, const char *action_type, bool success,
                             const char *detail_part);
/* The order as it is stored; copied state. */
uint32_t op_fixture_order_state(struct fixture *fx, const char *order_id);
