// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <string.h>

#include "../../harness/folder.h"
#include "../../harness/run.h"

/* The command line of telovix-sensor, by running it: wrong usage is told in words and is status 2.
 * TEST_PROGRAM is its path. */

static struct run_result result;

static void run(const char *const *words, const char *const *env) {
  const char *argv[24] = {TEST_PROGRAM};
  for (int i = 0; words[i]; i++)
    argv[i + 1] = words[i];
  run_program(argv, env, &result);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL}, NULL)

static void expect_usage(const char *part) {
  cr_assert_eq(result.status, 2, "%d: %s", result.status, result.err);
  cr_assert(strstr(result.err, part), "%s is not in: %s", part, result.err);
  cr_assert_str_empty(result.out);
}

Test(command, wrong_words) {
  RUN();
  expect_usage("no command");
  RUN("fly");
  expect_usage("fly: unknown command");
  RUN("run", "word");
  expect_usage("word: unexpected word");
  RUN("run", "--no-such-option");
  expect_usage("--no-such-option");
  RUN("run", "--cgroup");
  expect_usage("--cgroup");
  RUN("status", "-o", "xml");
  expect_usage("want table or json");
  RUN("status", "--cgroup", "/x");
  expect_usage("--cgroup");
}

Test(command, help_and_version) {
  static const char *const commands[] = {"enroll", "run", "status"};
  RUN("--help");
  cr_assert_eq(result.status, 0);
  for (int i = 0; i < 3; i++)
    cr_assert(strstr(result.out, commands[i]));
  cr_assert(strstr(result.out, "3 outcome unknown"));
  for (int i = 0; i < 3; i++) {
    RUN(commands[i], "--help");
    cr_assert_eq(result.status, 0);
    cr_assert(strstr(result.out, "3 outcome unknown"), "%s", result.out);
    cr_assert(strstr(result.out, "--state"));
  }
  RUN("--version");
  cr_assert_eq(result.status, 0);
  cr_assert_str_eq(result.out, "telovix-sensor " TLX_VERSION "\n");
}

Test(command, enroll_names_what_is_missing) {
  RUN("enroll");
  expect_usage("--console HOST:PORT is missing");
  RUN("enroll", "--console", "a:1");
  expect_usage("--ca-cert-hash sha256:HEX is missing");
  RUN("enroll", "--console", "a:1", "--ca-cert-hash", "sha256:00");
  expect_usage("--token TOKEN is missing");
}

Test(command, labels_and_names) {
  RUN("enroll", "--label", "env");
  expect_usage("want KEY=VALUE");
  RUN("enroll", "--label", "Env=x");
  expect_usage("a key of");
  RUN("enroll", "--label", "env=a b");
  expect_usage("a value of");
  RUN("enroll", "--node-name", "-x");
  expect_usage("--node-name");
  RUN("enroll", "--node-name", "sensor_x");
  expect_usage("--node-name");
}

/* A build under test that lost its --cgroup must not kill on the whole host. */
Test(command, no_scope_no_run) {
  FOLDER folder;
  folder_init(&folder);
  RUN("run", "--state", folder.path);
  expect_usage("runs only with --cgroup");
  run((const char *const[]){"run", "--state", folder.path, NULL},
      (const char *const[]){"TELOVIX_HOST_SCOPE=0", NULL});
  expect_usage("runs only with --cgroup");
}

Test(command, run_needs_an_identity_and_a_cgroup) {
  FOLDER folder;
  folder_init(&folder);
  RUN("run", "--state", folder.path, "--cgroup", "/nonexistent");
  cr_assert_eq(result.status, 1, "%s", result.err);
  cr_assert(strstr(result.err, folder.path) || strstr(result.err, "/nonexistent"), "%s",
            result.err);
}

Test(command, status_of_a_host_that_is_not_enrolled) {
  FOLDER folder;
  folder_init(&folder);
  RUN("status", "--state", folder.path);
  cr_assert_neq(result.status, 2, "%s", result.err);
  cr_assert(strstr(result.out, "enroll") || strstr(result.err, "enroll"), "%s%s", result.out,
            result.err);
}

/* Nothing is sent to anybody before the values are known to be good. */
Test(command, enroll_checks_before_it_connects) {
  FOLDER folder;
  folder_init(&folder);
  static const char *const good_hash =
      "sha256:0000000000000000000000000000000000000000000000000000000000000000";
  RUN("enroll", "--state", folder.path, "--console", "no-port", "--ca-cert-hash", good_hash,
      "--token", "tse_x");
  cr_assert_neq(result.status, 0);
  RUN("enroll", "--state", folder.path, "--console", "127.0.0.1:1", "--ca-cert-hash", "sha256:12",
      "--token", "tse_x");
  cr_assert_eq(result.status, 2, "%d %s", result.status, result.err);
  cr_assert(strstr(result.err, "ca-cert-hash"), "%s", result.err);
}
