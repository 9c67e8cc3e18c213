// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct seen {
  unsigned n;
  char last[512];
};

static void keep(void *arg, enum tlx_log_level level, const char *line) {
  struct seen *seen = arg;
  seen->n++;
  snprintf(seen->last, sizeof seen->last, "%s", line);
}

Test(log, level_decides) {
  struct seen seen = {0};
  enum tlx_log_level level;
  tlx_log_set_sink(keep, &seen);
  tlx_info(CORE, "quiet");
  cr_assert_eq(seen.n, 0, "info is below the default");
  tlx_notice(KILL, "pid=%d", 7);
  cr_assert_eq(seen.n, 1);
  cr_assert(strstr(seen.last, "notice kill pid=7"), "%s", seen.last);
  cr_assert_eq(tlx_log_level_parse("debug", &level), 0);
  tlx_log_set_level(level);
  tlx_debug(CORE, "loud");
  cr_assert_eq(seen.n, 2);
  cr_assert_eq(tlx_log_level_parse("shout", &level), -EINVAL);
}

Test(log, errors_are_counted) {
  struct seen seen = {0};
  tlx_log_set_sink(keep, &seen);
  uint64_t before = tlx_log_error_count();
  tlx_warn(CORE, "no error");
  tlx_error(CORE, "one");
  cr_assert_eq(tlx_log_error_count(), before + 1);
}

Test(log, repeats_of_one_place_are_bounded) {
  struct seen seen = {0};
  tlx_log_set_sink(keep, &seen);
  for (int i = 0; i < 100; i++)
    tlx_warn(RPC, "again %d", i);
  cr_assert_eq(seen.n, 10);
  tlx_warn(RPC, "another place");
  cr_assert_eq(seen.n, 11);
}
