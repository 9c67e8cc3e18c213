// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "console/authz.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_operator.h"
#include "console/page.h"
#include "console/svc.h"
#include "pki/identity.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/operator.pb-c.h"

/* The caller's own identity, and those of other operators (OperatorService; spec §2, §6). */

#define CSR_MAX 4096u

/* ---- WhoAmI ---- */

void svc_whoami(struct tlx_call *call, const ProtobufCMessage *message) {
  struct console *console = console_of(call);
  const struct tlx_cert *cert = tlx_call_peer_cert(call);
  Telovix__V1__WhoAmIReply reply = TELOVIX__V1__WHO_AM_IREPLY__INIT;
  reply.name = caller_of(call)->name;
  reply.role = (Telovix__V1__Role)caller_of(call)->role;
  reply.fleet_id = console->fleet_id;
  reply.fleet_name = console->fleet_name;
  reply.certificate_expires_at =
      convert_time(cert ? cert->not_after_wall_ms : 0, tlx_call_arena(call));
  static char version[] = TLX_VERSION;
  reply.console_version = version;
  svc_reply(call, &reply.base);
}

/* ---- what is shared ---- */

static void check_name(struct tlx_status *status, const char *name) {
  if (!tlx_name_operator_valid(name))
    tlx_status_add_violation(status, "name", "is not [a-z0-9][a-z0-9._-]{0,31}");
}

static void check_role(struct tlx_status *status, Telovix__V1__Role role) {
  if (role < TELOVIX__V1__ROLE__ROLE_VIEWER || role > TELOVIX__V1__ROLE__ROLE_ADMIN)
    tlx_status_add_violation(status, "role", "is not viewer, operator or admin");
}

/* |ret_spki| borrows from the request. */
static void check_csr(struct tlx_status *status, const ProtobufCBinaryData *csr,
                      struct tlx_bytes *ret_spki) {
  if (csr->len > CSR_MAX || tlx_csr_verify((struct tlx_bytes){csr->data, csr->len}, ret_spki) != 0)
    tlx_status_add_violation(status, "csr",
                             "is not a PKCS#10 request with a P-256 key and its own signature");
}

static void convert(const Telovix__Store__V1__OperatorRecord *record, struct tlx_arena *arena,
                    Telovix__V1__Operator *ret_operator) {
  telovix__v1__operator__init(ret_operator);
  ret_operator->name = record->name;
  ret_operator->role = (Telovix__V1__Role)record->role;
  ret_operator->revoked = record->revoked;
  ret_operator->created_at = convert_time(record->created_wall_ms, arena);
  ret_operator->created_by = record->created_by;
  ret_operator->certificate_expires_at = convert_time(record->cert_not_after_wall_ms, arena);
}

/* Signs a certificate for |name|, in the place of |replaced| (NULL = of none), and packs what the
 * reply says beside the operator. */
static int issue(struct console *console, const char *name, struct tlx_bytes spki,
                 const struct tlx_cert *replaced, uint8_t ret_serial[TLX_SERIAL_LEN],
                 uint64_t *ret_not_after_wall_ms, struct tlx_buf *ret_rest) {
  Telovix__V1__OperatorCertificateReply reply = TELOVIX__V1__OPERATOR_CERTIFICATE_REPLY__INIT;
  struct tlx_buf leaf TLX_CLEANUP(tlx_buf_done) = {0};
  ProtobufCBinaryData chain[2], bundle[TLX_CA_MAX];
  const struct tlx_cert *ca = tlx_ca_bundle_get(console->trust.ca, 0);
  struct tlx_spiffe id = {.kind = TLX_PRINCIPAL_OPERATOR};
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  char uri[256];
  snprintf(id.fleet_id, sizeof id.fleet_id, "%s", console->fleet_id);
  snprintf(id.name, sizeof id.name, "%s", name);
  int err = tlx_spiffe_format(&id, uri);
  if (!err) err = tlx_serial_make(ret_serial);
  *ret_not_after_wall_ms = now_wall_ms + OPERATOR_CERT_LIFE_MS;
  if (!err)
    err = trust_issue_client(&console->trust, name, uri, spki, ret_serial,
                             trust_start(&console->trust, replaced, now_wall_ms),
                             *ret_not_after_wall_ms, &leaf);
  if (err) return err;
  chain[0] = (ProtobufCBinaryData){leaf.len, leaf.data};
  chain[1] = (ProtobufCBinaryData){ca->der.len, (uint8_t *)ca->der.data};
  for (size_t i = 0; i < tlx_ca_bundle_count(console->trust.ca); i++) {
    const struct tlx_cert *one = tlx_ca_bundle_get(console->trust.ca, i);
    bundle[reply.n_ca_bundle++] = (ProtobufCBinaryData){one->der.len, (uint8_t *)one->der.data};
  }
  reply.n_certificate_chain = 2;
  reply.certificate_chain = chain;
  reply.ca_bundle = bundle;
  reply.fleet_id = console->fleet_id;
  reply.fleet_name = console->fleet_name;
  tlx_pb_pack(&reply.base, ret_rest);
  return ret_rest->err;
}

