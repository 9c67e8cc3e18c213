// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/event.pb-c.h"
#include "telovix/v1/policy.pb-c.h"

#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name
#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

static bool is_containment;                            /* the last change was of one */
static Telovix__V1__RuleMode mode_now = MODE(ENFORCE); /* what the last change wanted */

static Telovix__V1__RuleGap gap = {.gap = (char *)"copy", .detail = (char *)"a copy runs"};
static Telovix__V1__RuleGap *gaps[] = {&gap};

static Telovix__V1__EnforcementRule rule_of(const char *rule_id, int state) {
  Telovix__V1__EnforcementRule rule = TELOVIX__V1__ENFORCEMENT_RULE__INIT;
  gap.base.descriptor = &telovix__v1__rule_gap__descriptor;
  rule.rule_id = (char *)rule_id;
  rule.node_name = (char *)"web-1";
  if (is_containment)
    rule.template_ = (char *)"network-containment";
  else
    rule.path = (char *)"/opt/x";
  rule.desired_mode = mode_now;
  rule.observed_state = (Telovix__V1__RuleState)state;
  if (state == STATE(APPLIED) || state == STATE(PARTIAL)) {
    rule.gaps = gaps;
    rule.n_gaps = 1;
  }
  return rule;
}

static void fail(struct tlx_call *call, enum tlx_grpc_code code, const char *reason) {
  struct tlx_status status;
  tlx_status_set(&status, code, reason, "because");
  tlx_call_fail(call, &status);
}

static void reply_rule(struct tlx_call *call, const char *rule_id, int state) {
  Telovix__V1__EnforcementRuleReply reply = TELOVIX__V1__ENFORCEMENT_RULE_REPLY__INIT;
  Telovix__V1__EnforcementRule rule = rule_of(rule_id, state);
  reply.rule = &rule;
  reply.notice = (char *)"the sensor will be told";
  tlx_call_reply(call, &reply.base);
}

static void block(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__BlockBinaryRequest *request = (const Telovix__V1__BlockBinaryRequest *)message;
  char id[32];
  if (strcmp(request->path, "/exists") == 0) {
    fail(call, TLX_GRPC_ALREADY_EXISTS, "rule_exists");
    return;
  }
  is_containment = false;
  mode_now = request->mode;
  snprintf(id, sizeof id, "rule_%016d", atoi(request->path + 1));
  reply_rule(call, id, STATE(PENDING));
}

static void set_mode(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__SetEnforcementRuleModeRequest *request =
      (const Telovix__V1__SetEnforcementRuleModeRequest *)message;
  is_containment = false;
  mode_now = request->mode;
  reply_rule(call, request->rule_id, STATE(PENDING));
}

static void delete_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  is_containment = false;
  reply_rule(call, ((const Telovix__V1__DeleteEnforcementRuleRequest *)message)->rule_id,
             STATE(REMOVING));
}

/* ---- containments ---- */

static void reply_containment(struct tlx_call *call, const char *sensor, int state, char **allow,
                              size_t n_allow, const char *unchanged) {
  Telovix__V1__ContainmentReply reply = TELOVIX__V1__CONTAINMENT_REPLY__INIT;
  char id[32];
  snprintf(id, sizeof id, "rule_%016d", atoi(sensor));
  is_containment = true;
  mode_now = MODE(ENFORCE);
  Telovix__V1__EnforcementRule rule = rule_of(id, state);
  rule.allow = allow;
  rule.n_allow = n_allow;
  if (state) reply.rule = &rule;
  reply.notice = (char *)(*unchanged ? "as it was" : "it will be told");
  reply.unchanged = (char *)unchanged;
  tlx_call_reply(call, &reply.base);
}

static void contain(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ContainSensorRequest *request =
      (const Telovix__V1__ContainSensorRequest *)message;
  if (strcmp(request->sensor, "hazard") == 0 && !request->force)
    fail(call, TLX_GRPC_FAILED_PRECONDITION, "hazard");
  else
    reply_containment(call, request->sensor, STATE(PENDING), request->allow, request->n_allow, "");
}

static void release(struct tlx_call *call, const ProtobufCMessage *message) {
  const char *sensor = ((const Telovix__V1__ReleaseSensorRequest *)message)->sensor;
  bool is_free = strcmp(sensor, "free") == 0;
  reply_containment(call, sensor, is_free ? 0 : STATE(REMOVING), NULL, 0,
                    is_free ? "not_contained" : "");
}

static void set_allow(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__SetAllowListRequest *request =
      (const Telovix__V1__SetAllowListRequest *)message;
  reply_containment(call, request->sensor, STATE(PENDING), request->allow, request->n_allow, "");
}

static void get_allow(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__AllowList reply = TELOVIX__V1__ALLOW_LIST__INIT;
  char first[] = "in:10.0.0.0/8", second[] = "out:192.0.2.1/32", *allow[] = {first, second};
  reply.allow = allow;
  reply.n_allow =
      strcmp(((const Telovix__V1__GetAllowListRequest *)message)->sensor, "none") == 0 ? 0 : 2;
  tlx_call_reply(call, &reply.base);
}

static void send_rule(struct tlx_call *call, const char *rule_id, int state) {
  Telovix__V1__EnforcementRule rule = rule_of(rule_id, state);
  int number = atoi(rule_id + strlen("rule_"));
  if (number == 1) rule.observed_reason = (char *)"no_directory";
  if (number == 8 && state != STATE(PENDING))
    rule.desired_mode = mode_now == MODE(ENFORCE) ? MODE(OBSERVE) : MODE(ENFORCE);
  rule.unconfirmed_since_restart = number == 22;
  tlx_call_send(call, &rule.base);
}

