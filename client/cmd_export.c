// SPDX-License-Identifier: GPL-2.0-or-later
/* audit export: the records that match, oldest first, as they come. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/csv.h"
#include "client/output.h"
#include "common/text.h"
#include "telovix/v1/audit.pb-c.h"

/* In the order of the hashed fields (doc/protocol.md). */
static const char *const heads[] = {
    "seq",    "created_at", "action_type", "outcome",   "actor",      "actor_role", "sensor_id",
    "detail", "reason",     "request_id",  "client_ip", "user_agent", "prev_hash",  "hash"};

struct export {
  struct client *client;
  bool has_failed; /* out of memory: told once, at the end */
};

static void add_hash(struct tlx_buf *row, const ProtobufCBinaryData *hash) {
  char hex[65] = "";
  if (hash->len == 32) tlx_hex_format(hash->data, hash->len, hex);
  csv_field(row, hex, false);
}

static void print_heads(void) {
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
    printf("%s%s", i ? "," : "", heads[i]);
  fputs("\r\n", stdout);
}

static void print_row(struct export *export, const Telovix__V1__AuditRecord *record) {
  struct tlx_buf row = {0};
  char seq[24], outcome[64];
  snprintf(seq, sizeof seq, "%llu", (unsigned long long)record->seq);
  output_word(&telovix__v1__audit_outcome__descriptor, (int)record->outcome, outcome);
  const char *texts[] = {record->created_at, record->action_type, outcome,           record->actor,
                         record->actor_role, record->sensor_id,   record->detail,    record->reason,
                         record->request_id, record->client_ip,   record->user_agent};
  csv_field(&row, seq, true);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    csv_field(&row, texts[i], false);
  add_hash(&row, &record->prev_hash);
  add_hash(&row, &record->hash);
  csv_end(&row);
  if (row.err)
    export->has_failed = true;
  else
    fwrite(row.data, 1, row.len, stdout);
  tlx_buf_done(&row);
}

/* A reader that went away (a pipe that was closed) ends the export. */
static bool take_record(void *arg, const ProtobufCMessage *message) {
  struct export *export = arg;
  if (export->client->args.is_csv)
    print_row(export, (const void *)message);
  else
    output_json(message);
  return !export->has_failed && !ferror(stdout);
}

int cmd_audit_export(struct client *client) {
  const struct args *args = &client->args;
  struct export export = {.client = client};
  Telovix__V1__ExportAuditRequest request = TELOVIX__V1__EXPORT_AUDIT_REQUEST__INIT;
  Google__Protobuf__Timestamp since, until;
  if (args->actor) request.actor = (char *)args->actor;
  if (args->action) request.action_type = (char *)args->action;
  if (args->sensor) request.sensor = (char *)args->sensor;
  request.outcome = args->outcome;
  request.since = output_timestamp(args->since_wall_ms, &since);
  request.until = output_timestamp(args->until_wall_ms, &until);
  struct session_call call = {.path = "/telovix.v1.AuditService/ExportAudit",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__audit_record__descriptor,
                              .timeout_ms = args->timeout_ms, /* a long log may take long */
                              .message = take_record,
                              .arg = &export};
  struct tlx_status status;
  if (args->is_csv) print_heads();
  bool ok = session_run(client->session, &call, &status);
  if (ok && export.has_failed) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, NULL, "out of memory");
    ok = false;
  }
  if (ok) return CLIENT_OK;
  client_error(client, "", &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}
