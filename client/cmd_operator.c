// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs of operators: create, list, role, revoke, and renew of one's own certificate. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "client/new_identity.h"
#include "client/output.h"
#include "client/pages.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/operator.pb-c.h"

#define CHAIN_MAX 4u

/* ---- what is shared ---- */

static int local_failed(struct client *client, const char *what, const char *why) {
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_FAILED_PRECONDITION, "profile", "%s", why);
  client_error(client, what, &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

static int local_usage(const struct client *client, const char *text) {
  fprintf(stderr, "telovixctl %s: %s; see telovixctl %s --help\n", client->verb, text,
          client->verb);
  return CLIENT_USAGE;
}

static int write_file(const char *folder, const char *name, const struct tlx_buf *content) {
  TLX_AUTOFREE char *path = tlx_path_join(folder, name);
  if (content->err) return content->err;
  return path ? tlx_file_write_atomic(path, content->data, content->len, 0600) : -ENOMEM;
}

/* The certificate that came, checked, as the files it becomes. */
struct issued {
  struct client *client;
  const struct new_identity *identity;
  const char *name;
  struct tlx_buf chain_pem, bundle_pem;
  Telovix__V1__Operator *made; /* owned */
  char why[512];
  bool is_good;
};

static bool take_issued(void *arg, const ProtobufCMessage *message) {
  struct issued *issued = arg;
  const Telovix__V1__OperatorCertificateReply *reply = (const void *)message;
  struct tlx_bytes chain[CHAIN_MAX], bundle[TLX_CA_MAX];
  size_t n_chain = 0, n_bundle = 0;
  for (; n_chain < reply->n_certificate_chain && n_chain < CHAIN_MAX; n_chain++)
    chain[n_chain] = (struct tlx_bytes){reply->certificate_chain[n_chain].data,
                                        reply->certificate_chain[n_chain].len};
  for (; n_bundle < reply->n_ca_bundle && n_bundle < TLX_CA_MAX; n_bundle++)
    bundle[n_bundle] =
        (struct tlx_bytes){reply->ca_bundle[n_bundle].data, reply->ca_bundle[n_bundle].len};
  issued->is_good = new_identity_check(issued->identity, issued->client->profile.fleet_id,
                                       issued->name, chain, n_chain, bundle, n_bundle,
                                       &issued->chain_pem, &issued->bundle_pem, issued->why) == 0;
  if (!issued->is_good || !reply->operator_) return true;
  /* The message lives for the callback only. */
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf packed = {0};
  tlx_pb_pack(&reply->operator_->base, &packed);
  if (!packed.err) issued->made = telovix__v1__operator__unpack(NULL, packed.len, packed.data);
  return true;
}

static void issued_done(struct issued *issued) {
  tlx_buf_done(&issued->chain_pem);
  tlx_buf_done(&issued->bundle_pem);
  if (issued->made) telovix__v1__operator__free_unpacked(issued->made, NULL);
}

static void show_issued(const struct issued *issued, const char *folder) {
  char until[32], role[64], shown[1024];
  enum output_format format = issued->client->args.format;
  if (format == OUTPUT_JSON && issued->made) {
    output_json(&issued->made->base);
  } else if (format == OUTPUT_NAME) {
    puts(issued->name);
  } else if (issued->made) {
    printf("operator %s (%s); certificate until %s; profile %s\n", issued->name,
           output_word(&telovix__v1__role__descriptor, (int)issued->made->role, role),
           output_time(issued->made->certificate_expires_at, until),
           tlx_text_escape(folder, SIZE_MAX, shown, sizeof shown));
  }
}

/* ---- create ---- */

/* Takes back what new_identity_open() made, and nothing else that may lie there. */
static void forget(const struct new_identity *identity, const char *pending) {
  tlx_file_remove(identity->key_path);
  tlx_file_remove(identity->csr_path);
  rmdir(pending);
}

static int write_profile(const struct issued *issued, const char *folder) {
  const struct profile *own = &issued->client->profile;
  const char *console = issued->client->args.console ? issued->client->args.console : own->console;
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf ini = {0};
  tlx_buf_printf(&ini, "[profile]\nconsole = %s\nfleet_id = %s\nfleet = %s\nname = %s\n", console,
                 own->fleet_id, *own->fleet ? own->fleet : "fleet", issued->name);
  int err = write_file(folder, "profile.ini", &ini);
  if (!err) err = write_file(folder, "ca.crt", &issued->bundle_pem);
  if (!err) err = write_file(folder, "client.crt", &issued->chain_pem);
  return err;
}

static int ask_create(struct client *client, struct issued *issued, const char *pending) {
  Telovix__V1__CreateOperatorRequest request = TELOVIX__V1__CREATE_OPERATOR_REQUEST__INIT;
  request.name = (char *)issued->name;
  request.role = (Telovix__V1__Role)client->args.role;
  request.csr = (ProtobufCBinaryData){issued->identity->csr.len, issued->identity->csr.data};
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  int ret =
      client_call(client, issued->name, "/telovix.v1.OperatorService/CreateOperator", &request.base,
                  &telovix__v1__operator_certificate_reply__descriptor, take_issued, issued);
  if (ret == CLIENT_OK && !issued->is_good) return local_failed(client, issued->name, issued->why);
  /* The key is nobody's only when no request but this one had it, and this one was refused. One
   * whose answer was lost may be an operator's by now, whatever becomes of the repetition. */
  if (client->was_refused && issued->identity->is_new) forget(issued->identity, pending);
  return ret;
}

/* The key is made beside the profile's place, and the whole profile renamed there at last. */
static int create_in(struct client *client, const char *pending) {
  const char *out = client->args.out;
  struct new_identity identity;
  char why[512] = "";
  int err = tlx_folder_make(pending, 0700);
  if (err) snprintf(why, sizeof why, "%.400s: %s", pending, tlx_err_text(err));
  if (!err)
    err = new_identity_open(pending, "client.key", "client.csr", client->args.words[0], &identity,
                            why);
  if (err) return local_failed(client, client->args.words[0], why);
  struct issued issued = {.client = client, .identity = &identity, .name = client->args.words[0]};
  int ret = ask_create(client, &issued, pending);
  if (ret == CLIENT_OK) {
    err = write_profile(&issued, pending);
    if (!err) err = tlx_file_remove(identity.csr_path);
    if (!err && rename(pending, out) != 0) err = -errno;
    if (err) {
      snprintf(why, sizeof why,
               "the operator was created, but its profile is not whole: %.200s: %s; "
               "repeat this with --request-id %s",
               pending, tlx_err_text(err), client->request_id);
      ret = local_failed(client, issued.name, why);
    } else {
      show_issued(&issued, out);
    }
  }
  issued_done(&issued);
  new_identity_done(&identity);
  return ret;
}

int cmd_operator_create(struct client *client) {
  const struct args *args = &client->args;
  struct stat info;
  char why[512];
  if (!args->role) return local_usage(client, "--role is missing");
  if (!args->out) return local_usage(client, "--out is missing");
  if (!tlx_name_operator_valid(args->words[0]))
    return local_usage(client, "NAME: want [a-z0-9][a-z0-9._-]{0,31}");
  size_t len = strlen(args->out);
  while (len > 1 && args->out[len - 1] == '/')
    len--;
  if (lstat(args->out, &info) == 0) {
    snprintf(why, sizeof why, "%.400s is there; choose another --out", args->out);
    return local_failed(client, args->words[0], why);
  }
  TLX_AUTOFREE char *pending = NULL;
  if (asprintf(&pending, "%.*s.pending", (int)len, args->out) < 0)
    return local_failed(client, args->words[0], "out of memory");
  return create_in(client, pending);
}

/* ---- renew ---- */

static int rename_in(const char *folder, const char *from, const char *to) {
  TLX_AUTOFREE char *old = tlx_path_join(folder, from), *new = tlx_path_join(folder, to);
  if (!old || !new) return -ENOMEM;
  return rename(old, new) == 0 ? 0 : -errno;
}

/* Two files cannot be replaced at once. The new certificate is there before the new key is, so that
 * at every instant the key has its certificate under one of the two names (profile_load). */
static int put_renewed(const struct issued *issued, const char *folder) {
  int err = write_file(folder, "ca.crt", &issued->bundle_pem);
  if (!err) err = write_file(folder, PROFILE_NEW_CRT, &issued->chain_pem);
  if (!err) err = rename_in(folder, PROFILE_NEW_KEY, "client.key");
  if (!err) err = rename_in(folder, PROFILE_NEW_CRT, "client.crt");
  if (!err) err = tlx_file_remove(issued->identity->csr_path); /* and fsyncs the folder */
  return err;
}

int cmd_renew(struct client *client) {
  const char *name = client->profile.name, *folder = client->folder;
  Telovix__V1__RenewOperatorRequest request = TELOVIX__V1__RENEW_OPERATOR_REQUEST__INIT;
  struct new_identity identity;
  char why[512] = "";
  if (!tlx_name_operator_valid(name))
    return local_failed(client, "", "profile.ini has no usable name: whoami says yours");
  if (new_identity_open(folder, PROFILE_NEW_KEY, "client.csr.new", name, &identity, why) != 0)
    return local_failed(client, "", why);
  struct issued issued = {.client = client, .identity = &identity, .name = name};
  request.csr = (ProtobufCBinaryData){identity.csr.len, identity.csr.data};
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  int ret = client_call(client, "", "/telovix.v1.OperatorService/RenewOperator", &request.base,
                        &telovix__v1__operator_certificate_reply__descriptor, take_issued, &issued);
  if (ret == CLIENT_OK && !issued.is_good) {
    ret = local_failed(client, "", issued.why);
  } else if (ret == CLIENT_OK) {
    int err = put_renewed(&issued, folder);
    snprintf(why, sizeof why, "%.300s: %s; the former certificate still works: try again", folder,
             tlx_err_text(err));
    if (err)
      ret = local_failed(client, "", why);
    else
      show_issued(&issued, folder);
  }
  issued_done(&issued);
  new_identity_done(&identity);
  return ret;
}

/* ---- list ---- */

static const char *const heads[] = {"NAME", "ROLE", "STATE", "CREATED", "CREATED BY", "EXPIRES"};

static bool take_operators(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListOperatorsReply *reply = (const void *)message;
  for (size_t i = 0; i < reply->n_operators && pages_have_room(pages); i++) {
    const Telovix__V1__Operator *one = reply->operators[i];
    char text[64];
    if (!pages_show(pages, &one->base, one->name)) continue;
    output_table_cell(pages->table, COLOUR_NONE, one->name);
    output_table_cell(pages->table, COLOUR_NONE,
                      output_word(&telovix__v1__role__descriptor, (int)one->role, text));
    output_table_cell(pages->table, one->revoked ? COLOUR_BAD : COLOUR_NONE,
                      one->revoked ? "revoked" : "active");
    output_table_cell(pages->table, COLOUR_NONE, output_time(one->created_at, text));
    output_table_cell(pages->table, COLOUR_NONE, one->created_by);
    output_table_cell(pages->table, COLOUR_NONE, output_time(one->certificate_expires_at, text));
  }
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_operator_list(struct client *client) {
  struct pages pages;
  pages_init(&pages, client, client->args.limit);
  if (pages.has_table) pages.table = output_table_new(heads, sizeof heads / sizeof *heads);
  int ret;
  do {
    Telovix__V1__ListOperatorsRequest request = TELOVIX__V1__LIST_OPERATORS_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    ret = client_call(client, "", "/telovix.v1.OperatorService/ListOperators", &request.base,
                      &telovix__v1__list_operators_reply__descriptor, take_operators, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

/* ---- role, revoke ---- */

static bool show_operator(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__Operator *one = (const void *)message;
  char role[64], name[128];
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else if (client->args.format == OUTPUT_NAME)
    puts(tlx_text_escape(one->name, SIZE_MAX, name, sizeof name));
  else if (one->revoked)
    printf("%s: revoked; refused from its next request on\n",
           tlx_text_escape(one->name, SIZE_MAX, name, sizeof name));
  else
    printf("%s: %s from its next request on\n",
           tlx_text_escape(one->name, SIZE_MAX, name, sizeof name),
           output_word(&telovix__v1__role__descriptor, (int)one->role, role));
  return true;
}

int cmd_operator_role(struct client *client) {
  Telovix__V1__SetOperatorRoleRequest request = TELOVIX__V1__SET_OPERATOR_ROLE_REQUEST__INIT;
  unsigned role;
  if (args_role(client->args.words[1], &role) != 0)
    return local_usage(client, "ROLE: want viewer, operator or admin");
  request.name = (char *)client->args.words[0];
  request.role = (Telovix__V1__Role)role;
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, request.name, "/telovix.v1.OperatorService/SetOperatorRole",
                     &request.base, &telovix__v1__operator__descriptor, show_operator, client);
}

int cmd_operator_revoke(struct client *client) {
  Telovix__V1__RevokeOperatorRequest request = TELOVIX__V1__REVOKE_OPERATOR_REQUEST__INIT;
  request.name = (char *)client->args.words[0];
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, request.name, "/telovix.v1.OperatorService/RevokeOperator",
                     &request.base, &telovix__v1__operator__descriptor, show_operator, client);
}
