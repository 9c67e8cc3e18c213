// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "../../harness/run.h"
#include "fake_console.h"

/* The verbs of rules and events (TEST_PROGRAM) against a Console in a child process, and the exit
 * status of each end: 0 only if the host really did it. */

static struct run_result result;

static int ctl(struct fake_console *console, const char *const *words) {
  char profile[128];
  const char *argv[24] = {TEST_PROGRAM}, *env[] = {profile, NULL};
  snprintf(profile, sizeof profile, "TELOVIX_PROFILE=%s", console->fx.folder.path);
  for (int i = 0; words[i]; i++)
    argv[i + 1] = words[i];
  run_program(argv, env, &result);
  return result.status;
}
#define CTL(...) ctl(&console, (const char *const[]){__VA_ARGS__, NULL})

static const char *last_line(const char *text) {
  size_t at = strlen(text);
  while (at > 1 && text[at - 2] != '\n')
    at--;
  return text + (at ? at - 1 : 0);
}

Test(cmd_rules, every_end_of_a_block) {
  static const struct {
    const char *path;
    int status;
    const char *last; /* how the last line begins */
  } cases[] = {{"/2", 0, "applied: /opt/x on web-1 is blocked"},
               {"/3", 1, "partial: /opt/x on web-1 is blocked only in part"},
               {"/4", 1, "refused: /opt/x on web-1 is not blocked"},
               {"/5", 1, "failed: /opt/x on web-1 could not be blocked"},
               {"/20", 0, "applied: /opt/x on web-1 is blocked"}};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CTL("block", "web-1", cases[i].path, "--wait", "--timeout", "20s");
    cr_assert_eq(result.status, cases[i].status, "%s: %d %s", cases[i].path, result.status,
                 result.err);
    const char *last = last_line(result.out);
    cr_assert(strncmp(last, cases[i].last, strlen(cases[i].last)) == 0, "%s", result.out);
    cr_assert(strstr(last, " ms after the command"), "how long is missing: %s", last);
    cr_assert_str_empty(result.err, "progress is for terminals: %s", result.err);
  }
  CTL("block", "web-1", "/3", "--wait");
  cr_assert(strstr(result.out, "gap          copy: a copy runs\n"), "%s", result.out);
  cr_assert(strstr(result.out, "; not covered: copy\n"), "%s", result.out);
  fake_console_stop(&console);
}

/* Somebody else's change ends the wait: what was asked for is not what is wanted any more. */
Test(cmd_rules, overtaken) {
  static const char *const paths[] = {"/7", "/8", "/9"};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    cr_assert_eq(CTL("block", "web-1", paths[i], "--wait", "--timeout", "20s"), 1, "%s: %s",
                 paths[i], result.err);
    cr_assert(strstr(result.err, "ABORTED rule_overtaken: the rule was "), "%s", result.err);
  }
  fake_console_stop(&console);
}

/* Nothing that is not an end counts as one; the line says what it waits for. */
Test(cmd_rules, no_end_in_time) {
  static const struct {
    const char *path, *part;
  } cases[] = {{"/1", "(pending, no_directory)"},
               {"/6", "(unknown)"},
               {"/22", "(applied (unconfirmed since restart))"},
               {"/21", "PERMISSION_DENIED role"}};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CTL("block", "web-1", cases[i].path, "--wait", "--timeout", "400ms", "--request-id", "my-id");
    cr_assert_eq(result.status, 3, "%s: %d %s", cases[i].path, result.status, result.err);
    cr_assert(strstr(result.err, cases[i].part), "%s", result.err);
    cr_assert(strstr(result.err, "repeat it with --request-id my-id"), "%s", result.err);
    cr_assert_str_empty(result.out);
  }
  CTL("block", "web-1", "/1", "--wait", "--timeout", "400ms");
  cr_assert(strstr(result.err, "telovixctl rules get rule_0000000000000001"), "%s", result.err);
  fake_console_stop(&console);
}

Test(cmd_rules, every_end_of_a_removal) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("rules", "delete", "rule_0000000000000030", "--wait"), 0, "%s", result.err);
  cr_assert(strncmp(last_line(result.out), "removed: the rule on /opt/x on web-1 is out of force, ",
                    54) == 0,
            "%s", result.out);
  cr_assert_eq(CTL("rules", "delete", "rule_0000000000000031", "--wait"), 0,
               "gone before it could be watched: %s", result.err);
  cr_assert_eq(CTL("rules", "delete", "rule_0000000000000032", "--wait", "--timeout", "400ms"), 3);
  cr_assert(strstr(result.err, "(removing)"), "%s", result.err);
  cr_assert_eq(CTL("-o", "json", "rules", "delete", "rule_0000000000000030", "--wait"), 0);
  json_t *reply = json_loads(result.out, 0, NULL), *rule = json_object_get(reply, "rule");
  cr_assert_str_eq(json_string_value(json_object_get(rule, "ruleId")), "rule_0000000000000030");
  cr_assert_str_eq(json_string_value(json_object_get(rule, "observedState")),
                   "RULE_STATE_UNSPECIFIED");
  cr_assert(strstr(json_string_value(json_object_get(reply, "notice")), "out of force"));
  json_decref(reply);
  fake_console_stop(&console);
}

