// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/check.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "common/log.h"

static void keep(void *arg, enum tlx_log_level level, const char *line) {
  strncpy(arg, line, 255);
}

Test(check, expect_reports_and_goes_on) {
  char line[256] = "";
  tlx_log_set_sink(keep, line);
  cr_assert(tlx_expect(1 + 1 == 2));
  cr_assert_str_eq(line, "");
  cr_assert_not(tlx_expect(1 + 1 == 3));
  cr_assert(strstr(line, "1 + 1 == 3"));
  tlx_log_set_sink(NULL, NULL);
}

Test(check, require_ends_the_process, .signal = SIGABRT) {
  tlx_require(1 == 1);
  tlx_require(1 == 2);
}
