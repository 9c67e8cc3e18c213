// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/pages.h"

#include <criterion/criterion.h>
#include <string.h>

#include "capture.h"
#include "telovix/v1/types.pb-c.h"

static struct capture out;

static const char *const heads[] = {"SEQ"};

/* Shows |n| items as the format wants, and returns what was printed. */
static const char *show(enum output_format format, uint64_t limit, unsigned n) {
  struct client client = {.args = {.format = format}};
  struct pages pages;
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  capture_start(&out);
  pages_init(&pages, &client, limit);
  if (pages.has_table) pages.table = output_table_new(heads, 1);
  for (unsigned i = 1; i <= n && pages_have_room(&pages); i++) {
    char name[16];
    head.seq = i;
    snprintf(name, sizeof name, "name-%u", i);
    if (pages_show(&pages, &head.base, name)) output_table_cell(pages.table, COLOUR_NONE, name);
  }
  pages_done(&pages);
  return capture_stop(&out);
}

Test(pages, each_form) {
  cr_assert_str_eq(show(OUTPUT_TABLE, 0, 2), "SEQ\nname-1\nname-2\n");
  cr_assert_str_eq(show(OUTPUT_WIDE, 1, 2), "SEQ\nname-1\n");
  cr_assert_str_eq(show(OUTPUT_NAME, 0, 2), "name-1\nname-2\n");
  cr_assert_str_eq(show(OUTPUT_JSON, 1, 2), "{\"seq\":\"1\",\"hash\":\"\"}\n");
  cr_assert_str_eq(show(OUTPUT_TABLE, 0, 0), "SEQ\n");
  cr_assert_str_eq(show(OUTPUT_JSON, 0, 0), "", "an empty list is no lines");
}

/* No page is asked for that would not be shown. */
Test(pages, limit_and_token) {
  struct client client = {.args = {.format = OUTPUT_NAME}};
  struct pages pages;
  pages_init(&pages, &client, 0);
  cr_assert_eq(pages_size(&pages, 1000), 1000);
  pages_next(&pages, "more");
  cr_assert_str_eq(pages.token, "more");
  pages_init(&pages, &client, 3);
  pages.shown = 1;
  cr_assert_eq(pages_size(&pages, 1000), 2);
  pages_next(&pages, "more");
  cr_assert_str_eq(pages.token, "more");
  pages.shown = 3;
  cr_assert_not(pages_have_room(&pages));
  pages_next(&pages, "more");
  cr_assert_str_empty(pages.token);
}