static void watch_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  static unsigned n_cut;
  const char *id = ((const Telovix__V1__GetEnforcementRuleRequest *)message)->rule_id;
  int number = atoi(id + strlen("rule_"));
  switch (number) {
  case 6:
    send_rule(call, id, STATE(UNKNOWN));
    return;
  case 9:
    tlx_call_end(call);
    return;
  case 20:
    send_rule(call, id, STATE(PENDING));
    if (n_cut++ == 0)
      fail(call, TLX_GRPC_UNAVAILABLE, "stopping");
    else
      send_rule(call, id, STATE(APPLIED));
    return;
  case 21:
    fail(call, TLX_GRPC_PERMISSION_DENIED, "role");
    return;
  case 22:
    send_rule(call, id, STATE(APPLIED));
    return;
  case 30:
    send_rule(call, id, STATE(REMOVING));
    tlx_call_end(call);
    return;
  case 31:
    fail(call, TLX_GRPC_NOT_FOUND, "unknown_rule");
    return;
  case 32:
    send_rule(call, id, STATE(REMOVING));
    return;
  default:
    send_rule(call, id, STATE(PENDING));
    if (number == 1) return;
    send_rule(call, id, number == 7 ? STATE(REMOVING) : number == 8 ? STATE(APPLIED) : number);
  }
}

static void get_rule(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__EnforcementRule rule =
      rule_of(((const Telovix__V1__GetEnforcementRuleRequest *)message)->rule_id, STATE(APPLIED));
  tlx_call_reply(call, &rule.base);
}

static void list_rules(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__ListEnforcementRulesReply reply = TELOVIX__V1__LIST_ENFORCEMENT_RULES_REPLY__INIT;
  Telovix__V1__EnforcementRule rule = rule_of("rule_0000000000000002", STATE(APPLIED)),
                               *list[] = {&rule};
  reply.rules = list;
  reply.n_rules = 1;
  tlx_call_reply(call, &reply.base);
}

static Telovix__V1__Event event_of(const char *event_id) {
  Telovix__V1__Event event = TELOVIX__V1__EVENT__INIT;
  event.event_id = (char *)event_id;
  event.node_name = (char *)"web-1";
  event.type = TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED;
  event.path = (char *)"/opt/x";
  event.count = 1;
  return event;
}

static void list_events(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__ListEventsReply reply = TELOVIX__V1__LIST_EVENTS_REPLY__INIT;
  Telovix__V1__Event event = event_of("event_1"), *list[] = {&event};
  reply.events = list;
  reply.n_events = 1;
  tlx_call_reply(call, &reply.base);
}

static void watch_events(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__Event first = event_of("event_1"), second = event_of("event_2");
  tlx_call_send(call, &first.base);
  tlx_call_send(call, &second.base);
}

const struct tlx_method fake_rule_methods[] = {
    {"/telovix.v1.ContainmentService/ContainSensor", TLX_UNARY,
     &telovix__v1__contain_sensor_request__descriptor, &telovix__v1__containment_reply__descriptor,
     contain},
    {"/telovix.v1.ContainmentService/ReleaseSensor", TLX_UNARY,
     &telovix__v1__release_sensor_request__descriptor, &telovix__v1__containment_reply__descriptor,
     release},
    {"/telovix.v1.ContainmentService/SetAllowList", TLX_UNARY,
     &telovix__v1__set_allow_list_request__descriptor, &telovix__v1__containment_reply__descriptor,
     set_allow},
    {"/telovix.v1.ContainmentService/GetAllowList", TLX_UNARY,
     &telovix__v1__get_allow_list_request__descriptor, &telovix__v1__allow_list__descriptor,
     get_allow},
    {"/telovix.v1.ContainmentService/BlockBinary", TLX_UNARY,
     &telovix__v1__block_binary_request__descriptor,
     &telovix__v1__enforcement_rule_reply__descriptor, block},
    {"/telovix.v1.PolicyService/SetEnforcementRuleMode", TLX_UNARY,
     &telovix__v1__set_enforcement_rule_mode_request__descriptor,
     &telovix__v1__enforcement_rule_reply__descriptor, set_mode},
    {"/telovix.v1.PolicyService/DeleteEnforcementRule", TLX_UNARY,
     &telovix__v1__delete_enforcement_rule_request__descriptor,
     &telovix__v1__enforcement_rule_reply__descriptor, delete_rule},
    {"/telovix.v1.PolicyService/WatchEnforcementRule", TLX_SERVER_STREAM,
     &telovix__v1__get_enforcement_rule_request__descriptor,
     &telovix__v1__enforcement_rule__descriptor, watch_rule},
    {"/telovix.v1.PolicyService/GetEnforcementRule", TLX_UNARY,
     &telovix__v1__get_enforcement_rule_request__descriptor,
     &telovix__v1__enforcement_rule__descriptor, get_rule},
    {"/telovix.v1.PolicyService/ListEnforcementRules", TLX_UNARY,
     &telovix__v1__list_enforcement_rules_request__descriptor,
     &telovix__v1__list_enforcement_rules_reply__descriptor, list_rules},
    {"/telovix.v1.EventService/ListEvents", TLX_UNARY,
     &telovix__v1__list_events_request__descriptor, &telovix__v1__list_events_reply__descriptor,
     list_events},
    {"/telovix.v1.EventService/WatchEvents", TLX_SERVER_STREAM,
     &telovix__v1__watch_events_request__descriptor, &telovix__v1__event__descriptor,
     watch_events}};
const size_t n_fake_rule_methods = sizeof fake_rule_methods / sizeof *fake_rule_methods;
