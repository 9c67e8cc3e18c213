// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/args.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/token.pb-c.h"
#include "telovix/v1/types.pb-c.h"

#define ALL                                                                                        \
  (ARGS_CHANGE | ARGS_KILL | ARGS_SENSORS | ARGS_OF_SENSOR | ARGS_TOKEN | ARGS_AUDIT |             \
   ARGS_LIMIT | ARGS_HEAD | ARGS_ALL | ARGS_BLOCK | ARGS_FORCE | ARGS_WAIT | ARGS_EVENTS |         \
   ARGS_CONTAIN)

static struct args args;
static char said[4096]; /* standard error of the last parse */

/* Parses |words| with |groups| and |n_words| positional ones. */
static int parse_groups(unsigned groups, size_t n_words, const char *const *words) {
  char *argv[160] = {(char *)"kill"};
  int argc = 1, ends[2];
  for (; words[argc - 1]; argc++)
    argv[argc] = (char *)words[argc - 1];
  memset(&args, 0, sizeof args);
  cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  int saved = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  int ret = args_parse("telovixctl kill", "SENSOR PID", "Doc.", groups, n_words, argc, argv, &args);
  fflush(stderr);
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(ends[1]);
  ssize_t n = read(ends[0], said, sizeof said - 1);
  said[n > 0 ? n : 0] = '\0';
  close(ends[0]);
  return ret;
}

#define PARSE(groups, n_words, ...)                                                                \
  parse_groups(groups, n_words, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* One line that names what was wrong, and where help is. */
static void expect_wrong(int ret, const char *part) {
  cr_assert_eq(ret, 2, "%s", part);
  cr_assert(strstr(said, part), "%s is not in: %s", part, said);
  cr_assert(strncmp(said, "telovixctl kill: ", 17) == 0, "%s", said);
  cr_assert_eq(strchr(said, '\n'), said + strlen(said) - 1, "one line: %s", said);
}

Test(args, words) {
  cr_assert_eq(PARSE(0, 2, "web-1", "42"), 0);
  cr_assert_eq(args.n_words, 2);
  cr_assert_str_eq(args.words[0], "web-1");
  cr_assert_str_eq(args.words[1], "42");
  cr_assert_eq(PARSE(0, 2, "--", "-x", "42"), 0);
  cr_assert_str_eq(args.words[0], "-x");
  cr_assert_eq(PARSE(0, 0), 0);
  expect_wrong(PARSE(0, 2, "web-1"), "a word is missing; see telovixctl kill --help");
  expect_wrong(PARSE(0, 1, "web-1", "4\033[2J2"), "4\\x1B[2J2: one word too many");
}

Test(args, options_of_every_group) {
  cr_assert_eq(PARSE(ALL, 2, "web-1", "42", "--profile", "/p", "--console", "h:1", "-o", "json",
                     "--timeout", "1m30s", "--reason", "gr\xc3\xbcn", "--request-id", "r.1:a-b_c",
                     "--exe", "/bin/x", "--start-ticks", "77", "--wait", "--expires", "5m",
                     "--status", "stale", "--health", "Critical", "--label", "a=b", "--label",
                     "c/d=", "--all", "--sensor", "s", "--node-name", "web-1", "--name", "n",
                     "--actor", "bob", "--action", "x", "--outcome", "failure", "--since",
                     "2026-01-31T09:00:00Z", "--until", "2026-01-31T10:00:00+01:00", "--limit", "7",
                     "--head", "1:ab", "--observe", "--force", "--follow"),
               0, "%s", said);
  cr_assert_str_eq(args.profile, "/p");
  cr_assert_str_eq(args.console, "h:1");
  cr_assert_eq(args.format, OUTPUT_JSON);
  cr_assert_eq(args.timeout_ms, 90000);
  cr_assert_str_eq(args.reason, "gr\xc3\xbcn");
  cr_assert_str_eq(args.request_id, "r.1:a-b_c");
  cr_assert_str_eq(args.exe, "/bin/x");
  cr_assert_eq(args.start_ticks, 77);
  cr_assert(args.wait && args.all && args.observe && args.force && args.follow);
  cr_assert_eq(args.life_ms, 300000);
  cr_assert_eq(args.status, TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_STALE);
  cr_assert_eq(args.health, TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_CRITICAL);
  cr_assert_eq(args.outcome, TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_FAILURE);
  cr_assert_eq(args.n_labels, 2);
  cr_assert_str_eq(args.labels[0].key, "a");
  cr_assert_str_eq(args.labels[0].value, "b");
  cr_assert_str_eq(args.labels[1].key, "c/d");
  cr_assert_str_eq(args.labels[1].value, "");
  cr_assert_eq(args.since_wall_ms, args.until_wall_ms);
  cr_assert_eq(args.limit, 7);
  cr_assert_str_eq(args.head, "1:ab");
  cr_assert_eq(args.n_words, 2);
}

Test(args, a_verb_takes_only_its_options) {
  static const char *const options[] = {
      "--reason=x", "--exe=/x",  "--status=stale", "--sensor=s", "--node-name=n",
      "--actor=a",  "--limit=1", "--head=1:a",     "--all",      "--wait"};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    /* argp ends the process by itself here, with what argp_err_exit_status says. */
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) _exit(10 + PARSE(0, 0, options[i]));
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s: %d", options[i], status);
    cr_assert_eq(PARSE(ALL, 0, options[i]), 0, "%s", options[i]);
  }
}

