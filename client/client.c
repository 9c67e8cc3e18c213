// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/client.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/text.h"

/* Words of a verb, at most two; a verb with one word has none that starts with it. */
struct verb {
  const char *words, *usage;
  size_t n_args;
  unsigned groups;
  const char *doc;
  int (*run)(struct client *client);
  bool offline; /* needs neither profile nor Console */
};

static const struct verb verbs[] = {
    {"whoami", "", 0, 0, "Shows who the Console takes you for.", cmd_whoami, false},
    {"sensors list", "", 0, ARGS_SENSORS | ARGS_LIMIT,
     "Lists sensors in order of their node names.", cmd_sensors_list, false},
    {"sensors get", "SENSOR", 1, 0, "Shows one sensor with every reason of its health.",
     cmd_sensors_get, false},
    {"sensors watch", "", 0, ARGS_ALL, "Shows every sensor, then each change, until interrupted.",
     cmd_sensors_watch, false},
    {"fleet health", "", 0, 0,
     "Counts the fleet by health, with every reason; disabled and revoked sensors are left out.",
     cmd_fleet_health, false},
    {"disable", "SENSOR", 1, ARGS_CHANGE,
     "Leaves SENSOR out of fleet health; its heartbeats, orders and rules go on.", cmd_disable,
     false},
    {"enable", "SENSOR", 1, ARGS_CHANGE, "Takes a disable back.", cmd_enable, false},
    {"revoke", "SENSOR", 1, ARGS_REVOKE | ARGS_CHANGE,
     "Refuses the identity of SENSOR from now on; only a re-enrollment brings it back. Its host "
     "keeps what it enforces.",
     cmd_revoke, false},
    {"delete", "SENSOR", 1, ARGS_DELETE | ARGS_CHANGE,
     "Removes SENSOR with all it has but audit records. Cannot be taken back.", cmd_delete, false},
    {"kill", "SENSOR PID", 2, ARGS_KILL | ARGS_CHANGE,
     "Orders one process killed on the host of SENSOR.", cmd_kill, false},
    {"kills list", "", 0, ARGS_OF_SENSOR | ARGS_LIMIT, "Lists kill orders, newest first.",
     cmd_kills_list, false},
    {"kills get", "ORDER", 1, 0, "Shows one kill order with the times of each state.",
     cmd_kills_get, false},
    {"kills cancel", "ORDER", 1, ARGS_CHANGE, "Takes back an order that no sensor has been given.",
     cmd_kills_cancel, false},
    {"block", "SENSOR PATH", 2, ARGS_BLOCK | ARGS_WAIT | ARGS_CHANGE,
     "Stops every execution of the file PATH on the host of SENSOR, from now on.", cmd_block,
     false},
    {"contain", "SENSOR", 1, ARGS_CONTAIN | ARGS_WAIT | ARGS_CHANGE,
     "Cuts the host of SENSOR off from the network, but for loopback, its own Console and what is "
     "allowed.",
     cmd_contain, false},
    {"release", "SENSOR", 1, ARGS_WAIT | ARGS_CHANGE, "Takes the containment of SENSOR away.",
     cmd_release, false},
    {"allow", "SENSOR set ENTRY...\nSENSOR list", 2, ARGS_ENTRIES | ARGS_CHANGE,
     "Replaces what the contained host of SENSOR is allowed (set; without an ENTRY: nothing), or "
     "shows it (list).",
     cmd_allow, false},
    {"rules list", "", 0, ARGS_OF_SENSOR | ARGS_LIMIT,
     "Lists rules: what is desired and, beside it, what the host reported.", cmd_rules_list, false},
    {"rules get", "RULE", 1, 0, "Shows one rule with every gap that its host leaves.",
     cmd_rules_get, false},
    {"rules mode", "RULE enforce|observe", 2, ARGS_FORCE | ARGS_WAIT | ARGS_CHANGE,
     "Lets a rule stop what it matches, or only count it.", cmd_rules_mode, false},
    {"rules delete", "RULE", 1, ARGS_WAIT | ARGS_CHANGE,
     "Takes a rule away; it stays listed until the host confirmed that.", cmd_rules_delete, false},
    {"events list", "", 0, ARGS_OF_SENSOR | ARGS_EVENTS | ARGS_LIMIT,
     "Lists what enforcement did on hosts, newest first.", cmd_events_list, false},
    {"token create", "", 0, ARGS_TOKEN | ARGS_CHANGE,
     "Makes an enrollment token, or with --reenroll one that renews a sensor's identity; the "
     "secret "
     "is shown only now.",
     cmd_token_create, false},
    {"token list", "", 0, ARGS_LIMIT,
     "Lists enrollment tokens, newest first, without their secrets.", cmd_token_list, false},
    {"token revoke", "TOKEN", 1, ARGS_CHANGE, "Makes a token (by its id) unusable.",
     cmd_token_revoke, false},
    {"audit list", "", 0, ARGS_AUDIT | ARGS_LIMIT, "Lists audit records, newest first.",
     cmd_audit_list, false},
    {"audit head", "", 0, 0,
     "Shows number and hash of the newest audit record, to be noted elsewhere.", cmd_audit_head,
     false},
    {"audit verify", "", 0, ARGS_HEAD,
     "Recomputes the whole audit chain here, without trusting the Console.", cmd_audit_verify,
     false},
    {"audit export", "", 0, ARGS_AUDIT | ARGS_EXPORT,
     "Prints every audit record that matches, oldest first.", cmd_audit_export, false},
    {"operator create", "NAME", 1, ARGS_OPERATOR | ARGS_CHANGE,
     "Makes an operator: the key here, the certificate at the Console, the profile in --out.",
     cmd_operator_create, false},
    {"operator list", "", 0, ARGS_LIMIT, "Lists operators, revoked ones too.", cmd_operator_list,
     false},
    {"operator role", "NAME viewer|operator|admin", 2, ARGS_CHANGE,
     "Gives an operator another role, from the next request on.", cmd_operator_role, false},
    {"operator revoke", "NAME", 1, ARGS_CHANGE,
     "Refuses an operator from the next request on, for good.", cmd_operator_revoke, false},
    {"renew", "", 0, ARGS_CHANGE, "Replaces key and certificate of this profile.", cmd_renew,
     false},
    {"help choose", "", 0, 0, "Says which control fits which situation.", cmd_help_choose, true},
};
#define N_VERBS (sizeof verbs / sizeof *verbs)

