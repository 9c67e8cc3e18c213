// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/event_view.h"

#include <stdio.h>

#include "common/text.h"

static const char *const heads[] = {"HAPPENED", "NODE", "EVENT", "PATH",  "PID",
                                    "PARENT",   "UID",  "COMM",  "COUNT", "DETAIL"};
static const char *const heads_wide[] = {"HAPPENED", "NODE",   "EVENT", "PATH",  "PID",
                                         "PARENT",   "UID",    "COMM",  "COUNT", "DETAIL",
                                         "RECEIVED", "SENSOR", "RULE",  "ID"};

struct output_table *event_view_table(bool wide) {
  return wide ? output_table_new(heads_wide, sizeof heads_wide / sizeof *heads_wide)
              : output_table_new(heads, sizeof heads / sizeof *heads);
}

static enum output_colour type_colour(const Telovix__V1__Event *event) {
  switch (event->type) {
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED:
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_WOULD_BLOCK:
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_NETWORK_DENIED:
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_NETWORK_WOULD_DENY:
    return COLOUR_WARN;
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_ENFORCEMENT_TAMPERED:
  case TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_ENFORCEMENT_LIFTED:
    return COLOUR_BAD;
  default:
    return COLOUR_NONE;
  }
}

/* An event without a process has no user either: "0" would be root. */
static void number_cell(struct output_table *table, const Telovix__V1__Event *event,
                        uint64_t number) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  output_table_cell(table, COLOUR_NONE, event->pid ? text : "");
}

void event_view_row(struct output_table *table, const Telovix__V1__Event *event, bool wide) {
  char text[64];
  output_table_cell(table, COLOUR_NONE, output_time(event->happened_at, text));
  output_table_cell(table, COLOUR_NONE, event->node_name);
  output_table_cell(table, type_colour(event),
                    output_word(&telovix__v1__event_type__descriptor, (int)event->type, text));
  output_table_cell(table, COLOUR_NONE, event->path);
  number_cell(table, event, event->pid);
  number_cell(table, event, event->parent_pid);
  number_cell(table, event, event->uid);
  output_table_cell(table, COLOUR_NONE, event->comm);
  snprintf(text, sizeof text, "%llu", (unsigned long long)event->count);
  output_table_cell(table, COLOUR_NONE, text);
  output_table_cell(table, COLOUR_NONE, event->detail);
  if (!wide) return;
  output_table_cell(table, COLOUR_NONE, output_time(event->received_at, text));
  output_table_cell(table, COLOUR_NONE, event->sensor_id);
  output_table_cell(table, COLOUR_NONE, event->rule_id);
  output_table_cell(table, COLOUR_NONE, event->event_id);
}

void event_view_line(const Telovix__V1__Event *event) {
  char time[32], word[64], type[96], who[160] = "", count[32] = "", text[6000], shown[8192];
  output_word(&telovix__v1__event_type__descriptor, (int)event->type, word);
  output_colour(type_colour(event), word, type, sizeof type);
  if (event->pid)
    snprintf(who, sizeof who, "  pid %u (%.64s), parent %u, uid %u", event->pid, event->comm,
             event->parent_pid, event->uid);
  if (event->count > 1)
    snprintf(count, sizeof count, "  %llu times", (unsigned long long)event->count);
  snprintf(text, sizeof text, "%.4095s%s%s%s%.512s", event->path, who, count,
           *event->detail ? "  " : "", event->detail);
  char node[1024];
  printf("%s  %s  %s  %s\n", output_time(event->happened_at, time),
         tlx_text_escape(event->node_name, SIZE_MAX, node, sizeof node), type,
         tlx_text_escape(text, SIZE_MAX, shown, sizeof shown));
}
