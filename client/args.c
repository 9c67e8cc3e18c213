// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/text.h"
#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/token.pb-c.h"
#include "telovix/v1/types.pb-c.h"

const char args_exit_doc[] =
    "Exit status: 0 success; 1 failure; 2 wrong usage; 3 outcome unknown (time-out, or the "
    "connection was lost "
    "after a change was sent; the line names the request id that makes a retry safe).";

enum {
  KEY_PROFILE = 256,
  KEY_CONSOLE,
  KEY_TIMEOUT,
  KEY_REASON,
  KEY_REQUEST_ID,
  KEY_EXE,
  KEY_START_TICKS,
  KEY_EXPIRES,
  KEY_WAIT,
  KEY_STATUS,
  KEY_HEALTH,
  KEY_LABEL,
  KEY_ALL,
  KEY_SENSOR,
  KEY_NODE_NAME,
  KEY_KIND,
  KEY_REENROLL,
  KEY_MAX_USES,
  KEY_NAME,
  KEY_ACTOR,
  KEY_ACTION,
  KEY_OUTCOME,
  KEY_SINCE,
  KEY_UNTIL,
  KEY_LIMIT,
  KEY_HEAD,
  KEY_OBSERVE,
  KEY_FORCE,
  KEY_FOLLOW,
  KEY_ALLOW,
  KEY_ON_LOST_CONSOLE,
  KEY_ACCEPT_PARTIAL,
  KEY_ROLE,
  KEY_OUT,
  KEY_FORMAT,
  KEY_YES,
  KEY_CONTAIN_FIRST,
  KEY_RELEASE_FIRST,
  KEY_VERSION,
};

