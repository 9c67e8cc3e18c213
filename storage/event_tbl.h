// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* What enforcement did on hosts: `event` by number, index `event_sensor` (sensor, number → how many
 * events of this sensor were stored with it, counted from 1). Events go in number order, oldest
 * first, so the newest entry's count less the oldest's is how many there are, without a walk. */

/* Numbers the event (record->event_no is set) and inserts it; afterwards only the newest |keep| (at
 * least 1) of the sensor are kept. -EINVAL for a sensor id that cannot be one. */
void tlx_event_add(struct tlx_txn *txn, Telovix__Store__V1__EventRecord *record, unsigned keep);
/* Removes the oldest events while they were received before |before_wall_ms|, at most |max|.
 * Returns how many it removed. An event whose clock stood ahead keeps the younger ones behind it.
 */
unsigned tlx_event_expire(struct tlx_txn *txn, uint64_t before_wall_ms, unsigned max);
/* Whether tlx_event_expire would remove one; reads a single record. */
bool tlx_event_is_due(struct tlx_txn *txn, uint64_t before_wall_ms);
/* Removes every event of the sensor. Returns how many. */
unsigned tlx_event_remove_all(struct tlx_txn *txn, const char *sensor_id);
/* How many events of the sensor are stored; reads two index entries. */
uint64_t tlx_event_count(struct tlx_txn *txn, const char *sensor_id);
/* Events newest first, of one sensor or (NULL) of all, with a number below |before_no| (UINT64_MAX
 * = from the newest); the record lives for the callback; false stops. */
void tlx_event_each(struct tlx_txn *txn, const char *sensor_id, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                    void *arg);
/* The same oldest first, with a number above |after_no|. */
void tlx_event_each_after(struct tlx_txn *txn, const char *sensor_id, uint64_t after_no,
                          bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                          void *arg);
