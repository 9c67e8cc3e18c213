// SPDX-License-Identifier: GPL-2.0-or-later
/* audit verify: exports the whole log and recomputes it here. */
#include <stdio.h>
#include <string.h>

#include "client/audit_check.h"
#include "client/client.h"
#include "client/output.h"
#include "common/text.h"
#include "telovix/v1/audit.pb-c.h"

static bool take_head(void *arg, const ProtobufCMessage *message) {
  const Telovix__V1__AuditHead *head = (const Telovix__V1__AuditHead *)message;
  char *text = arg, hex[65] = "";
  if (head->hash.len == 32) tlx_hex_format(head->hash.data, 32, hex);
  snprintf(text, 96, "%llu:%s", (unsigned long long)head->seq, hex);
  return true;
}

struct verify {
  struct audit_check check;
  struct audit_check announced;  /* only its wanted head */
  const struct witness *witness; /* what the profile was told before: each must be met */
  uint64_t forked_seq;           /* the first that was not; 0 = all were */
  bool met;
};

static bool take_record(void *arg, const ProtobufCMessage *message) {
  struct verify *verify = arg;
  if (!audit_check_add(&verify->check, (const Telovix__V1__AuditRecord *)message)) return false;
  if (!verify->forked_seq && !witness_knows(verify->witness, verify->check.seq, verify->check.hash))
    verify->forked_seq = verify->check.seq;
  if (verify->check.seq == verify->announced.wanted_seq)
    verify->met = memcmp(verify->check.hash, verify->announced.wanted_hash, TLX_SHA256_LEN) == 0;
  return true;
}

static int failed(struct client *client, const char *text) {
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_DATA_LOSS, "audit_broken", "%s", text);
  client_error(client, "", &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

int cmd_audit_verify(struct client *client) {
  struct verify verify = {.witness = &client->witness};
  struct audit_check *const check = &verify.check;
  char announced[96] = "", hex[65];
  if (client->args.head && audit_check_want(check, client->args.head) != 0) {
    fprintf(stderr, "telovixctl audit verify: --head: want 64 hex digits, or NUMBER:HEX as `audit "
                    "head` prints it\n");
    return CLIENT_USAGE;
  }
  /* The head that the Console announces must be met by what it exports. */
  Telovix__V1__GetAuditHeadRequest head_request = TELOVIX__V1__GET_AUDIT_HEAD_REQUEST__INIT;
  int ret = client_call(client, "", "/telovix.v1.AuditService/GetAuditHead", &head_request.base,
                        &telovix__v1__audit_head__descriptor, take_head, announced);
  if (ret != CLIENT_OK) return ret;
  if (audit_check_want(&verify.announced, announced) != 0)
    return failed(client, "the Console announced no usable head");
  Telovix__V1__ExportAuditRequest request = TELOVIX__V1__EXPORT_AUDIT_REQUEST__INIT;
  request.from_seq = 1;
  struct session_call call = {.path = "/telovix.v1.AuditService/ExportAudit",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__audit_record__descriptor,
                              .timeout_ms = client->args.timeout_ms, /* a long log may take long */
                              .message = take_record,
                              .arg = &verify};
  struct tlx_status status;
  if (!session_run(client->session, &call, &status)) {
    client_error(client, "", &status, CLIENT_FAILED);
    return CLIENT_FAILED;
  }
  if (!audit_check_finish(check)) return failed(client, check->fault);
  if (verify.forked_seq) {
    char text[160];
    snprintf(text, sizeof text,
             "record %llu: this profile was told another one before; the log was cut or rolled "
             "back, and written anew",
             (unsigned long long)verify.forked_seq);
    return failed(client, text);
  }
  if (!verify.met)
    return failed(client, "the export does not contain the head that the Console announced");
  witness_verified(&client->witness, check->seq, check->hash);
  tlx_hex_format(check->hash, sizeof check->hash, hex);
  if (client->args.format == OUTPUT_JSON)
    printf("{\"records\":\"%llu\",\"head\":\"%llu:%s\",\"intact\":true}\n",
           (unsigned long long)check->seq, (unsigned long long)check->seq, hex);
  else
    printf("audit log intact: %llu records, head %llu:%s%s\n", (unsigned long long)check->seq,
           (unsigned long long)check->seq, hex,
           check->has_wanted ? ", and the noted head is part of it" : "");
  return CLIENT_OK;
}
