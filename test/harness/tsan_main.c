// SPDX-License-Identifier: GPL-2.0-or-later
/* Runs Criterion's tests under ThreadSanitizer, one child process each. Criterion's own runner
 * cannot: it maps its arena at a fixed address inside the memory where TSan keeps its shadow, and
 * gives up. Only what the macros Test and cr_assert use is here; the linker prefers these
 * definitions to the library's. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_SKIPPED = 77 };

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
/* A program without TestSuite has no such section. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

static const struct criterion_test *running;
static const struct criterion_suite *suite;
static bool failed;

void criterion_internal_test_setup(void) {
  if (suite && suite->data->init) suite->data->init();
  if (running->data->init) running->data->init();
}

void criterion_internal_test_main(void (*fn)(void)) {
  fn();
}

void criterion_internal_test_teardown(void) {
  if (running->data->fini) running->data->fini();
  if (suite && suite->data->fini) suite->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats) {
  if (stats->passed) return;
  failed = true;
  fprintf(stderr, "[----] %s:%u: %s\n", stats->file, (unsigned)stats->line, stats->message);
}

void cri_asserts_passed_incr(void) {
}

void criterion_abort_test(void) {
  exit(EXIT_FAILED);
}

void criterion_continue_test(void) {
}

void criterion_skip_test(const char *format, ...) {
  fprintf(stderr, "[SKIP] %s\n", format);
  exit(EXIT_SKIPPED);
}

static int run(const struct criterion_test *test) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0) {
    perror("fork");
    exit(EXIT_FAILED);
  }
  if (pid == 0) {
    running = test;
    for (struct criterion_suite **at = __start_cr_sts; at < __stop_cr_sts; at++)
      if (*at && strcmp((*at)->name, test->category) == 0) suite = *at;
    test->test();
    /* Not _exit: TSan reports at exit, and with a status of its own when it found something. */
    exit(failed ? EXIT_FAILED : 0);
  }
  int status;
  if (waitpid(pid, &status, 0) != pid) return EXIT_FAILED;
  if (WIFSIGNALED(status))
    return WTERMSIG(status) == test->data->signal ? 0 : 128 + WTERMSIG(status);
  if (test->data->signal) return EXIT_FAILED;
  if (WEXITSTATUS(status) == EXIT_SKIPPED) return EXIT_SKIPPED;
  return WEXITSTATUS(status) == test->data->exit_code ? 0 : EXIT_FAILED;
}

int main(void) {
  unsigned n = 0, n_failed = 0;
  for (struct criterion_test **at = __start_cr_tst; at < __stop_cr_tst; at++) {
    if (!*at || (*at)->data->disabled) continue;
    int result = run(*at);
    if (result != EXIT_SKIPPED) n++;
    if (result == 0 || result == EXIT_SKIPPED) continue;
    n_failed++;
    fprintf(stderr, "[FAIL] %s::%s: %d\n", (*at)->category, (*at)->name, result);
  }
  printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u\n", n, n - n_failed, n_failed);
  return n_failed ? EXIT_FAILED : 0;
}
