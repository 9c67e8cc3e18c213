// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/clock.h"
#include "console/op.h"
#include "pki/cert.h"
#include "storage/sensor_tbl.h"

/* Enrollment, of a new sensor or (with a re-enrollment token) of a known one again: token, sensor,
 * certificate and audit in one transaction. The certificate was signed
 * before, with the ids and times of the inputs; a refused op throws it away. */
#define ENROLL_LABELS_MAX 32u
struct op_label {
  char key[64], value[64];
};
struct op_enroll {
  struct op op;
  uint8_t token_hash[32];  /* SHA-256 of the secret */
  uint8_t key_hash[32];    /* SHA-256 of the CSR's SubjectPublicKeyInfo */
  char sensor_id[32];      /* proposed; replaced when the key asks again */
  char host_sensor_id[32]; /* what the host is already; empty = none */
  char node_name[256];
  struct op_label labels[ENROLL_LABELS_MAX];
  unsigned n_labels;
  char kernel_release[128], architecture[32], os_name[128], sensor_version[64];
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_before_wall_ms, not_after_wall_ms;
  struct tlx_buf certificate; /* DER; replaced by the stored one when the same key asks again */
  bool has_replaced; /* out: the sensor was known, and its former certificates have ended */
  /* op_enroll_run's own: the inputs that it replaced, put back when it runs again. */
  bool replaced;
  char offered_sensor_id[32];
  struct tlx_buf offered_certificate;
};
/* What is to be done with an enrollment. */
enum op_enroll_verdict {
  OP_ENROLL_REFUSED, /* the status says why, or the transaction failed */
  OP_ENROLL_AGAIN,   /* this key was enrolled with this token before: the reply was lost */
  OP_ENROLL_NEW
};
/* The checks alone, in any transaction, without audit. For OP_ENROLL_AGAIN |op|->sensor_id and
 * |op|->certificate are what was given then, and |op| is the answer; else |op|->sensor_id becomes
 * that of the sensor that the token is bound to. Anybody can ask; so the handler looks first, and
 * only what is new is signed, submitted and audited without a rate limit. Needs token_hash,
 * key_hash, node_name, labels, actor.wall_ms, and a |certificate| that is empty. */
enum op_enroll_verdict op_enroll_check(struct op_enroll *op, struct tlx_txn *txn);
/* Refuses UNAUTHENTICATED: token_unknown, token_expired, token_revoked, token_used (second key, or
 * what it gave is no longer good or has ended), token_wrong_node, token_wrong_sensor; audit
 * enrollment_failed / sensor_enrolled / sensor_reenrolled. What is given again changes nothing and
 * is not audited. A re-enrollment ends the former certificates at once, takes
 * the sensor back from a revocation, and leaves rules, labels and history alone. */
void op_enroll_run(struct op *op, struct tlx_txn *txn);
/* Frees the op and what it owns. NULL is fine. */
void op_enroll_free(struct op_enroll *op);