static const char top_doc[] =
    "Operators' command line of Telovix.\n\n"
    "  whoami                         who the Console takes you for\n"
    "  sensors list|get|watch         the fleet\n"
    "  fleet health                   the fleet in numbers\n"
    "  kill SENSOR PID [--wait]       order a process killed\n"
    "  kills list|get|cancel          kill orders\n"
    "  block SENSOR PATH [--wait]     stop every execution of one file\n"
    "  contain SENSOR [--wait]        cut a host off from the network\n"
    "  release SENSOR [--wait]        take that back\n"
    "  allow SENSOR set|list          what a contained host may do\n"
    "  disable|enable SENSOR          leave a sensor out of fleet health, or not\n"
    "  revoke SENSOR                  end the trust in a sensor\n"
    "  delete SENSOR                  remove a sensor\n"
    "  rules list|get|mode|delete     what hosts must enforce, and what they do\n"
    "  events list [--follow]         what enforcement did\n"
    "  token create|list|revoke       enrollment tokens\n"
    "  audit list|export|head|verify  who did what, and proof that the log is whole\n"
    "  operator create|list|role|revoke\n"
    "                                 who may do what\n"
    "  renew                          this profile's key and certificate\n"
    "  help choose                    which control fits which situation\n\n"
    "`telovixctl VERB --help` has the options of a verb.";

static const struct verb *find_verb(int argc, char **argv, int *ret_used) {
  for (size_t i = 0; i < N_VERBS; i++) {
    const char *space = strchr(verbs[i].words, ' ');
    size_t first = space ? (size_t)(space - verbs[i].words) : strlen(verbs[i].words);
    if (strlen(argv[0]) != first || strncmp(argv[0], verbs[i].words, first) != 0) continue;
    if (space && (argc < 2 || strcmp(argv[1], space + 1) != 0)) continue;
    *ret_used = space ? 2 : 1;
    return &verbs[i];
  }
  return NULL;
}

static bool is_in_group(const struct verb *verb, const char *group, size_t len) {
  return strncmp(verb->words, group, len) == 0 && verb->words[len] == ' ';
}

static void group_help(const char *group, size_t len) {
  printf("Usage: telovixctl %s WORD [OPTION...]\n\n", group);
  for (size_t i = 0; i < N_VERBS; i++) {
    if (!is_in_group(&verbs[i], group, len)) continue;
    char words[64];
    snprintf(words, sizeof words, "%s%s%s", verbs[i].words + len + 1, *verbs[i].usage ? " " : "",
             verbs[i].usage);
    printf("  %-16s %s\n", words, verbs[i].doc);
  }
  printf("\n`telovixctl %s WORD --help` has the options of a word.\n\n%s\n", group, args_exit_doc);
}

