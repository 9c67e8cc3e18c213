// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/csv.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect(const char *text, const char *field) {
  struct tlx_buf buf = {0};
  csv_field(&buf, text, true);
  cr_assert_eq(buf.err, 0);
  cr_assert_eq(buf.len, strlen(field), "%.*s", (int)buf.len, (const char *)buf.data);
  if (buf.len) cr_assert_arr_eq(buf.data, field, buf.len);
  tlx_buf_done(&buf);
}

Test(csv, rfc_4180) {
  struct tlx_buf buf = {0};
  csv_field(&buf, "a", true);
  csv_field(&buf, "", false);
  csv_field(&buf, "b c", false);
  csv_end(&buf);
  cr_assert_eq(buf.len, 8);
  cr_assert_arr_eq(buf.data, "a,,b c\r\n", 8);
  tlx_buf_done(&buf);
  expect("a,b", "\"a,b\"");
  expect("say \"hi\"", "\"say \"\"hi\"\"\"");
}

Test(csv, no_formula) {
  expect("=1+1", "'=1+1");
  expect("+1", "'+1");
  expect("-1", "'-1");
  expect("@SUM(A1)", "'@SUM(A1)");
  expect("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"");
  expect("\t=1", "'\\x09=1");
  expect("\r=1", "'\\x0D=1");
  expect("a=1", "a=1");
  expect("", "");
}

Test(csv, nothing_for_a_terminal) {
  expect("\033[2J", "\\x1B[2J");
  expect("two\nlines", "two\\x0Alines");
  expect("\xff", "\\xFF");
}