static void pack_operator(const Telovix__Store__V1__OperatorRecord *record, struct tlx_buf *buf) {
  Telovix__V1__Operator converted;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  convert(record, &arena, &converted);
  tlx_pb_pack(&converted.base, buf);
  tlx_arena_done(&arena);
}

/* The packed forms of two parts of a message, one behind the other, are that of the whole (protobuf
 * encoding, "Last One Wins"): so the op needs to know nothing of certificates. */
static void pack_certificate(const Telovix__Store__V1__OperatorRecord *record,
                             const struct tlx_buf *rest, struct tlx_buf *buf) {
  Telovix__V1__OperatorCertificateReply reply = TELOVIX__V1__OPERATOR_CERTIFICATE_REPLY__INIT;
  Telovix__V1__Operator converted;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  convert(record, &arena, &converted);
  reply.operator_ = &converted;
  tlx_pb_pack(&reply.base, buf);
  tlx_buf_add(buf, rest->data, rest->len);
  tlx_arena_done(&arena);
}

/* ---- CreateOperator ---- */

static void pack_create(const struct op *base, struct tlx_buf *buf) {
  const struct op_operator_create *op = (const void *)base;
  pack_certificate(op->record, &op->rest, buf);
}

static void free_create(struct op_operator_create *op) {
  tlx_buf_done(&op->rest);
  op_done(&op->op);
  free(op);
}

static void created(struct op *base) {
  struct op_operator_create *op = (void *)base;
  if (base->status.code == TLX_GRPC_OK && !base->replayed)
    tlx_notice(AUTH, "operator created: operator=%s role=%s by=%s", op->name,
               authz_role_name(op->role), base->actor.name);
  svc_op_answer(base);
  free_create(op);
}

