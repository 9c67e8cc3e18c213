// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>

#include "console/op.h"
#include "storage/order_tbl.h"

/* What only the op files share: details of audit records as JSON, and the end of a kill order. */

/* op_audit with |detail| as compact JSON with sorted keys. Takes |detail|; NULL (no memory) fails
 * the transaction. */
void op_audit_json(struct op *op, struct tlx_txn *txn, const char *action_type, bool success,
                   const char *sensor_id, json_t *detail);
/* op_refuse with what was asked beside the reason. Takes |asked|. */
void op_refuse_json(struct op *op, struct tlx_txn *txn, const char *action_type,
                    const char *sensor_id, json_t *asked);
/* Text of any origin: what is not UTF-8 is escaped. New reference, NULL when out of memory. */
json_t *op_json_text(const char *text);
/* A number; above INT64_MAX as text, because a JSON reader would round it. */
json_t *op_json_u64(uint64_t value);
/* A time as RFC 3339 text. New reference, NULL when out of memory. */
json_t *op_json_time(uint64_t wall_ms);

/* Cuts a broken last character off, as left behind when text was cut to a buffer; text that is not
 * UTF-8 before that is emptied from there on. */
void op_text_mend(char *text);

/* Ends a certificate that is good because a newer one takes its place: superseded. Nothing happens
 * to one that is not good, or not on record. */
void op_serial_end(struct tlx_txn *txn, const ProtobufCBinaryData *serial);

/* Audits the end of |record| as process_kill_finished: a success for killed and already_gone alone.
 */
void op_kill_audit_finished(struct op *op, struct tlx_txn *txn,
                            const Telovix__Store__V1__OrderRecord *record);
