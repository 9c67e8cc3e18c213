// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/pb_json.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/types.pb-c.h"

static void expect_part(const ProtobufCMessage *message, const char *part) {
  char *line = tlx_pb_json_line(message);
  cr_assert(strstr(line, part), "%s is not in %s", part, line);
  free(line);
}

Test(pb_json, scalars_enums_and_absent_messages) {
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  order.order_id = (char *)"kill_1";
  order.pid = 7;
  order.start_ticks = UINT64_MAX;
  order.state = TELOVIX__V1__KILL_STATE__KILL_STATE_STILL_ALIVE;
  expect_part(&order.base, "\"orderId\":\"kill_1\"");
  expect_part(&order.base, "\"pid\":7");
  expect_part(&order.base, "\"startTicks\":\"18446744073709551615\"");
  expect_part(&order.base, "\"state\":\"KILL_STATE_STILL_ALIVE\"");
  expect_part(&order.base, "\"detail\":\"\"");
  char *line = tlx_pb_json_line(&order.base);
  cr_assert_not(strstr(line, "finishedAt"));
  free(line);
  order.state = (Telovix__V1__KillState)99;
  expect_part(&order.base, "\"state\":99");
}

Test(pb_json, times_bytes_and_maps) {
  Telovix__V1__Sensor sensor = TELOVIX__V1__SENSOR__INIT;
  Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  Google__Protobuf__Duration age = GOOGLE__PROTOBUF__DURATION__INIT;
  Telovix__V1__Sensor__LabelsEntry entry = TELOVIX__V1__SENSOR__LABELS_ENTRY__INIT,
                                   *list[] = {&entry};
  at.seconds = 1;
  at.nanos = 500000000;
  age.seconds = 2;
  age.nanos = 250000;
  entry.key = (char *)"env";
  entry.value = (char *)"prod";
  sensor.last_seen_at = &at;
  sensor.last_seen_age = &age;
  sensor.labels = list;
  sensor.n_labels = 1;
  sensor.connected = 1;
  expect_part(&sensor.base, "\"lastSeenAt\":\"1970-01-01T00:00:01.500Z\"");
  expect_part(&sensor.base, "\"lastSeenAge\":\"2.000250s\"");
  expect_part(&sensor.base, "\"labels\":{\"env\":\"prod\"}");
  expect_part(&sensor.base, "\"connected\":true");
  expect_part(&sensor.base, "\"healthReasons\":[]");
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  head.hash = (ProtobufCBinaryData){1, (uint8_t *)"f"};
  expect_part(&head.base, "\"hash\":\"Zg==\"");
}
