// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/enroll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/check.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "pki/cert.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"
#include "sensor/host.h"
#include "sensor/identity.h"
#include "sensor/net_own.h"
#include "sensor/pin.h"
#include "sensor/state.h"
#include "telovix/v1/sensor.pb-c.h"

#define STEP_TIMEOUT_MS 10000u
#define CALL_TIMEOUT_MS 30000u
#define PATH "/telovix.v1.EnrollmentService/Enroll"

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNKNOWN };

/* One enrollment while it runs. */
struct enrollment {
  const struct enroll_request *request;
  uint8_t digest[32];
  struct host host;
  char node_name[256];
  struct pin_found pin;
  struct tlx_key *key;
  struct tlx_buf csr;
  uv_loop_t loop;
  struct tlx_status status;
  bool done, was_sent, saved;
  char sensor_id[32], fleet_name[256];
  /* A host that is enrolled already: who it is, and its state folder, locked meanwhile. */
  struct identity former;
  bool is_again;
  struct state *state;
  char address[264]; /* that answered */
  char why[512];
};

/* ---- sockets ---- */

/* On a contained host: an enrollment works there, over a socket that is let through like the
 * uplink's. */
static const char *pin_folder;

static void mark_socket(int fd) {
  if (pin_folder) net_own_mark(pin_folder, fd);
}

static void on_socket_made(void *arg, int fd) {
  mark_socket(fd);
}

/* ---- before the network ---- */

static int open_former(struct enrollment *enrollment) {
  const char *folder = enrollment->request->state;
  int err = identity_peek(folder, &enrollment->former, enrollment->why);
  if (err == -ENOENT) return 0;
  if (err) return err;
  enrollment->is_again = true;
  err = state_open(folder, &enrollment->loop, tlx_clock_system(), &enrollment->state);
  if (err == TLX_E_LOCKED)
    snprintf(enrollment->why, sizeof enrollment->why,
             "%.300s: a sensor runs there: stop it first, as telovix-sensor-reenroll does", folder);
  return err;
}

static int prepare(struct enrollment *enrollment) {
  const struct enroll_request *request = enrollment->request;
  int err = host_read(&enrollment->host);
  if (err) {
    snprintf(enrollment->why, sizeof enrollment->why, "facts of this host: %s", tlx_err_text(err));
    return err;
  }
  err = tlx_folder_make_all(request->state, 0700);
  if (!err) err = open_former(enrollment);
  snprintf(enrollment->node_name, sizeof enrollment->node_name, "%s",
           request->node_name              ? request->node_name
           : *enrollment->former.node_name ? enrollment->former.node_name
                                           : enrollment->host.hostname);
  if (!err && !tlx_name_node_valid(enrollment->node_name)) {
    snprintf(enrollment->why, sizeof enrollment->why,
             "the host name cannot be a node name: give one with --node-name");
    return -EINVAL;
  }
  if (!err) err = identity_pending_key(request->state, &enrollment->key);
  if (!err) err = tlx_csr_make(enrollment->key, enrollment->node_name, &enrollment->csr);
  if (err && !*enrollment->why)
    snprintf(enrollment->why, sizeof enrollment->why, "%.300s: %s", request->state,
             tlx_err_text(err));
  return err;
}

/* On a contained host names cannot be resolved: then a host that was enrolled finds the Console
 * where it answered before. The pin says who it is, wherever it is. */
static int find_console(struct enrollment *enrollment) {
  const char *const *list = NULL;
  char first[512];
  size_t n = enrollment->state ? state_resolved(enrollment->state, &list) : 0;
  const char *address = enrollment->request->console;
  int err = pin_fetch(address, enrollment->digest, STEP_TIMEOUT_MS, mark_socket, &enrollment->pin,
                      enrollment->why);
  memcpy(first, enrollment->why, sizeof first);
  /* Another fleet, or somebody in between, is an answer. */
  for (size_t i = 0; i < n && err && err != TLX_E_CERT_PIN; i++) {
    address = list[i];
    err = pin_fetch(address, enrollment->digest, STEP_TIMEOUT_MS, mark_socket, &enrollment->pin,
                    enrollment->why);
  }
  if (err && err != TLX_E_CERT_PIN) memcpy(enrollment->why, first, sizeof first);
  snprintf(enrollment->address, sizeof enrollment->address, "%s", address);
  return err;
}

/* ---- the call ---- */

