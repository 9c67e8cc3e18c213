// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "../../harness/run.h"
#include "fake_console.h"

/* The verbs of containments (TEST_PROGRAM) against a Console in a child process, and the exit
 * status of each end: 0 only for a host that proved it, or proved a part where that was accepted.
 */

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

Test(cmd_contain, every_end) {
  static const struct {
    const char *sensor;
    int status, status_accepting;
    const char *last; /* how the last line begins */
  } cases[] = {{"2", 0, 0, "contained: web-1 is cut off from the network, proved by the host"},
               {"3", 1, 0, "partial: web-1 is cut off from the network only in part"},
               {"4", 1, 1, "refused: web-1 is not cut off from the network"},
               {"5", 1, 1, "failed: web-1 is not proved to be cut off from the network"},
               {"20", 0, 0, "contained: web-1 is cut off from the network"}};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int accepts = 0; accepts <= 1; accepts++) {
      CTL("contain", cases[i].sensor, "--wait", "--timeout", "20s",
          accepts ? "--accept-partial" : "--force");
      cr_assert_eq(result.status, accepts ? cases[i].status_accepting : cases[i].status,
                   "%s: %d %s", cases[i].sensor, result.status, result.err);
      const char *last = last_line(result.out);
      cr_assert(strncmp(last, cases[i].last, strlen(cases[i].last)) == 0, "%s", result.out);
      cr_assert(strstr(last, " ms after the command"), "how long is missing: %s", last);
      cr_assert_str_empty(result.err, "progress is for terminals: %s", result.err);
    }
  CTL("contain", "2", "--wait", "--allow", "in:10.0.0.0/8");
  cr_assert(strncmp(result.out, "Let through: in:10.0.0.0/8\n", 27) == 0, "%s", result.out);
  CTL("contain", "3", "--wait");
  cr_assert(strstr(result.out, "gap          copy: a copy runs\n"), "%s", result.out);
  fake_console_stop(&console);
}

/* Nothing that is not an end counts as one: silence, another boot, drift, a state from before the
 * restart. */
Test(cmd_contain, no_end_in_time) {
  static const char *const cases[][2] = {{"1", "(pending, no_directory)"},
                                         {"6", "(unknown)"},
                                         {"22", "(applied (unconfirmed since restart))"}};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CTL("contain", cases[i][0], "--wait", "--accept-partial", "--timeout", "400ms", "--request-id",
        "my-id");
    cr_assert_eq(result.status, 3, "%s: %d %s", cases[i][0], result.status, result.err);
    cr_assert(strstr(result.err, cases[i][1]), "%s", result.err);
    cr_assert(strstr(result.err, "repeat it with --request-id my-id"), "%s", result.err);
    cr_assert_str_eq(result.out, "Let through: nothing\n", "it is stored");
  }
  cr_assert_eq(CTL("contain", "7", "--wait", "--timeout", "20s"), 1);
  cr_assert(strstr(result.err, "ABORTED rule_overtaken"), "released meanwhile: %s", result.err);
  fake_console_stop(&console);
}

Test(cmd_contain, without_wait) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(
      CTL("contain", "2", "--allow", "in:10.0.0.0/8", "--allow", "out:192.0.2.1/32,53/udp"), 0);
  cr_assert_str_eq(
      result.out,
      "rule_0000000000000002: it will be told\n"
      "It is stored; what the host makes of it: telovixctl rules get rule_0000000000000002\n"
      "Let through: in:10.0.0.0/8 out:192.0.2.1/32,53/udp\n");
  cr_assert_eq(CTL("contain", "2"), 0);
  cr_assert(strstr(result.out, "\nLet through: nothing\n"), "%s", result.out);
  cr_assert_eq(CTL("contain", "hazard"), 1);
  cr_assert(strstr(result.err, "FAILED_PRECONDITION hazard"), "%s", result.err);
  cr_assert_eq(CTL("contain", "hazard", "--force"), 0);
  cr_assert_eq(CTL("-o", "name", "contain", "2"), 0);
  cr_assert_str_eq(result.out, "rule_0000000000000002\n");
  cr_assert_eq(CTL("-o", "json", "contain", "2", "--on-lost-console", "release"), 0);
  json_t *reply = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(json_object_get(reply, "rule"), "template")),
                   "network-containment");
  json_decref(reply);
  cr_assert_eq(CTL("contain", "2", "--accept-partial"), 2);
  cr_assert(strstr(result.err, "give both"), "%s", result.err);
  cr_assert_eq(CTL("contain", "2", "--allow", "in:0.0.0.0/0"), 2);
  cr_assert(strstr(result.err, "would let everything through"), "%s", result.err);
  fake_console_stop(&console);
}

Test(cmd_contain, release) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("release", "30", "--wait"), 0, "%s", result.err);
  cr_assert(strncmp(last_line(result.out), "released: web-1 is out of containment, ", 39) == 0,
            "%s", result.out);
  cr_assert_eq(CTL("release", "31", "--wait"), 0, "gone before it could be watched: %s",
               result.err);
  cr_assert_eq(CTL("release", "32", "--wait", "--timeout", "400ms"), 3);
  cr_assert(strstr(result.err, "(removing)"), "%s", result.err);
  /* Nothing to release is nothing to wait for. */
  cr_assert_eq(CTL("release", "free", "--wait"), 0, "%s", result.err);
  cr_assert_str_eq(result.out, "as it was\n");
  cr_assert_eq(CTL("-o", "json", "release", "free"), 0);
  json_t *reply = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(reply, "unchanged")), "not_contained");
  json_decref(reply);
  fake_console_stop(&console);
}

Test(cmd_contain, allow) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("allow", "2", "set", "in:10.0.0.0/8", "out:192.0.2.1/32,53/udp"), 0, "%s",
               result.err);
  cr_assert(strstr(result.out, "\nLet through: in:10.0.0.0/8 out:192.0.2.1/32,53/udp\n"), "%s",
            result.out);
  cr_assert_eq(CTL("allow", "2", "set"), 0);
  cr_assert(strstr(result.out, "\nLet through: nothing\n"), "%s", result.out);
  cr_assert_eq(CTL("allow", "2", "list"), 0);
  cr_assert_str_eq(result.out, "in:10.0.0.0/8\nout:192.0.2.1/32\n");
  cr_assert_eq(CTL("allow", "none", "list"), 0);
  cr_assert_str_empty(result.out);
  cr_assert_eq(CTL("-o", "json", "allow", "2", "list"), 0);
  json_t *reply = json_loads(result.out, 0, NULL);
  cr_assert_eq(json_array_size(json_object_get(reply, "allow")), 2);
  json_decref(reply);
  static const char *const wrong[][3] = {
      {"list", "in:10.0.0.0/8", "list takes no entry"},
      {"set", "in:10.0.0.1/8", "in:10.0.0.1/8: has host bits beyond its prefix"},
      {"add", "in:10.0.0.0/8", "add: want set or list"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    cr_assert_eq(CTL("allow", "2", wrong[i][0], wrong[i][1]), 2);
    cr_assert(strstr(result.err, wrong[i][2]), "%s", result.err);
    cr_assert_str_empty(result.out);
  }
  fake_console_stop(&console);
}
