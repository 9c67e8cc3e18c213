// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/event_view.h"

#include <criterion/criterion.h>
#include <string.h>

#include "capture.h"

#define TYPE(name) TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_##name

static struct capture out;
static Google__Protobuf__Timestamp happened, received;

static Telovix__V1__Event event_of(int type) {
  Telovix__V1__Event event = TELOVIX__V1__EVENT__INIT;
  google__protobuf__timestamp__init(&happened);
  google__protobuf__timestamp__init(&received);
  happened.seconds = 1769850000;
  received.seconds = 1769850002;
  event.event_id = (char *)"event_1111111111111111";
  event.node_name = (char *)"web-1";
  event.happened_at = &happened;
  event.received_at = &received;
  event.type = (Telovix__V1__EventType)type;
  event.path = (char *)"/usr/bin/nc";
  event.count = 1;
  return event;
}

Test(event_view, a_table) {
  Telovix__V1__Event blocked = event_of(TYPE(EXEC_BLOCKED)),
                     tampered = event_of(TYPE(ENFORCEMENT_TAMPERED));
  blocked.pid = 42;
  blocked.parent_pid = 41;
  blocked.comm = (char *)"ba\033sh";
  blocked.count = 3;
  tampered.path = (char *)"link";
  tampered.detail = (char *)"attached again";
  for (int wide = 0; wide <= 1; wide++) {
    capture_start(&out);
    struct output_table *table = event_view_table(wide);
    event_view_row(table, &blocked, wide);
    event_view_row(table, &tampered, wide);
    output_table_print(table);
    capture_stop(&out);
    if (wide)
      cr_assert(strstr(out.text, "RECEIVED                  SENSOR  RULE  ID\n") &&
                    strstr(out.text, "2026-01-31T09:00:02.000Z  -       -     event_11111"),
                "%s", out.text);
    else
      /* No process, so no user: "0" would say that root did it. */
      cr_assert_str_eq(
          out.text,
          "HAPPENED                  NODE   EVENT                 PATH         PID  PARENT  UID  "
          "COMM      COUNT  DETAIL\n"
          "2026-01-31T09:00:00.000Z  web-1  exec_blocked          /usr/bin/nc  42   41      0    "
          "ba\\x1Bsh  3      -\n"
          "2026-01-31T09:00:00.000Z  web-1  enforcement_tampered  link         -    -       -    "
          "-         1      attached again\n");
  }
}

static const char *line_of(const Telovix__V1__Event *event) {
  capture_start(&out);
  event_view_line(event);
  return capture_stop(&out);
}

Test(event_view, a_line) {
  Telovix__V1__Event event = event_of(TYPE(EXEC_WOULD_BLOCK));
  cr_assert_str_eq(line_of(&event),
                   "2026-01-31T09:00:00.000Z  web-1  exec_would_block  /usr/bin/nc\n");
  event.pid = 42;
  event.parent_pid = 41;
  event.uid = 1000;
  event.comm = (char *)"ba\033sh";
  event.count = 9;
  event.detail = (char *)"more";
  cr_assert_str_eq(line_of(&event),
                   "2026-01-31T09:00:00.000Z  web-1  exec_would_block  /usr/bin/nc  pid 42 "
                   "(ba\\x1Bsh), parent 41, uid 1000  9 times  more\n");
  event = event_of(4711);
  cr_assert(strstr(line_of(&event), "  4711  "), "%s", out.text);
}

/* Paths and names are chosen by whoever was stopped. */
Test(event_view, a_line_has_its_limits) {
  static char endless[16384];
  memset(endless, '\033', sizeof endless - 1);
  Telovix__V1__Event event = event_of(TYPE(EXEC_BLOCKED));
  event.pid = 1000;
  event.path = event.comm = event.detail = event.node_name = endless;
  line_of(&event);
  cr_assert_null(strchr(out.text, '\033'));
  cr_assert_eq(strchr(out.text, '\n'), out.text + strlen(out.text) - 1, "one line");
}
