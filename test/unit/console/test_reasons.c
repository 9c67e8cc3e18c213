// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/reasons.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

/* The words and codes are part of the API: a line is added here, never changed. */
static const struct {
  enum reason reason;
  const char *word;
  enum tlx_grpc_code code;
} api[] = {
    {REASON_CERTIFICATE_REQUIRED, "certificate_required", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_UNTRUSTED, "certificate_untrusted", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_EXPIRED, "certificate_expired", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_NOT_YET_VALID, "certificate_not_yet_valid", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_WRONG_PURPOSE, "certificate_wrong_purpose", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_IDENTITY, "certificate_identity", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_UNKNOWN, "certificate_unknown", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_SUPERSEDED, "certificate_superseded", TLX_GRPC_UNAUTHENTICATED},
    {REASON_CERTIFICATE_REVOKED, "certificate_revoked", TLX_GRPC_UNAUTHENTICATED},
    {REASON_INVALID_SENSOR_TRUST, "invalid_sensor_trust", TLX_GRPC_UNAUTHENTICATED},
    {REASON_SENSOR_DELETED, "sensor_deleted", TLX_GRPC_UNAUTHENTICATED},
    {REASON_OPERATOR_REVOKED, "operator_revoked", TLX_GRPC_UNAUTHENTICATED},
    {REASON_WRONG_PRINCIPAL, "wrong_principal", TLX_GRPC_PERMISSION_DENIED},
    {REASON_ROLE_TOO_LOW, "role_too_low", TLX_GRPC_PERMISSION_DENIED},
    {REASON_METHOD_NOT_LISTED, "method_not_listed", TLX_GRPC_PERMISSION_DENIED},
    {REASON_INVALID_ARGUMENT, "invalid_argument", TLX_GRPC_INVALID_ARGUMENT},
    {REASON_REQUEST_ID_REUSED, "request_id_reused", TLX_GRPC_ALREADY_EXISTS},
    {REASON_UNKNOWN_SENSOR, "unknown_sensor", TLX_GRPC_NOT_FOUND},
    {REASON_AMBIGUOUS_NAME, "ambiguous_name", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_UNKNOWN_ORDER, "unknown_order", TLX_GRPC_NOT_FOUND},
    {REASON_ORDER_NOT_QUEUED, "order_not_queued", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_NEVER_HEARTBEATEN, "never_heartbeaten", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_SENSOR_REVOKED, "sensor_revoked", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_TOO_MANY_OPEN_ORDERS, "too_many_open_orders", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_UNKNOWN_RULE, "unknown_rule", TLX_GRPC_NOT_FOUND},
    {REASON_RULE_EXISTS, "rule_exists", TLX_GRPC_ALREADY_EXISTS},
    {REASON_RULE_REMOVING, "rule_removing", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_RULE_CHANGED, "rule_changed", TLX_GRPC_ABORTED},
    {REASON_CONTAINMENT_RULE, "containment_rule", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_HAZARD, "hazard", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_OTHER_ALLOW_LIST, "other_allow_list", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_OTHER_ON_LOST_CONSOLE, "other_on_lost_console", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_NOT_CONTAINED, "not_contained", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_UNKNOWN_TEMPLATE, "unknown_template", TLX_GRPC_NOT_FOUND},
    {REASON_SENSOR_CRITICAL, "sensor_critical", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_TOO_MANY_RULES, "too_many_rules", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_UNKNOWN_TOKEN, "unknown_token", TLX_GRPC_NOT_FOUND},
    {REASON_TOKEN_NOT_PENDING, "token_not_pending", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_TOKEN_ALREADY_CREATED, "token_already_created", TLX_GRPC_ALREADY_EXISTS},
    {REASON_TOO_MANY_TOKENS, "too_many_tokens", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_OPERATOR_EXISTS, "operator_exists", TLX_GRPC_ALREADY_EXISTS},
    {REASON_UNKNOWN_OPERATOR, "unknown_operator", TLX_GRPC_NOT_FOUND},
    {REASON_OPERATOR_IS_REVOKED, "operator_is_revoked", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_TOO_MANY_OPERATORS, "too_many_operators", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_LAST_ADMIN, "last_admin", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_WRONG_CONFIRMATION, "wrong_confirmation", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_NOT_RELEASED, "not_released", TLX_GRPC_FAILED_PRECONDITION},
    {REASON_TOKEN_UNKNOWN, "token_unknown", TLX_GRPC_UNAUTHENTICATED},
    {REASON_TOKEN_EXPIRED, "token_expired", TLX_GRPC_UNAUTHENTICATED},
    {REASON_TOKEN_REVOKED, "token_revoked", TLX_GRPC_UNAUTHENTICATED},
    {REASON_TOKEN_USED, "token_used", TLX_GRPC_UNAUTHENTICATED},
    {REASON_TOKEN_WRONG_NODE, "token_wrong_node", TLX_GRPC_UNAUTHENTICATED},
    {REASON_TOKEN_WRONG_SENSOR, "token_wrong_sensor", TLX_GRPC_UNAUTHENTICATED},
    {REASON_RENEWED_RECENTLY, "renewed_recently", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_TOO_MANY_WATCHES, "too_many_watches", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_WATCH_TOO_SLOW, "watch_too_slow", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_WAKE_REPLACED, "wake_replaced", TLX_GRPC_ABORTED},
    {REASON_CONSOLE_STOPPING, "console_stopping", TLX_GRPC_UNAVAILABLE},
    {REASON_BUSY, "busy", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_NO_MEMORY, "no_memory", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_STORE_FULL, "store_full", TLX_GRPC_RESOURCE_EXHAUSTED},
    {REASON_STORE_FAILED, "store_failed", TLX_GRPC_INTERNAL},
};
#define N_API (sizeof api / sizeof *api)

