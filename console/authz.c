// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/authz.h"

#include <string.h>

/* Spec §6: the whole truth about who may call what. A method that does not stand here cannot be
 * called by anybody. */
#define V1 "/telovix.v1."
static const struct authz_rule rules[] = {
    {"/grpc.health.v1.Health/Check", AUTHZ_ANYONE, AUTHZ_ROLE_NONE},
    {"/grpc.health.v1.Health/Watch", AUTHZ_ANYONE, AUTHZ_ROLE_NONE},
    {V1 "EnrollmentService/Enroll", AUTHZ_ANYONE, AUTHZ_ROLE_NONE},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", AUTHZ_OPERATOR,
     AUTHZ_VIEWER},
    {V1 "SensorService/Heartbeat", AUTHZ_SENSOR, AUTHZ_ROLE_NONE},
    {V1 "SensorService/RenewCertificate", AUTHZ_SENSOR, AUTHZ_ROLE_NONE},
    {V1 "SensorService/Wake", AUTHZ_SENSOR, AUTHZ_ROLE_NONE},
    {V1 "FleetService/ListSensors", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "FleetService/GetSensor", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "FleetService/WatchFleet", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "FleetService/GetFleetHealth", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "FleetService/DisableSensor", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "FleetService/EnableSensor", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "FleetService/RevokeSensor", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "FleetService/DeleteSensor", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "ContainmentService/KillProcess", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/CancelKill", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/GetKill", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "ContainmentService/WatchKill", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "ContainmentService/ListKills", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "ContainmentService/BlockBinary", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/ContainSensor", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/ReleaseSensor", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/SetAllowList", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "ContainmentService/GetAllowList", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "PolicyService/GetTemplate", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "PolicyService/ListEnforcementRules", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "PolicyService/GetEnforcementRule", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "PolicyService/WatchEnforcementRule", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "PolicyService/SetEnforcementRuleMode", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "PolicyService/DeleteEnforcementRule", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "EventService/ListEvents", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "EventService/WatchEvents", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "TokenService/CreateEnrollmentToken", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "TokenService/CreateReenrollmentToken", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "TokenService/ListEnrollmentTokens", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "TokenService/RevokeEnrollmentToken", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "AuditService/ListAudit", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "AuditService/ExportAudit", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "AuditService/GetAuditHead", AUTHZ_OPERATOR, AUTHZ_OP},
    {V1 "OperatorService/WhoAmI", AUTHZ_OPERATOR, AUTHZ_VIEWER},
    {V1 "OperatorService/RenewOperator", AUTHZ_OPERATOR, AUTHZ_VIEWER}, /* only its own */
    {V1 "OperatorService/CreateOperator", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "OperatorService/ListOperators", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "OperatorService/SetOperatorRole", AUTHZ_OPERATOR, AUTHZ_ADMIN},
    {V1 "OperatorService/RevokeOperator", AUTHZ_OPERATOR, AUTHZ_ADMIN},
};

const struct authz_rule *authz_find(const char *path) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (strcmp(rules[i].path, path) == 0) return &rules[i];
  return NULL;
}

const struct authz_rule *authz_table(size_t *ret_n) {
  *ret_n = sizeof rules / sizeof *rules;
  return rules;
}

const char *authz_role_name(unsigned role) {
  switch (role) {
  case AUTHZ_VIEWER:
    return "viewer";
  case AUTHZ_OP:
    return "operator";
  case AUTHZ_ADMIN:
    return "admin";
  default:
    return "none";
  }
}
