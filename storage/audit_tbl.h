// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* The audit chain (spec §7, §12): `audit` by sequence number. hash = SHA-256("telovix-audit-v1\\0",
 * then each field in the order of spec §7 without `hash`: one byte 0 absent / 1 present, u32be
 * length, bytes). An absent field is 00 00000000; `seq` is 8 bytes. */

/* What to record; NULL = absent, "" = present and empty. */
struct tlx_audit_entry {
  uint64_t wall_ms;
  const char *action_type; /* required */
  bool success;
  const char *actor, *actor_role, *sensor_id;
  const char *detail; /* compact JSON with sorted keys, made by the caller; NULL = "{}" */
  const char *reason, *request_id, *client_ip, *user_agent;
};
/* The newest record. */
struct tlx_audit_head {
  uint64_t seq; /* 0 = empty log, hash all zero */
  uint8_t hash[TLX_SHA256_LEN];
};
/* Appends in this transaction. A clock that stepped back behind the last record is noted as
 * "clock_stepped_back_ms" in the detail. -EINVAL without an action type, or when that note must go
 * into a detail that is not JSON text. */
void tlx_audit_append(struct tlx_txn *txn, const struct tlx_audit_entry *entry);
/* The newest record as this transaction sees it; zero for an empty log and after an error of |txn|.
 */
void tlx_audit_head(struct tlx_txn *txn, struct tlx_audit_head *ret_head);
/* The record with this number, in the transaction's arena; NULL when there is none. */
Telovix__Store__V1__AuditRecord *tlx_audit_get(struct tlx_txn *txn, uint64_t seq);
/* From |from_seq| on (inclusive), upwards or downwards (UINT64_MAX = from the newest); the record
 * lives for the callback; false stops. */
void tlx_audit_each(struct tlx_txn *txn, uint64_t from_seq, bool descending,
                    bool (*cb)(void *arg, const Telovix__Store__V1__AuditRecord *record),
                    void *arg);
/* SHA-256 over the canonical form of |record| (its `hash` is not looked at). Pure. */
void tlx_audit_hash(const Telovix__Store__V1__AuditRecord *record,
                    uint8_t ret_hash[TLX_SHA256_LEN]);