Test(reasons, words_and_codes_stay) {
  cr_assert_eq(N_API, REASON_COUNT, "each reason stands here once");
  for (size_t i = 0; i < N_API; i++) {
    struct tlx_status status;
    reason_set(&status, api[i].reason);
    cr_assert_str_eq(reason_word(api[i].reason), api[i].word);
    cr_assert_str_eq(status.reason, api[i].word, "whole, not cut");
    cr_assert_eq(status.code, api[i].code, "%s", api[i].word);
    for (size_t k = 0; k < i; k++) {
      cr_assert_neq(api[i].reason, api[k].reason);
      cr_assert_str_neq(api[i].word, api[k].word);
    }
  }
}

Test(reasons, words_are_lower_case_and_sentences_are_whole) {
  for (int i = 0; i < REASON_COUNT; i++) {
    struct tlx_status status;
    const char *word = reason_word((enum reason)i);
    reason_set(&status, (enum reason)i);
    cr_assert_gt(strlen(word), 0);
    cr_assert_eq(strspn(word, "abcdefghijklmnopqrstuvwxyz_"), strlen(word), "%s", word);
    cr_assert_gt(strlen(status.message), 0, "%s says nothing", word);
    cr_assert_lt(strlen(status.message), sizeof status.message - 1, "%s is cut", word);
    cr_assert_null(strchr(status.message, '%'), "%s: no format in the list", word);
  }
}

/* 401 makes a sensor enroll again; no new certificate cures a bad token. */
Test(reasons, http_401_is_for_certificates_only) {
  int n_401 = 0;
  for (int i = 0; i < REASON_COUNT; i++) {
    struct tlx_status status;
    reason_set(&status, (enum reason)i);
    bool of_token = strncmp(status.reason, "token_", 6) == 0;
    bool wants_401 = status.code == TLX_GRPC_UNAUTHENTICATED && !of_token;
    cr_assert_eq(status.http_status, wants_401 ? 401 : 0, "%s", status.reason);
    n_401 += wants_401;
  }
  cr_assert_gt(n_401, 0);
}

Test(reasons, nothing_of_an_earlier_status_stays) {
  struct tlx_status status;
  reason_set(&status, REASON_INVALID_SENSOR_TRUST);
  reason_set(&status, REASON_UNKNOWN_SENSOR);
  cr_assert_eq(status.code, TLX_GRPC_NOT_FOUND);
  cr_assert_eq(status.http_status, 0);
  cr_assert_str_eq(status.reason, "unknown_sensor");
}

Test(reasons, a_number_out_of_range, .signal = SIGABRT) {
  (void)reason_word(REASON_COUNT);
}