Test(cmd_rules, mode) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("rules", "mode", "rule_0000000000000002", "observe", "--wait"), 0, "%s",
               result.err);
  cr_assert(strstr(result.out, "applied: /opt/x on web-1 is observed, not blocked"), "%s",
            result.out);
  cr_assert_eq(CTL("rules", "mode", "rule_0000000000000005", "enforce", "--wait", "--force"), 1);
  cr_assert(strstr(result.out, "failed: /opt/x on web-1 could not be blocked"), "%s", result.out);
  cr_assert_eq(CTL("rules", "mode", "rule_0000000000000002", "off"), 2);
  cr_assert(strstr(result.err, "off: not a mode; want enforce or observe"), "%s", result.err);
  fake_console_stop(&console);
}

/* Stored is not applied, and the words do not say so. */
Test(cmd_rules, without_wait) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("block", "web-1", "/2", "--observe", "--reason", "why"), 0, "%s", result.err);
  cr_assert_str_eq(result.out, "rule_0000000000000002: the sensor will be told\n"
                               "It is stored; what the host makes of it: telovixctl rules get "
                               "rule_0000000000000002\n");
  cr_assert_eq(CTL("-o", "name", "block", "web-1", "/2"), 0);
  cr_assert_str_eq(result.out, "rule_0000000000000002\n");
  cr_assert_eq(CTL("rules", "delete", "rule_0000000000000032"), 0);
  cr_assert(strstr(result.out, "(until there is no such rule)"), "%s", result.out);
  cr_assert_eq(CTL("-o", "json", "block", "web-1", "/2"), 0);
  json_t *reply = json_loads(result.out, 0, NULL), *rule = json_object_get(reply, "rule");
  cr_assert_str_eq(json_string_value(json_object_get(rule, "observedState")), "RULE_STATE_PENDING");
  json_decref(reply);
  cr_assert_eq(CTL("block", "web-1", "/exists"), 1);
  cr_assert(strstr(result.err, "ALREADY_EXISTS rule_exists"), "%s", result.err);
  fake_console_stop(&console);
}

/* ---- what only reads ---- */

Test(cmd_rules, lists) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("rules", "list"), 0, "%s", result.err);
  cr_assert(strstr(result.out, "RULE ") && strstr(result.out, "  enforce  applied   host   "), "%s",
            result.out);
  cr_assert_eq(CTL("-o", "name", "rules", "list", "--sensor", "web-1"), 0);
  cr_assert_str_eq(result.out, "rule_0000000000000002\n");
  cr_assert_eq(CTL("rules", "get", "rule_0000000000000002"), 0);
  cr_assert(strstr(result.out, "desired enforce | observed applied\n"), "%s", result.out);
  cr_assert_eq(CTL("-o", "json", "rules", "list"), 0);
  json_t *rule = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(rule, "desiredMode")), "RULE_MODE_ENFORCE");
  json_decref(rule);
  cr_assert_eq(CTL("events", "list"), 0, "%s", result.err);
  cr_assert(strstr(result.out, "HAPPENED  NODE   EVENT         PATH"), "%s", result.out);
  cr_assert_eq(CTL("-o", "name", "events", "list"), 0);
  cr_assert_str_eq(result.out, "event_1\n");
  fake_console_stop(&console);
}

Test(cmd_rules, events_followed) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("-o", "name", "events", "list", "--follow", "--limit", "2"), 0, "%s",
               result.err);
  cr_assert_str_eq(result.out, "event_1\nevent_2\n");
  cr_assert_eq(CTL("-o", "json", "events", "list", "--follow", "--limit", "1"), 0);
  json_t *event = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(event, "eventId")), "event_1");
  json_decref(event);
  cr_assert_eq(CTL("events", "list", "--follow", "--timeout", "400ms"), 0,
               "the end that was asked for: %s", result.err);
  cr_assert(strstr(result.out, "web-1  exec_blocked  /opt/x\n"), "%s", result.out);
  cr_assert_eq(CTL("--console", "127.0.0.1:1", "events", "list", "--follow", "--timeout", "5s"), 1);
  fake_console_stop(&console);
}
