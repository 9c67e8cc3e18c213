// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/descriptor_index.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/builtin.h"

extern const unsigned char tlx_wire_descriptor_set[];
extern const unsigned long tlx_wire_descriptor_set_len;

Test(builtin, symbols_of_every_kind) {
  struct tlx_descriptor_index *index;
  const struct tlx_descriptor_file *list[64];
  cr_assert_eq(
      tlx_descriptor_index_new(tlx_wire_descriptor_set, tlx_wire_descriptor_set_len, &index), 0);
  static const char *const known[] = {"telovix.v1.FleetService",
                                      "telovix.v1.FleetService.GetSensor",
                                      "telovix.v1.Sensor",
                                      "telovix.v1.Sensor.sensor_id",
                                      "telovix.v1.Sensor.LabelsEntry",
                                      "telovix.v1.KillState",
                                      "telovix.v1.KILL_STATE_KILLED",
                                      "google.protobuf.Timestamp",
                                      "grpc.health.v1.Health",
                                      "grpc.reflection.v1.ServerReflection"};
  static const char *const unknown[] = {"", ".telovix.v1.Sensor", "telovix.v1", "telovix.v1.sensor",
                                        "telovix.v1.KillState.KILL_STATE_KILLED"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    cr_assert(tlx_descriptor_file_of_symbol(index, known[i]), "%s", known[i]);
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
    cr_assert_null(tlx_descriptor_file_of_symbol(index, unknown[i]), "%s", unknown[i]);
  cr_assert(tlx_descriptor_has_message(index, "telovix.v1.Sensor"));
  cr_assert_not(tlx_descriptor_has_message(index, "telovix.v1.FleetService"));
  const struct tlx_descriptor_file *file =
      tlx_descriptor_file_named(index, "telovix/v1/fleet.proto");
  size_t n = tlx_descriptor_file_closure(index, file, list, 64);
  cr_assert_eq(list[0], file, "the requested file comes first");
  cr_assert_eq(n, 7, "fleet, duration, timestamp, policy, sensor, event, types: %zu", n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < i; k++)
      cr_assert_neq(list[i], list[k]);
  cr_assert_null(tlx_descriptor_file_named(index, "fleet.proto"));
  tlx_descriptor_index_free(index);
}

Test(builtin, broken_sets_are_refused) {
  struct tlx_descriptor_index *index;
  cr_assert_eq(tlx_descriptor_index_new("\x0a\x05x", 3, &index), TLX_E_MALFORMED);
  cr_assert_eq(tlx_descriptor_index_new("\x12\x00", 2, &index), TLX_E_MALFORMED);
  cr_assert_eq(tlx_descriptor_index_new("\x0a\x01\xff", 3, &index), TLX_E_MALFORMED);
}

Test(builtin, the_table_holds_own_and_standard_methods) {
  static const char *const services[] = {"telovix.v1.FleetService"};
  static const struct tlx_method own[] = {{.path = "/telovix.v1.FleetService/GetSensor"}};
  struct tlx_builtin *builtin;
  size_t n;
  cr_assert_eq(
      tlx_builtin_new(tlx_wire_descriptor_set, tlx_wire_descriptor_set_len, services, 1, &builtin),
      0);
  struct tlx_method *methods = tlx_builtin_methods(builtin, own, 1, &n);
  cr_assert_eq(n, 5);
  cr_assert_str_eq(methods[0].path, own[0].path);
  for (size_t i = 1; i < n; i++)
    cr_assert(methods[i].handler && methods[i].request && methods[i].reply);
  cr_assert(tlx_builtin_is_health("/grpc.health.v1.Health/Check"));
  cr_assert_not(tlx_builtin_is_health("/grpc.health.v1.HealthX/Check"));
  free(methods);
  tlx_builtin_free(builtin);
  tlx_builtin_free(NULL);
}