/* One row an option, with the groups that show it. */
static const struct {
  unsigned groups; /* 0 = always */
  struct argp_option option;
} rows[] = {
    {0,
     {"profile", KEY_PROFILE, "DIR", 0,
      "Operator profile (default: $TELOVIX_PROFILE, else ~/.config/telovix)", 8}},
    {0,
     {"console", KEY_CONSOLE, "HOST:PORT", 0, "Console to talk to, instead of the profile's", 8}},
    {0, {"output", 'o', "table|wide|json|name", 0, "Form of the output (default: table)", 8}},
    {0,
     {"timeout", KEY_TIMEOUT, "DURATION", 0,
      "Longest time to wait for an answer or, with --wait, for the end (default: 60s)", 8}},
    {0, {"version", KEY_VERSION, NULL, 0, "Print the version", 9}},
    {ARGS_CHANGE,
     {"reason", KEY_REASON, "TEXT", 0, "Why, for the audit log (at most 500 characters)", 2}},
    {ARGS_CHANGE,
     {"request-id", KEY_REQUEST_ID, "ID", 0,
      "Repeat this id to retry a change safely (default: made up)", 2}},
    {ARGS_KILL, {"exe", KEY_EXE, "PATH", 0, "Only if the process runs this executable", 1}},
    {ARGS_KILL,
     {"start-ticks", KEY_START_TICKS, "T", 0, "Only if field 22 of /proc/PID/stat is T", 1}},
    {ARGS_KILL,
     {"wait", KEY_WAIT, NULL, 0, "Wait for the end; exit 0 only if the process is gone", 1}},
    {ARGS_WAIT,
     {"wait", KEY_WAIT, NULL, 0, "Wait for what the host says; exit 0 only if it really did it",
      1}},
    {ARGS_BLOCK,
     {"observe", KEY_OBSERVE, NULL, 0, "Count what it would have stopped, and stop nothing", 1}},
    {ARGS_BLOCK,
     {"force", KEY_FORCE, NULL, 0,
      "Also a shell, sshd or login, and on a sensor in critical health; audited", 1}},
    {ARGS_FORCE, {"force", KEY_FORCE, NULL, 0, "Also on a sensor in critical health; audited", 1}},
    {ARGS_CONTAIN,
     {"allow", KEY_ALLOW, "ENTRY", 0,
      "Let this through: in:|out:CIDR[,PORT[-PORT]][/tcp|udp], no port = every protocol; can be "
      "repeated",
      1}},
    {ARGS_CONTAIN,
     {"on-lost-console", KEY_ON_LOST_CONSOLE, "keep|release", 0,
      "What the host does when it has had no Console for a minute (default: the Console's setting)",
      1}},
    {ARGS_CONTAIN,
     {"force", KEY_FORCE, NULL, 0,
      "Also in spite of hazards, and on a sensor in critical health; audited", 1}},
    {ARGS_CONTAIN,
     {"accept-partial", KEY_ACCEPT_PARTIAL, NULL, 0,
      "With --wait: exit 0 also for `partial`, with its gaps named", 1}},
    {ARGS_REVOKE,
     {"contain-first", KEY_CONTAIN_FIRST, NULL, 0,
      "Contain the host, and revoke only when that is observed", 1}},
    {ARGS_REVOKE,
     {"release-first", KEY_RELEASE_FIRST, NULL, 0,
      "Release the host, and revoke only when that is observed", 1}},
    {ARGS_REVOKE,
     {"accept-partial", KEY_ACCEPT_PARTIAL, NULL, 0,
      "With --contain-first: `partial` is enough, with its gaps named", 1}},
    {ARGS_DELETE,
     {"force", KEY_FORCE, NULL, 0, "Also when the host was not observed to be released; audited",
      1}},
    {ARGS_REVOKE | ARGS_DELETE,
     {"yes", KEY_YES, NULL, 0, "Do not ask for the node name; it cannot be taken back", 1}},
    {ARGS_EVENTS,
     {"follow", KEY_FOLLOW, NULL, 0, "Show new events as they come, until interrupted", 1}},
    {ARGS_KILL | ARGS_TOKEN,
     {"expires", KEY_EXPIRES, "DURATION", 0, "How long it may be used or handed out, e.g. 5m", 1}},
    {ARGS_SENSORS,
     {"status", KEY_STATUS, "STATUS", 0, "Only revoked, disabled, stale or healthy", 1}},
    {ARGS_SENSORS,
     {"health", KEY_HEALTH, "STATE", 0, "Only critical, offline, degraded, watch or healthy", 1}},
    {ARGS_SENSORS | ARGS_TOKEN, {"label", KEY_LABEL, "K=V", 0, "Label; can be repeated", 1}},
    {ARGS_SENSORS | ARGS_ALL, {"all", KEY_ALL, NULL, 0, "Also revoked sensors", 1}},
    {ARGS_OF_SENSOR | ARGS_AUDIT,
     {"sensor", KEY_SENSOR, "SENSOR", 0, "Only of this sensor (id or node name)", 1}},
    {ARGS_TOKEN,
     {"kind", KEY_KIND, "one-time|fleet", 0,
      "What it is for (default: one-time); a fleet token needs the role admin", 1}},
    {ARGS_TOKEN,
     {"reenroll", KEY_REENROLL, "SENSOR", 0,
      "Give this known sensor a new certificate under its id; for a revoked one this needs the "
      "role "
      "admin",
      1}},
    {ARGS_TOKEN,
     {"max-uses", KEY_MAX_USES, "N", 0, "How many sensors a fleet token may enroll", 1}},
    {ARGS_TOKEN, {"node-name", KEY_NODE_NAME, "NAME", 0, "Only this node may use the token", 1}},
    {ARGS_TOKEN, {"name", KEY_NAME, "TEXT", 0, "Name of the token, for people", 1}},
    {ARGS_AUDIT, {"actor", KEY_ACTOR, "NAME", 0, "Only of this actor", 1}},
    {ARGS_AUDIT,
     {"action", KEY_ACTION, "TYPE", 0, "Only of this action type, e.g. process_kill_queued", 1}},
    {ARGS_AUDIT, {"outcome", KEY_OUTCOME, "success|failure", 0, "Only with this outcome", 1}},
    {ARGS_AUDIT, {"since", KEY_SINCE, "TIME", 0, "Not before this RFC 3339 time", 1}},
    {ARGS_AUDIT, {"until", KEY_UNTIL, "TIME", 0, "Not after this RFC 3339 time", 1}},
    {ARGS_OPERATOR,
     {"role", KEY_ROLE, "viewer|operator|admin", 0, "What the operator may do (required)", 1}},
    {ARGS_OPERATOR,
     {"out", KEY_OUT, "DIR", 0, "Where the profile is made; must not be there (required)", 1}},
    {ARGS_EXPORT,
     {"format", KEY_FORMAT, "jsonl|csv", 0,
      "JSON lines with every hashed field, or CSV for spreadsheets, with dangerous text escaped "
      "(default: jsonl)",
      1}},
    {ARGS_LIMIT,
     {"limit", KEY_LIMIT, "N", 0, "At most N lines (default: all; audit and events: 50)", 1}},
    {ARGS_HEAD,
     {"head", KEY_HEAD, "[SEQ:]HEX", 0, "A head noted earlier; it must be part of the log", 1}},
};
#define N_ROWS (sizeof rows / sizeof *rows)

