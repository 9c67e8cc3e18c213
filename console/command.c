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
#include "console/console.h"
#include "console/setup.h"

#define DATA_DEFAULT "/var/lib/telovix-console"
#define EXIT_USAGE 2
#define EXIT_TEXT "\vExit status: 0 success, 1 failure, 2 wrong usage."

enum option_key { OPT_DATA = 256, OPT_FLEET, OPT_HOST, OPT_LISTEN, OPT_CONFIG };

struct command {
  const char *data, *fleet, *config;
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
  case ARGP_KEY_ARG:
    wrong(state, "%s: unexpected word", value);
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

static const struct {
  const char *name, *doc;
  const struct argp_option *options;
  int (*run)(struct command *command);
} commands[] = {
    {"init", "Makes a fleet: CA, server certificate, store, first admin." EXIT_TEXT, init_options,
     run_init},
    {"run", "Runs the Console until SIGTERM; SIGHUP reloads settings and certificates." EXIT_TEXT,
     run_options, run_run},
    {"verify", "Walks the store of a stopped Console and says what it finds." EXIT_TEXT,
     verify_options, run_verify},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(FILE *out) {
  fputs("Usage: telovix-console COMMAND [OPTION...]\n\nCommands:\n", out);
  for (size_t i = 0; i < N_COMMANDS; i++)
    fprintf(out, "  %-8s %.*s\n", commands[i].name, (int)strcspn(commands[i].doc, "\v"),
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
    if (strcmp(argv[1], commands[i].name) != 0) continue;
    struct argp argp = {commands[i].options, take_option, "", commands[i].doc, NULL, NULL, NULL};
    snprintf(name, sizeof name, "telovix-console %s", commands[i].name);
    argv[1] = name;
    argp_program_version = "telovix-console " TLX_VERSION;
    if (argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &command) != 0) return EXIT_USAGE;
    return commands[i].run(&command);
  }
  fprintf(stderr, "telovix-console: %s: unknown command; see telovix-console --help\n", argv[1]);
  return EXIT_USAGE;
}
