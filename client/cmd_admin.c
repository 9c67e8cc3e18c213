// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs that manage identities: enrollment tokens. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/output.h"
#include "client/pages.h"
#include "common/text.h"
#include "telovix/v1/token.pb-c.h"

static bool show_created(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__CreateEnrollmentTokenReply *reply =
      (const Telovix__V1__CreateEnrollmentTokenReply *)message;
  char until[32], text[2048];
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (client->args.format == OUTPUT_NAME) {
    puts(reply->record ? reply->record->token_id : "");
  } else {
    printf("token         %s\n", tlx_text_escape(reply->token, SIZE_MAX, text, sizeof text));
    if (reply->record) {
      printf("token id      %s\n", reply->record->token_id);
      if (*reply->record->sensor_id)
        printf("only for      %s (node %s)\n", reply->record->sensor_id,
               tlx_text_escape(reply->record->node_name, SIZE_MAX, text, sizeof text));
      printf("valid until   %s, for %u use%s\n", output_time(reply->record->expires_at, until),
             reply->record->max_uses, reply->record->max_uses == 1 ? "" : "s");
    }
    printf("CA hash       %s\n", tlx_text_escape(reply->ca_cert_hash, SIZE_MAX, text, sizeof text));
    printf("The token is shown only now. On the host, as root, run:\n  %s\n",
           tlx_text_escape(reply->enroll_command, SIZE_MAX, text, sizeof text));
  }
  return true;
}

static Google__Protobuf__Duration *life_of(const struct args *args,
                                           Google__Protobuf__Duration *life) {
  if (!args->life_ms) return NULL;
  google__protobuf__duration__init(life);
  life->seconds = (int64_t)(args->life_ms / 1000);
  life->nanos = (int32_t)(args->life_ms % 1000 * 1000000);
  return life;
}

static int wrong(const char *what) {
  fprintf(stderr, "telovixctl token create: %s; see telovixctl token create --help\n", what);
  return CLIENT_USAGE;
}

static int create_reenrollment(struct client *client) {
  const struct args *args = &client->args;
  Telovix__V1__CreateReenrollmentTokenRequest request =
      TELOVIX__V1__CREATE_REENROLLMENT_TOKEN_REQUEST__INIT;
  Google__Protobuf__Duration life;
  if (args->token_kind || args->max_uses || args->node_name || args->n_labels)
    return wrong(
        "--reenroll goes with none of --kind, --max-uses, --node-name and --label: the sensor "
        "keeps what it has");
  request.sensor = (char *)args->reenroll;
  request.expires_in = life_of(args, &life);
  if (args->name) request.name = (char *)args->name;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return client_call(client, args->reenroll, "/telovix.v1.TokenService/CreateReenrollmentToken",
                     &request.base, &telovix__v1__create_enrollment_token_reply__descriptor,
                     show_created, client);
}

int cmd_token_create(struct client *client) {
  const struct args *args = &client->args;
  Telovix__V1__CreateEnrollmentTokenRequest request =
      TELOVIX__V1__CREATE_ENROLLMENT_TOKEN_REQUEST__INIT;
  Telovix__V1__CreateEnrollmentTokenRequest__LabelsEntry labels[ARGS_LABELS_MAX],
      *label_list[ARGS_LABELS_MAX];
  Google__Protobuf__Duration life;
  bool is_fleet = args->token_kind == TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET;
  if (args->reenroll) return create_reenrollment(client);
  if (is_fleet && !args->max_uses)
    return wrong("--kind fleet needs --max-uses N: how many sensors it may enroll");
  if (is_fleet && args->node_name) return wrong("--node-name is not for a fleet token");
  if (!is_fleet && args->max_uses > 1) return wrong("--max-uses above 1 needs --kind fleet");
  for (size_t i = 0; i < args->n_labels; i++) {
    telovix__v1__create_enrollment_token_request__labels_entry__init(&labels[i]);
    labels[i].key = (char *)args->labels[i].key;
    labels[i].value = (char *)args->labels[i].value;
    label_list[i] = &labels[i];
  }
  request.kind = is_fleet ? TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET
                          : TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_ONE_TIME;
  request.max_uses = (uint32_t)args->max_uses;
  request.labels = label_list;
  request.n_labels = args->n_labels;
  request.expires_in = life_of(args, &life);
  if (args->name) request.name = (char *)args->name;
  if (args->node_name) request.node_name = (char *)args->node_name;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return client_call(client, "", "/telovix.v1.TokenService/CreateEnrollmentToken", &request.base,
                     &telovix__v1__create_enrollment_token_reply__descriptor, show_created, client);
}

static const char *const token_heads[] = {"TOKEN", "STATUS",  "KIND",       "NAME",   "NODE",
                                          "USES",  "EXPIRES", "CREATED BY", "USED BY"};

static bool take_tokens(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListEnrollmentTokensReply *reply =
      (const Telovix__V1__ListEnrollmentTokensReply *)message;
  for (size_t i = 0; i < reply->n_tokens && pages_have_room(pages); i++) {
    const Telovix__V1__EnrollmentToken *token = reply->tokens[i];
    char text[64];
    if (!pages_show(pages, &token->base, token->token_id)) continue;
    output_table_cell(pages->table, COLOUR_NONE, token->token_id);
    output_table_cell(
        pages->table, COLOUR_NONE,
        output_word(&telovix__v1__token_status__descriptor, (int)token->status, text));
    output_table_cell(pages->table, COLOUR_NONE,
                      output_word(&telovix__v1__token_kind__descriptor, (int)token->kind, text));
    output_table_cell(pages->table, COLOUR_NONE, token->name);
    output_table_cell(pages->table, COLOUR_NONE, token->node_name);
    snprintf(text, sizeof text, "%u/%u", token->uses, token->max_uses);
    output_table_cell(pages->table, COLOUR_NONE, text);
    output_table_cell(pages->table, COLOUR_NONE, output_time(token->expires_at, text));
    output_table_cell(pages->table, COLOUR_NONE, token->created_by);
    output_table_cell(pages->table, COLOUR_NONE, token->used_by_sensor_id);
  }
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_token_list(struct client *client) {
  struct pages pages;
  pages_init(&pages, client, client->args.limit);
  if (pages.has_table)
    pages.table = output_table_new(token_heads, sizeof token_heads / sizeof *token_heads);
  int ret;
  do {
    Telovix__V1__ListEnrollmentTokensRequest request =
        TELOVIX__V1__LIST_ENROLLMENT_TOKENS_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    ret = client_call(client, "", "/telovix.v1.TokenService/ListEnrollmentTokens", &request.base,
                      &telovix__v1__list_enrollment_tokens_reply__descriptor, take_tokens, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool show_revoked(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__EnrollmentToken *token = (const Telovix__V1__EnrollmentToken *)message;
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else
    printf("%s: revoked; it enrolls no sensor any more\n", token->token_id);
  return true;
}

int cmd_token_revoke(struct client *client) {
  Telovix__V1__RevokeEnrollmentTokenRequest request =
      TELOVIX__V1__REVOKE_ENROLLMENT_TOKEN_REQUEST__INIT;
  request.token_id = (char *)client->args.words[0];
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, client->args.words[0],
                     "/telovix.v1.TokenService/RevokeEnrollmentToken", &request.base,
                     &telovix__v1__enrollment_token__descriptor, show_revoked, client);
}