struct parse {
  struct args *args;
  const char *name;
  size_t n_words;
  int index; /* first word, for the common parser */
  bool common, shown, takes_entries;
  FILE *discard; /* where argp's second line of an error goes */
};

/* One line, then wrong usage. */
static int wrong(const struct parse *parse, const char *option, const char *value,
                 const char *want) {
  char shown[128];
  tlx_text_escape(value, SIZE_MAX, shown, sizeof shown);
  fprintf(stderr, "%s: --%s %s: %s; see %s --help\n", parse->name, option, shown, want,
          parse->name);
  return EINVAL;
}

int args_role(const char *word, unsigned *ret_role) {
  static const char *const words[] = {"viewer", "operator", "admin"};
  for (unsigned i = 0; i < 3; i++)
    if (strcmp(word, words[i]) == 0) {
      *ret_role = TELOVIX__V1__ROLE__ROLE_VIEWER + i;
      return 0;
    }
  return TLX_E_MALFORMED;
}

static int parse_word(const struct parse *parse, const char *option, const char *value,
                      const ProtobufCEnumDescriptor *descriptor, const char *prefix,
                      const char *want, unsigned *ret_number) {
  char name[64];
  size_t at = (size_t)snprintf(name, sizeof name, "%s", prefix);
  for (const char *c = value; *c && at + 1 < sizeof name; c++)
    name[at++] = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  name[at] = '\0';
  const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value_by_name(descriptor, name);
  if (!found || found->value == 0) return wrong(parse, option, value, want);
  *ret_number = (unsigned)found->value;
  return 0;
}

static int parse_label(const struct parse *parse, const char *value) {
  struct args *args = parse->args;
  const char *equals = strchr(value, '=');
  struct args_label label = {{0}, {0}};
  if (!equals || (size_t)(equals - value) >= sizeof label.key ||
      strlen(equals + 1) >= sizeof label.value)
    return wrong(parse, "label", value, "want KEY=VALUE, each at most 63 characters");
  memcpy(label.key, value, (size_t)(equals - value));
  strcpy(label.value, equals + 1);
  if (!tlx_name_label_key_valid(label.key) || !tlx_name_label_value_valid(label.value))
    return wrong(parse, "label", value, "keys are of [a-z0-9._/-], values of [A-Za-z0-9._-]");
  if (args->n_labels == ARGS_LABELS_MAX) return wrong(parse, "label", value, "at most 32 labels");
  args->labels[args->n_labels++] = label;
  return 0;
}

static int parse_allow(const struct parse *parse, const char *value) {
  struct args *args = parse->args;
  struct tlx_allow_entry entry;
  const char *fault;
  if (tlx_allow_parse(value, &entry, &fault) != 0) return wrong(parse, "allow", value, fault);
  if (args->n_allow == TLX_ALLOW_LIST_MAX)
    return wrong(parse, "allow", value, "at most 64 entries");
  args->allow[args->n_allow++] = value;
  return 0;
}