/* "sensors" alone, or with a word it does not have: say which ones it has. */
static int unknown_verb(int argc, char **argv) {
  char shown[128];
  bool group = false;
  size_t len = strlen(argv[0]);
  for (size_t i = 0; i < N_VERBS; i++)
    if (is_in_group(&verbs[i], argv[0], len)) group = true;
  if (!group) {
    fprintf(stderr, "telovixctl: %s: no such verb; see telovixctl --help\n",
            tlx_text_escape(argv[0], SIZE_MAX, shown, sizeof shown));
    return CLIENT_USAGE;
  }
  if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0)) {
    group_help(argv[0], len);
    return CLIENT_OK;
  }
  fprintf(stderr, "telovixctl %s: want one of:", argv[0]);
  for (size_t i = 0; i < N_VERBS; i++)
    if (is_in_group(&verbs[i], argv[0], len)) fprintf(stderr, " %s", verbs[i].words + len + 1);
  fprintf(stderr, "; see telovixctl %s --help\n", argv[0]);
  return CLIENT_USAGE;
}

uint64_t client_timeout_ms(const struct client *client) {
  return client->args.timeout_ms ? client->args.timeout_ms : ARGS_TIMEOUT_DEFAULT_MS;
}

/* Words of the command line are any bytes, and JSON takes UTF-8 alone. */
static json_t *text_json(const char *text) {
  char shown[1024];
  if (!tlx_text_utf8_valid(text, strlen(text)))
    text = tlx_text_escape(text, SIZE_MAX, shown, sizeof shown);
  return json_string(text);
}

static void error_json(const struct client *client, const char *what,
                       const struct tlx_status *status, int exit_status) {
  json_t *violations = json_array();
  for (unsigned i = 0; i < status->n_violations; i++)
    json_array_append_new(violations, json_pack("{s:s, s:s}", "field", status->violations[i].field,
                                                "description", status->violations[i].description));
  json_t *metadata = json_object();
  for (unsigned i = 0; i < status->n_metadata; i++)
    json_object_set_new(metadata, status->metadata[i].key, json_string(status->metadata[i].value));
  json_t *error =
      json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:i}", "verb", client->verb, "subject",
                text_json(what), "code", tlx_grpc_code_name(status->code), "reason", status->reason,
                "message", text_json(status->message), "violations", violations, "metadata",
                metadata, "exitStatus", exit_status);
  if (error && *client->request_id)
    json_object_set_new(error, "requestId", json_string(client->request_id));
  TLX_AUTOFREE char *line = error ? json_dumps(error, JSON_COMPACT) : NULL;
  fprintf(stderr, "%s\n", line ? line : "{\"message\":\"out of memory\"}");
  json_decref(error);
}

void client_error(const struct client *client, const char *what, const struct tlx_status *status,
                  int exit_status) {
  if (client->args.format == OUTPUT_JSON) {
    error_json(client, what, status, exit_status);
    return;
  }
  char subject[256], text[TLX_STATUS_MESSAGE_MAX * 2];
  tlx_text_escape(what, SIZE_MAX, subject, sizeof subject);
  tlx_text_escape(status->message, SIZE_MAX, text, sizeof text);
  fprintf(stderr, "telovixctl %s%s%s: %s%s%s: %s", client->verb, *subject ? " " : "", subject,
          tlx_grpc_code_name(status->code), *status->reason ? " " : "", status->reason, text);
  /* What is not there any more cannot be asked again. */
  if (exit_status == CLIENT_UNKNOWN && status->code != TLX_GRPC_NOT_FOUND)
    fprintf(
        stderr,
        "; it may have been carried out: repeat it with --request-id %s, which cannot act twice",
        client->request_id);
  fputc('\n', stderr);
}

