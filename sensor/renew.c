// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/renew.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "rpc/client_call.h"
#include "telovix/v1/sensor.pb-c.h"

#define CALL_TIMEOUT_MS 30000u
#define WAIT_MIN_MS 60000u
#define WAIT_MAX_MS (3600u * 1000)
#define CHAIN_MAX 8u
#define LIFE_MAX_MS (30ull * 24 * 3600 * 1000) /* spec §2: of a sensor's certificate */

enum renewal_state {
  RENEWAL_IDLE,      /* nothing to do, or the wait after a failure lasts */
  RENEWAL_PREPARING, /* a worker makes key and request */
  RENEWAL_CALLING,   /* the Console signs */
  RENEWAL_SAVING     /* a worker writes the files */
};

struct renewal {
  struct renewal_options options;
  enum renewal_state state;
  uv_work_t work;
  bool closing;
  void (*closed)(void *arg);
  void *closed_arg;
  unsigned draw;
  uint64_t wait_ms, next_try_mono_ms;
  char error[256];
  /* One try; what a worker touches is touched by nobody else meanwhile. */
  char node_name[256], sensor_id[32], fleet_id[32], why[512];
  struct tlx_buf leaf; /* the certificate that asks, DER */
  struct tlx_buf csr, chain_der, ca_der;
  bool has_newer; /* on disk */
  size_t chain_len[CHAIN_MAX], ca_len[TLX_CA_MAX], n_chain, n_ca;
  int err;
};

uint64_t renewal_due_wall_ms(uint64_t not_before_wall_ms, uint64_t not_after_wall_ms,
                             unsigned draw) {
  if (not_after_wall_ms <= not_before_wall_ms) return not_before_wall_ms;
  uint64_t life_ms = not_after_wall_ms - not_before_wall_ms;
  if (life_ms > LIFE_MAX_MS) life_ms = LIFE_MAX_MS;
  return not_after_wall_ms - life_ms * (4500 - draw) / 10000;
}

static uint64_t random_below(uint64_t bound) {
  uint64_t value = 0;
  (void)tlx_random(&value, sizeof value);
  return value % bound;
}

/* ---- the end of a try ---- */

static void forget_try(struct renewal *renewal) {
  tlx_buf_done(&renewal->leaf);
  tlx_buf_done(&renewal->csr);
  tlx_buf_done(&renewal->chain_der);
  tlx_buf_done(&renewal->ca_der);
  renewal->n_chain = renewal->n_ca = 0;
}

static void finish_close(struct renewal *renewal) {
  void (*closed)(void *arg) = renewal->closed;
  void *arg = renewal->closed_arg;
  forget_try(renewal);
  free(renewal);
  if (closed) closed(arg);
}

/* Half of the wait is random: a fleet that failed together does not come again as one. */
static void fail(struct renewal *renewal, const char *why) {
  char shown[sizeof renewal->error];
  tlx_text_escape(why, SIZE_MAX, shown, sizeof shown);
  if (strcmp(shown, renewal->error) != 0)
    tlx_warn(UPLINK, "the certificate was not renewed, the present one stays in use: %s", shown);
  strcpy(renewal->error, shown);
  renewal->wait_ms = renewal->wait_ms ? renewal->wait_ms * 2 : WAIT_MIN_MS;
  if (renewal->wait_ms > WAIT_MAX_MS) renewal->wait_ms = WAIT_MAX_MS;
  renewal->next_try_mono_ms = tlx_mono_ms(renewal->options.clock) + renewal->wait_ms / 2 +
                              random_below(renewal->wait_ms / 2 + 1);
  renewal->state = RENEWAL_IDLE;
  forget_try(renewal);
  renewal->options.told(renewal->options.arg);
}

/* ---- saving ---- */

static size_t list(const struct tlx_buf *der, const size_t *lens, size_t n, struct tlx_bytes *out) {
  const uint8_t *at = der->data;
  for (size_t i = 0; i < n; i++) {
    out[i] = (struct tlx_bytes){at, lens[i]};
    at += lens[i];
  }
  return n;
}