static int parse_option(const struct parse *parse, int key, char *value) {
  struct args *args = parse->args;
  switch (key) {
  case KEY_PROFILE:
    args->profile = value;
    return 0;
  case KEY_CONSOLE: {
    char host[256];
    uint16_t port;
    if (tlx_address_parse(value, host, &port) != 0)
      return wrong(parse, "console", value, "want HOST:PORT");
    args->console = value;
    return 0;
  }
  case 'o': {
    static const char *const formats[] = {"table", "wide", "json", "name"};
    for (unsigned i = 0; i < 4; i++)
      if (strcmp(value, formats[i]) == 0) {
        args->format = (enum output_format)i;
        return 0;
      }
    return wrong(parse, "output", value, "want table, wide, json or name");
  }
  case KEY_TIMEOUT:
    if (tlx_duration_parse(value, &args->timeout_ms) != 0 || args->timeout_ms == 0)
      return wrong(parse, "timeout", value, "want a duration such as 30s");
    return 0;
  case KEY_REASON:
    if (!tlx_text_utf8_valid(value, strlen(value)) || tlx_text_utf8_count(value) > 500)
      return wrong(parse, "reason", value, "want at most 500 characters of UTF-8");
    args->reason = value;
    return 0;
  case KEY_REQUEST_ID:
    if (!tlx_name_request_id_valid(value))
      return wrong(parse, "request-id", value, "want 1-64 of [A-Za-z0-9._:-]");
    args->request_id = value;
    return 0;
  case KEY_EXE:
    if (value[0] != '/') return wrong(parse, "exe", value, "want an absolute path");
    args->exe = value;
    return 0;
  case KEY_START_TICKS:
    if (tlx_u64_parse(value, UINT64_MAX, &args->start_ticks) != 0 || args->start_ticks == 0)
      return wrong(parse, "start-ticks", value, "want field 22 of /proc/PID/stat");
    return 0;
  case KEY_EXPIRES:
    if (tlx_duration_parse(value, &args->life_ms) != 0 || args->life_ms == 0)
      return wrong(parse, "expires", value, "want a duration such as 5m");
    return 0;
  case KEY_WAIT:
    args->wait = true;
    return 0;
  case KEY_OBSERVE:
    args->observe = true;
    return 0;
  case KEY_FORCE:
    args->force = true;
    return 0;
  case KEY_FOLLOW:
    args->follow = true;
    return 0;
  case KEY_ALLOW:
    return parse_allow(parse, value);
  case KEY_ON_LOST_CONSOLE:
    return parse_word(parse, "on-lost-console", value, &telovix__v1__on_lost_console__descriptor,
                      "ON_LOST_CONSOLE_", "want keep or release", &args->on_lost_console);
  case KEY_ACCEPT_PARTIAL:
    args->accept_partial = true;
    return 0;
  case KEY_YES:
    args->yes = true;
    return 0;
  case KEY_CONTAIN_FIRST:
    args->contain_first = true;
    return 0;
  case KEY_RELEASE_FIRST:
    args->release_first = true;
    return 0;
  case KEY_STATUS:
    return parse_word(parse, "status", value, &telovix__v1__sensor_status__descriptor,
                      "SENSOR_STATUS_", "want revoked, disabled, stale or healthy", &args->status);
  case KEY_HEALTH:
    return parse_word(parse, "health", value, &telovix__v1__health_state__descriptor,
                      "HEALTH_STATE_", "want critical, offline, degraded, watch or healthy",
                      &args->health);
  case KEY_OUTCOME:
    return parse_word(parse, "outcome", value, &telovix__v1__audit_outcome__descriptor,
                      "AUDIT_OUTCOME_", "want success or failure", &args->outcome);
  case KEY_LABEL:
    return parse_label(parse, value);
  case KEY_ALL:
    args->all = true;
    return 0;
  case KEY_SENSOR:
    args->sensor = value;
    return 0;
  case KEY_NODE_NAME:
    if (!tlx_name_node_valid(value))
      return wrong(parse, "node-name", value, "want 1-253 of [A-Za-z0-9._-]");
    args->node_name = value;
    return 0;
  case KEY_KIND:
    if (strcmp(value, "one-time") == 0)
      args->token_kind = TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_ONE_TIME;
    else if (strcmp(value, "fleet") == 0)
      args->token_kind = TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET;
    else
      return wrong(parse, "kind", value,
                   "want one-time or fleet; --reenroll SENSOR is for a sensor that is there");
    return 0;
  case KEY_REENROLL:
    args->reenroll = value;
    return 0;
  case KEY_MAX_USES:
    if (tlx_u64_parse(value, 100000, &args->max_uses) != 0 || args->max_uses == 0)
      return wrong(parse, "max-uses", value, "want a number from 1 to 100000");
    return 0;
  case KEY_NAME:
    args->name = value;
    return 0;
  case KEY_ACTOR:
    args->actor = value;
    return 0;
  case KEY_ACTION:
    args->action = value;
    return 0;
  case KEY_SINCE:
    if (tlx_time_parse(value, &args->since_wall_ms) != 0)
      return wrong(parse, "since", value, "want a time such as 2026-01-31T09:00:00Z");
    return 0;
  case KEY_UNTIL:
    if (tlx_time_parse(value, &args->until_wall_ms) != 0)
      return wrong(parse, "until", value, "want a time such as 2026-01-31T09:00:00Z");
    return 0;
  case KEY_LIMIT:
    if (tlx_u64_parse(value, 1000000000, &args->limit) != 0 || args->limit == 0)
      return wrong(parse, "limit", value, "want a number above 0");
    return 0;
  case KEY_HEAD:
    args->head = value;
    return 0;
  case KEY_ROLE:
    if (args_role(value, &args->role) != 0)
      return wrong(parse, "role", value, "want viewer, operator or admin");
    return 0;
  case KEY_OUT:
    if (!*value || strlen(value) > 3800) return wrong(parse, "out", value, "want a folder");
    args->out = value;
    return 0;
  case KEY_FORMAT:
    args->is_csv = strcmp(value, "csv") == 0;
    if (!args->is_csv && strcmp(value, "jsonl") != 0)
      return wrong(parse, "format", value, "want jsonl or csv");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static error_t parse_key(int key, char *value, struct argp_state *state) {
  struct parse *parse = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    /* getopt says in one line what is wrong; argp would add a second one. */
    state->err_stream = parse->discard;
    return 0;
  case KEY_VERSION:
    printf("telovixctl %s\n", TLX_VERSION);
    parse->shown = true;
    return ECANCELED;
  case ARGP_KEY_ARG:
    if (parse->common) {
      parse->index = state->next - 1;
      state->next = state->argc;
      return 0;
    }
    if (parse->args->n_words >= (parse->takes_entries ? ARGS_WORDS_MAX : parse->n_words)) {
      char shown[128];
      tlx_text_escape(value, SIZE_MAX, shown, sizeof shown);
      fprintf(stderr, "%s: %s: one word too many; see %s --help\n", parse->name, shown,
              parse->name);
      return EINVAL;
    }
    parse->args->words[parse->args->n_words++] = value;
    return 0;
  case ARGP_KEY_END:
    if (!parse->common && parse->args->n_words < parse->n_words) {
      fprintf(stderr, "%s: a word is missing; see %s --help\n", parse->name, parse->name);
      return EINVAL;
    }
    return 0;
  default:
    return parse_option(parse, key, value);
  }
}

/* argp exits by itself after --help, with status 0, and after an option that it does not know, with
 * status 2; everything else comes back. */
static int run(struct parse *parse, const char *usage, const char *doc, unsigned groups,
               unsigned flags, int argc, char **argv) {
  struct argp_option options[N_ROWS + 1];
  size_t n = 0;
  for (size_t i = 0; i < N_ROWS; i++)
    if (rows[i].groups == 0 || (rows[i].groups & groups)) options[n++] = rows[i].option;
  options[n] = (struct argp_option){0};
  TLX_AUTOFREE char *text = NULL;
  if (asprintf(&text, "%s\v%s", doc, args_exit_doc) < 0) return 1;
  struct argp argp = {.options = options, .parser = parse_key, .args_doc = usage, .doc = text};
  TLX_AUTOFCLOSE FILE *discard = fopen("/dev/null", "w");
  parse->discard = discard ? discard : stderr;
  char *first = argv[0];
  argv[0] = (char *)parse->name;
  argp_err_exit_status = 2;
  int err = argp_parse(&argp, argc, argv, flags, NULL, parse);
  argv[0] = first;
  if (parse->shown) return 1;
  return err == 0 ? 0 : 2;
}

int args_parse(const char *name, const char *usage, const char *doc, unsigned groups,
               size_t n_words, int argc, char **argv, struct args *ret_args) {
  struct parse parse = {.args = ret_args,
                        .name = name,
                        .n_words = n_words,
                        .takes_entries = (groups & ARGS_ENTRIES) != 0};
  return run(&parse, usage, doc, groups, 0, argc, argv);
}

int args_parse_common(const char *doc, int argc, char **argv, struct args *ret_args,
                      int *ret_index) {
  struct parse parse = {.args = ret_args, .name = "telovixctl", .common = true, .index = argc};
  int ret = run(&parse, "VERB [WORDS...]", doc, 0, ARGP_IN_ORDER, argc, argv);
  *ret_index = parse.index;
  return ret;
}
