// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "console/authn.h"
#include "console/reasons.h"
#include "rpc/call.h"
#include "storage/txn.h"

/* The request handlers, one file a service, and what they share: values are checked here, changes
 * are made by ops. Loop thread. */

/* ---- handlers (rpc/server.h) ---- */
/* Each is named after its method (proto/telovix/v1), gets the unpacked request, which lives with
 * the call, and ends the call exactly once: here, or later from an op's done or a stream's
 * callback. */
void svc_enroll(struct tlx_call *call, const ProtobufCMessage *request);
void svc_heartbeat(struct tlx_call *call, const ProtobufCMessage *request);
void svc_wake(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_sensors(struct tlx_call *call, const ProtobufCMessage *request);
void svc_get_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_watch_fleet(struct tlx_call *call, const ProtobufCMessage *request);
void svc_kill_process(struct tlx_call *call, const ProtobufCMessage *request);
void svc_get_kill(struct tlx_call *call, const ProtobufCMessage *request);
void svc_watch_kill(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_kills(struct tlx_call *call, const ProtobufCMessage *request);
void svc_cancel_kill(struct tlx_call *call, const ProtobufCMessage *request);
void svc_create_token(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_tokens(struct tlx_call *call, const ProtobufCMessage *request);
void svc_revoke_token(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_audit(struct tlx_call *call, const ProtobufCMessage *request);
void svc_export_audit(struct tlx_call *call, const ProtobufCMessage *request);
void svc_get_audit_head(struct tlx_call *call, const ProtobufCMessage *request);
void svc_whoami(struct tlx_call *call, const ProtobufCMessage *request);
/* All of them, for the server; |ret_n|. Static storage. */
const struct tlx_method *svc_methods(size_t *ret_n);

/* ---- ending a call ---- */
/* Ends the call with the reason's own code and sentence. */
void svc_fail(struct tlx_call *call, enum reason reason);
/* Ends the call with |status|; operators also get the audit head. */
void svc_fail_status(struct tlx_call *call, const struct tlx_status *status);
/* Ends a unary call with |message| and OK; operators also get the audit head. NULL = it found no
 * memory: no_memory. */
void svc_reply(struct tlx_call *call, const ProtobufCMessage *message);
/* Adds the trailer "telovix-audit-head: SEQ:HEX" to an operator's call; nothing for others. */
void svc_add_head(struct tlx_call *call);

/* ---- reading ---- */
/* A read transaction, or the call is failed and false comes back. End it with tlx_txn_abort. */
bool svc_begin(struct tlx_call *call, struct tlx_txn **ret_txn);
/* After reading: fails the call when the transaction failed. */
bool svc_read_ok(struct tlx_call *call, struct tlx_txn *txn);
/* The sensor named by id or unique node name, or the call is failed with unknown_sensor or
 * ambiguous_name and NULL comes back. */
Telovix__Store__V1__SensorRecord *svc_find_sensor(struct tlx_call *call, struct tlx_txn *txn,
                                                  const char *sensor);

/* ---- changing ---- */
/* Checks reason and request id of a change; adds violations. */
void svc_check_common(struct tlx_status *status, const char *reason, const char *request_id);
/* Submits |op| for the call: actor and references are filled in here; |op|->done must call
 * svc_op_answer, or take the call back with svc_op_call. */
void svc_submit(struct tlx_call *call, struct op *op, const char *reason, const char *request_id);
/* In done: answers with the packed reply or the refusal, and lets go of the call. The op's memory
 * stays the caller's. */
void svc_op_answer(struct op *op);
/* In done: the call, still referenced; the caller ends and unrefs it. */
struct tlx_call *svc_op_call(struct op *op);
