// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/authn.h"

#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "console/authz.h"
#include "console/reasons.h"
#include "pki/digest.h"
#include "pki/identity.h"
#include "rpc/limits.h"
#include "storage/operator_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/txn.h"

/* ---- the certificate itself ---- */

static bool refuse(struct tlx_status *status, enum reason reason) {
  reason_set(status, reason);
  return false;
}

static bool check_chain(struct tlx_call *call, const struct tlx_cert *cert,
                        struct tlx_status *status) {
  struct console *console = console_of(call);
  struct caller_conn *conn = tlx_call_conn_data(call);
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  if (!conn->judged) {
    /* The signature costs a hundred times the rest, and cannot change on this connection. */
    conn->verdict = tlx_ca_bundle_check(console->trust.ca, cert, TLX_PRINCIPAL_SENSOR, now_wall_ms);
    conn->judged = conn->verdict == 0;
  }
  int err = conn->verdict ? conn->verdict : tlx_cert_check_time(cert, now_wall_ms);
  switch (err) {
  case 0:
    return true;
  case TLX_E_CERT_EXPIRED:
    return refuse(status, REASON_CERTIFICATE_EXPIRED);
  case TLX_E_CERT_NOT_YET_VALID:
    return refuse(status, REASON_CERTIFICATE_NOT_YET_VALID);
  case TLX_E_CERT_PURPOSE:
    return refuse(status, REASON_CERTIFICATE_WRONG_PURPOSE);
  default:
    return refuse(status, REASON_CERTIFICATE_UNTRUSTED);
  }
}

/* ---- the identity on record ---- */

static bool check_serial(struct tlx_txn *txn, const struct tlx_cert *cert,
                         const struct caller *caller, struct tlx_status *status) {
  bool is_sensor = caller->kind == CALLER_SENSOR;
  const Telovix__Store__V1__SerialRecord *record =
      cert->serial_len == TLX_SERIAL_LEN ? tlx_serial_get(txn, cert->serial) : NULL;
  if (!record || strcmp(record->owner, caller->name) != 0 ||
      record->kind != (is_sensor ? TLX_SERIAL_OF_SENSOR : TLX_SERIAL_OF_OPERATOR))
    return refuse(status, REASON_CERTIFICATE_UNKNOWN);
  switch (record->state) {
  case TLX_SERIAL_GOOD:
    return true;
  case TLX_SERIAL_SUPERSEDED:
    return refuse(status, REASON_CERTIFICATE_SUPERSEDED);
  case TLX_SERIAL_REVOKED:
    return refuse(status, is_sensor ? REASON_INVALID_SENSOR_TRUST : REASON_CERTIFICATE_REVOKED);
  default:
    return refuse(status, REASON_CERTIFICATE_UNKNOWN);
  }
}

/* Of a deleted sensor only this is left, so that who comes back with its certificate is told apart.
 */
static bool is_tombstone(struct tlx_txn *txn, const struct tlx_cert *cert,
                         const struct caller *caller) {
  const Telovix__Store__V1__SerialRecord *record =
      cert->serial_len == TLX_SERIAL_LEN ? tlx_serial_get(txn, cert->serial) : NULL;
  return record && record->kind == TLX_SERIAL_OF_SENSOR && record->state == TLX_SERIAL_DELETED &&
         strcmp(record->owner, caller->name) == 0;
}

static bool check_record(struct tlx_txn *txn, const struct tlx_cert *cert, struct caller *caller,
                         struct tlx_status *status) {
  if (caller->kind == CALLER_SENSOR) {
    const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, caller->name);
    if (!sensor)
      return refuse(status, is_tombstone(txn, cert, caller) ? REASON_SENSOR_DELETED
                                                            : REASON_CERTIFICATE_UNKNOWN);
    if (sensor->trust_state == OP_TRUST_REVOKED) return refuse(status, REASON_INVALID_SENSOR_TRUST);
    return true;
  }
  const Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, caller->name);
  if (!record) return refuse(status, REASON_CERTIFICATE_UNKNOWN);
  if (record->revoked) return refuse(status, REASON_OPERATOR_REVOKED);
  caller->role = record->role;
  return true;
}

static bool check_store(struct console *console, const struct tlx_cert *cert, struct caller *caller,
                        struct tlx_status *status) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (tlx_txn_begin_read(console->store, &txn) != 0) return refuse(status, REASON_STORE_FAILED);
  /* The record first: a revoked identity is told so whatever its serial is. */
  bool ok = check_record(txn, cert, caller, status) && check_serial(txn, cert, caller, status);
  if (tlx_txn_err(txn)) return refuse(status, REASON_STORE_FAILED);
  return ok;
}