static void save(uv_work_t *work) {
  struct renewal *renewal = work->data;
  struct tlx_bytes chain[CHAIN_MAX], ca[TLX_CA_MAX];
  size_t n_chain = list(&renewal->chain_der, renewal->chain_len, renewal->n_chain, chain);
  size_t n_ca = list(&renewal->ca_der, renewal->ca_len, renewal->n_ca, ca);
  renewal->err = identity_replace(renewal->options.folder, renewal->fleet_id, renewal->sensor_id,
                                  chain, n_chain, ca, n_ca, renewal->why);
}

static void take(struct renewal *renewal) {
  char why[256];
  int err = renewal->options.renewed(renewal->options.arg);
  if (err) {
    snprintf(why, sizeof why, "the renewed certificate cannot be used: %.150s", tlx_err_text(err));
    fail(renewal, why);
    return;
  }
  renewal->state = RENEWAL_IDLE;
  renewal->wait_ms = renewal->next_try_mono_ms = 0;
  renewal->error[0] = '\0';
  renewal->draw = (unsigned)random_below(1001);
  forget_try(renewal);
}

static void on_saved(uv_work_t *work, int status) {
  struct renewal *renewal = work->data;
  if (renewal->closing) {
    finish_close(renewal);
    return;
  }
  if (renewal->err) {
    fail(renewal, *renewal->why ? renewal->why : tlx_err_text(renewal->err));
    return;
  }
  take(renewal);
}

/* ---- calling ---- */

static void keep(struct tlx_buf *der, size_t *lens, size_t *n, size_t max,
                 const ProtobufCBinaryData *from, size_t n_from) {
  for (size_t i = 0; i < n_from && *n < max; i++) {
    tlx_buf_add(der, from[i].data, from[i].len);
    lens[(*n)++] = from[i].len;
  }
}

static void on_reply(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct renewal *renewal = arg;
  const Telovix__V1__RenewCertificateReply *reply = (const void *)message;
  keep(&renewal->chain_der, renewal->chain_len, &renewal->n_chain, CHAIN_MAX,
       reply->certificate_chain, reply->n_certificate_chain);
  keep(&renewal->ca_der, renewal->ca_len, &renewal->n_ca, TLX_CA_MAX, reply->ca_bundle,
       reply->n_ca_bundle);
}

static void on_done(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct renewal *renewal = arg;
  char why[sizeof status->message + 100];
  renewal->state = RENEWAL_IDLE;
  if (renewal->closing) return;
  if (status->code != TLX_GRPC_OK) {
    snprintf(why, sizeof why, "%s%s%s: %s", tlx_grpc_code_name(status->code),
             *status->reason ? " " : "", status->reason, status->message);
    fail(renewal, why);
    return;
  }
  if (renewal->chain_der.err || renewal->ca_der.err) {
    fail(renewal, "out of memory");
    return;
  }
  renewal->state = RENEWAL_SAVING;
  if (uv_queue_work(renewal->options.loop, &renewal->work, save, on_saved) != 0)
    fail(renewal, "no worker");
}

static void on_prepared(uv_work_t *work, int status) {
  struct renewal *renewal = work->data;
  renewal->state = RENEWAL_IDLE;
  if (renewal->closing) {
    finish_close(renewal);
    return;
  }
  if (renewal->has_newer) {
    take(renewal);
    return;
  }
  if (renewal->err) {
    char why[256];
    snprintf(why, sizeof why, "a new key: %.200s", tlx_err_text(renewal->err));
    fail(renewal, why);
    return;
  }
  struct tlx_channel *channel = renewal->options.channel(renewal->options.arg);
  if (!channel) return;
  Telovix__V1__RenewCertificateRequest request = TELOVIX__V1__RENEW_CERTIFICATE_REQUEST__INIT;
  request.csr = (ProtobufCBinaryData){renewal->csr.len, renewal->csr.data};
  struct tlx_client_call_options options = {.channel = channel,
                                            .path = "/telovix.v1.SensorService/RenewCertificate",
                                            .request = &request.base,
                                            .reply =
                                                &telovix__v1__renew_certificate_reply__descriptor,
                                            .timeout_ms = CALL_TIMEOUT_MS,
                                            .message = on_reply,
                                            .done = on_done,
                                            .arg = renewal};
  struct tlx_client_call *call;
  int err = tlx_client_call_start(&options, &call);
  if (err)
    fail(renewal, tlx_err_text(err));
  else
    renewal->state = RENEWAL_CALLING;
}

