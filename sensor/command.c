// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/command.h"

#include <argp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"
#include "sensor/enroll.h"
#include "sensor/local.h"
#include "sensor/offline.h"
#include "sensor/sensor.h"

#define STATE_DEFAULT "/var/lib/telovix-sensor"
#define BPFFS_DEFAULT "/sys/fs/bpf"
#define EXIT_USAGE 2
#define EXIT_TEXT                                                                                  \
  "\vExit status: 0 success, 1 failure, 2 wrong usage, 3 outcome unknown (safe to repeat)."

enum option_key {
  OPT_STATE = 256,
  OPT_CONSOLE,
  OPT_HASH,
  OPT_TOKEN,
  OPT_NODE,
  OPT_LABEL,
  OPT_CGROUP,
  OPT_BPFFS,
};

struct command {
  const char *cgroup;
  bool json;
  FILE *discard; /* where argp's second line of an error goes */
  struct enroll_request enroll;
};

/* One line, then the end: argp would add two. */
__attribute__((format(printf, 2, 3))) static _Noreturn void wrong(const struct argp_state *state,
                                                                  const char *format, ...) {
  char text[512], shown[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fprintf(stderr, "%s: %s; see %s --help\n", state->name,
          tlx_text_escape(text, SIZE_MAX, shown, sizeof shown), state->name);
  exit(EXIT_USAGE);
}

static void take_label(struct command *command, char *value, struct argp_state *state) {
  char *equals = strchr(value, '=');
  if (!equals) wrong(state, "--label %s: want KEY=VALUE", value);
  *equals = '\0';
  if (!tlx_name_label_key_valid(value) || !tlx_name_label_value_valid(equals + 1))
    wrong(state,
          "--label %s: want a key of [a-z0-9._/-] and a value of [A-Za-z0-9._-], each up "
          "to 63 characters",
          value);
  if (command->enroll.n_labels == ENROLL_LABELS_MAX)
    wrong(state, "--label: at most %u", ENROLL_LABELS_MAX);
  command->enroll.labels[command->enroll.n_labels].key = value;
  command->enroll.labels[command->enroll.n_labels++].value = equals + 1;
}

static error_t take_option(int key, char *value, struct argp_state *state) {
  struct command *command = state->input;
  char host[256];
  uint16_t port;
  switch (key) {
  case ARGP_KEY_INIT:
    /* getopt says in one line what is wrong; argp would add a second one. */
    if (command->discard) state->err_stream = command->discard;
    return 0;
  case OPT_STATE:
    command->enroll.state = value;
    return 0;
  case OPT_CONSOLE:
    if (tlx_address_parse(value, host, &port) != 0)
      wrong(state, "--console %s: want HOST:PORT", value);
    command->enroll.console = value;
    return 0;
  case OPT_HASH:
    command->enroll.ca_cert_hash = value;
    return 0;
  case OPT_TOKEN:
    command->enroll.token = value;
    return 0;
  case OPT_NODE:
    if (!tlx_name_node_valid(value))
      wrong(state, "--node-name: want 1 to 253 of [A-Za-z0-9._-], alphanumeric at both ends");
    command->enroll.node_name = value;
    return 0;
  case OPT_LABEL:
    take_label(command, value, state);
    return 0;
  case OPT_CGROUP:
    command->cgroup = value;
    return 0;
  case OPT_BPFFS:
    command->enroll.bpffs = value;
    return 0;
  case 'o':
    if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0)
      wrong(state, "-o %s: want table or json", value);
    command->json = strcmp(value, "json") == 0;
    return 0;
  case ARGP_KEY_ARG:
    wrong(state, "%s: unexpected word", value);
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* ---- commands ---- */

static int run_enroll(struct command *command) {
  const struct enroll_request *request = &command->enroll;
  const char *missing = !request->console        ? "--console HOST:PORT"
                        : !request->ca_cert_hash ? "--ca-cert-hash sha256:HEX"
                        : !request->token        ? "--token TOKEN"
                                                 : NULL;
  if (missing) {
    fprintf(stderr,
            "telovix-sensor enroll: %s is missing; `telovixctl token create` prints the whole "
            "command\n",
            missing);
    return EXIT_USAGE;
  }
  return enroll_run(request);
}

/* A sensor without a scope may kill any process of the host. Only a release may do that: a build
 * under test that lost its --cgroup must not. */
static bool may_have_host_scope(void) {
#ifdef TLX_RELEASE
  return true;
#else
  const char *value = getenv("TELOVIX_HOST_SCOPE");
  return value && strcmp(value, "1") == 0;
#endif
}

static bool has_scope(const struct command *command, const char *name) {
  if (command->cgroup || may_have_host_scope()) return true;
  fprintf(stderr,
          "telovix-sensor %s: this is not a release build: it runs only with --cgroup PATH\n",
          name);
  return false;
}

static int run_restore(struct command *command) {
  if (!has_scope(command, "restore")) return EXIT_USAGE;
  return offline_restore(command->enroll.state, command->cgroup, command->enroll.bpffs);
}

static int run_lift(struct command *command) {
  if (!has_scope(command, "lift")) return EXIT_USAGE;
  return offline_lift(command->enroll.state, command->cgroup, command->enroll.bpffs);
}

static int run_run(struct command *command) {
  if (!has_scope(command, "run")) return EXIT_USAGE;
  return sensor_run(command->enroll.state, command->cgroup, command->enroll.bpffs);
}

static int run_status(struct command *command) {
  return local_status(command->enroll.state, command->json);
}

#define STATE_OPTION                                                                               \
  { "state", OPT_STATE, "DIR", 0, "State folder (default " STATE_DEFAULT ")", 0 }

#define BPFFS_OPTION                                                                               \
  {                                                                                                \
    "bpffs", OPT_BPFFS, "DIR", 0,                                                                  \
        "BPF file system that keeps rules in force when the sensor ends (default " BPFFS_DEFAULT   \
        ")",                                                                                       \
        0                                                                                          \
  }

static const struct argp_option enroll_options[] = {
    {"console", OPT_CONSOLE, "HOST:PORT", 0, "Where the Console listens", 0},
    {"ca-cert-hash", OPT_HASH, "sha256:HEX", 0, "Key of the fleet CA; nothing is sent to others",
     0},
    {"token", OPT_TOKEN, "TOKEN", 0, "One-time token, tse_…", 0},
    {"node-name", OPT_NODE, "NAME", 0, "Name in the fleet (default the host's name)", 0},
    {"label", OPT_LABEL, "K=V", 0, "A label; may be repeated", 0},
    STATE_OPTION,
    BPFFS_OPTION,
    {0}};
static const struct argp_option run_options[] = {
    STATE_OPTION,
    {"cgroup", OPT_CGROUP, "PATH", 0,
     "Act inside this cgroup2 folder only (trials, tests); default the whole host", 0},
    BPFFS_OPTION,
    {0}};
static const struct argp_option status_options[] = {
    STATE_OPTION, {"output", 'o', "FORMAT", 0, "table (default) or json", 0}, {0}};

static const struct {
  const char *name, *doc;
  const struct argp_option *options;
  int (*run)(struct command *command);
} commands[] = {
    {"enroll", "Gives this host an identity in a fleet." EXIT_TEXT, enroll_options, run_enroll},
    {"run", "Runs the sensor until SIGTERM; SIGHUP connects again at once." EXIT_TEXT, run_options,
     run_run},
    {"restore",
     "Early boot: puts the rules that are kept in force, without network. Fails when a containment "
     "cannot be and is not to be released for lack of a Console: then the network stays "
     "down." EXIT_TEXT,
     run_options, run_restore},
    {"lift",
     "Root: tells the Console, then takes all enforcement down until it wants something "
     "new." EXIT_TEXT,
     run_options, run_lift},
    {"status", "Shows identity, uplink and what this host can do." EXIT_TEXT, status_options,
     run_status},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(void) {
  fputs("Usage: telovix-sensor COMMAND [OPTION...]\n\nCommands:\n", stdout);
  for (size_t i = 0; i < N_COMMANDS; i++)
    printf("  %-8s %.*s\n", commands[i].name, (int)strcspn(commands[i].doc, "\v"), commands[i].doc);
  fputs("\n`telovix-sensor COMMAND --help` says more.\nExit status: 0 success, 1 failure, 2 wrong "
        "usage, 3 outcome unknown (safe to repeat).\n",
        stdout);
}

int command_main(int argc, char **argv) {
  struct command command = {.enroll = {.state = STATE_DEFAULT, .bpffs = BPFFS_DEFAULT}};
  char name[64];
  FILE *discard TLX_AUTOFCLOSE = fopen("/dev/null", "w");
  argp_err_exit_status = EXIT_USAGE;
  command.discard = discard;
  if (argc < 2) {
    fputs("telovix-sensor: no command; see telovix-sensor --help\n", stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
    print_help();
    return 0;
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("telovix-sensor " TLX_VERSION);
    return 0;
  }
  for (size_t i = 0; i < N_COMMANDS; i++) {
    if (strcmp(argv[1], commands[i].name) != 0) continue;
    struct argp argp = {commands[i].options, take_option, "", commands[i].doc, NULL, NULL, NULL};
    snprintf(name, sizeof name, "telovix-sensor %s", commands[i].name);
    argv[1] = name;
    argp_program_version = "telovix-sensor " TLX_VERSION;
    if (argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &command) != 0) return EXIT_USAGE;
    return commands[i].run(&command);
  }
  fprintf(stderr, "telovix-sensor: %s: unknown command; see telovix-sensor --help\n", argv[1]);
  return EXIT_USAGE;
}