void svc_create_operator(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__CreateOperatorRequest *request = (const void *)message;
  struct tlx_status status;
  struct tlx_bytes spki;
  tlx_status_clear(&status);
  check_name(&status, request->name);
  check_role(&status, request->role);
  check_csr(&status, &request->csr, &spki);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_operator_create *op = calloc(1, sizeof *op);
  if (!op || issue(console_of(call), request->name, spki, NULL, op->serial, &op->not_after_wall_ms,
                   &op->rest) != 0) {
    if (op) free_create(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->name, sizeof op->name, "%s", request->name);
  op->role = request->role;
  op->op.run = op_operator_create_run;
  op->op.pack = pack_create;
  op->op.action_type = "operator_created";
  op->op.done = created;
  op->op.cost = sizeof *op + op->rest.len;
  svc_submit(call, &op->op, request->reason, request->request_id);
}

/* ---- RenewOperator ---- */

static void pack_renew(const struct op *base, struct tlx_buf *buf) {
  const struct op_operator_renew *op = (const void *)base;
  pack_certificate(op->record, &op->rest, buf);
}

static void free_renew(struct op_operator_renew *op) {
  tlx_buf_done(&op->rest);
  op_done(&op->op);
  free(op);
}

static void renewed(struct op *base) {
  svc_op_answer(base);
  free_renew((void *)base);
}

void svc_renew_operator(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__RenewOperatorRequest *request = (const void *)message;
  const struct tlx_cert *own = tlx_call_peer_cert(call);
  struct tlx_status status;
  struct tlx_bytes spki = {0};
  tlx_status_clear(&status);
  check_csr(&status, &request->csr, &spki);
  /* A key that was stolen would go on with the new certificate. */
  if (spki.len && spki.len == own->spki.len && memcmp(spki.data, own->spki.data, spki.len) == 0)
    tlx_status_add_violation(&status, "csr", "has the key of the present certificate: make one");
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_operator_renew *op = calloc(1, sizeof *op);
  if (!op || issue(console_of(call), caller_of(call)->name, spki, own, op->serial,
                   &op->not_after_wall_ms, &op->rest) != 0) {
    if (op) free_renew(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  memcpy(op->own_serial, own->serial, sizeof op->own_serial);
  op->op.run = op_operator_renew_run;
  op->op.pack = pack_renew;
  op->op.action_type = "operator_certificate_renewed";
  op->op.done = renewed;
  op->op.cost = sizeof *op + op->rest.len;
  svc_submit(call, &op->op, request->reason, request->request_id);
}

static void used(struct op *base) {
  if (base->status.code != TLX_GRPC_OK)
    tlx_warn(AUTH, "the first use of a certificate was not stored: %s", base->status.message);
  op_done(base);
  free(base);
}

void svc_operator_used(struct tlx_call *call, const uint8_t *serial) {
  struct op_operator_used *op = calloc(1, sizeof *op);
  if (!op) return; /* the next call tries again */
  snprintf(op->name, sizeof op->name, "%s", caller_of(call)->name);
  memcpy(op->serial, serial, sizeof op->serial);
  op->op.run = op_operator_used_run;
  op->op.done = used;
  op->op.cost = sizeof *op;
  console_submit(console_of(call), &op->op);
}

/* ---- SetOperatorRole, RevokeOperator ---- */

static void pack_change(const struct op *base, struct tlx_buf *buf) {
  const struct op_operator_change *op = (const void *)base;
  pack_operator(op->record, buf);
}

/* Answers first: who changes himself has the answer before his connection ends. */
static void role_changed(struct op *base) {
  struct op_operator_change *op = (void *)base;
  struct console *console = console_of(base->arg);
  bool done = base->status.code == TLX_GRPC_OK && !base->replayed;
  if (done)
    tlx_notice(AUTH, "role changed: operator=%s role=%s by=%s", op->name, authz_role_name(op->role),
               base->actor.name);
  svc_op_answer(base);
  if (done) authn_end_calls_above(console, op->name, op->role);
  op_done(base);
  free(op);
}

static void revoked(struct op *base) {
  struct op_operator_change *op = (void *)base;
  struct console *console = console_of(base->arg);
  bool done = base->status.code == TLX_GRPC_OK && !base->replayed;
  if (done) tlx_notice(AUTH, "operator revoked: operator=%s by=%s", op->name, base->actor.name);
  svc_op_answer(base);
  if (done) authn_end_identity(console, CALLER_OPERATOR, op->name, REASON_OPERATOR_REVOKED);
  op_done(base);
  free(op);
}

static void submit_change(struct tlx_call *call, const char *name, uint32_t role, bool is_role,
                          const char *reason, const char *request_id, struct tlx_status *status) {
  check_name(status, name);
  svc_check_common(status, reason, request_id);
  if (status->code != TLX_GRPC_OK) {
    svc_fail_status(call, status);
    return;
  }
  struct op_operator_change *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->name, sizeof op->name, "%s", name);
  op->role = role;
  op->op.run = is_role ? op_operator_role_run : op_operator_revoke_run;
  op->op.pack = pack_change;
  op->op.action_type = is_role ? "operator_role_changed" : "operator_revoked";
  op->op.done = is_role ? role_changed : revoked;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, reason, request_id);
}

void svc_set_operator_role(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__SetOperatorRoleRequest *request = (const void *)message;
  struct tlx_status status;
  tlx_status_clear(&status);
  check_role(&status, request->role);
  submit_change(call, request->name, request->role, true, request->reason, request->request_id,
                &status);
}

void svc_revoke_operator(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__RevokeOperatorRequest *request = (const void *)message;
  struct tlx_status status;
  tlx_status_clear(&status);
  submit_change(call, request->name, 0, false, request->reason, request->request_id, &status);
}

/* ---- ListOperators ---- */

struct operator_page {
  struct tlx_arena *arena;
  Telovix__V1__Operator *operators, **list;
  size_t n, max, bytes;
  char last_name[64];
  bool more, failed;
};

static char *copy_text(struct tlx_arena *arena, const char *text, bool *failed) {
  size_t size = strlen(text) + 1;
  char *copy = tlx_arena_alloc(arena, size);
  if (!copy) {
    *failed = true;
    return NULL;
  }
  return memcpy(copy, text, size);
}

static bool collect_operator(void *arg, const Telovix__Store__V1__OperatorRecord *record) {
  struct operator_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  Telovix__V1__Operator *converted = &page->operators[page->n];
  convert(record, page->arena, converted);
  converted->name = copy_text(page->arena, record->name, &page->failed);
  converted->created_by = copy_text(page->arena, record->created_by, &page->failed);
  if (page->failed) return false;
  page->list[page->n++] = converted;
  page->bytes += protobuf_c_message_get_packed_size(&converted->base);
  snprintf(page->last_name, sizeof page->last_name, "%s", record->name);
  return true;
}

void svc_list_operators(struct tlx_call *call, const ProtobufCMessage *message) {
  static const char filter[] = "ListOperators";
  const Telovix__V1__ListOperatorsRequest *request = (const void *)message;
  Telovix__V1__ListOperatorsReply reply = TELOVIX__V1__LIST_OPERATORS_REPLY__INIT;
  struct operator_page page = {.arena = tlx_call_arena(call),
                               .max = page_size(request->page_size, PAGE_MAX)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  char token[512], after[PAGE_KEY_MAX + 1];
  size_t after_len;
  tlx_status_clear(&status);
  if (page_token_parse(request->page_token, filter, (uint8_t *)after, &after_len, &status) != 0) {
    svc_fail_status(call, &status);
    return;
  }
  after[after_len] = 0;
  page.operators = tlx_arena_alloc(page.arena, page.max * sizeof *page.operators);
  page.list = tlx_arena_alloc(page.arena, page.max * sizeof *page.list);
  if (!page.operators || !page.list) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  tlx_operator_each(txn, after_len ? after : NULL, collect_operator, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (page.more) {
    page_token_format(filter, page.last_name, strlen(page.last_name), token);
    reply.next_page_token = token;
  }
  reply.operators = page.list;
  reply.n_operators = page.n;
  svc_reply(call, &reply.base);
}
