// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"

Test(text_time, rfc3339) {
  char out[TLX_TIME_TEXT_MAX];
  uint64_t wall_ms;
  tlx_time_format(0, out);
  cr_assert_str_eq(out, "1970-01-01T00:00:00.000Z");
  tlx_time_format(951782400123, out); /* a leap day */
  cr_assert_str_eq(out, "2000-02-29T00:00:00.123Z");
  cr_assert_eq(tlx_time_parse(out, &wall_ms), 0);
  cr_assert_eq(wall_ms, 951782400123);
  cr_assert_eq(tlx_time_parse("2000-02-29T01:00:00+01:00", &wall_ms), 0);
  cr_assert_eq(wall_ms, 951782400000);
  cr_assert_eq(tlx_time_parse("2000-02-28T23:59:59.9999-00:00", &wall_ms), 0);
  cr_assert_eq(wall_ms, 951782399999);
  static const char *const bad[] = {"",
                                    "2000-02-30T00:00:00Z",
                                    "2000-02-29",
                                    "2000-02-29T24:00:00Z",
                                    "2000-02-29T00:00:00",
                                    "2000-02-29T00:00:00Zx"};
  for (int i = 0; i < 6; i++)
    cr_assert_eq(tlx_time_parse(bad[i], &wall_ms), TLX_E_MALFORMED, "%s", bad[i]);
}

Test(text_time, durations) {
  static const struct {
    const char *text;
    uint64_t ms;
  } good[] = {{"500ms", 500},    {"10s", 10000},     {"5m", 300000},
              {"24h", 86400000}, {"1h30m", 5400000}, {"730d", 63072000000}};
  static const char *const bad[] = {"", "5", "m", "5x", "-5s", "5 s", "99999999999999999999s"};
  uint64_t ms;
  char out[TLX_TIME_TEXT_MAX];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_assert_eq(tlx_duration_parse(good[i].text, &ms), 0, "%s", good[i].text);
    cr_assert_eq(ms, good[i].ms);
    tlx_duration_format(ms, out);
    cr_assert_eq(tlx_duration_parse(out, &ms), 0);
    cr_assert_eq(ms, good[i].ms, "%s does not come back", out);
  }
  for (int i = 0; i < 7; i++)
    cr_assert_eq(tlx_duration_parse(bad[i], &ms), TLX_E_MALFORMED, "%s", bad[i]);
  tlx_duration_format(5400000, out);
  cr_assert_str_eq(out, "1h30m");
}
