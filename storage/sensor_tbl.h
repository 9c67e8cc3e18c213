// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Sensors (`sensor`, index `sensor_node` by folded node name and id) and the certificates of
 * sensors and operators (`serial`). Put functions insert or replace and keep the indexes. */

Telovix__Store__V1__SensorRecord *tlx_sensor_get(struct tlx_txn *txn, const char *sensor_id);
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
/* One key-ordered rewrite of what heartbeats change, and of no other field; sensors that are gone
 * are skipped. Sorts |list|. */
struct tlx_sensor_seen {
  char sensor_id[32];
  uint64_t last_seen_wall_ms, boot_ns;
  uint8_t boot_id[16];
  char peer_address[64];
};
void tlx_sensor_checkpoint(struct tlx_txn *txn, struct tlx_sensor_seen *list, size_t n);

enum tlx_serial_state {
  TLX_SERIAL_GOOD = 1,
  TLX_SERIAL_SUPERSEDED,
  TLX_SERIAL_REVOKED,
  TLX_SERIAL_DELETED
};
enum { TLX_SERIAL_OF_SENSOR = 1, TLX_SERIAL_OF_OPERATOR = 2 };
Telovix__Store__V1__SerialRecord *tlx_serial_get(struct tlx_txn *txn, const uint8_t serial[16]);
void tlx_serial_put(struct tlx_txn *txn, const uint8_t serial[16],
                    const Telovix__Store__V1__SerialRecord *record);
