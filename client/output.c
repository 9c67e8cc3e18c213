// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/output.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/cleanup.h"
#include "common/text.h"
#include "rpc/pb_json.h"

#define CELL_MAX 1024u
#define LINE_MAX_LEN 8192u /* a path of 4,095 bytes, with room for escapes */

bool output_is_terminal(void) {
  return isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
}

static bool colours_on(void) {
  const char *off = getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) && !(off && *off);
}

static const char *colour_code(enum output_colour colour) {
  switch (colour) {
  case COLOUR_GOOD:
    return "\033[32m";
  case COLOUR_WARN:
    return "\033[33m";
  case COLOUR_BAD:
    return "\033[31m";
  case COLOUR_NONE:
    break;
  }
  return "";
}

const char *output_colour(enum output_colour colour, const char *text, char *out, size_t size) {
  bool on = colour != COLOUR_NONE && colours_on();
  snprintf(out, size, "%s%s%s", on ? colour_code(colour) : "", text, on ? "\033[0m" : "");
  return out;
}

struct cell {
  char *text;
  enum output_colour colour;
};
struct output_table {
  size_t n_columns, n_cells, capacity;
  struct cell *cells;
  bool failed;
};

static void add(struct output_table *table, enum output_colour colour, char *text) {
  if (table->n_cells == table->capacity) {
    size_t capacity = table->capacity ? table->capacity * 2 : 64;
    struct cell *cells = realloc(table->cells, capacity * sizeof *cells);
    if (!cells) {
      free(text);
      table->failed = true;
      return;
    }
    table->cells = cells;
    table->capacity = capacity;
  }
  if (!text) table->failed = true;
  table->cells[table->n_cells++] = (struct cell){text, colour};
}

struct output_table *output_table_new(const char *const *heads, size_t n) {
  tlx_require(n > 0 && n <= OUTPUT_COLUMNS_MAX);
  struct output_table *table = calloc(1, sizeof *table);
  if (!table) return NULL;
  table->n_columns = n;
  for (size_t i = 0; i < n; i++)
    add(table, COLOUR_NONE, strdup(heads[i]));
  return table;
}

void output_table_cell(struct output_table *table, enum output_colour colour, const char *text) {
  if (!table) return;
  char shown[CELL_MAX];
  tlx_text_escape(text, SIZE_MAX, shown, sizeof shown);
  add(table, colour, strdup(*shown ? shown : "-"));
}

void output_table_print(struct output_table *table) {
  if (!table || table->failed)
    fprintf(stderr, "telovixctl: out of memory; the table is not complete\n");
  if (!table) return;
  size_t width[OUTPUT_COLUMNS_MAX] = {0};
  for (size_t i = 0; i < table->n_cells; i++) {
    size_t len = table->cells[i].text ? tlx_text_utf8_count(table->cells[i].text) : 0;
    if (len > width[i % table->n_columns]) width[i % table->n_columns] = len;
  }
  for (size_t i = 0; i < table->n_cells; i++) {
    size_t column = i % table->n_columns;
    const char *text = table->cells[i].text ? table->cells[i].text : "";
    char coloured[CELL_MAX + 16];
    fputs(output_colour(table->cells[i].colour, text, coloured, sizeof coloured), stdout);
    if (column + 1 == table->n_columns)
      putchar('\n');
    else
      printf("%*s", (int)(width[column] - tlx_text_utf8_count(text) + 2), "");
  }
  for (size_t i = 0; i < table->n_cells; i++)
    free(table->cells[i].text);
  free(table->cells);
  free(table);
}

void output_line(const char *name, const char *value) {
  char shown[LINE_MAX_LEN];
  printf("%-14s %s\n", name, *value ? tlx_text_escape(value, SIZE_MAX, shown, sizeof shown) : "-");
}

void output_json(const ProtobufCMessage *message) {
  TLX_AUTOFREE char *line = tlx_pb_json_line(message);
  if (!line) {
    fprintf(stderr, "telovixctl: out of memory; a line is missing\n");
    return;
  }
  puts(line);
  fflush(stdout);
}

const char *output_word(const ProtobufCEnumDescriptor *descriptor, int value, char *out) {
  const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(descriptor, value);
  if (!found) {
    /* A newer Console may know more. */
    snprintf(out, 64, "%d", value);
    return out;
  }
  /* The prefix is the enum's name in capitals with underscores: skip as many words as it has. */
  const char *name = found->name;
  for (const char *c = descriptor->short_name; *c; c++)
    if (isupper((unsigned char)*c)) {
      const char *next = strchr(name, '_');
      if (next) name = next + 1;
    }
  size_t n = 0;
  for (; name[n] && n < 63; n++)
    out[n] = (char)tolower((unsigned char)name[n]);
  out[n] = '\0';
  return out;
}

uint64_t output_wall_ms(const Google__Protobuf__Timestamp *time) {
  if (!time || time->seconds < 0) return 0;
  return (uint64_t)time->seconds * 1000 + (uint64_t)time->nanos / 1000000;
}

Google__Protobuf__Timestamp *output_timestamp(uint64_t wall_ms,
                                              Google__Protobuf__Timestamp *ret_time) {
  if (wall_ms == 0) return NULL;
  google__protobuf__timestamp__init(ret_time);
  ret_time->seconds = (int64_t)(wall_ms / 1000);
  ret_time->nanos = (int32_t)(wall_ms % 1000 * 1000000);
  return ret_time;
}

const char *output_time(const Google__Protobuf__Timestamp *time, char *out) {
  if (time)
    tlx_time_format(output_wall_ms(time), out);
  else
    strcpy(out, "-");
  return out;
}

const char *output_age(const Google__Protobuf__Duration *age, char *out) {
  if (!age)
    strcpy(out, "never");
  else if (age->seconds == 0)
    strcpy(out, "0s");
  else
    tlx_duration_format((uint64_t)age->seconds * 1000, out);
  return out;
}

const char *output_age_at(const Google__Protobuf__Timestamp *at,
                          const Google__Protobuf__Timestamp *known,
                          const Google__Protobuf__Duration *known_age, char *out) {
  if (!at || !known || !known_age) {
    strcpy(out, "-");
    return out;
  }
  uint64_t now_wall_ms = output_wall_ms(known) + (uint64_t)known_age->seconds * 1000 +
                         (uint64_t)known_age->nanos / 1000000;
  uint64_t at_wall_ms = output_wall_ms(at);
  /* Whole seconds, as output_age: what lies in the future by a little is now. */
  uint64_t age_s = now_wall_ms > at_wall_ms ? (now_wall_ms - at_wall_ms) / 1000 : 0;
  Google__Protobuf__Duration age = GOOGLE__PROTOBUF__DURATION__INIT;
  age.seconds = (int64_t)age_s;
  return output_age(&age, out);
}
