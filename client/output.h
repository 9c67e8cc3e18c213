// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the operator sees: tables for people, JSON for programs. Text that a peer chose is escaped
 * before it reaches a terminal. Main thread. */

/* Colours, only on a terminal and without NO_COLOR. */
enum output_colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD };

/* Whether standard output and standard error are both a terminal: only then is progress shown. */
bool output_is_terminal(void);
/* |text| in |colour| into |out| (|size| bytes), or as it is when colours are off. Returns |out|. */
const char *output_colour(enum output_colour colour, const char *text, char *out, size_t size);

/* A table: rows are collected, columns get the width they need. At most OUTPUT_COLUMNS_MAX columns.
 */
#define OUTPUT_COLUMNS_MAX 20u
struct output_table;
/* |heads|: n column names in capitals. NULL when out of memory. */
struct output_table *output_table_new(const char *const *heads, size_t n);
/* One cell of the current row, escaped and copied, "-" for an empty one; the row is full after n
 * cells. |table| NULL is fine. */
void output_table_cell(struct output_table *table, enum output_colour colour, const char *text);
/* Prints heads (also without rows) and rows to stdout, and frees. NULL, or a table that found no
 * memory, is told on stderr. */
void output_table_print(struct output_table *table);

/* A line of what is known of one thing: |name|, and |value| escaped, "-" for an empty one. */
void output_line(const char *name, const char *value);

/* One line of JSON on stdout (rpc/pb_json.h), flushed. */
void output_json(const ProtobufCMessage *message);
/* Value name less the enum's prefix, lower case: KILL_STATE_STILL_ALIVE → "still_alive". |out| of
 * 64; returns it. */
const char *output_word(const ProtobufCEnumDescriptor *descriptor, int value, char *out);
/* "2026-01-31T09:00:00.123Z", or "-" for NULL. |out| of 32; returns it. */
const char *output_time(const Google__Protobuf__Timestamp *time, char *out);
/* "12s", or "never" for NULL. |out| of 32; returns it. */
const char *output_age(const Google__Protobuf__Duration *age, char *out);
/* How long ago |at| was, by the clock by which |known| was |known_age| ago: ages are told by the
 * Console's clock, never by ours. "-" when that cannot be said. |out| of 32; returns it. */
const char *output_age_at(const Google__Protobuf__Timestamp *at,
                          const Google__Protobuf__Timestamp *known,
                          const Google__Protobuf__Duration *known_age, char *out);
/* Fills |ret_time| and returns it; NULL for 0, which is a time that was not given. */
Google__Protobuf__Timestamp *output_timestamp(uint64_t wall_ms,
                                              Google__Protobuf__Timestamp *ret_time);
/* Milliseconds since 1970; 0 for NULL and for times before. */
uint64_t output_wall_ms(const Google__Protobuf__Timestamp *time);
