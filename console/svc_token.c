// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_token.h"
#include "console/page.h"
#include "console/svc.h"
#include "pki/digest.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "storage/token_tbl.h"
#include "telovix/v1/token.pb-c.h"

/* Enrollment tokens (TokenService). */

#define SECRET_LEN 32
#define TOKEN_NAME_MAX 127u
#define SENSOR_NAME_MAX 253u

/* What the op needs, and what is said once: the secret lives in this memory alone. */
struct token_create {
  struct op_token_create create; /* first */
  struct console *console;
  char secret[64], command[1024]; /* the command less what the record adds */
};

/* ---- creation ---- */

static void check_life(const Google__Protobuf__Duration *asked, uint64_t default_ms,
                       uint64_t max_ms, uint64_t *ret_life_ms, struct tlx_status *status) {
  uint64_t life_ms = default_ms;
  if (asked &&
      (!convert_duration_ms(asked, &life_ms) || life_ms < TOKEN_LIFE_MIN_MS || life_ms > max_ms))
    tlx_status_add_violation(status, "expires_in", "is not between 1 min and %s",
                             max_ms == FLEET_TOKEN_LIFE_MAX_MS ? "730 days" : "24 h");
  *ret_life_ms = life_ms;
}

static void check_name(const char *name, struct tlx_status *status) {
  if (strlen(name) > TOKEN_NAME_MAX)
    tlx_status_add_violation(status, "name", "is longer than %u bytes", TOKEN_NAME_MAX);
}

static void check_kind(const Telovix__V1__CreateEnrollmentTokenRequest *request,
                       struct tlx_status *status) {
  switch (request->kind) {
  case TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_UNSPECIFIED:
  case TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_ONE_TIME:
    if (request->max_uses > 1)
      tlx_status_add_violation(status, "max_uses", "is above 1, which takes a fleet token");
    return;
  case TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET:
    if (request->max_uses < 1 || request->max_uses > FLEET_TOKEN_USES_MAX)
      tlx_status_add_violation(status, "max_uses", "is not between 1 and %u", FLEET_TOKEN_USES_MAX);
    if (*request->node_name)
      tlx_status_add_violation(status, "node_name", "is not for a fleet token: it has many nodes");
    return;
  case TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_REENROLLMENT:
    tlx_status_add_violation(status, "kind", "is made with CreateReenrollmentToken");
    return;
  default:
    tlx_status_add_violation(status, "kind", "is no kind of token");
  }
}

static void check_create(const Telovix__V1__CreateEnrollmentTokenRequest *request,
                         uint64_t *ret_life_ms, struct tlx_status *status) {
  bool is_fleet = request->kind == TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET;
  check_kind(request, status);
  check_name(request->name, status);
  if (*request->node_name && !tlx_name_node_valid(request->node_name))
    tlx_status_add_violation(status, "node_name",
                             "is not 1 to 253 of [A-Za-z0-9._-], alphanumeric at both ends");
  check_life(request->expires_in, is_fleet ? FLEET_TOKEN_LIFE_DEFAULT_MS : TOKEN_LIFE_DEFAULT_MS,
             is_fleet ? FLEET_TOKEN_LIFE_MAX_MS : TOKEN_LIFE_MAX_MS, ret_life_ms, status);
  if (request->n_labels > LABELS_PER_SENSOR_MAX)
    tlx_status_add_violation(status, "labels", "has more than %u entries", LABELS_PER_SENSOR_MAX);
  for (size_t i = 0; i < request->n_labels && i < LABELS_PER_SENSOR_MAX; i++)
    if (!tlx_name_label_key_valid(request->labels[i]->key) ||
        !tlx_name_label_value_valid(request->labels[i]->value))
      tlx_status_add_violation(status, "labels", "has an invalid key or value");
  svc_check_common(status, request->reason, request->request_id);
}

