// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/client.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "../../harness/run.h"

/* The verbs of telovixctl (TEST_PROGRAM): their words, their help, and exit status 2. */

static struct run_result result;

/* |verb|: words separated by one blank. */
static int run(const char *verb, const char *const *more) {
  static const char *const env[] = {"TELOVIX_PROFILE=/nonexistent/profile", NULL};
  static char words[64];
  const char *argv[16] = {TEST_PROGRAM};
  int n = 1;
  snprintf(words, sizeof words, "%s", verb);
  for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
    argv[n++] = word;
  for (; *more; more++)
    argv[n++] = *more;
  run_program(argv, env, &result);
  return result.status;
}
#define RUN(verb, ...) run(verb, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static const struct {
  const char *verb, *usage;
  unsigned n_words;
} verbs[] = {{"whoami", "", 0},
             {"sensors list", "", 0},
             {"sensors get", "SENSOR", 1},
             {"sensors watch", "", 0},
             {"kill", "SENSOR PID", 2},
             {"kills list", "", 0},
             {"kills get", "ORDER", 1},
             {"kills cancel", "ORDER", 1},
             {"token create", "", 0},
             {"token list", "", 0},
             {"token revoke", "TOKEN", 1},
             {"audit list", "", 0},
             {"audit head", "", 0},
             {"audit verify", "", 0},
             {"help choose", "", 0},
             {"block", "SENSOR PATH", 2},
             {"contain", "SENSOR", 1},
             {"release", "SENSOR", 1},
             {"rules list", "", 0},
             {"rules get", "RULE", 1},
             {"rules mode", "RULE enforce|observe", 2},
             {"rules delete", "RULE", 1},
             {"events list", "", 0}};
#define N_VERBS (sizeof verbs / sizeof *verbs)

static void expect_usage(const char *part) {
  cr_assert_eq(result.status, 2, "%d %s", result.status, result.err);
  cr_assert(strstr(result.err, part), "%s is not in: %s", part, result.err);
  cr_assert_str_empty(result.out);
}

Test(client, help_of_every_verb) {
  for (size_t i = 0; i < N_VERBS; i++) {
    cr_assert_eq(RUN(verbs[i].verb, "--help"), 0, "%s: %s", verbs[i].verb, result.err);
    cr_assert(strstr(result.out, verbs[i].verb), "%s", result.out);
    cr_assert(strstr(result.out, verbs[i].usage), "%s", result.out);
    for (int status = 0; status <= 3; status++) {
      static const char *const words[] = {"0 success", "1 failure", "2 wrong", "3 outcome"};
      cr_assert(strstr(result.out, words[status]), "%s --help does not say: %s", verbs[i].verb,
                words[status]);
    }
    cr_assert_str_empty(result.err);
  }
}

Test(client, wrong_words_of_every_verb) {
  for (size_t i = 0; i < N_VERBS; i++) {
    static const char *const enough[] = {"a", "1"};
    const char *words[4] = {0};
    for (unsigned n = 0; n < verbs[i].n_words; n++) {
      run(verbs[i].verb, words);
      expect_usage("a word is missing");
      words[n] = enough[n];
    }
    words[verbs[i].n_words] = "more";
    run(verbs[i].verb, words);
    expect_usage("one word too many");
    words[verbs[i].n_words] = "--no-such-option";
    run(verbs[i].verb, words);
    expect_usage("--no-such-option");
  }
}

/* Its words are not all at its front, and their number is open. */
Test(client, words_of_allow) {
  cr_assert_eq(RUN("allow", "--help"), 0);
  cr_assert(strstr(result.out, "SENSOR set ENTRY..."), "%s", result.out);
  cr_assert(strstr(result.out, "SENSOR list"), "%s", result.out);
  RUN("allow");
  expect_usage("a word is missing");
  RUN("allow", "web-1");
  expect_usage("a word is missing");
}

Test(client, verbs_that_are_none) {
  RUN("");
  expect_usage("no verb");
  RUN("fly");
  expect_usage("fly: no such verb");
  RUN("\033[2J");
  expect_usage("\\x1B[2J: no such verb");
  RUN("sensors");
  expect_usage("list get watch");
  RUN("sensors fly");
  expect_usage("list get watch");
  RUN("kill list");
  expect_usage("");
  cr_assert_eq(RUN("sensors", "--help"), 0);
  cr_assert(strstr(result.out, "list") && strstr(result.out, "watch"), "%s", result.out);
}

Test(client, top) {
  cr_assert_eq(RUN("--help"), 0);
  cr_assert(strstr(result.out, "3 outcome unknown"), "%s", result.out);
  cr_assert_eq(RUN("--version"), 0);
  cr_assert_str_eq(result.out, "telovixctl " TLX_VERSION "\n");
  RUN("-o yaml whoami");
  expect_usage("want table, wide, json or name");
  RUN("kill web-1 x");
  cr_assert_neq(result.status, 0);
}

/* A help that needs no Console works without a profile; everything else says what is missing. */
Test(client, without_a_profile) {
  cr_assert_eq(RUN("help choose"), 0, "%s", result.err);
  cr_assert_not(strlen(result.out) == 0);
  cr_assert_eq(RUN("whoami"), 1);
  cr_assert(strstr(result.err, "/nonexistent/profile/profile.ini"), "%s", result.err);
  cr_assert_str_empty(result.out);
  cr_assert_eq(RUN("-o json whoami"), 1);
  json_t *error = json_loads(result.err, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(error, "verb")), "whoami");
  cr_assert_eq(json_integer_value(json_object_get(error, "exitStatus")), 1);
  json_decref(error);
}

Test(client, output_that_cannot_be_written) {
  static const char *const argv[] = {"/bin/sh", "-c", TEST_PROGRAM " help choose > /dev/full",
                                     NULL};
  run_program(argv, NULL, &result);
  cr_assert_eq(result.status, 1);
  cr_assert(strstr(result.err, "cannot write the output"), "%s", result.err);
}