static bool identify(struct tlx_call *call, struct caller *caller, struct tlx_status *status) {
  struct console *console = console_of(call);
  const struct tlx_cert *cert = tlx_call_peer_cert(call);
  struct tlx_spiffe id;
  if (!cert) return refuse(status, REASON_CERTIFICATE_REQUIRED);
  if (cert->n_uris != 1 || tlx_spiffe_parse(cert->uri, &id) != 0 ||
      strcmp(id.fleet_id, console->fleet_id) != 0 ||
      (id.kind != TLX_PRINCIPAL_SENSOR && id.kind != TLX_PRINCIPAL_OPERATOR))
    return refuse(status, REASON_CERTIFICATE_IDENTITY);
  caller->kind = id.kind == TLX_PRINCIPAL_SENSOR ? CALLER_SENSOR : CALLER_OPERATOR;
  snprintf(caller->name, sizeof caller->name, "%s", id.name);
  struct caller_conn *conn = tlx_call_conn_data(call);
  conn->kind = caller->kind;
  memcpy(conn->name, caller->name, sizeof conn->name);
  return check_chain(call, cert, status) && check_store(console, cert, caller, status);
}

/* ---- the hook ---- */

bool authn_authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status) {
  struct caller *caller = caller_of(call);
  const struct authz_rule *rule = authz_find(tlx_call_method(call));
  if (!rule) return refuse(status, REASON_METHOD_NOT_LISTED);
  if (rule->kind == AUTHZ_ANYONE) {
    *max_message = TLX_MESSAGE_MAX_ANONYMOUS;
    return true;
  }
  if (!identify(call, caller, status)) return false;
  if ((rule->kind == AUTHZ_SENSOR) != (caller->kind == CALLER_SENSOR))
    return refuse(status, REASON_WRONG_PRINCIPAL);
  if (rule->kind == AUTHZ_OPERATOR && caller->role < (unsigned)rule->least) {
    tlx_status_set(status, TLX_GRPC_PERMISSION_DENIED, reason_word(REASON_ROLE_TOO_LOW),
                   "this needs the role %s; %s is %s", authz_role_name(rule->least), caller->name,
                   authz_role_name(caller->role));
    return false;
  }
  return true;
}

/* ---- the end of an identity ---- */

static bool is_of_caller(void *arg, void *conn_data) {
  const struct caller *caller = arg;
  const struct caller_conn *conn = conn_data;
  return conn->kind == caller->kind && strcmp(conn->name, caller->name) == 0;
}

void authn_end_identity(struct console *console, enum caller_kind kind, const char *name,
                        enum reason reason) {
  struct caller caller = {.kind = kind};
  struct tlx_status status;
  snprintf(caller.name, sizeof caller.name, "%s", name);
  reason_set(&status, reason);
  tlx_server_end_conns(console->server, is_of_caller, &caller, &status);
}

static bool needs_more(void *arg, struct tlx_call *call) {
  const struct caller *now = arg, *caller = caller_of(call);
  const struct authz_rule *rule = authz_find(tlx_call_method(call));
  return caller->kind == now->kind && strcmp(caller->name, now->name) == 0 && rule &&
         rule->kind == AUTHZ_OPERATOR && (unsigned)rule->least > now->role;
}

void authn_end_calls_above(struct console *console, const char *name, unsigned role) {
  struct caller now = {.kind = CALLER_OPERATOR, .role = role};
  struct tlx_status status;
  snprintf(now.name, sizeof now.name, "%s", name);
  reason_set(&status, REASON_ROLE_TOO_LOW);
  tlx_server_end_calls(console->server, needs_more, &now, &status);
}

void authn_fill_actor(struct tlx_call *call, const char *reason, const char *request_id,
                      struct op_actor *ret_actor) {
  struct console *console = console_of(call);
  const struct caller *caller = caller_of(call);
  struct tlx_bytes request = tlx_call_request_bytes(call);
  const char *method = tlx_call_method(call);
  struct tlx_sha256 hash;
  memset(ret_actor, 0, sizeof *ret_actor);
  snprintf(ret_actor->name, sizeof ret_actor->name, "%s", caller->name);
  if (caller->kind == CALLER_SENSOR)
    strcpy(ret_actor->role, "sensor");
  else if (caller->role)
    snprintf(ret_actor->role, sizeof ret_actor->role, "%s", authz_role_name(caller->role));
  snprintf(ret_actor->client_ip, sizeof ret_actor->client_ip, "%s", tlx_call_client_ip(call));
  snprintf(ret_actor->user_agent, sizeof ret_actor->user_agent, "%s", tlx_call_user_agent(call));
  if (reason) snprintf(ret_actor->reason, sizeof ret_actor->reason, "%s", reason);
  if (request_id) snprintf(ret_actor->request_id, sizeof ret_actor->request_id, "%s", request_id);
  tlx_sha256_init(&hash);
  tlx_sha256_add(&hash, method, strlen(method) + 1);
  if (request.len) tlx_sha256_add(&hash, request.data, request.len);
  tlx_sha256_final(&hash, ret_actor->request_hash);
  ret_actor->wall_ms = tlx_wall_ms(console->clock);
}
