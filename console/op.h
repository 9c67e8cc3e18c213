// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "rpc/status.h"
#include "storage/audit_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/txn.h"

/* Trust states of a sensor record: the numbers of telovix.v1.TrustState, which no op may see. */
enum op_trust {
  OP_TRUST_BOOTSTRAP_PENDING = 1,
  OP_TRUST_TRUSTED = 2,
  OP_TRUST_ROTATED = 3,
  OP_TRUST_REVOKED = 4
};

/* A durable change. An op is a pure function of the transaction and its own copied inputs: no
 * clock, no randomness, no network; ids and times are made before. It checks first and writes
 * after, so that a refusal needs no undo: a refusal writes nothing but its audit record. It runs on
 * the writer thread, maybe more than once (a batch that failed is retried op by op), and must not
 * keep anything of an earlier run. */

/* Who asks, copied from the call. Strings are empty when absent. */
struct op_actor {
  char name[64]; /* operator name; sensor id for sensors; empty = the system or anonymous */
  char role[16]; /* "operator", "sensor", "local_root", … ; empty = none */
  char client_ip[64];
  char user_agent[128];
  char reason[2008]; /* ≤ 500 characters of UTF-8 */
  char request_id[72];
  unsigned least_role; /* of operators: what the method needs; 0 = nobody's role is looked at */
  uint8_t request_hash[32]; /* SHA-256 of method path, NUL, and request bytes */
  uint64_t wall_ms;         /* time of the request */
};

/* The base that each op embeds first. */
struct op {
  /* Runs in a write transaction. Fills |status| (OK or a refusal) and the op's own outputs. A
   * storage error sticks in |txn|. */
  void (*run)(struct op *op, struct tlx_txn *txn);
  /* Packs the reply of a successful change into |reply| (called by op_execute on the writer thread
   * after run, pure; what run points to is valid here and never later); its bytes are remembered
   * for a retry with the same request id. NULL = the op has no reply and no request id. */
  void (*pack)(const struct op *op, struct tlx_buf *buf);
  /* Audit action type (static) under which a reused request id is audited, since run is not called
   * then. NULL = "request_refused". */
  const char *action_type;
  /* On the loop thread, after the commit (or its failure: status is then RESOURCE_EXHAUSTED
   * "store_full" or INTERNAL "store_failed"). Owns the op from here on and frees it. */
  void (*done)(struct op *op);
  void *arg; /* the submitter's, e.g. a referenced call */
  struct op_actor actor;
  struct tlx_status status;
  struct tlx_buf reply;       /* packed or replayed reply */
  bool replayed;              /* the answer comes from an earlier run of the same request */
  struct tlx_audit_head head; /* newest audit record after this op */
  size_t cost;                /* bytes, for the writer's bound */
  bool has_follower; /* another op that belongs to it is on its way: one commit may do for both */
  struct op *next;   /* the writer's queue */
  /* Set by run through op_reply_once; empty = the reply itself is remembered. */
  char once_reason[48], once_message[256];
};

/* Runs |op|, if the actor's role on record is still high enough (operator_revoked, role_too_low),
 * with the request-id rules of spec §5: a known id with the same hash replays its reply;
 * with another hash it is refused (ALREADY_EXISTS, request_id_reused); an unknown one runs and is
 * remembered. Writer thread and tests. */
void op_execute(struct op *op, struct tlx_txn *txn);
/* Called by run when the reply holds a secret that no disk may keep: the caller gets the packed
 * reply this one time, and in its place is remembered what a retry of the request is told:
 * ALREADY_EXISTS, |reason|, this sentence. */
void op_reply_once(struct op *op, const char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Frees what the base owns (reply), not the op. NULL is fine. */
void op_done(struct op *op);
/* Appends an audit record for the op's actor in |txn|. |sensor_id| may be NULL; |detail| = compact
 * sorted JSON or NULL; text that is not UTF-8 is escaped. */
void op_audit(struct op *op, struct tlx_txn *txn, const char *action_type, bool success,
              const char *sensor_id, const char *detail);
/* Refuses: audits action as a failure with the status' reason in the detail. Call after
 * tlx_status_set. */
void op_refuse(struct op *op, struct tlx_txn *txn, const char *action_type, const char *sensor_id);
/* Finds the sensor by id or unique node name (any case); the record lives in |txn|. NULL:
 * op->status is NOT_FOUND unknown_sensor or FAILED_PRECONDITION ambiguous_name with the ids.
 * Nothing is audited. */
Telovix__Store__V1__SensorRecord *op_find_sensor(struct op *op, struct tlx_txn *txn,
                                                 const char *sensor);