/* ---- beginning ---- */

/* A certificate that was got before, and could not be taken into use then. What cannot be loaded is
 * replaced by what is asked for now. */
static bool has_newer(const struct renewal *renewal) {
  struct identity *identity = calloc(1, sizeof *identity);
  char why[512];
  bool differs = false;
  if (identity && identity_load(renewal->options.folder, identity, why) == 0) {
    differs = identity->chain[0].len != renewal->leaf.len ||
              memcmp(identity->chain[0].data, renewal->leaf.data, renewal->leaf.len) != 0;
    identity_done(identity);
  }
  free(identity);
  return differs;
}

static void prepare(uv_work_t *work) {
  struct renewal *renewal = work->data;
  renewal->has_newer = has_newer(renewal);
  if (renewal->has_newer) return;
  struct tlx_key *key TLX_CLEANUP(tlx_key_free_p) = NULL;
  renewal->err = identity_pending_key(renewal->options.folder, &key);
  if (!renewal->err) renewal->err = tlx_csr_make(key, renewal->node_name, &renewal->csr);
}

static void begin(struct renewal *renewal) {
  const struct identity *identity = renewal->options.identity;
  forget_try(renewal);
  if (identity->n_chain)
    tlx_buf_add(&renewal->leaf, identity->chain[0].data, identity->chain[0].len);
  if (renewal->leaf.err) {
    fail(renewal, "out of memory");
    return;
  }
  snprintf(renewal->node_name, sizeof renewal->node_name, "%.60s",
           *identity->node_name ? identity->node_name : identity->sensor_id);
  snprintf(renewal->sensor_id, sizeof renewal->sensor_id, "%s", identity->sensor_id);
  snprintf(renewal->fleet_id, sizeof renewal->fleet_id, "%s", identity->fleet_id);
  renewal->why[0] = '\0';
  renewal->err = 0;
  renewal->state = RENEWAL_PREPARING;
  if (uv_queue_work(renewal->options.loop, &renewal->work, prepare, on_prepared) != 0)
    fail(renewal, "no worker");
}

void renewal_look(struct renewal *renewal, uint64_t console_wall_ms, bool is_asked) {
  const struct identity *identity = renewal->options.identity;
  if (renewal->state != RENEWAL_IDLE || renewal->closing) return;
  uint64_t due_wall_ms =
      renewal_due_wall_ms(identity->not_before_wall_ms, identity->not_after_wall_ms, renewal->draw);
  if (!is_asked && console_wall_ms < due_wall_ms) {
    /* What failed was asked for by a clock that was wrong. */
    renewal->wait_ms = renewal->next_try_mono_ms = 0;
    if (!*renewal->error) return;
    renewal->error[0] = '\0';
    renewal->options.told(renewal->options.arg);
    return;
  }
  if (tlx_mono_ms(renewal->options.clock) >= renewal->next_try_mono_ms) begin(renewal);
}

void renewal_now(struct renewal *renewal) {
  if (renewal->state == RENEWAL_IDLE && !renewal->closing) begin(renewal);
}

const char *renewal_error(const struct renewal *renewal) {
  return renewal->error;
}

/* ---- life ---- */

int renewal_new(const struct renewal_options *options, struct renewal **ret_renewal) {
  struct renewal *renewal = calloc(1, sizeof *renewal);
  if (!renewal) return -ENOMEM;
  renewal->options = *options;
  renewal->work.data = renewal;
  renewal->draw = (unsigned)random_below(1001);
  *ret_renewal = renewal;
  return 0;
}

void renewal_close(struct renewal *renewal, void (*closed)(void *arg), void *arg) {
  renewal->closing = true;
  renewal->closed = closed;
  renewal->closed_arg = arg;
  if (renewal->state == RENEWAL_PREPARING || renewal->state == RENEWAL_SAVING) return;
  finish_close(renewal);
}