static void on_enrolled(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct enrollment *enrollment = arg;
  const Telovix__V1__EnrollReply *reply = (const void *)message;
  struct tlx_bytes chain[8], ca[TLX_CA_MAX];
  const char *own[IDENTITY_ADDRESSES_MAX] = {enrollment->request->console};
  struct identity_offer offer = {.sensor_id = reply->sensor_id,
                                 .fleet_id = reply->fleet_id,
                                 .fleet_name = reply->fleet_name,
                                 .node_name = enrollment->node_name,
                                 .addresses = own,
                                 .n_addresses = 1,
                                 .chain = chain,
                                 .ca = ca};
  for (size_t i = 0; i < reply->n_certificate_chain && offer.n_chain < 8; i++)
    chain[offer.n_chain++] =
        (struct tlx_bytes){reply->certificate_chain[i].data, reply->certificate_chain[i].len};
  for (size_t i = 0; i < reply->n_ca_bundle && offer.n_ca < TLX_CA_MAX; i++)
    ca[offer.n_ca++] = (struct tlx_bytes){reply->ca_bundle[i].data, reply->ca_bundle[i].len};
  /* The address that just worked stays first; what the Console tells comes with the heartbeats. */
  struct tlx_cert leaf;
  const struct identity *former = &enrollment->former;
  for (unsigned i = 0; i < former->n_addresses && offer.n_addresses < IDENTITY_ADDRESSES_MAX; i++)
    if (strcmp(former->addresses[i], own[0]) != 0) own[offer.n_addresses++] = former->addresses[i];
  if (!tlx_id_valid("sensor_", reply->sensor_id) ||
      (enrollment->is_again && strcmp(reply->sensor_id, former->sensor_id) != 0) ||
      strcmp(reply->fleet_id, enrollment->pin.fleet_id) != 0 || offer.n_chain == 0 ||
      offer.n_ca == 0 || tlx_cert_parse(chain[0], &leaf) != 0 ||
      leaf.spki.len != tlx_key_spki(enrollment->key).len ||
      memcmp(leaf.spki.data, tlx_key_spki(enrollment->key).data, leaf.spki.len) != 0) {
    snprintf(enrollment->why, sizeof enrollment->why,
             "the Console answered with an identity that cannot be ours");
    return;
  }
  const char *folder = enrollment->request->state;
  int err = enrollment->is_again
                ? identity_replace(folder, reply->fleet_id, reply->sensor_id, chain, offer.n_chain,
                                   ca, offer.n_ca, enrollment->why)
                : identity_save(folder, &offer, enrollment->why);
  if (!err && enrollment->is_again) err = identity_rename(folder, &offer, enrollment->why);
  if (err) return;
  snprintf(enrollment->sensor_id, sizeof enrollment->sensor_id, "%s", reply->sensor_id);
  snprintf(enrollment->fleet_name, sizeof enrollment->fleet_name, "%s", reply->fleet_name);
  enrollment->saved = true;
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct enrollment *enrollment = arg;
  enrollment->status = *status;
  enrollment->was_sent = tlx_client_call_was_sent(call);
  enrollment->done = true;
}

static int start_call(struct enrollment *enrollment, struct tlx_channel *channel) {
  const struct enroll_request *from = enrollment->request;
  Telovix__V1__EnrollRequest request = TELOVIX__V1__ENROLL_REQUEST__INIT;
  Telovix__V1__HostFacts facts = TELOVIX__V1__HOST_FACTS__INIT;
  Telovix__V1__EnrollRequest__LabelsEntry labels[ENROLL_LABELS_MAX], *list[ENROLL_LABELS_MAX];
  for (size_t i = 0; i < from->n_labels; i++) {
    labels[i] =
        (Telovix__V1__EnrollRequest__LabelsEntry)TELOVIX__V1__ENROLL_REQUEST__LABELS_ENTRY__INIT;
    labels[i].key = (char *)from->labels[i].key;
    labels[i].value = (char *)from->labels[i].value;
    list[i] = &labels[i];
  }
  static char version[] = TLX_VERSION;
  facts.kernel_release = enrollment->host.kernel_release;
  facts.architecture = enrollment->host.architecture;
  facts.os_name = enrollment->host.os_name;
  facts.sensor_version = version;
  request.token = (char *)from->token;
  request.csr = (ProtobufCBinaryData){enrollment->csr.len, enrollment->csr.data};
  request.node_name = enrollment->node_name;
  request.labels = list;
  request.n_labels = from->n_labels;
  request.facts = &facts;
  if (enrollment->is_again) request.sensor_id = enrollment->former.sensor_id;
  struct tlx_client_call_options options = {.channel = channel,
                                            .path = PATH,
                                            .request = &request.base,
                                            .reply = &telovix__v1__enroll_reply__descriptor,
                                            .timeout_ms = CALL_TIMEOUT_MS,
                                            .message = on_enrolled,
                                            .done = on_done,
                                            .arg = enrollment};
  struct tlx_client_call *call;
  return tlx_client_call_start(&options, &call);
}

static void on_channel_closed(void *arg) {
  *(bool *)arg = true;
}

/* The second connection: verified against the pinned CA, and only it carries the token. */
static int call_console(struct enrollment *enrollment, struct tlx_tls_ctx *tls_ctx) {
  const char *address = enrollment->address;
  struct tlx_channel *channel;
  bool closed = false;
  struct tlx_channel_options options = {.loop = &enrollment->loop,
                                        .clock = tlx_clock_system(),
                                        .tls_ctx = tls_ctx,
                                        .addresses = &address,
                                        .n_addresses = 1,
                                        .user_agent = "telovix-sensor/" TLX_VERSION,
                                        .socket_made = on_socket_made};
  int err = tlx_channel_new(&options, &channel);
  if (!err) {
    err = start_call(enrollment, channel);
    while (!err && !enrollment->done)
      uv_run(&enrollment->loop, UV_RUN_ONCE);
    tlx_channel_close(channel, on_channel_closed, &closed);
    while (!closed)
      uv_run(&enrollment->loop, UV_RUN_ONCE);
  }
  return err;
}

