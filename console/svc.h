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
/* Each is named after its method (proto/telovix/v1); it gets the unpacked request, which lives with
 * the call, and ends the call exactly once: here, or later from an op's done or a stream's
 * callback. */
/* Enroll: anybody with a token. The token is looked up before anything is signed. Refuses token_*,
 * invalid_argument. */
void svc_enroll(struct tlx_call *call, const ProtobufCMessage *request);
/* Heartbeat: an op when there is something durable, else an answer from memory and a read. */
void svc_heartbeat(struct tlx_call *call, const ProtobufCMessage *request);
/* Wake: a stream that stays open until a newer one of this sensor, or its own end. */
void svc_wake(struct tlx_call *call, const ProtobufCMessage *request);
/* ListSensors: one page in order of node names. */
void svc_list_sensors(struct tlx_call *call, const ProtobufCMessage *request);
/* GetSensor: unknown_sensor, ambiguous_name. */
void svc_get_sensor(struct tlx_call *call, const ProtobufCMessage *request);
/* WatchFleet: see watch_fleet. */
void svc_watch_fleet(struct tlx_call *call, const ProtobufCMessage *request);
/* GetFleetHealth: counts over all sensors as they are now. */
void svc_get_fleet_health(struct tlx_call *call, const ProtobufCMessage *request);
/* DisableSensor, EnableSensor, RevokeSensor, DeleteSensor (svc_fleet_control.c): an op_fleet_*
 * decides and audits; after a revocation or deletion what the identity has open is ended before the
 * answer. */
void svc_disable_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_enable_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_revoke_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_delete_sensor(struct tlx_call *call, const ProtobufCMessage *request);
/* KillProcess: checks values, takes the baseline, and submits an op_kill_queue, whose refusals it
 * passes on. Done or refused by the op, it is audited. */
void svc_kill_process(struct tlx_call *call, const ProtobufCMessage *request);
/* GetKill: unknown_order. */
void svc_get_kill(struct tlx_call *call, const ProtobufCMessage *request);
/* WatchKill: see watch_order. */
void svc_watch_kill(struct tlx_call *call, const ProtobufCMessage *request);
/* ListKills: one page, newest first. */
void svc_list_kills(struct tlx_call *call, const ProtobufCMessage *request);
/* CancelKill: submits an op_kill_cancel, which audits. */
void svc_cancel_kill(struct tlx_call *call, const ProtobufCMessage *request);
/* ContainSensor, ReleaseSensor, SetAllowList (svc_contain.c): the template's settings are copied
 * in, and an op_contain_* decides and audits. GetAllowList: not_contained. */
void svc_contain_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_release_sensor(struct tlx_call *call, const ProtobufCMessage *request);
void svc_set_allow_list(struct tlx_call *call, const ProtobufCMessage *request);
void svc_get_allow_list(struct tlx_call *call, const ProtobufCMessage *request);
/* GetTemplate: the defaults of the settings; unknown_template. */
void svc_get_template(struct tlx_call *call, const ProtobufCMessage *request);
/* RenewCertificate (svc_renew.c): signs and submits an op_renew; a retry with the same key is
 * answered from the store. */
void svc_renew_certificate(struct tlx_call *call, const ProtobufCMessage *request);
/* The call was refused because an older certificate came back: remembered and audited once. */
void svc_note_clone(struct tlx_call *call);
/* A leaf for |sensor_id| and |spki|: makes serial and times, and appends the DER. |replaced| is the
 * certificate that it takes the place of, NULL = none: the leaf begins no later than that (see
 * trust_start), while |ret_not_before_wall_ms| is for the record, and tells when it was made. 0 or
 * a negative error. */
int svc_sign_sensor(struct console *console, const char *sensor_id, struct tlx_bytes spki,
                    const struct tlx_cert *replaced, uint8_t ret_serial[TLX_SERIAL_LEN],
                    uint64_t *ret_not_before_wall_ms, uint64_t *ret_not_after_wall_ms,
                    struct tlx_buf *ret_der);
/* What a reply tells of certificates: |leaf| and its issuer in |ret_chain| (2), all CAs of the
 * fleet in |ret_bundle| (TLX_CA_MAX); borrowed. Returns how many CAs. */
size_t svc_list_certificates(struct console *console, struct tlx_bytes leaf,
                             ProtobufCBinaryData *ret_chain, ProtobufCBinaryData *ret_bundle);
/* BlockBinary, and rules and events (svc_block.c, svc_policy.c, svc_event.c). */
void svc_block_binary(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_rules(struct tlx_call *call, const ProtobufCMessage *request);
void svc_get_rule(struct tlx_call *call, const ProtobufCMessage *request);
void svc_watch_rule(struct tlx_call *call, const ProtobufCMessage *request);
void svc_set_rule_mode(struct tlx_call *call, const ProtobufCMessage *request);
void svc_delete_rule(struct tlx_call *call, const ProtobufCMessage *request);
void svc_list_events(struct tlx_call *call, const ProtobufCMessage *request);
void svc_watch_events(struct tlx_call *call, const ProtobufCMessage *request);
/* CreateEnrollmentToken: makes the secret, and submits an op_token_create. The memory of the secret
 * is wiped when the answer has been handed over. */
void svc_create_token(struct tlx_call *call, const ProtobufCMessage *request);
/* CreateReenrollmentToken: the same for one known sensor. */
void svc_create_reenrollment_token(struct tlx_call *call, const ProtobufCMessage *request);
/* ListEnrollmentTokens: one page, newest first, with the status of now. */
void svc_list_tokens(struct tlx_call *call, const ProtobufCMessage *request);
/* RevokeEnrollmentToken: submits an op_token_revoke, which audits. */
void svc_revoke_token(struct tlx_call *call, const ProtobufCMessage *request);
/* ListAudit: one page, newest first; looks at 20,000 records at most, so a page may be short and
 * still have a token. */
void svc_list_audit(struct tlx_call *call, const ProtobufCMessage *request);
/* ExportAudit: records who reads, then streams from the asked record to the newest of that moment,
 * as fast as the reader reads. */
void svc_export_audit(struct tlx_call *call, const ProtobufCMessage *request);
/* GetAuditHead: the newest record. */
void svc_get_audit_head(struct tlx_call *call, const ProtobufCMessage *request);
/* WhoAmI: name, role, fleet, end of the certificate. */
void svc_whoami(struct tlx_call *call, const ProtobufCMessage *request);
/* CreateOperator, RenewOperator: sign before the op, which decides and audits; RenewOperator wants
 * another key than that of the call's certificate. */
void svc_create_operator(struct tlx_call *call, const ProtobufCMessage *request);
void svc_renew_operator(struct tlx_call *call, const ProtobufCMessage *request);
/* An operator was let in with |serial|, which was not used before: that is stored behind the call.
 */
void svc_operator_used(struct tlx_call *call, const uint8_t *serial);
/* ListOperators: one page in order of names. */
void svc_list_operators(struct tlx_call *call, const ProtobufCMessage *request);
/* SetOperatorRole, RevokeOperator: after the commit, what the operator has open and may not have
 * any more ends. */
void svc_set_operator_role(struct tlx_call *call, const ProtobufCMessage *request);
void svc_revoke_operator(struct tlx_call *call, const ProtobufCMessage *request);
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
/* Adds a violation for a number that |field|'s enum does not have: as a filter it would match what
 * nobody asked for. */
void svc_check_enum(struct tlx_status *status, const char *field,
                    const ProtobufCEnumDescriptor *descriptor, int value);
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
