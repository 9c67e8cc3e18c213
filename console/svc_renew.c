// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_renew.h"
#include "console/svc.h"
#include "console/watch.h"
#include "pki/digest.h"
#include "pki/identity.h"
#include "telovix/v1/sensor.pb-c.h"

/* Certificates of sensors: how they are signed, renewed and suspected. */

#define CSR_MAX 4096u

/* ---- shared with enrollment ---- */

int svc_sign_sensor(struct console *console, const char *sensor_id, struct tlx_bytes spki,
                    const struct tlx_cert *replaced, uint8_t ret_serial[TLX_SERIAL_LEN],
                    uint64_t *ret_not_before_wall_ms, uint64_t *ret_not_after_wall_ms,
                    struct tlx_buf *ret_der) {
  char uri[256];
  struct tlx_spiffe id = {.kind = TLX_PRINCIPAL_SENSOR};
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  *ret_not_before_wall_ms = now_wall_ms - NOT_BEFORE_SLACK_MS;
  *ret_not_after_wall_ms = now_wall_ms + SENSOR_CERT_LIFE_MS;
  int err = tlx_serial_make(ret_serial);
  snprintf(id.fleet_id, sizeof id.fleet_id, "%s", console->fleet_id);
  snprintf(id.name, sizeof id.name, "%s", sensor_id);
  if (!err) err = tlx_spiffe_format(&id, uri);
  return err ? err
             : trust_issue_client(&console->trust, sensor_id, uri, spki, ret_serial,
                                  trust_start(&console->trust, replaced, now_wall_ms),
                                  *ret_not_after_wall_ms, ret_der);
}

size_t svc_list_certificates(struct console *console, struct tlx_bytes leaf,
                             ProtobufCBinaryData *ret_chain, ProtobufCBinaryData *ret_bundle) {
  const struct tlx_cert *ca = tlx_ca_bundle_get(console->trust.ca, 0);
  size_t n = tlx_ca_bundle_count(console->trust.ca);
  ret_chain[0] = (ProtobufCBinaryData){leaf.len, (uint8_t *)leaf.data};
  ret_chain[1] = (ProtobufCBinaryData){ca->der.len, (uint8_t *)ca->der.data};
  for (size_t i = 0; i < n; i++) {
    const struct tlx_cert *one = tlx_ca_bundle_get(console->trust.ca, i);
    ret_bundle[i] = (ProtobufCBinaryData){one->der.len, (uint8_t *)one->der.data};
  }
  return n;
}

/* ---- RenewCertificate ---- */

static void reply_renewed(struct tlx_call *call, struct tlx_bytes leaf) {
  struct console *console = console_of(call);
  Telovix__V1__RenewCertificateReply reply = TELOVIX__V1__RENEW_CERTIFICATE_REPLY__INIT;
  ProtobufCBinaryData chain[2], bundle[TLX_CA_MAX];
  reply.n_ca_bundle = svc_list_certificates(console, leaf, chain, bundle);
  reply.ca_bundle = bundle;
  reply.n_certificate_chain = 2;
  reply.certificate_chain = chain;
  reply.console_time = convert_time(tlx_wall_ms(console->clock), tlx_call_arena(call));
  if (reply.console_time)
    tlx_call_reply(call, &reply.base);
  else
    svc_fail(call, REASON_NO_MEMORY);
}

static void renewed(struct op *base) {
  struct op_renew *op = (void *)base;
  struct tlx_call *call = svc_op_call(base);
  if (base->status.code == TLX_GRPC_OK) {
    tlx_info(AUTH, "certificate renewed: sensor=%s client=%s", op->sensor_id,
             tlx_call_client_ip(call));
    watch_sensor_changed(console_of(call)->watch, op->sensor_id);
    reply_renewed(call, (struct tlx_bytes){op->certificate.data, op->certificate.len});
  } else {
    svc_fail_status(call, &base->status);
  }
  tlx_call_unref(call);
  op_renew_free(op);
}

/* Settles what the store answers by itself: refusals, which are throttled on record, and retries.
 */
static bool is_settled(struct tlx_call *call, struct op_renew *op) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  ProtobufCBinaryData given = {0};
  if (!svc_begin(call, &txn)) return true;
  enum op_renew_verdict verdict = op_renew_check(op, txn, &given);
  if (!svc_read_ok(call, txn)) return true;
  if (verdict == OP_RENEW_REFUSED) svc_fail_status(call, &op->op.status);
  if (verdict == OP_RENEW_AGAIN) reply_renewed(call, (struct tlx_bytes){given.data, given.len});
  return verdict != OP_RENEW_NEW;
}

void svc_renew_certificate(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__RenewCertificateRequest *request = (const void *)message;
  struct console *console = console_of(call);
  struct tlx_status status;
  struct tlx_bytes spki;
  tlx_status_clear(&status);
  if (request->csr.len > CSR_MAX ||
      tlx_csr_verify((struct tlx_bytes){request->csr.data, request->csr.len}, &spki) != 0) {
    tlx_status_add_violation(&status, "csr",
                             "is not a PKCS#10 request with a P-256 key and its own signature");
    svc_fail_status(call, &status);
    return;
  }
  struct op_renew *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%.31s", caller_of(call)->name);
  memcpy(op->own_serial, tlx_call_peer_cert(call)->serial, sizeof op->own_serial);
  tlx_sha256(spki.data, spki.len, op->key_hash);
  op->op.actor.wall_ms = tlx_wall_ms(console->clock);
  if (is_settled(call, op)) {
    op_renew_free(op);
    return;
  }
  if (svc_sign_sensor(console, op->sensor_id, spki, tlx_call_peer_cert(call), op->serial,
                      &op->not_before_wall_ms, &op->not_after_wall_ms, &op->certificate) != 0) {
    op_renew_free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  op->op.run = op_renew_run;
  op->op.done = renewed;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, NULL, NULL);
}

/* ---- clones ---- */

static void clone_noted(struct op *base) {
  struct op_clone *op = (void *)base;
  struct console *console = base->arg;
  struct live_sensor *live = live_find(console->live, op->sensor_id);
  if (live) live->is_clone_noting = false;
  console_note_head(console, &base->head);
  if (base->status.code != TLX_GRPC_OK)
    tlx_error(AUTH, "a suspected clone of %s could not be recorded: %s", op->sensor_id,
              base->status.message);
  else if (op->is_noted)
    tlx_error(
        AUTH,
        "an older certificate of %s came back from %s after a newer one was used: the identity "
        "may have been copied; re-enroll the sensor",
        op->sensor_id, base->actor.client_ip);
  watch_sensor_changed(console->watch, op->sensor_id);
  op_done(base);
  free(op);
}

void svc_note_clone(struct tlx_call *call) {
  struct console *console = console_of(call);
  struct live_sensor *live = live_get(console->live, caller_of(call)->name);
  if (!live || live->is_clone_noting) return;
  struct op_clone *op = calloc(1, sizeof *op);
  if (!op) return;
  live->is_clone_noting = true;
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", live->sensor_id);
  memcpy(op->serial, tlx_call_peer_cert(call)->serial, sizeof op->serial);
  authn_fill_actor(call, NULL, NULL, &op->op.actor);
  op->op.run = op_clone_run;
  op->op.done = clone_noted;
  op->op.arg = console;
  op->op.cost = sizeof *op;
  console_submit(console, &op->op);
}
