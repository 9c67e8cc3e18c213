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
bool output_is_terminal(void);
/* Wraps |text| into |out| (size bytes) when colours are on. Returns |out|. */
const char *output_colour(enum output_colour colour, const char *text, char *out, size_t size);

/* A table: rows are collected, columns get the width they need. At most OUTPUT_COLUMNS_MAX columns.
 */
#define OUTPUT_COLUMNS_MAX 16u
struct output_table;
/* |heads|: n column names in capitals. NULL when out of memory. */
struct output_table *output_table_new(const char *const *heads, size_t n);
/* One cell of the current row, escaped and copied; the row is full after n cells. */
void output_table_cell(struct output_table *table, enum output_colour colour, const char *text);
/* Prints heads (also without rows) and rows to stdout, and frees. */
void output_table_print(struct output_table *table);

/* One line of JSON on stdout. */
void output_json(const ProtobufCMessage *message);
/* Value name less the enum's prefix, lower case: KILL_STATE_STILL_ALIVE → "still_alive". |out| of
 * 64; returns it. */
const char *output_word(const ProtobufCEnumDescriptor *descriptor, int value, char *out);
/* "2026-01-31T09:00:00.123Z", or "-" for NULL. |out| of 32; returns it. */
const char *output_time(const Google__Protobuf__Timestamp *time, char *out);
/* "12s", or "never" for NULL. |out| of 32; returns it. */
const char *output_age(const Google__Protobuf__Duration *age, char *out);
uint64_t output_wall_ms(const Google__Protobuf__Timestamp *time);
