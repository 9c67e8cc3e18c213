// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/settings.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

static int set_name(void *target, const char *value, char *why) {
  if (strlen(value) > 8) {
    snprintf(why, 256, "want at most 8 bytes");
    return TLX_E_TOO_LARGE;
  }
  strcpy(target, value);
  return 0;
}

static const struct tlx_setting list[] = {{"console", "name", set_name}};

static int read_text(const char *text, char *target, char *why) {
  char path[] = "/tmp/telovix-ini-XXXXXX";
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  int err = tlx_settings_read(path, list, 1, target, why);
  unlink(path);
  return err;
}

#define BLANKS_50 "                                                  "
#define BLANKS_250 BLANKS_50 BLANKS_50 BLANKS_50 BLANKS_50 BLANKS_50

Test(settings, table) {
  static const struct {
    const char *text;
    int err;
    const char *value, *why;
  } cases[] = {
      {"[console]\nname = web\n", 0, "web", NULL},
      {"; remark\n\n[console]\nname=a b\n", 0, "a b", NULL},
      {"", 0, "", NULL},
      {"[console]\nnmae = web\n", 1, NULL, ":2: "},
      {"[other]\nname = web\n", 1, NULL, ":2: "},
      {"[console]\nname = 123456789\n", TLX_E_TOO_LARGE, NULL, "want at most 8 bytes"},
      {"[console]\nname = a\nname = b\n", 1, NULL, ":3: "},
      {"[console\nname = a\n", 1, NULL, ":2: "},
      /* The parser alone would take what follows 199 bytes for a line of its own. */
      {"[console]\n;" BLANKS_250 "name = a\n", 0, "", NULL},
      {"[console]\nname = web" BLANKS_250 "; remark\n", 0, "web", NULL},
      {"[console]\nname =" BLANKS_250 "a b\t\r\n", 0, "a b", NULL},
      {"[console]\nname = " BLANKS_250 "123456789\n", TLX_E_TOO_LARGE, NULL,
       "want at most 8 bytes"},
      {"[console]\nnmae = " BLANKS_250 "a\n", 1, NULL, ":2: "},
      {"[console]\nname = a\n " BLANKS_250 "b\n", TLX_E_TOO_LARGE, NULL,
       ":3: the line is too long"},
      {"[console]\nname" BLANKS_250 "= a\n", TLX_E_TOO_LARGE, NULL, ":2: the line is too long"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char target[16] = "", why[512] = "";
    int err = read_text(cases[i].text, target, why);
    if (cases[i].err == 1)
      cr_assert_lt(err, 0, "case %zu", i);
    else
      cr_assert_eq(err, cases[i].err, "case %zu: %d %s", i, err, why);
    if (cases[i].value) cr_assert_str_eq(target, cases[i].value);
    if (cases[i].why) cr_assert(strstr(why, cases[i].why), "case %zu: %s", i, why);
  }
}

Test(settings, missing_file) {
  char why[512] = "";
  cr_assert_eq(tlx_settings_read("/nonexistent/x.ini", list, 1, NULL, why), -ENOENT);
  cr_assert_str_eq(why, "");
}
