// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "pki/cert.h"

/* Certificates of sensors after the first: renewal, and the sign of a clone. */

/* A further certificate for the caller's sensor. It was signed before; a refused op throws it away.
 */
struct op_renew {
  struct op op;
  char sensor_id[32];
  uint8_t own_serial[TLX_SERIAL_LEN]; /* of the certificate that asks */
  uint8_t key_hash[32];               /* SHA-256 of the CSR's SubjectPublicKeyInfo */
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_before_wall_ms, not_after_wall_ms;
  struct tlx_buf certificate; /* DER */
};
/* What is to be done with a renewal. */
enum op_renew_verdict {
  OP_RENEW_REFUSED, /* the status says why */
  OP_RENEW_AGAIN,   /* this key has an unused certificate already: the reply was lost */
  OP_RENEW_NEW
};
/* The checks alone, in any transaction, without audit. For OP_RENEW_AGAIN, |ret_given| is the
 * certificate to be given again, in the transaction. Needs sensor_id, own_serial, key_hash and
 * actor.wall_ms. Refuses certificate_unknown, invalid_sensor_trust, certificate_superseded (it is
 * neither the current nor the one before), and renewed_recently: a sensor gets a further
 * certificate once in SENSOR_RENEW_INTERVAL_MS, so that what must be remembered of it is bounded.
 * An unused one is replaced, as seldom, when another key asks, and stays on record as superseded.
 */
enum op_renew_verdict op_renew_check(struct op_renew *op, struct tlx_txn *txn,
                                     ProtobufCBinaryData *ret_given);
/* Puts the new one beside the one that asked, which stays good until the new one is first used or
 * it ends. Audit sensor_certificate_renewed; a repeated one changes nothing and is not audited. */
void op_renew_run(struct op *op, struct tlx_txn *txn);
/* Frees the op and what it owns. NULL is fine. */
void op_renew_free(struct op_renew *op);

/* The current certificate of |sensor| was used: the one before is good no longer. Changes |sensor|,
 * and its serials in |txn|; the caller puts the sensor. */
void op_serial_used(struct tlx_txn *txn, Telovix__Store__V1__SensorRecord *sensor);

/* An older certificate came back. */
struct op_clone {
  struct op op;
  char sensor_id[32];
  uint8_t serial[TLX_SERIAL_LEN];
  bool is_noted; /* out: it was not known before */
};
/* Remembered and audited (clone_suspected) once, until the sensor enrolls again. Refuses nothing.
 */
void op_clone_run(struct op *op, struct tlx_txn *txn);