/* Whether a failed change may have happened all the same. */
static bool outcome_unknown(const struct tlx_status *status) {
  switch (status->code) {
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

int client_call(struct client *client, const char *what, const char *path,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply,
                bool (*message)(void *arg, const ProtobufCMessage *message), void *arg) {
  struct session_call call = {.path = path,
                              .request = request,
                              .reply = reply,
                              .timeout_ms = client_timeout_ms(client),
                              .message = message,
                              .arg = arg};
  struct tlx_status status;
  client->was_refused = false;
  if (session_run(client->session, &call, &status)) return CLIENT_OK;
  client->was_refused = call.was_sent && !outcome_unknown(&status);
  int ret =
      *client->request_id && call.was_sent && !client->was_refused ? CLIENT_UNKNOWN : CLIENT_FAILED;
  client_error(client, what, &status, ret);
  return ret;
}

bool client_watch(struct client *client, struct session_call *call, const bool *ended,
                  uint64_t until_mono_ms, struct tlx_status *ret_status) {
  const struct tlx_clock *clock = tlx_clock_system();
  tlx_status_set(ret_status, TLX_GRPC_DEADLINE_EXCEEDED, NULL, "the time is over");
  for (;;) {
    uint64_t now_mono_ms = tlx_mono_ms(clock);
    if (now_mono_ms >= until_mono_ms) return false;
    call->timeout_ms = until_mono_ms - now_mono_ms;
    session_run(client->session, call, ret_status);
    if (*ended) return true;
    if (ret_status->code != TLX_GRPC_UNAVAILABLE) return false;
    /* The channel holds its own back-off; this only keeps a refused connect from spinning. */
    usleep(100 * 1000);
  }
}

static int prepare(struct client *client, unsigned groups) {
  char why[512] = "";
  const char *folder = client->folder;
  int err = profile_folder(client->args.profile, client->folder);
  if (err) {
    snprintf(why, sizeof why, "no profile folder: set TELOVIX_PROFILE or use --profile");
  } else {
    err = profile_load(folder, &client->profile, why);
    if (err && !*why) snprintf(why, sizeof why, "%.400s: %s", folder, tlx_err_text(err));
  }
  if (!err) {
    witness_load(&client->witness, folder);
    err = session_open(&client->profile, client->args.console, &client->witness, &client->session);
    if (err) snprintf(why, sizeof why, "cannot prepare the connection: %s", tlx_err_text(err));
  }
  if (!err && (groups & ARGS_CHANGE)) {
    if (client->args.request_id)
      snprintf(client->request_id, sizeof client->request_id, "%s", client->args.request_id);
    else
      err = tlx_id_make("ctl-", client->request_id, sizeof client->request_id);
    if (err) snprintf(why, sizeof why, "no random numbers: %s", tlx_err_text(err));
  }
  if (!err) return CLIENT_OK;
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_FAILED_PRECONDITION, "profile", "%s", why);
  client_error(client, "", &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

/* What the Console's heads gave away, once the verb has said its own. */
static void close_witness(const struct client *client, int exit_status) {
  struct tlx_status status;
  if (*client->witness.fault) {
    tlx_status_set(&status, TLX_GRPC_DATA_LOSS, "audit_fork", "%s", client->witness.fault);
    client_error(client, "", &status, exit_status);
    return;
  }
  int err = witness_keep(&client->witness, client->folder);
  if (err)
    fprintf(stderr, "telovixctl: the audit head could not be kept in the profile: %s\n",
            tlx_err_text(err));
}

int client_main(int argc, char **argv) {
  struct client client = {.verb = ""};
  int index = argc;
  int ret = args_parse_common(top_doc, argc, argv, &client.args, &index);
  if (ret) return ret == 1 ? CLIENT_OK : CLIENT_USAGE;
  if (index + 1 == argc && strcmp(argv[index], "help") == 0) {
    char option[] = "--help", *help[] = {argv[0], option, NULL};
    return args_parse_common(top_doc, 2, help, &client.args, &index) == 1 ? CLIENT_OK
                                                                          : CLIENT_USAGE;
  }
  if (index >= argc) {
    fprintf(stderr, "telovixctl: no verb; see telovixctl --help\n");
    return CLIENT_USAGE;
  }
  int used = 0;
  const struct verb *verb = find_verb(argc - index, argv + index, &used);
  if (!verb) return unknown_verb(argc - index, argv + index);
  client.verb = verb->words;
  char name[64];
  snprintf(name, sizeof name, "telovixctl %s", verb->words);
  ret = args_parse(name, verb->usage, verb->doc, verb->groups, verb->n_args,
                   argc - index - used + 1, argv + index + used - 1, &client.args);
  if (ret) return ret == 1 ? CLIENT_OK : CLIENT_USAGE;
  ret = verb->offline ? CLIENT_OK : prepare(&client, verb->groups);
  if (ret == CLIENT_OK) ret = verb->run(&client);
  if (client.session) close_witness(&client, ret);
  session_close(client.session);
  profile_done(&client.profile);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "telovixctl: cannot write the output: %s\n", strerror(errno));
    if (ret == CLIENT_OK) ret = CLIENT_FAILED;
  }
  return ret;
}
