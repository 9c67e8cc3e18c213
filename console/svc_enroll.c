// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_identity.h"
#include "console/svc.h"
#include "console/watch.h"
#include "pki/digest.h"
#include "pki/identity.h"
#include "telovix/v1/sensor.pb-c.h"

/* Token and signing request into a sensor's identity (EnrollmentService; spec §2.1). Callers have
 * no certificate: nothing is signed or stored before the token was looked up. */

#define TOKEN_PREFIX "tse_"
#define TOKEN_TEXT_LEN 47 /* the prefix and 32 bytes in unpadded base64 */
#define CSR_MAX 4096u

static void check_text(struct tlx_status *status, const char *field, const char *text, size_t max) {
  if (strlen(text) >= max)
    tlx_status_add_violation(status, field, "is longer than %zu bytes", max - 1);
}

static void check_labels(const Telovix__V1__EnrollRequest *request, struct tlx_status *status) {
  if (request->n_labels > LABELS_PER_SENSOR_MAX)
    tlx_status_add_violation(status, "labels", "has more than %u entries", LABELS_PER_SENSOR_MAX);
  for (size_t i = 0; i < request->n_labels && i < LABELS_PER_SENSOR_MAX; i++) {
    if (!tlx_name_label_key_valid(request->labels[i]->key))
      tlx_status_add_violation(status, "labels", "has an invalid key");
    else if (!tlx_name_label_value_valid(request->labels[i]->value))
      tlx_status_add_violation(status, "labels", "has an invalid value for %s",
                               request->labels[i]->key);
  }
}

static void check_request(const Telovix__V1__EnrollRequest *request, struct tlx_bytes *ret_spki,
                          struct tlx_status *status) {
  const struct op_enroll *op = NULL;
  if (!tlx_name_node_valid(request->node_name))
    tlx_status_add_violation(status, "node_name",
                             "is not 1 to 253 of [A-Za-z0-9._-], alphanumeric at both ends");
  if (request->csr.len > CSR_MAX ||
      tlx_csr_verify((struct tlx_bytes){request->csr.data, request->csr.len}, ret_spki) != 0)
    tlx_status_add_violation(status, "csr",
                             "is not a PKCS#10 request with a P-256 key and its own signature");
  check_labels(request, status);
  if (*request->sensor_id && !tlx_id_valid("sensor_", request->sensor_id))
    tlx_status_add_violation(status, "sensor_id", "is not the id of a sensor");
  if (!request->facts) return;
  check_text(status, "facts.kernel_release", request->facts->kernel_release,
             sizeof op->kernel_release);
  check_text(status, "facts.architecture", request->facts->architecture, sizeof op->architecture);
  check_text(status, "facts.os_name", request->facts->os_name, sizeof op->os_name);
  check_text(status, "facts.sensor_version", request->facts->sensor_version,
             sizeof op->sensor_version);
}

/* ---- op ---- */

static void fill_op(struct op_enroll *op, const Telovix__V1__EnrollRequest *request,
                    struct tlx_bytes spki) {
  tlx_sha256(request->token, strlen(request->token), op->token_hash);
  tlx_sha256(spki.data, spki.len, op->key_hash);
  snprintf(op->node_name, sizeof op->node_name, "%s", request->node_name);
  snprintf(op->host_sensor_id, sizeof op->host_sensor_id, "%s", request->sensor_id);
  for (size_t i = 0; i < request->n_labels && i < ENROLL_LABELS_MAX; i++) {
    struct op_label *label = &op->labels[op->n_labels++];
    snprintf(label->key, sizeof label->key, "%s", request->labels[i]->key);
    snprintf(label->value, sizeof label->value, "%s", request->labels[i]->value);
  }
  if (!request->facts) return;
  snprintf(op->kernel_release, sizeof op->kernel_release, "%s", request->facts->kernel_release);
  snprintf(op->architecture, sizeof op->architecture, "%s", request->facts->architecture);
  snprintf(op->os_name, sizeof op->os_name, "%s", request->facts->os_name);
  snprintf(op->sensor_version, sizeof op->sensor_version, "%s", request->facts->sensor_version);
}

