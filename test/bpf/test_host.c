// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"
#include "sensor/canary.h"

/* The whole host as scope: only in a guest, whose init says that the machine is the test's. */

static struct bed bed;

static void begin(void) {
  const char *may = getenv("TELOVIX_HOST_SCOPE");
  if (!may || strcmp(may, "1") != 0)
    cr_skip_test("this machine is not the test's alone: runs in the guests of test/vm");
  bed_begin(&bed);
  bed.whole_host = true;
  bed_engine(&bed);
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_ENFORCE);
  bed_publish(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(host, .init = begin, .fini = end);

static void exec_program(const struct bed *b, const char *arg) {
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  execv(b->program, argv);
}

Test(host, every_cgroup) {
  int err = 0;
  cr_expect_eq(bed_run(&bed, false, exec_program, NULL), bed_stopped(&bed));
  cr_expect_eq(bed_run(&bed, true, exec_program, NULL), bed_stopped(&bed));
  cr_expect_not(bed_trace(&bed));
  cr_expect_eq(canary_run(bed.canary, NULL, &err),
               bed.backend == BPF_BACKEND_TRACEPOINT ? CANARY_KILLED : CANARY_DENIED);
}

/* The first process of a PID namespace is one like any other; only the host's own is spared by the
 * tracepoint's signal. */
static void exec_as_first(const struct bed *b, const char *arg) {
  int status = 0;
  if (unshare(CLONE_NEWPID) != 0) return;
  pid_t pid = fork();
  if (pid == 0) {
    exec_program(b, arg);
    _exit(10);
  }
  waitpid(pid, &status, 0);
  _exit(WIFSIGNALED(status) ? 20 : WEXITSTATUS(status));
}

Test(host, the_first_process_of_a_pid_namespace) {
  cr_expect_eq(bed_run(&bed, false, exec_as_first, NULL), BED_ALIVE);
  cr_expect_eq(bed_status, bed.backend == BPF_BACKEND_TRACEPOINT ? 20 : 10);
  cr_expect_not(bed_trace(&bed));
}
