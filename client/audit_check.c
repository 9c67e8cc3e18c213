// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/audit_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"

static const char prefix[] = "telovix-audit-v1"; /* hashed with its NUL */

static void add_field(struct tlx_sha256 *sha, bool present, const void *data, size_t len) {
  if (!present) len = 0;
  uint8_t head[5] = {present, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                     (uint8_t)len};
  tlx_sha256_add(sha, head, sizeof head);
  if (len) tlx_sha256_add(sha, data, len);
}

static void add_text(struct tlx_sha256 *sha, const Telovix__V1__AuditRecord *record,
                     const char *name, const char *value) {
  bool present = true;
  for (size_t i = 0; i < record->n_absent; i++)
    if (strcmp(record->absent[i], name) == 0) present = false;
  add_field(sha, present, value, strlen(value));
}

void audit_check_hash(const Telovix__V1__AuditRecord *record, uint8_t ret_hash[TLX_SHA256_LEN]) {
  struct tlx_sha256 sha;
  uint8_t seq[8];
  for (int i = 0; i < 8; i++)
    seq[i] = (uint8_t)(record->seq >> (56 - 8 * i));
  tlx_sha256_init(&sha);
  tlx_sha256_add(&sha, prefix, sizeof prefix);
  add_field(&sha, true, seq, sizeof seq);
  add_text(&sha, record, "created_at", record->created_at);
  add_text(&sha, record, "action_type", record->action_type);
  add_text(&sha, record, "outcome",
           record->outcome == TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS ? "success"
                                                                                : "failure");
  add_text(&sha, record, "actor", record->actor);
  add_text(&sha, record, "actor_role", record->actor_role);
  add_text(&sha, record, "sensor_id", record->sensor_id);
  add_text(&sha, record, "detail", record->detail);
  add_text(&sha, record, "reason", record->reason);
  add_text(&sha, record, "request_id", record->request_id);
  add_text(&sha, record, "client_ip", record->client_ip);
  add_text(&sha, record, "user_agent", record->user_agent);
  add_field(&sha, true, record->prev_hash.data, record->prev_hash.len);
  tlx_sha256_final(&sha, ret_hash);
}

int audit_check_want(struct audit_check *check, const char *head) {
  uint64_t seq = 0;
  const char *hex = strchr(head, ':');
  if (hex) {
    char number[24] = "";
    if ((size_t)(hex - head) >= sizeof number) return TLX_E_MALFORMED;
    memcpy(number, head, (size_t)(hex - head));
    if (tlx_u64_parse(number, UINT64_MAX, &seq) != 0 || seq == 0) return TLX_E_MALFORMED;
    hex++;
  } else {
    hex = head;
  }
  uint8_t hash[TLX_SHA256_LEN];
  if (strlen(hex) != 2 * TLX_SHA256_LEN || tlx_hex_parse(hex, hash, sizeof hash) != 0)
    return TLX_E_MALFORMED;
  check->has_wanted = true;
  check->wanted_seq = seq;
  memcpy(check->wanted_hash, hash, sizeof hash);
  return 0;
}

static bool fault(struct audit_check *check, const Telovix__V1__AuditRecord *record,
                  const char *what) {
  snprintf(check->fault, sizeof check->fault, "record %llu: %s", (unsigned long long)record->seq,
           what);
  return false;
}

bool audit_check_add(struct audit_check *check, const Telovix__V1__AuditRecord *record) {
  uint8_t hash[TLX_SHA256_LEN];
  if (*check->fault) return false;
  if (record->seq != check->seq + 1)
    return fault(check, record,
                 "its number does not follow the one before; records are missing or out of order");
  if (record->prev_hash.len != TLX_SHA256_LEN || record->hash.len != TLX_SHA256_LEN)
    return fault(check, record, "a hash does not have 32 bytes");
  if (memcmp(record->prev_hash.data, check->hash, TLX_SHA256_LEN) != 0)
    return fault(check, record,
                 "it does not continue the record before; the log was rewritten here");
  audit_check_hash(record, hash);
  if (memcmp(record->hash.data, hash, TLX_SHA256_LEN) != 0)
    return fault(check, record, "its content does not match its hash; it was changed");
  check->seq = record->seq;
  memcpy(check->hash, hash, TLX_SHA256_LEN);
  if (check->has_wanted && memcmp(hash, check->wanted_hash, TLX_SHA256_LEN) == 0 &&
      (check->wanted_seq == 0 || check->wanted_seq == record->seq))
    check->found_wanted = true;
  return true;
}

bool audit_check_finish(struct audit_check *check) {
  if (*check->fault) return false;
  if (check->has_wanted && !check->found_wanted) {
    snprintf(check->fault, sizeof check->fault,
             "the noted head is not part of this log; it was rewritten, cut or rolled back (it "
             "ends at record %llu)",
             (unsigned long long)check->seq);
    return false;
  }
  return true;
}
