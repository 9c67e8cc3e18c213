// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Kill orders: `order` by queue number; indexes `order_id`, `order_sensor` (sensor, number) and
 * `order_open` (sensor, number → when the next state is due). The states and the moves between them
 * live here, so that no other code can make an illegal one. */

/* Same numbers as telovix.v1.KillState. */
#define TLX_ORDER_STATE_MAP(X)                                                                     \
  X(QUEUED, 1, "queued")                                                                           \
  X(DELIVERED, 2, "delivered")                                                                     \
  X(STILL_ALIVE, 3, "still_alive")                                                                 \
  X(KILLED, 4, "killed")                                                                           \
  X(ALREADY_GONE, 5, "already_gone")                                                               \
  X(IDENTITY_MISMATCH, 6, "identity_mismatch") X(PROTECTED, 7, "protected") X(FAILED, 8, "failed") \
      X(EXPIRED, 9, "expired") X(CANCELLED, 10, "cancelled")                                       \
          X(RESULT_UNKNOWN, 11, "result_unknown")
enum tlx_order_state {
#define X(name, number, text) TLX_ORDER_##name = (number),
  TLX_ORDER_STATE_MAP(X)
#undef X
};
/* "still_alive"; "unknown" for a number out of range. Static storage; any thread. */
const char *tlx_order_state_name(unsigned state);
/* Whether nothing more will happen (RESULT_UNKNOWN counts as ended although a late report may
 * replace it). */
bool tlx_order_state_ended(unsigned state);
/* Whether the state |from| may become |to|: the one table of moves. Any numbers are safe. */
bool tlx_order_move_allowed(unsigned from, unsigned to);
/* Milliseconds after its life's end at which a delivered order becomes RESULT_UNKNOWN. */
#define TLX_ORDER_RESULT_GRACE_MS (10u * 60 * 1000)

/* The order with this id, in the transaction's arena; NULL when there is none. An index entry
 * without its record fails the transaction with TLX_E_CORRUPT. */
Telovix__Store__V1__OrderRecord *tlx_order_get(struct tlx_txn *txn, const char *order_id);
/* Numbers the order (record->queue_no is set), state QUEUED, and inserts it; afterwards only the
 * newest |keep_ended| ended orders of the sensor are kept. TLX_E_EXISTS for an id that is there,
 * -EINVAL for an id that cannot be one. */
void tlx_order_add(struct tlx_txn *txn, Telovix__Store__V1__OrderRecord *record,
                   unsigned keep_ended);
/* Moves to |record|->state from the stored state and replaces the record; an illegal move fails the
 * transaction with TLX_E_CONFLICT. STILL_ALIVE → STILL_ALIVE (new process state) is legal.
 * TLX_E_NOT_FOUND when there is none with this id; -EINVAL for another sensor or number than the
 * stored ones. */
void tlx_order_put(struct tlx_txn *txn, const Telovix__Store__V1__OrderRecord *record);
/* Removes every order of the sensor, open ones too, with all index entries. Returns how many. */
unsigned tlx_order_remove_all(struct tlx_txn *txn, const char *sensor_id);
/* Open (not ended) orders of one sensor, oldest first; the record lives for the callback; false
 * stops. */
void tlx_order_each_open(struct tlx_txn *txn, const char *sensor_id,
                         bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                         void *arg);
/* How many those are; reads the index alone. */
unsigned tlx_order_count_open(struct tlx_txn *txn, const char *sensor_id);
/* Open orders of all sensors whose expiry (queued) or grace (delivered) is over at |wall_ms|. Index
 * only, cheap. */
void tlx_order_each_due(struct tlx_txn *txn, uint64_t wall_ms,
                        bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                        void *arg);
/* Orders newest first, of one sensor or (NULL) of all, with a queue number below |before_no|
 * (UINT64_MAX = from the newest); the record lives for the callback; false stops. */
void tlx_order_each(struct tlx_txn *txn, const char *sensor_id, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                    void *arg);
