// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/command.h"

#include <argp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/text.h"
#include "console/authz.h"
#include "console/break_glass.h"
#include "console/console.h"
#include "console/setup.h"

#define DATA_DEFAULT "/var/lib/telovix-console"
#define EXIT_USAGE 2
#define EXIT_TEXT "\vExit status: 0 success, 1 failure, 2 wrong usage."

enum option_key { OPT_DATA = 256, OPT_FLEET, OPT_HOST, OPT_LISTEN, OPT_CONFIG, OPT_ROLE, OPT_OUT };

struct command {
  const char *data, *fleet, *config, *name, *out;
  unsigned role;   /* number of telovix.v1.Role; 0 = not given */
  bool takes_name; /* the command wants an operator's name as its word */
  struct settings settings;
  bool has_listen;
  FILE *discard; /* where argp's second line of an error goes */
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

static error_t take_option(int key, char *value, struct argp_state *state) {
  struct command *command = state->input;
  char why[256] = "";
  switch (key) {
  case ARGP_KEY_INIT:
    /* getopt says in one line what is wrong; argp would add a second one. */
    if (command->discard) state->err_stream = command->discard;
    return 0;
  case OPT_DATA:
    command->data = value;
    return 0;
  case OPT_FLEET:
    if (!tlx_text_utf8_valid(value, strlen(value)) || !*value || strlen(value) > 200 ||
        strpbrk(value, "\n\r;"))
      wrong(state, "--fleet: want a name of 1 to 200 bytes of text in one line, without ;");
    command->fleet = value;
    return 0;
  case OPT_HOST:
    if (settings_add_advertise(&command->settings, value, why) != 0)
      wrong(state, "--host %s: %s", value, why);
    return 0;
  case OPT_LISTEN:
    if (settings_set_listen(&command->settings, value, why) != 0)
      wrong(state, "--listen %s: %s", value, why);
    command->has_listen = true;
    return 0;
  case OPT_CONFIG:
    command->config = value;
    return 0;
  case OPT_ROLE:
    for (unsigned role = AUTHZ_VIEWER; role <= AUTHZ_ADMIN; role++)
      if (strcmp(value, authz_role_name(role)) == 0) command->role = role;
    if (!command->role) wrong(state, "--role %s: want viewer, operator or admin", value);
    return 0;
  case OPT_OUT:
    command->out = value;
    return 0;
  case ARGP_KEY_ARG:
    if (!command->takes_name || command->name) wrong(state, "%s: unexpected word", value);
    if (!tlx_name_operator_valid(value))
      wrong(state, "%s: want a name of [a-z0-9][a-z0-9._-]{0,31}", value);
    command->name = value;
    return 0;
  case ARGP_KEY_END:
    if (command->takes_name && !command->name) wrong(state, "the name of the operator is missing");
    if (command->takes_name && !command->role) wrong(state, "--role is missing");
    if (command->takes_name && !command->out) wrong(state, "--out is missing");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static int run_init(struct command *command) {
  return setup_init(command->data, command->fleet, &command->settings);
}

static int run_run(struct command *command) {
  return console_run(command->data, command->config, &command->settings, command->has_listen);
}

static int run_verify(struct command *command) {
  return setup_verify(command->data);
}

static int run_operator_create(struct command *command) {
  return break_glass_operator(command->data, command->name, command->role, command->out);
}

static const struct argp_option init_options[] = {
    {"data", OPT_DATA, "DIR", 0, "Data folder (default " DATA_DEFAULT ")", 0},
    {"fleet", OPT_FLEET, "NAME", 0, "Display name of the fleet (default \"fleet\")", 0},
    {"host", OPT_HOST, "NAME_OR_IP", 0,
     "Where sensors and operators reach this Console, HOST or HOST:PORT; may be repeated", 0},
    {0}};
static const struct argp_option run_options[] = {
    {"data", OPT_DATA, "DIR", 0, "Data folder (default " DATA_DEFAULT ")", 0},
    {"listen", OPT_LISTEN, "ADDR:PORT", 0, "Listen here (default [::]:15483; port 0 = any)", 0},
    {"config", OPT_CONFIG, "FILE", 0, "Settings file (default DIR/console.ini)", 0},
    {0}};
static const struct argp_option verify_options[] = {
    {"data", OPT_DATA, "DIR", 0, "Data folder (default " DATA_DEFAULT ")", 0}, {0}};

static const struct argp_option operator_options[] = {
    {"data", OPT_DATA, "DIR", 0, "Data folder (default " DATA_DEFAULT ")", 0},
    {"role", OPT_ROLE, "viewer|operator|admin", 0, "What the operator may do", 0},
    {"out", OPT_OUT, "DIR", 0, "Where the profile is made; must not be there", 0},
    {0}};

static const struct {
  const char *name, *doc, *words;
  const struct argp_option *options;
  int (*run)(struct command *command);
} commands[] = {
    {"init", "Makes a fleet: CA, server certificate, store, first admin." EXIT_TEXT, "",
     init_options, run_init},
    {"run", "Runs the Console until SIGTERM; SIGHUP reloads settings and certificates." EXIT_TEXT,
     "", run_options, run_run},
    {"verify", "Walks the store of a stopped Console and says what it finds." EXIT_TEXT, "",
     verify_options, run_verify},
    {"operator create",
     "Break-glass: makes an operator in the store of a stopped Console, for when no admin's "
     "profile "
     "is left; audited as local_root." EXIT_TEXT,
     "NAME", operator_options, run_operator_create},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(FILE *out) {
  fputs("Usage: telovix-console COMMAND [OPTION...]\n\nCommands:\n", out);
  for (size_t i = 0; i < N_COMMANDS; i++)
    fprintf(out, "  %-15s %.*s\n", commands[i].name, (int)strcspn(commands[i].doc, "\v"),
            commands[i].doc);
  fputs("\n`telovix-console COMMAND --help` says more.\n"
        "Exit status: 0 success, 1 failure, 2 wrong usage.\n",
        out);
}

/* The store is a mapped file: a page that is not there (a file that was cut, a disk that fails) is
 * no error of a call but this signal. */
static void on_bus_error(int number) {
  static const char text[] = "telovix-console: the store cannot be read: its file was cut short or "
                             "the disk fails; restore from a backup\n";
  (void)!write(STDERR_FILENO, text, sizeof text - 1);
  _exit(EXIT_FAILURE);
}

/* How many words of the command line are this command's name: 1 or 2, 0 = it is another one. */
static int words_of(const char *name, int argc, char **argv) {
  const char *space = strchr(name, ' ');
  size_t first_len = space ? (size_t)(space - name) : strlen(name);
  if (strlen(argv[1]) != first_len || strncmp(argv[1], name, first_len) != 0) return 0;
  if (!space) return 1;
  return argc > 2 && strcmp(argv[2], space + 1) == 0 ? 2 : 0;
}

int command_main(int argc, char **argv) {
  struct command command = {.data = DATA_DEFAULT, .fleet = "fleet"};
  char name[64];
  settings_init(&command.settings);
  signal(SIGBUS, on_bus_error);
  FILE *discard TLX_AUTOFCLOSE = fopen("/dev/null", "w");
  argp_err_exit_status = EXIT_USAGE;
  command.discard = discard;
  if (argc < 2) {
    fputs("telovix-console: no command; see telovix-console --help\n", stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
    print_help(stdout);
    return 0;
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("telovix-console " TLX_VERSION);
    return 0;
  }
  for (size_t i = 0; i < N_COMMANDS; i++) {
    int used = words_of(commands[i].name, argc, argv);
    if (!used) continue;
    struct argp argp = {
        commands[i].options, take_option, commands[i].words, commands[i].doc, NULL, NULL, NULL};
    snprintf(name, sizeof name, "telovix-console %s", commands[i].name);
    argc -= used - 1;
    argv += used - 1;
    command.takes_name = *commands[i].words;
    argv[1] = name;
    argp_program_version = "telovix-console " TLX_VERSION;
    if (argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &command) != 0) return EXIT_USAGE;
    return commands[i].run(&command);
  }
  fprintf(stderr, "telovix-console: %s: unknown command; see telovix-console --help\n", argv[1]);
  return EXIT_USAGE;
}