static int sign(struct console *console, struct op_enroll *op, struct tlx_bytes spki) {
  /* A token that is bound to a sensor has named it. */
  int err = *op->sensor_id ? 0 : tlx_id_make("sensor_", op->sensor_id, sizeof op->sensor_id);
  return err ? err
             : svc_sign_sensor(console, op->sensor_id, spki, NULL, op->serial,
                               &op->not_before_wall_ms, &op->not_after_wall_ms, &op->certificate);
}

static void reply_enrolled(struct tlx_call *call, const struct op_enroll *op) {
  struct console *console = console_of(call);
  struct tlx_arena *arena = tlx_call_arena(call);
  Telovix__V1__EnrollReply reply = TELOVIX__V1__ENROLL_REPLY__INIT;
  ProtobufCBinaryData chain[2], bundle[TLX_CA_MAX];
  char addresses[SETTINGS_ADVERTISE_MAX][SETTINGS_ADDRESS_MAX], *list[SETTINGS_ADVERTISE_MAX];
  struct tlx_bytes leaf = {op->certificate.data, op->certificate.len};
  reply.n_ca_bundle = svc_list_certificates(console, leaf, chain, bundle);
  for (unsigned i = 0; i < console->settings.n_advertise; i++) {
    settings_address(&console->settings, i, tlx_server_port(console->server), addresses[i]);
    list[reply.n_console_addresses++] = addresses[i];
  }
  reply.sensor_id = (char *)op->sensor_id;
  reply.fleet_id = console->fleet_id;
  reply.fleet_name = console->fleet_name;
  reply.n_certificate_chain = 2;
  reply.certificate_chain = chain;
  reply.ca_bundle = bundle;
  reply.console_addresses = list;
  reply.interval = convert_duration(console->settings.heartbeat_interval_ms, arena);
  reply.console_time = convert_time(tlx_wall_ms(console->clock), arena);
  tlx_call_reply(call, &reply.base);
}

static void enrolled(struct op *base) {
  struct op_enroll *op = (void *)base;
  struct tlx_call *call = svc_op_call(base);
  if (base->status.code == TLX_GRPC_OK) {
    tlx_notice(AUTH, "sensor enrolled%s: sensor=%s node=%s client=%s",
               op->has_replaced ? " again" : "", op->sensor_id, op->node_name,
               tlx_call_client_ip(call));
    /* What the former identity has open ends with it. */
    if (op->has_replaced)
      authn_end_identity(console_of(call), CALLER_SENSOR, op->sensor_id,
                         REASON_CERTIFICATE_SUPERSEDED);
    watch_sensor_changed(console_of(call)->watch, op->sensor_id);
    reply_enrolled(call, op);
  } else {
    svc_fail_status(call, &base->status);
  }
  tlx_call_unref(call);
  op_enroll_free(op);
}

/* Settles what the store answers by itself: refusals, which are throttled on record, and retries.
 */
static bool is_settled(struct tlx_call *call, struct op_enroll *op) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return true;
  enum op_enroll_verdict verdict = op_enroll_check(op, txn);
  if (!svc_read_ok(call, txn)) return true;
  if (verdict == OP_ENROLL_REFUSED) svc_fail_status(call, &op->op.status);
  if (verdict == OP_ENROLL_AGAIN) {
    tlx_info(AUTH, "enrollment answered again: sensor=%s client=%s", op->sensor_id,
             tlx_call_client_ip(call));
    reply_enrolled(call, op);
  }
  return verdict != OP_ENROLL_NEW;
}

void svc_enroll(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__EnrollRequest *request = (const void *)message;
  struct console *console = console_of(call);
  struct tlx_status status;
  struct tlx_bytes spki;
  /* A text that cannot be a token is not looked up, and is told no more than a wrong one. */
  if (strlen(request->token) != TOKEN_TEXT_LEN ||
      strncmp(request->token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0) {
    svc_fail(call, REASON_TOKEN_UNKNOWN);
    return;
  }
  tlx_status_clear(&status);
  check_request(request, &spki, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_enroll *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  fill_op(op, request, spki);
  op->op.actor.wall_ms = tlx_wall_ms(console->clock);
  if (is_settled(call, op)) {
    op_enroll_free(op);
    return;
  }
  if (sign(console, op, spki) != 0) {
    op_enroll_free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  op->op.run = op_enroll_run;
  op->op.done = enrolled;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, NULL, NULL);
}