/* As the uplink does: the later of the system's clock and the last time that the Console told. */
static uint64_t certificate_wall_ms(void *arg) {
  const struct enrollment *enrollment = arg;
  return enrollment->state ? state_certificate_wall_ms(enrollment->state)
                           : tlx_wall_ms(tlx_clock_system());
}

static int make_tls(struct enrollment *enrollment, struct tlx_tls_ctx **ret_ctx) {
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_ca_bundle *ca TLX_CLEANUP(tlx_ca_bundle_free_p) = NULL;
  struct tlx_bytes der = {enrollment->pin.ca_der.data, enrollment->pin.ca_der.len};
  int err = tlx_cert_format_pem(der, &pem);
  if (!err) err = tlx_ca_bundle_parse_pem(pem.data, pem.len, &ca);
  if (err) return err;
  struct tlx_tls_options options = {.ca = ca,
                                    .server_uri = enrollment->pin.console_uri,
                                    .wall_ms = certificate_wall_ms,
                                    .wall_arg = enrollment};
  return tlx_tls_ctx_new(&options, ret_ctx);
}

/* ---- the whole ---- */

/* Whether the Console may have enrolled the key although no answer of that is in use here. */
static bool is_unknown(enum tlx_grpc_code code) {
  switch (code) {
  case TLX_GRPC_OK: /* it has; the answer could not be put in use */
  case TLX_GRPC_CANCELLED:
  case TLX_GRPC_UNKNOWN:
  case TLX_GRPC_DEADLINE_EXCEEDED:
  case TLX_GRPC_UNAVAILABLE:
  case TLX_GRPC_INTERNAL:
    return true;
  default:
    return false;
  }
}

static int enroll(struct enrollment *enrollment) {
  struct tlx_tls_ctx *tls_ctx = NULL;
  int err = uv_loop_init(&enrollment->loop);
  if (err) return EXIT_FAILED;
  err = prepare(enrollment);
  if (!err) err = find_console(enrollment);
  if (!err) err = make_tls(enrollment, &tls_ctx);
  if (!err) err = call_console(enrollment, tls_ctx);
  tlx_tls_ctx_unref(tls_ctx);
  if (enrollment->state) state_close(enrollment->state, NULL, NULL);
  uv_run(&enrollment->loop, UV_RUN_DEFAULT);
  tlx_require(uv_loop_close(&enrollment->loop) == 0);
  if (err) {
    fprintf(stderr, "telovix-sensor enroll: %s\n",
            *enrollment->why ? enrollment->why : tlx_err_text(err));
    return EXIT_FAILED;
  }
  const struct tlx_status *status = &enrollment->status;
  if (status->code == TLX_GRPC_OK && enrollment->saved) {
    printf("%s: %s (node %s) in fleet %s\nnext:\n  telovix-sensor run --state %s\n",
           enrollment->is_again ? "enrolled again" : "enrolled", enrollment->sensor_id,
           enrollment->node_name, enrollment->fleet_name, enrollment->request->state);
    return EXIT_OK;
  }
  bool is_lost = enrollment->was_sent && is_unknown(status->code);
  char shown[600];
  if (status->code == TLX_GRPC_OK)
    fprintf(stderr, "telovix-sensor enroll: %s\n", enrollment->why);
  else
    fprintf(stderr, "telovix-sensor enroll: %s%s%s: %s%s\n", tlx_grpc_code_name(status->code),
            *status->reason ? " " : "", status->reason,
            tlx_text_escape(status->message, SIZE_MAX, shown, sizeof shown),
            is_lost ? "; the same command may be repeated: the same key gets the same identity"
                    : "");
  return is_lost ? EXIT_UNKNOWN : EXIT_FAILED;
}

int enroll_run(const struct enroll_request *request) {
  struct enrollment *enrollment = calloc(1, sizeof *enrollment);
  if (!enrollment) return EXIT_FAILED;
  enrollment->request = request;
  char *pins TLX_AUTOFREE = tlx_path_join(request->bpffs, "telovix");
  pin_folder = pins;
  int ret = EXIT_USAGE;
  if (tlx_pin_parse(request->ca_cert_hash, enrollment->digest) != 0)
    fprintf(stderr, "telovix-sensor enroll: --ca-cert-hash: want sha256: and 64 hex digits, as "
                    "`telovixctl token create` prints them\n");
  else
    ret = enroll(enrollment);
  tlx_key_free(enrollment->key);
  tlx_buf_done(&enrollment->csr);
  tlx_buf_done(&enrollment->pin.ca_der);
  free(enrollment);
  pin_folder = NULL;
  return ret;
}
