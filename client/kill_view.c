// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/kill_view.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name

bool kill_view_ended(const Telovix__V1__KillOrder *order) {
  switch (order->state) {
  case STATE(UNSPECIFIED):
  case STATE(QUEUED):
  case STATE(DELIVERED):
  case STATE(STILL_ALIVE):
    return false;
  default:
    return true;
  }
}

bool kill_view_succeeded(const Telovix__V1__KillOrder *order) {
  return order->state == STATE(KILLED) || order->state == STATE(ALREADY_GONE);
}

static enum output_colour state_colour(const Telovix__V1__KillOrder *order) {
  if (!kill_view_ended(order)) return COLOUR_WARN;
  return kill_view_succeeded(order) ? COLOUR_GOOD : COLOUR_BAD;
}

static const char *const heads[] = {"ORDER", "NODE", "PID", "STATE", "DETAIL", "QUEUED", "ACTOR"};

struct output_table *kill_view_table(void) {
  return output_table_new(heads, sizeof heads / sizeof *heads);
}

void kill_view_row(struct output_table *table, const Telovix__V1__KillOrder *order) {
  char text[64], time[32];
  output_table_cell(table, COLOUR_NONE, order->order_id);
  output_table_cell(table, COLOUR_NONE, order->node_name);
  snprintf(text, sizeof text, "%u", order->pid);
  output_table_cell(table, COLOUR_NONE, text);
  output_table_cell(table, state_colour(order),
                    output_word(&telovix__v1__kill_state__descriptor, (int)order->state, text));
  output_table_cell(table, COLOUR_NONE, order->detail);
  output_table_cell(table, COLOUR_NONE, output_time(order->queued_at, time));
  output_table_cell(table, COLOUR_NONE, order->actor);
}

/* What an end means for the operator. */
static const char *meaning(const Telovix__V1__KillOrder *order) {
  switch (order->state) {
  case STATE(QUEUED):
    return "waits to be handed to the sensor";
  case STATE(DELIVERED):
    return "was handed to the sensor; no result yet";
  case STATE(STILL_ALIVE):
    return "was signalled and has not ended yet";
  case STATE(KILLED):
    return "was killed";
  case STATE(ALREADY_GONE):
    return "was gone already";
  case STATE(IDENTITY_MISMATCH):
    return "is another process than the one that was meant; it was not touched";
  case STATE(PROTECTED):
    return "may not be killed; it was not touched";
  case STATE(FAILED):
    return "could not be killed";
  case STATE(EXPIRED):
    return "was not touched: the order expired before the sensor was heard";
  case STATE(CANCELLED):
    return "was not touched: the order was taken back";
  case STATE(RESULT_UNKNOWN):
    return "may or may not be gone: the sensor was given the order and did not report";
  default:
    return "is in a state that this telovixctl does not know; use a newer one";
  }
}

/* Times are of the Console's clock, which can be set back in between: then no span is known. */
static bool span_ms(const Google__Protobuf__Timestamp *from, const Google__Protobuf__Timestamp *to,
                    uint64_t *ret_ms) {
  if (!from || !to || output_wall_ms(to) < output_wall_ms(from)) return false;
  *ret_ms = output_wall_ms(to) - output_wall_ms(from);
  return true;
}

static void line(const char *name, const Google__Protobuf__Timestamp *at,
                 const Google__Protobuf__Timestamp *start, const char *extra) {
  char time[32];
  uint64_t ms;
  if (!at) return;
  printf("%-18s %s", name, output_time(at, time));
  if (at != start && span_ms(start, at, &ms)) printf("  +%llu ms", (unsigned long long)ms);
  printf("%s%s\n", *extra ? "  " : "", extra);
}

const char *kill_view_sentence(const Telovix__V1__KillOrder *order, char *out) {
  char word[64], node[256], comm[64], detail[256], error[64] = "", took[64] = "", scope[600] = "";
  output_word(&telovix__v1__kill_state__descriptor, (int)order->state, word);
  tlx_text_escape(order->node_name, SIZE_MAX, node, sizeof node);
  tlx_text_escape(order->comm, SIZE_MAX, comm, sizeof comm);
  tlx_text_escape(order->detail, SIZE_MAX, detail, sizeof detail);
  if (order->error_number)
    snprintf(error, sizeof error, " (%s)", strerror((int)order->error_number));
  uint64_t ms;
  if (span_ms(order->queued_at, order->finished_at, &ms))
    snprintf(took, sizeof took, ", %llu ms after the order", (unsigned long long)ms);
  if (*order->scope_cgroup) {
    char path[512];
    snprintf(scope, sizeof scope, " [trial scope %s]",
             tlx_text_escape(order->scope_cgroup, SIZE_MAX, path, sizeof path));
  }
  snprintf(out, 1024, "%s: PID %u%s%s%s on %s %s%s%s%s%s%s", word, order->pid, *comm ? " (" : "",
           comm, *comm ? ")" : "", node, meaning(order), *detail ? ": " : "", detail, error, took,
           scope);
  return out;
}

void kill_view_print(const Telovix__V1__KillOrder *order) {
  char extra[128] = "", word[64], sentence[1024];
  printf("%-18s %s\n", "order", order->order_id);
  if (*order->guard_exe) {
    char path[4096];
    printf("%-18s exe %s\n", "guard",
           tlx_text_escape(order->guard_exe, SIZE_MAX, path, sizeof path));
  }
  if (order->guard_start_ticks)
    printf("%-18s start_ticks %llu\n", "guard", (unsigned long long)order->guard_start_ticks);
  if (*order->reason) {
    char reason[2048];
    printf("%-18s %s\n", "reason", tlx_text_escape(order->reason, SIZE_MAX, reason, sizeof reason));
  }
  line("queued", order->queued_at, order->queued_at, "");
  if (order->state == STATE(QUEUED)) line("expires", order->expires_at, NULL, "");
  line("delivered", order->delivered_at, order->queued_at, "");
  if (order->still_alive_at) {
    snprintf(extra, sizeof extra, "process state %s",
             *order->process_state ? order->process_state : "?");
    line("still_alive", order->still_alive_at, order->queued_at, extra);
  }
  extra[0] = '\0';
  if (order->died_after)
    snprintf(extra, sizeof extra, "(ended %lld.%03d ms after the signal)",
             (long long)order->died_after->seconds * 1000 + order->died_after->nanos / 1000000,
             order->died_after->nanos / 1000 % 1000);
  line(output_word(&telovix__v1__kill_state__descriptor, (int)order->state, word),
       order->finished_at, order->queued_at, extra);
  printf("%s\n", kill_view_sentence(order, sentence));
}
