// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/output.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/types.pb-c.h"

/* ---- standard output, into a file or a terminal of ours ---- */

static char shown[65536];
static int saved_out = -1, saved_err = -1, from = -1;

static void redirect(int out) {
  fflush(NULL);
  saved_out = dup(STDOUT_FILENO);
  dup2(out, STDOUT_FILENO);
}

static void into_file(void) {
  from = memfd_create("out", MFD_CLOEXEC);
  cr_assert_geq(from, 0);
  redirect(from);
}

/* A pseudo terminal, without its translation of newlines. */
static void into_terminal(bool err_too) {
  struct termios modes;
  from = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  cr_assert(from >= 0 && grantpt(from) == 0 && unlockpt(from) == 0);
  int slave = open(ptsname(from), O_RDWR | O_NOCTTY | O_CLOEXEC);
  cr_assert_geq(slave, 0);
  cr_assert_eq(tcgetattr(slave, &modes), 0);
  cfmakeraw(&modes);
  cr_assert_eq(tcsetattr(slave, TCSANOW, &modes), 0);
  redirect(slave);
  if (err_too) {
    saved_err = dup(STDERR_FILENO);
    dup2(slave, STDERR_FILENO);
  }
  close(slave);
}

/* Ends the redirection; |shown| is what was printed. */
static void collect(bool terminal) {
  fflush(stdout);
  if (!terminal) cr_assert_eq(lseek(from, 0, SEEK_SET), 0);
  dup2(saved_out, STDOUT_FILENO);
  close(saved_out);
  if (saved_err >= 0) {
    dup2(saved_err, STDERR_FILENO);
    close(saved_err);
    saved_err = -1;
  }
  /* A terminal hands on what was written in its own time; it ends when nobody has it open. */
  size_t len = 0;
  for (ssize_t n; (n = read(from, shown + len, sizeof shown - 1 - len)) > 0;)
    len += (size_t)n;
  shown[len] = '\0';
  close(from);
}

static void print_table(enum output_colour colour, const char *first, const char *second) {
  static const char *const heads[] = {"NODE", "STATE"};
  struct output_table *table = output_table_new(heads, 2);
  output_table_cell(table, colour, first);
  output_table_cell(table, COLOUR_NONE, second);
  output_table_print(table);
}

/* ---- tables ---- */

Test(output, a_table) {
  static const char *const heads[] = {"A", "LONG HEAD", "C"};
  into_file();
  struct output_table *table = output_table_new(heads, 3);
  static const char *const cells[] = {"1", "2", "3", "long cell", "", "gr\xc3\xbcn"};
  for (int i = 0; i < 6; i++)
    output_table_cell(table, COLOUR_NONE, cells[i]);
  output_table_print(table);
  collect(false);
  cr_assert_str_eq(shown, "A          LONG HEAD  C\n"
                          "1          2          3\n"
                          "long cell  -          gr\xc3\xbcn\n");
}

Test(output, characters_count_and_not_bytes) {
  into_file();
  print_table(COLOUR_NONE, "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc", "x");
  collect(false);
  cr_assert_str_eq(shown, "NODE   STATE\n\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc  x\n");
}

Test(output, heads_without_rows) {
  static const char *const heads[] = {"A", "B"};
  into_file();
  output_table_print(output_table_new(heads, 2));
  collect(false);
  cr_assert_str_eq(shown, "A  B\n");
}

/* What a host calls itself never moves a cursor, ends a line, or goes on for ever. */
Test(output, cells_are_escaped_and_cut) {
  static char endless[5000];
  into_file();
  print_table(COLOUR_NONE, "\033[2J\r\nx\t\x7f\xff", "ok");
  collect(false);
  cr_assert_str_eq(strchr(shown, '\n') + 1, "\\x1B[2J\\x0D\\x0Ax\\x09\\x7F\\xFF  ok\n", "%s",
                   shown);
  memset(endless, 'a', sizeof endless - 1);
  into_file();
  print_table(COLOUR_NONE, endless, "ok");
  collect(false);
  cr_assert_lt(strlen(shown), 2 * 1100);
  cr_assert(strstr(shown, "a\xe2\x80\xa6  ok\n"), "the cut is marked");
}

Test(output, many_rows) {
  static const char *const heads[] = {"N"};
  into_file();
  struct output_table *table = output_table_new(heads, 1);
  for (int i = 0; i < 1000; i++)
    output_table_cell(table, COLOUR_NONE, "row");
  output_table_print(table);
  collect(false);
  cr_assert_eq(strlen(shown), 2 + 1000 * 4);
}

/* ---- colours ---- */