static int make_secret(struct token_create *op) {
  uint8_t random[SECRET_LEN];
  int err = tlx_id_make("token_", op->create.token_id, sizeof op->create.token_id);
  if (!err) err = tlx_random(random, sizeof random);
  if (err) return err;
  strcpy(op->secret, "tse_");
  tlx_base64url_format(random, sizeof random, op->secret + 4);
  tlx_bytes_wipe(random, sizeof random);
  tlx_sha256(op->secret, strlen(op->secret), op->create.secret_hash);
  return 0;
}

static void make_command(struct token_create *op) {
  struct console *console = op->console;
  char address[SETTINGS_ADDRESS_MAX] = "CONSOLE:PORT";
  if (console->settings.n_advertise)
    settings_address(&console->settings, 0, tlx_server_port(console->server), address);
  bool is_again = op->create.kind == TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_REENROLLMENT;
  snprintf(op->command, sizeof op->command, "%s --console %s --ca-cert-hash %s --token %s",
           is_again ? "telovix-sensor-reenroll" : "telovix-sensor enroll", address,
           console->trust.pin, op->secret);
}

static void pack_create(const struct op *base, struct tlx_buf *buf) {
  const struct token_create *op = (const void *)base;
  Telovix__V1__CreateEnrollmentTokenReply reply = TELOVIX__V1__CREATE_ENROLLMENT_TOKEN_REPLY__INIT;
  struct tlx_arena arena;
  char command[sizeof op->command + 300];
  const char *node = op->create.record->node_name;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  snprintf(command, sizeof command, "%s%s%s", op->command, *node ? " --node-name " : "", node);
  reply.token = (char *)op->secret;
  reply.ca_cert_hash = op->console->trust.pin;
  reply.enroll_command = command;
  reply.record = convert_token(op->create.record, base->actor.wall_ms, &arena);
  if (reply.record)
    tlx_pb_pack(&reply.base, buf);
  else
    buf->err = -ENOMEM;
  tlx_bytes_wipe(command, sizeof command);
  tlx_arena_done(&arena);
}

static void created(struct op *base) {
  struct token_create *op = (void *)base;
  svc_op_answer(base);
  if (base->reply.data) tlx_bytes_wipe(base->reply.data, base->reply.len);
  op_done(base);
  tlx_bytes_wipe(op, sizeof *op);
  free(op);
}

/* An op with id and secret; NULL: the call is failed. */
static struct token_create *new_create(struct tlx_call *call, uint32_t kind, const char *name,
                                       uint64_t life_ms) {
  struct token_create *op = calloc(1, sizeof *op);
  if (!op || make_secret(op) != 0) {
    free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return NULL;
  }
  struct op_token_create *create = &op->create;
  op->console = console_of(call);
  create->kind = kind;
  snprintf(create->name, sizeof create->name, "%s", name);
  create->expires_wall_ms = tlx_wall_ms(op->console->clock) + life_ms;
  make_command(op);
  create->op.run = op_token_create_run;
  create->op.pack = pack_create;
  create->op.action_type = "enrollment_token_created";
  create->op.done = created;
  create->op.cost = sizeof *op;
  return op;
}

