// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/authz.h"

#include <criterion/criterion.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "console/peers.h"
#include "console/svc.h"
#include "telovix/v1/types.pb-c.h"

extern const unsigned char tlx_wire_descriptor_set[];
extern const unsigned long tlx_wire_descriptor_set_len;

/* ---- every method of every service, and nothing else ---- */

/* Who may call what, said once more (spec §6), so that no line of the table changes by accident. */
enum who { ANYONE, SENSORS, VIEWERS, OPERATORS, ADMINS };
static const struct {
  const char *path;
  enum who least;
} expected[] = {
    {"/grpc.health.v1.Health/Check", ANYONE},
    {"/grpc.health.v1.Health/Watch", ANYONE},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", VIEWERS},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", VIEWERS},
    {"/telovix.v1.EnrollmentService/Enroll", ANYONE},
    {"/telovix.v1.SensorService/Heartbeat", SENSORS},
    {"/telovix.v1.SensorService/RenewCertificate", SENSORS},
    {"/telovix.v1.SensorService/Wake", SENSORS},
    {"/telovix.v1.FleetService/ListSensors", VIEWERS},
    {"/telovix.v1.FleetService/GetSensor", VIEWERS},
    {"/telovix.v1.FleetService/WatchFleet", VIEWERS},
    {"/telovix.v1.FleetService/GetFleetHealth", VIEWERS},
    {"/telovix.v1.FleetService/DisableSensor", ADMINS},
    {"/telovix.v1.FleetService/EnableSensor", ADMINS},
    {"/telovix.v1.FleetService/RevokeSensor", ADMINS},
    {"/telovix.v1.FleetService/DeleteSensor", ADMINS},
    {"/telovix.v1.ContainmentService/KillProcess", OPERATORS},
    {"/telovix.v1.ContainmentService/CancelKill", OPERATORS},
    {"/telovix.v1.ContainmentService/GetKill", VIEWERS},
    {"/telovix.v1.ContainmentService/WatchKill", VIEWERS},
    {"/telovix.v1.ContainmentService/ListKills", VIEWERS},
    {"/telovix.v1.ContainmentService/BlockBinary", OPERATORS},
    {"/telovix.v1.ContainmentService/ContainSensor", OPERATORS},
    {"/telovix.v1.ContainmentService/ReleaseSensor", OPERATORS},
    {"/telovix.v1.ContainmentService/SetAllowList", OPERATORS},
    {"/telovix.v1.ContainmentService/GetAllowList", VIEWERS},
    {"/telovix.v1.PolicyService/GetTemplate", VIEWERS},
    {"/telovix.v1.PolicyService/ListEnforcementRules", VIEWERS},
    {"/telovix.v1.PolicyService/GetEnforcementRule", VIEWERS},
    {"/telovix.v1.PolicyService/WatchEnforcementRule", VIEWERS},
    {"/telovix.v1.PolicyService/SetEnforcementRuleMode", OPERATORS},
    {"/telovix.v1.PolicyService/DeleteEnforcementRule", OPERATORS},
    {"/telovix.v1.EventService/ListEvents", VIEWERS},
    {"/telovix.v1.EventService/WatchEvents", VIEWERS},
    {"/telovix.v1.TokenService/CreateEnrollmentToken", OPERATORS},
    {"/telovix.v1.TokenService/CreateReenrollmentToken", OPERATORS},
    {"/telovix.v1.TokenService/ListEnrollmentTokens", OPERATORS},
    {"/telovix.v1.TokenService/RevokeEnrollmentToken", OPERATORS},
    {"/telovix.v1.AuditService/ListAudit", OPERATORS},
    {"/telovix.v1.AuditService/ExportAudit", OPERATORS},
    {"/telovix.v1.AuditService/GetAuditHead", OPERATORS},
    {"/telovix.v1.OperatorService/WhoAmI", VIEWERS},
    {"/telovix.v1.OperatorService/RenewOperator", VIEWERS},
    {"/telovix.v1.OperatorService/CreateOperator", ADMINS},
    {"/telovix.v1.OperatorService/ListOperators", ADMINS},
    {"/telovix.v1.OperatorService/SetOperatorRole", ADMINS},
    {"/telovix.v1.OperatorService/RevokeOperator", ADMINS},
};
#define N_EXPECTED (sizeof expected / sizeof *expected)

static bool may_call(const struct authz_rule *rule, enum authz_kind kind, enum authz_role role) {
  if (rule->kind == AUTHZ_ANYONE) return true;
  return rule->kind == kind && (kind != AUTHZ_OPERATOR || role >= rule->least);
}

