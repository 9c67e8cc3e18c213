// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Sensors (`sensor`, index `sensor_node` by folded node name and id) and the certificates of
 * sensors and operators (`serial`). Put functions insert or replace and keep the indexes. */

/* The sensor with this id, in the transaction's arena; NULL when there is none. */
Telovix__Store__V1__SensorRecord *tlx_sensor_get(struct tlx_txn *txn, const char *sensor_id);
/* Inserts or replaces; a new node name moves the index entry. The desired state never goes back: of
 * a record with a lower generation than the stored one, generation and digest are not taken.
 * -EINVAL for an id or a node name that cannot be one. */
void tlx_sensor_put(struct tlx_txn *txn, const Telovix__Store__V1__SensorRecord *record);
/* In order of (folded node name, id), starting behind |after_node| / |after_id|: NULL node = from
 * the start, NULL id = from the first sensor of that node on. |record| lives for the callback;
 * false stops. */
void tlx_sensor_each(struct tlx_txn *txn, const char *after_node, const char *after_id,
                     bool (*cb)(void *arg, const Telovix__Store__V1__SensorRecord *record),
                     void *arg);
/* Ids of the sensors with this node name (any case); at most |max| are copied into |ret_ids| (32
 * bytes each). Returns how many there are. */
unsigned tlx_sensor_find_node(struct tlx_txn *txn, const char *node_name, char (*ret_ids)[32],
                              unsigned max);
/* What a heartbeat changes of a sensor's record. */
struct tlx_sensor_seen {
  char sensor_id[32];
  uint64_t last_seen_wall_ms, boot_ns;
  uint8_t boot_id[16];
  char peer_address[64];
};
/* One key-ordered rewrite of these fields, and of no other; sensors that are gone and records that
 * say the same already are skipped. Sorts |list|. */
void tlx_sensor_checkpoint(struct tlx_txn *txn, struct tlx_sensor_seen *list, size_t n);

/* Removes the sensor and its index entry, and nothing else that is its own (rules, orders, events,
 * certificates). Nothing happens when there is none. */
void tlx_sensor_remove(struct tlx_txn *txn, const char *sensor_id);

/* Whether a certificate may still be used; what revokes or deletes says so here. */
enum tlx_serial_state {
  TLX_SERIAL_GOOD = 1,
  TLX_SERIAL_SUPERSEDED,
  TLX_SERIAL_REVOKED,
  TLX_SERIAL_DELETED
};
/* SerialRecord.kind. */
enum { TLX_SERIAL_OF_SENSOR = 1, TLX_SERIAL_OF_OPERATOR = 2 };
/* The certificate with this serial, in the transaction's arena; NULL when it is not on record. */
Telovix__Store__V1__SerialRecord *tlx_serial_get(struct tlx_txn *txn, const uint8_t serial[16]);
/* Inserts or replaces. */
void tlx_serial_put(struct tlx_txn *txn, const uint8_t serial[16],
                    const Telovix__Store__V1__SerialRecord *record);
/* Removes it. Nothing happens when it is not on record. */
void tlx_serial_remove(struct tlx_txn *txn, const uint8_t serial[16]);
/* In order of serial numbers, starting behind |after| (NULL = from the start). |record| lives for
 * the callback, which may change and remove what it sees; false stops. */
void tlx_serial_each(struct tlx_txn *txn, const uint8_t after[16],
                     bool (*cb)(void *arg, const uint8_t serial[16],
                                const Telovix__Store__V1__SerialRecord *record),
                     void *arg);
