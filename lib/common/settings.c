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

struct reading {
  const char *path;
  const struct tlx_setting *list;
  size_t n;
  void *target;
  char *why;
  bool *seen;
  int err, line;
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
    int err = setting->set(reading->target, value ? value : "", why);
    return err ? fail(reading, err, section, key, *why ? why : tlx_err_text(err)) : 1;
  }
  return fail(reading, TLX_E_NOT_FOUND, section, key, "is not a setting of this program");
}

/* A line as the parser wants it, or NULL at the end and at what it would misread without a word: it
 * takes the rest of a long line for another line, and the text behind a NUL for nothing. */
static char *read_line(char *out, int size, void *arg) {
  struct reading *reading = ((void **)arg)[0];
  FILE *file = ((void **)arg)[1];
  int n = 0, c = 0;
  if (reading->err) return NULL;
  while (c != '\n' && (c = getc(file)) != EOF) {
    if (n == 0) reading->line++;
    if (c == 0 || n == size - 1) {
      reading->err = c ? TLX_E_TOO_LARGE : TLX_E_MALFORMED;
      snprintf(reading->why, WHY_MAX, "%.255s:%d: the line %s", reading->path, reading->line,
               c ? "is too long" : "contains a NUL character");
      return NULL;
    }
    out[n++] = (char)c;
  }
  out[n] = '\0';
  return n ? out : NULL;
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
  struct reading reading = {
      .path = path, .list = list, .n = n, .target = target, .why = why, .seen = seen};
  void *stream[2] = {&reading, file};
  int line = ini_parse_stream(read_line, stream, on_pair, &reading);
  if (reading.err) return reading.err;
  if (ferror(file)) {
    snprintf(why, WHY_MAX, "%.255s: cannot be read", path);
    return -EIO;
  }
  if (line == 0) return 0;
  if (line < 0) return -ENOMEM;
  snprintf(why, WHY_MAX, "%.255s:%d: not a section, a key = value line or a comment", path, line);
  return TLX_E_MALFORMED;
}