Test(authz, every_method_with_every_caller) {
  for (size_t i = 0; i < N_EXPECTED; i++) {
    const struct authz_rule *rule = authz_find(expected[i].path);
    enum who least = expected[i].least;
    cr_assert(rule, "%s", expected[i].path);
    cr_assert_str_eq(rule->path, expected[i].path);
    cr_assert_eq(may_call(rule, AUTHZ_ANYONE, AUTHZ_ROLE_NONE), least == ANYONE, "%s", rule->path);
    cr_assert_eq(may_call(rule, AUTHZ_SENSOR, AUTHZ_ROLE_NONE), least == ANYONE || least == SENSORS,
                 "%s", rule->path);
    cr_assert_eq(may_call(rule, AUTHZ_OPERATOR, AUTHZ_ROLE_NONE), least == ANYONE, "%s",
                 rule->path);
    cr_assert_eq(may_call(rule, AUTHZ_OPERATOR, AUTHZ_VIEWER), least == ANYONE || least == VIEWERS,
                 "%s", rule->path);
    cr_assert_eq(may_call(rule, AUTHZ_OPERATOR, AUTHZ_OP), least != SENSORS && least != ADMINS,
                 "%s", rule->path);
    cr_assert_eq(may_call(rule, AUTHZ_OPERATOR, AUTHZ_ADMIN), least != SENSORS, "%s", rule->path);
  }
}

Test(authz, the_table_is_what_the_protocol_has) {
  Google__Protobuf__FileDescriptorSet *set = google__protobuf__file_descriptor_set__unpack(
      NULL, tlx_wire_descriptor_set_len, tlx_wire_descriptor_set);
  size_t n_rules, n_methods = 0;
  const struct authz_rule *rules = authz_table(&n_rules);
  cr_assert(set);
  for (size_t f = 0; f < set->n_file; f++) {
    for (size_t s = 0; s < set->file[f]->n_service; s++) {
      const Google__Protobuf__ServiceDescriptorProto *service = set->file[f]->service[s];
      for (size_t m = 0; m < service->n_method; m++) {
        char path[256];
        snprintf(path, sizeof path, "/%s.%s/%s", set->file[f]->package, service->name,
                 service->method[m]->name);
        cr_assert(authz_find(path), "%s is in no role", path);
        n_methods++;
      }
    }
  }
  google__protobuf__file_descriptor_set__free_unpacked(set, NULL);
  /* No path twice and as many as there are methods: then none is of a method that is not there. */
  for (size_t i = 0; i < n_rules; i++)
    for (size_t k = 0; k < i; k++)
      cr_assert_str_neq(rules[i].path, rules[k].path);
  cr_assert_eq(n_rules, n_methods);
  cr_assert_eq(n_rules, N_EXPECTED);
}

Test(authz, the_table_is_what_the_server_has) {
  size_t n_methods, n_rules;
  const struct tlx_method *methods = svc_methods(&n_methods);
  (void)authz_table(&n_rules);
  for (size_t i = 0; i < n_methods; i++)
    cr_assert(authz_find(methods[i].path), "%s is in no role", methods[i].path);
  cr_assert_eq(n_rules, n_methods + 4, "health and reflection are the only others");
}

Test(authz, what_is_not_in_the_table) {
  static const char *const paths[] = {"",
                                      "/",
                                      "/telovix.v1.FleetService/None",
                                      "/telovix.v1.FleetService/GetSenso",
                                      "/telovix.v1.FleetService/GetSensorX",
                                      "/telovix.v1.fleetservice/getsensor",
                                      "telovix.v1.FleetService/GetSensor",
                                      "//telovix.v1.FleetService/GetSensor",
                                      "/telovix.v1.FleetService/GetSensor/"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
    cr_assert_null(authz_find(paths[i]), "%s", paths[i]);
}

Test(authz, roles) {
  cr_assert_eq((int)AUTHZ_ROLE_NONE, TELOVIX__V1__ROLE__ROLE_UNSPECIFIED);
  cr_assert_eq((int)AUTHZ_VIEWER, TELOVIX__V1__ROLE__ROLE_VIEWER);
  cr_assert_eq((int)AUTHZ_OP, TELOVIX__V1__ROLE__ROLE_OPERATOR);
  cr_assert_eq((int)AUTHZ_ADMIN, TELOVIX__V1__ROLE__ROLE_ADMIN);
  cr_assert_str_eq(authz_role_name(AUTHZ_VIEWER), "viewer");
  cr_assert_str_eq(authz_role_name(AUTHZ_OP), "operator");
  cr_assert_str_eq(authz_role_name(AUTHZ_ADMIN), "admin");
  cr_assert_str_eq(authz_role_name(0), "none");
  cr_assert_str_eq(authz_role_name(4), "none");
}

/* ---- peers ---- */

Test(peers, remembered) {
  struct peers *peers;
  cr_assert_eq(peers_new(&peers), 0);
  peers_add(peers, "192.0.2.1");
  peers_add(peers, "192.0.2.1");
  peers_add(peers, "");
  peers_add(peers, NULL);
  cr_assert(peers_has(peers, "192.0.2.1"));
  cr_assert_not(peers_has(peers, "192.0.2.2"));
  peers_free(peers);
  peers_free(NULL);
}