void svc_create_token(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__CreateEnrollmentTokenRequest *request = (const void *)message;
  bool is_fleet = request->kind == TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET;
  struct tlx_status status;
  uint64_t life_ms;
  tlx_status_clear(&status);
  check_create(request, &life_ms, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct token_create *op = new_create(call,
                                       is_fleet ? TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET
                                                : TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_ONE_TIME,
                                       request->name, life_ms);
  if (!op) return;
  struct op_token_create *create = &op->create;
  create->max_uses = is_fleet ? request->max_uses : 1;
  snprintf(create->node_name, sizeof create->node_name, "%s", request->node_name);
  for (size_t i = 0; i < request->n_labels; i++) {
    struct op_label *label = &create->labels[create->n_labels++];
    snprintf(label->key, sizeof label->key, "%s", request->labels[i]->key);
    snprintf(label->value, sizeof label->value, "%s", request->labels[i]->value);
  }
  svc_submit(call, &create->op, request->reason, request->request_id);
}

void svc_create_reenrollment_token(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__CreateReenrollmentTokenRequest *request = (const void *)message;
  struct tlx_status status;
  uint64_t life_ms;
  tlx_status_clear(&status);
  if (!*request->sensor || strlen(request->sensor) > SENSOR_NAME_MAX)
    tlx_status_add_violation(&status, "sensor", "is not an id or a node name");
  check_name(request->name, &status);
  check_life(request->expires_in, TOKEN_LIFE_DEFAULT_MS, TOKEN_LIFE_MAX_MS, &life_ms, &status);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct token_create *op =
      new_create(call, TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_REENROLLMENT, request->name, life_ms);
  if (!op) return;
  snprintf(op->create.sensor, sizeof op->create.sensor, "%s", request->sensor);
  svc_submit(call, &op->create.op, request->reason, request->request_id);
}

/* ---- RevokeEnrollmentToken ---- */

static void pack_revoke(const struct op *base, struct tlx_buf *buf) {
  const struct op_token_revoke *op = (const void *)base;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__EnrollmentToken *token =
      convert_token(op->record, base->actor.wall_ms, &arena);
  if (token)
    tlx_pb_pack(&token->base, buf);
  else
    buf->err = -ENOMEM;
  tlx_arena_done(&arena);
}

static void revoked(struct op *base) {
  svc_op_answer(base);
  op_done(base);
  free(base);
}

void svc_revoke_token(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__RevokeEnrollmentTokenRequest *request = (const void *)message;
  struct tlx_status status;
  tlx_status_clear(&status);
  if (!tlx_id_valid("token_", request->token_id))
    tlx_status_add_violation(&status, "token_id", "is not the id of a token");
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_token_revoke *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->token_id, sizeof op->token_id, "%s", request->token_id);
  op->op.run = op_token_revoke_run;
  op->op.pack = pack_revoke;
  op->op.action_type = "enrollment_token_revoked";
  op->op.done = revoked;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, request->reason, request->request_id);
}

/* ---- ListEnrollmentTokens ---- */

struct token_page {
  struct tlx_arena *arena;
  Telovix__V1__EnrollmentToken **tokens;
  size_t n, max, bytes;
  uint64_t now_wall_ms, last_no;
  bool more, failed;
};

static bool collect_token(void *arg, const Telovix__Store__V1__TokenRecord *record) {
  struct token_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  Telovix__V1__EnrollmentToken *token = convert_token(record, page->now_wall_ms, page->arena);
  if (!token) {
    page->failed = true;
    return false;
  }
  page->tokens[page->n++] = token;
  page->bytes += protobuf_c_message_get_packed_size(&token->base);
  page->last_no = record->token_no;
  return true;
}

void svc_list_tokens(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListEnrollmentTokensRequest *request = (const void *)message;
  Telovix__V1__ListEnrollmentTokensReply reply = TELOVIX__V1__LIST_ENROLLMENT_TOKENS_REPLY__INIT;
  struct token_page page = {.arena = tlx_call_arena(call),
                            .max = page_size(request->page_size, PAGE_MAX),
                            .now_wall_ms = tlx_wall_ms(console_of(call)->clock)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  char token[512];
  uint64_t before_no = UINT64_MAX;
  static const char filter[] = "ListEnrollmentTokens";
  tlx_status_clear(&status);
  if (page_token_parse_number(request->page_token, filter, &before_no, &status) != 0) {
    svc_fail_status(call, &status);
    return;
  }
  page.tokens = tlx_arena_alloc(page.arena, page.max * sizeof *page.tokens);
  if (!page.tokens) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  tlx_token_each(txn, before_no, collect_token, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (page.more) {
    page_token_format_number(filter, page.last_no, token);
    reply.next_page_token = token;
  }
  reply.tokens = page.tokens;
  reply.n_tokens = page.n;
  svc_reply(call, &reply.base);
}
