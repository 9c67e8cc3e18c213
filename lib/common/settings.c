// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/settings.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/text.h"

#define WHY_MAX 512u
#define LINE_MAX_LEN 8192u /* eight addresses of the longest names fit */
/* What the parser sees in place of a value that is too long for its lines of 200 bytes. */
#define LONG_VALUE "\x01"
/* What the parser takes for blanks, and for the end of a key. */
#define BLANKS " \t\n\v\f\r"
#define KEY_ENDS "=:"

struct reading {
  const char *path;
  const struct tlx_setting *list;
  size_t n;
  void *target;
  char *why;
  bool *seen;
  int err, line;
  char text[LINE_MAX_LEN + 1];
  const char *long_value; /* of the current line, in |text|; NULL = the parser has it */
};

static int fail(struct reading *reading, int err, const char *section, const char *key,
                const char *text) {
  char shown_section[64], shown_key[64];
  snprintf(reading->why, WHY_MAX, "%.255s:%d: [%s] %s: %s", reading->path, reading->line,
           tlx_text_escape(section, SIZE_MAX, shown_section, sizeof shown_section),
           tlx_text_escape(key, SIZE_MAX, shown_key, sizeof shown_key), text);
  reading->err = err;
  return 0;
}

/* inih's handler: 0 stops with an error. */
static int on_pair(void *arg, const char *section, const char *key, const char *value) {
  struct reading *reading = arg;
  char why[256] = "";
  /* Only the first fault is told. */
  if (reading->err) return 0;
  for (size_t i = 0; i < reading->n; i++) {
    const struct tlx_setting *setting = &reading->list[i];
    if (strcmp(setting->section, section) != 0 || strcmp(setting->key, key) != 0) continue;
    if (reading->seen[i]) return fail(reading, TLX_E_EXISTS, section, key, "is given twice");
    reading->seen[i] = true;
    if (reading->long_value) value = reading->long_value;
    int err = setting->set(reading->target, value ? value : "", why);
    return err ? fail(reading, err, section, key, *why ? why : tlx_err_text(err)) : 1;
  }
  return fail(reading, TLX_E_NOT_FOUND, section, key, "is not a setting of this program");
}

/* The whole next line into |text|; false at the end and at what is no line. */
static bool read_whole(struct reading *reading, FILE *file) {
  size_t n = 0;
  int c = 0;
  while (c != '\n' && (c = getc(file)) != EOF) {
    if (n == 0) reading->line++;
    if (c == 0 || n == LINE_MAX_LEN) {
      reading->err = c ? TLX_E_TOO_LARGE : TLX_E_MALFORMED;
      snprintf(reading->why, WHY_MAX, "%.255s:%d: the line %s", reading->path, reading->line,
               c ? "is too long" : "contains a NUL character");
      return false;
    }
    reading->text[n++] = (char)c;
  }
  reading->text[n] = '\0';
  return n > 0;
}

/* A value as the parser would pass it: without blanks around it and a comment behind it. */
static char *trim_value(char *value) {
  for (char *at = value; (at = strchr(at, ';')); at++)
    if (at > value && strchr(BLANKS, at[-1])) {
      *at = '\0';
      break;
    }
  value += strspn(value, BLANKS);
  size_t len = strlen(value);
  while (len && strchr(BLANKS, value[len - 1]))
    value[--len] = '\0';
  return value;
}

/* A line as the parser wants it, or NULL at the end and at what it would misread without a word: it
 * takes the rest of a long line for another line, and the text behind a NUL for nothing. */
static char *read_line(char *out, int size, void *arg) {
  struct reading *reading = ((void **)arg)[0];
  char *text = reading->text;
  reading->long_value = NULL;
  if (reading->err || !read_whole(reading, ((void **)arg)[1])) return NULL;
  if (strlen(text) < (size_t)size) return strcpy(out, text);
  if (*text == ';' || *text == '#') return strcpy(out, ";\n");
  char *equals = strpbrk(text, KEY_ENDS);
  size_t key_len = equals ? (size_t)(equals - text) : 0;
  /* A blank in front would go on with the value of the line before. */
  if (!equals || strchr(" \t[", *text) || key_len + sizeof "=" LONG_VALUE "\n" > (size_t)size) {
    reading->err = TLX_E_TOO_LARGE;
    snprintf(reading->why, WHY_MAX, "%.255s:%d: the line is too long", reading->path,
             reading->line);
    return NULL;
  }
  memcpy(out, text, key_len);
  strcpy(out + key_len, "=" LONG_VALUE "\n");
  reading->long_value = trim_value(equals + 1);
  return out;
}

int tlx_settings_read(const char *path, const struct tlx_setting *list, size_t n, void *target,
                      char *why) {
  TLX_AUTOFREE bool *seen = calloc(n ? n : 1, sizeof *seen);
  if (!seen) return -ENOMEM;
  TLX_AUTOFCLOSE FILE *file = fopen(path, "re");
  if (!file) {
    int err = -errno;
    if (err != -ENOENT) snprintf(why, WHY_MAX, "%.255s: %s", path, tlx_err_text(err));
    return err;
  }
  TLX_AUTOFREE struct reading *reading = calloc(1, sizeof *reading);
  if (!reading) return -ENOMEM;
  *reading = (struct reading){
      .path = path, .list = list, .n = n, .target = target, .why = why, .seen = seen};
  void *stream[2] = {reading, file};
  int line = ini_parse_stream(read_line, stream, on_pair, reading);
  if (reading->err) return reading->err;
  if (ferror(file)) {
    snprintf(why, WHY_MAX, "%.255s: cannot be read", path);
    return -EIO;
  }
  if (line == 0) return 0;
  if (line < 0) return -ENOMEM;
  snprintf(why, WHY_MAX, "%.255s:%d: not a section, a key = value line or a comment", path, line);
  return TLX_E_MALFORMED;
}
