// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"
#include "telovix/v1/audit.pb-c.h"

/* Recomputes the audit chain (spec §7, §12) from exported records, without any code of the
 * Console's store: a second opinion. Pure. */
struct audit_check {
  uint64_t seq;                 /* last good record */
  uint8_t hash[TLX_SHA256_LEN]; /* its hash; zero before the first */
  /* A head that must be part of the chain; wanted_seq 0 = only the hash is known. */
  bool has_wanted, found_wanted;
  uint64_t wanted_seq;
  uint8_t wanted_hash[TLX_SHA256_LEN];
  char fault[512]; /* first fault in words; empty = none */
};
/* Asks for a head, "HEX" or "SEQ:HEX" with 64 hex digits, to be part of the chain. 0 or
 * TLX_E_MALFORMED. Start with an all-zero |check|. */
int audit_check_want(struct audit_check *check, const char *head);
/* Takes the next record, in order from number 1: its number, both hashes and its content must
 * follow. False: fault is set, and stays. */
bool audit_check_add(struct audit_check *check, const Telovix__V1__AuditRecord *record);
/* At the end: false when there was a fault, or a wanted head was not met. */
bool audit_check_finish(struct audit_check *check);
/* SHA-256 over the canonical form of |record|, whose own hash is not looked at (doc/protocol.md).
 */
void audit_check_hash(const Telovix__V1__AuditRecord *record, uint8_t ret_hash[TLX_SHA256_LEN]);
