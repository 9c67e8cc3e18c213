// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/authn.h"

#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "console/authz.h"
#include "console/limits.h"
#include "console/reasons.h"
#include "console/svc.h"
#include "pki/digest.h"
#include "pki/identity.h"
#include "rpc/limits.h"
#include "storage/operator_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/txn.h"

#define RENEW "/telovix.v1.SensorService/RenewCertificate"

/* ---- the certificate itself ---- */

static bool refuse(struct tlx_status *status, enum reason reason) {
  reason_set(status, reason);
  return false;
}

/* Both times are named: which clock is wrong is for people to see. */
static bool refuse_time(struct tlx_status *status, enum reason reason, const char *what,
                        uint64_t limit_wall_ms, uint64_t now_wall_ms, const char *more) {
  char limit[TLX_TIME_TEXT_MAX], now[TLX_TIME_TEXT_MAX];
  reason_set(status, reason);
  tlx_time_format(limit_wall_ms, limit);
  tlx_time_format(now_wall_ms, now);
  snprintf(status->message, sizeof status->message,
           "the client certificate %s at %s, and the Console's clock says %s%s", what, limit, now,
           more);
  return false;
}

/* The one way back for a host that slept: spec §2. */
static bool may_be_late(const struct tlx_call *call, const struct caller *caller,
                        const struct tlx_cert *cert, uint64_t now_wall_ms) {
  return caller->kind == CALLER_SENSOR && strcmp(tlx_call_method(call), RENEW) == 0 &&
         now_wall_ms <= cert->not_after_wall_ms + SENSOR_CERT_LATE_MS;
}

static bool check_time(struct tlx_call *call, const struct tlx_cert *cert,
                       const struct caller *caller, struct tlx_status *status) {
  uint64_t now_wall_ms = tlx_wall_ms(console_of(call)->clock);
  switch (tlx_cert_check_time(cert, now_wall_ms)) {
  case 0:
    return true;
  case TLX_E_CERT_EXPIRED:
    return may_be_late(call, caller, cert, now_wall_ms) ||
           refuse_time(status, REASON_CERTIFICATE_EXPIRED, "ended", cert->not_after_wall_ms,
                       now_wall_ms,
                       caller->kind != CALLER_SENSOR ? ""
                       : now_wall_ms <= cert->not_after_wall_ms + SENSOR_CERT_LATE_MS
                           ? ": it can be renewed, and do nothing else"
                           : ": re-enroll the sensor, unless a clock is wrong");
  default:
    return refuse_time(status, REASON_CERTIFICATE_NOT_YET_VALID, "begins", cert->not_before_wall_ms,
                       now_wall_ms, ": compare the clocks");
  }
}

static bool check_chain(struct tlx_call *call, const struct tlx_cert *cert,
                        const struct caller *caller, struct tlx_status *status) {
  struct console *console = console_of(call);
  struct caller_conn *conn = tlx_call_conn_data(call);
  if (!conn->judged) {
    /* The signature costs a hundred times the rest, and cannot change on this connection. The
     * leaf's times are looked at with each call, below. */
    uint64_t now_wall_ms = tlx_wall_ms(console->clock);
    int err = tlx_ca_bundle_check(console->trust.ca, cert, TLX_PRINCIPAL_SENSOR, now_wall_ms);
    bool is_of_leaf = (err == TLX_E_CERT_EXPIRED || err == TLX_E_CERT_NOT_YET_VALID) &&
                      tlx_cert_check_time(cert, now_wall_ms) == err;
    conn->verdict = is_of_leaf ? 0 : err;
    conn->judged = conn->verdict == 0;
  }
  switch (conn->verdict) {
  case 0:
    return check_time(call, cert, caller, status);
  case TLX_E_CERT_PURPOSE:
    return refuse(status, REASON_CERTIFICATE_WRONG_PURPOSE);
  default:
    return refuse(status, REASON_CERTIFICATE_UNTRUSTED);
  }
}

/* ---- the identity on record ---- */

/* Whether a superseded certificate is the sign of a copy: a newer one was used, and this is not
 * what was on its way then over the connection that our own sensor just left. */
static bool is_clone(struct tlx_call *call, struct tlx_txn *txn, const struct caller *caller) {
  const struct console *console = console_of(call);
  const struct caller_conn *conn = tlx_call_conn_data(call);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, caller->name);
  if (!sensor || sensor->clone_suspected_wall_ms || sensor->serial.len != TLX_SERIAL_LEN)
    return false;
  const Telovix__Store__V1__SerialRecord *current = tlx_serial_get(txn, sensor->serial.data);
  if (!current || current->unused) return false;
  const struct live_sensor *live = live_find(console->live, caller->name);
  return !live || conn->first_mono_ms >= live->serial_used_mono_ms ||
         tlx_mono_ms(console->clock) >= live->serial_used_mono_ms + CLONE_GRACE_MS;
}

static bool check_serial(struct tlx_call *call, struct tlx_txn *txn, const struct tlx_cert *cert,
                         struct caller *caller, struct tlx_status *status) {
  bool is_sensor = caller->kind == CALLER_SENSOR;
  const Telovix__Store__V1__SerialRecord *record =
      cert->serial_len == TLX_SERIAL_LEN ? tlx_serial_get(txn, cert->serial) : NULL;
  if (!record || strcmp(record->owner, caller->name) != 0 ||
      record->kind != (is_sensor ? TLX_SERIAL_OF_SENSOR : TLX_SERIAL_OF_OPERATOR))
    return refuse(status, REASON_CERTIFICATE_UNKNOWN);
  switch (record->state) {
  case TLX_SERIAL_GOOD:
    caller->is_first_use = record->unused;
    return true;
  case TLX_SERIAL_SUPERSEDED:
    caller->is_clone = is_sensor && is_clone(call, txn, caller);
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

static bool check_store(struct tlx_call *call, const struct tlx_cert *cert, struct caller *caller,
                        struct tlx_status *status) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (tlx_txn_begin_read(console_of(call)->store, &txn) != 0)
    return refuse(status, REASON_STORE_FAILED);
  /* The record first: a revoked identity is told so whatever its serial is. */
  bool ok =
      check_record(txn, cert, caller, status) && check_serial(call, txn, cert, caller, status);
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
  if (!conn->first_mono_ms) conn->first_mono_ms = tlx_mono_ms(console->clock);
  return check_chain(call, cert, caller, status) && check_store(call, cert, caller, status);
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
  if (caller->kind == CALLER_OPERATOR && caller->is_first_use)
    svc_operator_used(call, tlx_call_peer_cert(call)->serial);
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