Test(output, no_colour_without_a_terminal) {
  unsetenv("NO_COLOR");
  into_file();
  print_table(COLOUR_BAD, "web-1", "x");
  cr_assert_not(output_is_terminal());
  collect(false);
  cr_assert_null(strchr(shown, '\033'));
}

Test(output, colours_on_a_terminal) {
  unsetenv("NO_COLOR");
  static const struct {
    enum output_colour colour;
    const char *code;
  } cases[] = {{COLOUR_GOOD, "\033[32mweb-1\033[0m  x\n"},
               {COLOUR_WARN, "\033[33mweb-1\033[0m  x\n"},
               {COLOUR_BAD, "\033[31mweb-1\033[0m  x\n"},
               {COLOUR_NONE, "\nweb-1  x\n"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    into_terminal(false);
    print_table(cases[i].colour, "web-1", "x");
    collect(true);
    cr_assert(strstr(shown, cases[i].code), "%s", shown);
  }
}

Test(output, no_color_is_obeyed) {
  setenv("NO_COLOR", "1", 1);
  into_terminal(false);
  print_table(COLOUR_BAD, "web-1", "x");
  collect(true);
  cr_assert_null(strchr(shown, '\033'), "%s", shown);
  setenv("NO_COLOR", "", 1); /* no-color.org: not when it is empty */
  into_terminal(false);
  print_table(COLOUR_BAD, "web-1", "x");
  collect(true);
  cr_assert(strchr(shown, '\033'));
}

Test(output, progress_needs_both_streams) {
  into_terminal(true);
  bool both = output_is_terminal();
  collect(true);
  cr_assert(both);
  into_terminal(false);
  int file = memfd_create("err", MFD_CLOEXEC);
  int err = dup(STDERR_FILENO);
  dup2(file, STDERR_FILENO);
  bool one = output_is_terminal();
  dup2(err, STDERR_FILENO);
  close(err);
  close(file);
  collect(true);
  cr_assert_not(one);
}

Test(output, colour_text_fits_its_room) {
  char out[8];
  into_file();
  const char *text = output_colour(COLOUR_BAD, "0123456789", out, sizeof out);
  collect(false);
  cr_assert_str_eq(text, "0123456");
}

/* ---- JSON ---- */

Test(output, json_is_one_object_a_line) {
  Telovix__V1__Sensor sensor = TELOVIX__V1__SENSOR__INIT;
  sensor.sensor_id = (char *)"sensor_0123456789abcdef";
  sensor.node_name = (char *)"a\nb\033\"";
  into_file();
  output_json(&sensor.base);
  sensor.node_name = (char *)"second";
  output_json(&sensor.base);
  collect(false);
  unsigned n_lines = 0;
  for (char *line = strtok(shown, "\n"); line; line = strtok(NULL, "\n"), n_lines++) {
    json_t *object = json_loads(line, 0, NULL);
    cr_assert(json_is_object(object), "%s", line);
    cr_assert_null(strchr(line, '\033'));
    cr_assert_str_eq(json_string_value(json_object_get(object, "nodeName")),
                     n_lines ? "second" : "a\nb\033\"");
    json_decref(object);
  }
  cr_assert_eq(n_lines, 2);
}

/* ---- words ---- */

Test(output, words_of_enums) {
  char out[64];
  cr_assert_str_eq(output_word(&telovix__v1__kill_state__descriptor, 3, out), "still_alive");
  cr_assert_str_eq(output_word(&telovix__v1__kill_state__descriptor, 0, out), "unspecified");
  cr_assert_str_eq(output_word(&telovix__v1__kill_state__descriptor, 4711, out), "4711",
                   "a newer Console");
  cr_assert_str_eq(output_word(&telovix__v1__health_state__descriptor, 1, out), "critical");
  cr_assert_str_eq(output_word(&telovix__v1__sensor_status__descriptor, 3, out), "stale");
}

Test(output, times_and_ages) {
  char out[32];
  Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  Google__Protobuf__Duration age = GOOGLE__PROTOBUF__DURATION__INIT;
  time.seconds = 1769850000;
  time.nanos = 123999999;
  cr_assert_str_eq(output_time(&time, out), "2026-01-31T09:00:00.123Z");
  cr_assert_eq(output_wall_ms(&time), 1769850000123);
  cr_assert_str_eq(output_time(NULL, out), "-");
  cr_assert_eq(output_wall_ms(NULL), 0);
  time.seconds = -1;
  cr_assert_eq(output_wall_ms(&time), 0);
  cr_assert_str_eq(output_age(NULL, out), "never");
  cr_assert_str_eq(output_age(&age, out), "0s");
  age.seconds = 12;
  cr_assert_str_eq(output_age(&age, out), "12s");
}