Test(args, durations) {
  static const struct {
    const char *text;
    uint64_t ms;
  } good[] = {
      {"500ms", 500}, {"30s", 30000}, {"5m", 300000}, {"24h", 86400000}, {"1h30m", 5400000}};
  static const char *const bad[] = {
      "", "0", "0s", "5", "s", "-5s", "5 s", "5S", "1.5h", "99999999999999999999s", "5m5"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_assert_eq(PARSE(ALL, 0, "--timeout", good[i].text), 0, "%s", good[i].text);
    cr_assert_eq(args.timeout_ms, good[i].ms);
    cr_assert_eq(PARSE(ALL, 0, "--expires", good[i].text), 0);
    cr_assert_eq(args.life_ms, good[i].ms);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    expect_wrong(PARSE(ALL, 0, "--timeout", bad[i]), "want a duration such as");
    expect_wrong(PARSE(ALL, 0, "--expires", bad[i]), "want a duration such as");
  }
}

Test(args, values_are_checked) {
  static const struct {
    const char *option, *value, *part;
  } cases[] = {{"--console", "nowhere", "HOST:PORT"},
               {"--console", "h:0x1", "HOST:PORT"},
               {"-o", "yaml", "want table, wide, json or name"},
               {"--reason", "\xff", "500 characters"},
               {"--request-id", "", "1-64"},
               {"--request-id", "a b", "1-64"},
               {"--exe", "bin/x", "absolute"},
               {"--start-ticks", "0", "field 22"},
               {"--start-ticks", "18446744073709551616", "field 22"},
               {"--status", "unspecified", "want revoked"},
               {"--status", "", "want revoked"},
               {"--health", "sick", "want critical"},
               {"--outcome", "maybe", "success or failure"},
               {"--label", "a", "KEY=VALUE"},
               {"--label", "=b", "keys are of"},
               {"--label", "A=b", "keys are of"},
               {"--label", "a=b c", "keys are of"},
               {"--node-name", "-a", "1-253"},
               {"--since", "yesterday", "a time such as"},
               {"--until", "2026-13-01T00:00:00Z", "a time such as"},
               {"--limit", "0", "above 0"},
               {"--limit", "-1", "above 0"},
               {"--limit", "1000000001", "above 0"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_wrong(PARSE(ALL, 0, cases[i].option, cases[i].value), cases[i].part);
  char reason[1101] = "", id[66], label[132];
  for (int i = 0; i < 500; i++)
    strcat(reason, "\xc3\xbc");
  cr_assert_eq(PARSE(ALL, 0, "--reason", reason), 0, "500 characters, not bytes");
  strcat(reason, "x");
  expect_wrong(PARSE(ALL, 0, "--reason", reason), "500 characters");
  memset(id, 'a', 65);
  id[65] = '\0';
  expect_wrong(PARSE(ALL, 0, "--request-id", id), "1-64");
  cr_assert_eq(PARSE(ALL, 0, "--request-id", id + 1), 0);
  snprintf(label, sizeof label, "%.63s=%.63s", id, id);
  cr_assert_eq(PARSE(ALL, 0, "--label", label), 0, "%s", said);
  snprintf(label, sizeof label, "%.64s=b", id);
  expect_wrong(PARSE(ALL, 0, "--label", label), "at most 63");
}

Test(args, labels_are_bounded) {
  const char *words[2 * ARGS_LABELS_MAX + 3] = {0};
  for (unsigned i = 0; i <= ARGS_LABELS_MAX; i++)
    words[i] = "--label=a=b";
  expect_wrong(parse_groups(ALL, 0, words), "at most 32");
  words[ARGS_LABELS_MAX] = NULL;
  cr_assert_eq(parse_groups(ALL, 0, words), 0);
  cr_assert_eq(args.n_labels, ARGS_LABELS_MAX);
}

/* What an operator typed is shown back to a terminal. */
Test(args, errors_are_escaped) {
  expect_wrong(PARSE(ALL, 0, "--limit", "\033]0;x\007"), "\\x1B]0;x\\x07");
}

Test(args, common_options_stop_at_the_verb) {
  char *argv[] = {(char *)"telovixctl", (char *)"-o",      (char *)"json", (char *)"kills",
                  (char *)"list",       (char *)"--limit", (char *)"3",    NULL};
  int index = 0;
  memset(&args, 0, sizeof args);
  cr_assert_eq(args_parse_common("Doc.", 7, argv, &args, &index), 0);
  cr_assert_eq(index, 3);
  cr_assert_eq(args.format, OUTPUT_JSON);
  cr_assert_eq(args_parse_common("Doc.", 3, argv, &args, &index), 0);
  cr_assert_eq(index, 3, "no verb");
}

Test(args, of_a_containment) {
  cr_assert_eq(PARSE(ARGS_CONTAIN, 1, "web-1", "--allow", "in:10.0.0.0/8,22/tcp",
                     "--allow=out:192.0.2.1/32", "--on-lost-console", "release", "--force",
                     "--accept-partial"),
               0, "%s", said);
  cr_assert_eq(args.n_allow, 2);
  cr_assert_str_eq(args.allow[0], "in:10.0.0.0/8,22/tcp");
  cr_assert_str_eq(args.allow[1], "out:192.0.2.1/32");
  cr_assert_eq(args.on_lost_console, TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE);
  cr_assert(args.force && args.accept_partial);
  expect_wrong(PARSE(ARGS_CONTAIN, 1, "web-1", "--allow", "in:0.0.0.0/0"),
               "--allow in:0.0.0.0/0: is a /0, which would let everything through");
  expect_wrong(PARSE(ARGS_CONTAIN, 1, "web-1", "--on-lost-console", "stay"),
               "want keep or release");
  expect_wrong(PARSE(ARGS_CONTAIN, 1, "web-1", "--on-lost-console", "unspecified"),
               "want keep or release");
}

Test(args, allow_has_its_limit) {
  const char *words[140] = {"web-1"};
  for (unsigned i = 0; i <= TLX_ALLOW_LIST_MAX; i++) {
    words[1 + 2 * i] = "--allow";
    words[2 + 2 * i] = "in:10.0.0.0/8";
  }
  expect_wrong(parse_groups(ARGS_CONTAIN, 1, words), "at most 64 entries");
  words[1 + 2 * TLX_ALLOW_LIST_MAX] = NULL;
  cr_assert_eq(parse_groups(ARGS_CONTAIN, 1, words), 0, "%s", said);
  cr_assert_eq(args.n_allow, TLX_ALLOW_LIST_MAX);
}

Test(args, entries_are_further_words) {
  const char *words[80] = {"web-1", "set"};
  cr_assert_eq(parse_groups(ARGS_ENTRIES, 2, words), 0);
  cr_assert_eq(args.n_words, 2);
  for (unsigned i = 0; i < TLX_ALLOW_LIST_MAX + 2; i++)
    words[2 + i] = "in:10.0.0.0/8";
  cr_assert_eq(parse_groups(ARGS_ENTRIES, 2, words), 0, "%s", said);
  cr_assert_eq(args.n_words, ARGS_WORDS_MAX);
  words[2 + TLX_ALLOW_LIST_MAX + 2] = "in:10.0.0.0/8";
  expect_wrong(parse_groups(ARGS_ENTRIES, 2, words), "one word too many");
  words[1] = NULL;
  expect_wrong(parse_groups(ARGS_ENTRIES, 2, words), "a word is missing");
}

Test(args, tokens) {
  cr_assert_eq(PARSE(ARGS_TOKEN, 0, "--kind", "fleet", "--max-uses", "100000", "--expires=730d"),
               0);
  cr_assert_eq(args.token_kind, TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_FLEET);
  cr_assert_eq(args.max_uses, 100000);
  cr_assert_eq(args.life_ms, 730ull * 24 * 3600 * 1000);
  cr_assert_eq(PARSE(ARGS_TOKEN, 0, "--kind=one-time", "--reenroll", "web-1"), 0);
  cr_assert_eq(args.token_kind, TELOVIX__V1__TOKEN_KIND__TOKEN_KIND_ONE_TIME);
  cr_assert_str_eq(args.reenroll, "web-1");
  expect_wrong(PARSE(ARGS_TOKEN, 0, "--kind", "reenrollment"), "--reenroll SENSOR is for");
  expect_wrong(PARSE(ARGS_TOKEN, 0, "--max-uses", "0"), "from 1 to 100000");
  expect_wrong(PARSE(ARGS_TOKEN, 0, "--max-uses", "100001"), "from 1 to 100000");
}
