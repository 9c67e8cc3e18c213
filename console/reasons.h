// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "rpc/status.h"

/* Every reason that an API caller of the Console can be told (google.rpc.ErrorInfo.reason): word,
 * gRPC code, and the sentence that is said when there is nothing more particular to say. The words
 * are part of the API: they are added, never changed. Code that knows more (a name, a number) says
 * it in a sentence of its own with the same word and code. */
#define REASON_MAP(X)                                                                              \
  /* who calls */                                                                                  \
  X(CERTIFICATE_REQUIRED, "certificate_required", UNAUTHENTICATED,                                 \
    "this method needs a client certificate of the fleet")                                         \
  X(CERTIFICATE_UNTRUSTED, "certificate_untrusted", UNAUTHENTICATED,                               \
    "the client certificate does not chain to the fleet CA")                                       \
  X(CERTIFICATE_EXPIRED, "certificate_expired", UNAUTHENTICATED,                                   \
    "the client certificate is expired")                                                           \
  X(CERTIFICATE_NOT_YET_VALID, "certificate_not_yet_valid", UNAUTHENTICATED,                       \
    "the client certificate is not yet valid: compare the clocks")                                 \
  X(CERTIFICATE_WRONG_PURPOSE, "certificate_wrong_purpose", UNAUTHENTICATED,                       \
    "the client certificate is not made for clients")                                              \
  X(CERTIFICATE_IDENTITY, "certificate_identity", UNAUTHENTICATED,                                 \
    "the client certificate names no sensor and no operator of this fleet")                        \
  X(CERTIFICATE_UNKNOWN, "certificate_unknown", UNAUTHENTICATED,                                   \
    "the client certificate is not on record for its identity")                                    \
  X(CERTIFICATE_SUPERSEDED, "certificate_superseded", UNAUTHENTICATED,                             \
    "the client certificate was replaced by a newer one")                                          \
  X(CERTIFICATE_REVOKED, "certificate_revoked", UNAUTHENTICATED,                                   \
    "the client certificate is revoked")                                                           \
  X(INVALID_SENSOR_TRUST, "invalid_sensor_trust", UNAUTHENTICATED,                                 \
    "the trust in this sensor is revoked: re-enroll it")                                           \
  X(SENSOR_DELETED, "sensor_deleted", UNAUTHENTICATED, "this sensor was deleted: enroll it anew")  \
  X(OPERATOR_REVOKED, "operator_revoked", UNAUTHENTICATED, "this operator is revoked")             \
  X(WRONG_PRINCIPAL, "wrong_principal", PERMISSION_DENIED,                                         \
    "this method is not for this kind of caller")                                                  \
  X(ROLE_TOO_LOW, "role_too_low", PERMISSION_DENIED, "the caller's role is too low")               \
  X(METHOD_NOT_LISTED, "method_not_listed", PERMISSION_DENIED,                                     \
    "nobody may call this method: it is not in the table of roles")                                \
  /* what is asked */                                                                              \
  X(INVALID_ARGUMENT, "invalid_argument", INVALID_ARGUMENT, "an argument is wrong")                \
  X(REQUEST_ID_REUSED, "request_id_reused", ALREADY_EXISTS,                                        \
    "the request id was used for another request in the last 24 h")                                \
  X(UNKNOWN_SENSOR, "unknown_sensor", NOT_FOUND, "there is no such sensor")                        \
  X(AMBIGUOUS_NAME, "ambiguous_name", FAILED_PRECONDITION,                                         \
    "several sensors have this node name: name one by its id")                                     \
  X(UNKNOWN_ORDER, "unknown_order", NOT_FOUND, "there is no such order")                           \
  X(ORDER_NOT_QUEUED, "order_not_queued", FAILED_PRECONDITION,                                     \
    "only an order that was not handed out can be cancelled")                                      \
  X(NEVER_HEARTBEATEN, "never_heartbeaten", FAILED_PRECONDITION,                                   \
    "the sensor has never sent a heartbeat")                                                       \
  X(SENSOR_REVOKED, "sensor_revoked", FAILED_PRECONDITION, "the sensor is revoked")                \
  X(TOO_MANY_OPEN_ORDERS, "too_many_open_orders", RESOURCE_EXHAUSTED,                              \
    "the sensor has as many open orders as it may")                                                \
  X(UNKNOWN_RULE, "unknown_rule", NOT_FOUND, "there is no such rule")                              \
  X(RULE_EXISTS, "rule_exists", ALREADY_EXISTS, "the sensor has a rule for this path")             \
  X(RULE_REMOVING, "rule_removing", FAILED_PRECONDITION, "the rule is being removed")              \
  X(RULE_CHANGED, "rule_changed", ABORTED,                                                         \
    "the rule was changed meanwhile; nothing was done: look at it and try again")                  \
  X(CONTAINMENT_RULE, "containment_rule", FAILED_PRECONDITION,                                     \
    "the rule is a containment: release the sensor instead")                                       \
  X(HAZARD, "hazard", FAILED_PRECONDITION,                                                         \
    "the host reports that a containment would hurt it: see its hazards, or say force")            \
  X(OTHER_ALLOW_LIST, "other_allow_list", FAILED_PRECONDITION,                                     \
    "the sensor is in containment with another allow list: replace that one")                      \
  X(OTHER_ON_LOST_CONSOLE, "other_on_lost_console", FAILED_PRECONDITION,                           \
    "the sensor is in containment with another on_lost_console: release it first")                 \
  X(NOT_CONTAINED, "not_contained", FAILED_PRECONDITION, "the sensor is not in containment")       \
  X(UNKNOWN_TEMPLATE, "unknown_template", NOT_FOUND, "there is no such template")                  \
  X(SENSOR_CRITICAL, "sensor_critical", FAILED_PRECONDITION,                                       \
    "the sensor's health is critical: mend it, or say force")                                      \
  X(TOO_MANY_RULES, "too_many_rules", RESOURCE_EXHAUSTED,                                          \
    "the sensor has as many rules as it may")                                                      \
  X(UNKNOWN_TOKEN, "unknown_token", NOT_FOUND, "there is no such token")                           \
  X(TOKEN_NOT_PENDING, "token_not_pending", FAILED_PRECONDITION,                                   \
    "the token cannot be used any more, so there is nothing to revoke")                            \
  X(TOKEN_ALREADY_CREATED, "token_already_created", ALREADY_EXISTS,                                \
    "the token of this request was shown once: revoke it and create another")                      \
  X(TOO_MANY_TOKENS, "too_many_tokens", RESOURCE_EXHAUSTED, "there are as many tokens as may be")  \
  X(OPERATOR_EXISTS, "operator_exists", ALREADY_EXISTS, "there is an operator of this name")       \
  X(UNKNOWN_OPERATOR, "unknown_operator", NOT_FOUND, "there is no such operator")                  \
  X(OPERATOR_IS_REVOKED, "operator_is_revoked", FAILED_PRECONDITION, "the operator is revoked")    \
  X(TOO_MANY_OPERATORS, "too_many_operators", RESOURCE_EXHAUSTED,                                  \
    "there are as many operators as may be, revoked ones included")                                \
  X(LAST_ADMIN, "last_admin", FAILED_PRECONDITION,                                                 \
    "this is the last admin: make another one first")                                              \
  X(WRONG_CONFIRMATION, "wrong_confirmation", FAILED_PRECONDITION,                                 \
    "confirm_node_name is not the node name of this sensor; nothing was done")                     \
  X(NOT_RELEASED, "not_released", FAILED_PRECONDITION,                                             \
    "the host was not observed to be released: release it first, or say force")                    \
  /* enrollment */                                                                                 \
  X(TOKEN_UNKNOWN, "token_unknown", UNAUTHENTICATED, "the enrollment token is not known")          \
  X(TOKEN_EXPIRED, "token_expired", UNAUTHENTICATED, "the enrollment token is expired")            \
  X(TOKEN_REVOKED, "token_revoked", UNAUTHENTICATED, "the enrollment token is revoked")            \
  X(TOKEN_USED, "token_used", UNAUTHENTICATED, "the enrollment token was used")                    \
  X(TOKEN_WRONG_NODE, "token_wrong_node", UNAUTHENTICATED,                                         \
    "the enrollment token is bound to another node name")                                          \
  X(TOKEN_WRONG_SENSOR, "token_wrong_sensor", UNAUTHENTICATED,                                     \
    "the host is enrolled already: only a re-enrollment token of its sensor replaces its "         \
    "identity")                                                                                    \
  X(RENEWED_RECENTLY, "renewed_recently", RESOURCE_EXHAUSTED,                                      \
    "the certificate is less than an hour old; nothing was done")                                  \
  /* the Console */                                                                                \
  X(TOO_MANY_WATCHES, "too_many_watches", RESOURCE_EXHAUSTED,                                      \
    "this operator has as many watches open as one may")                                           \
  X(WATCH_TOO_SLOW, "watch_too_slow", RESOURCE_EXHAUSTED,                                          \
    "the reader of this stream is too slow: open it again")                                        \
  X(WAKE_REPLACED, "wake_replaced", ABORTED, "a newer wake stream of this sensor took over")       \
  X(CONSOLE_STOPPING, "console_stopping", UNAVAILABLE, "the Console is stopping: try again soon")  \
  X(BUSY, "busy", RESOURCE_EXHAUSTED,                                                              \
    "too many changes wait to be stored; nothing was done: try again")                             \
  X(NO_MEMORY, "no_memory", RESOURCE_EXHAUSTED, "out of memory; nothing was done: try again")      \
  X(STORE_FULL, "store_full", RESOURCE_EXHAUSTED, "the Console's store is full; nothing was done") \
  X(STORE_FAILED, "store_failed", INTERNAL, "the Console's store failed; nothing was done")

enum reason {
#define X(name, word, code, text) REASON_##name,
  REASON_MAP(X)
#undef X
      REASON_COUNT
};

/* "certificate_required". Static storage. */
const char *reason_word(enum reason reason);
/* Word, code and sentence of the list; code UNAUTHENTICATED also gets HTTP status 401, except for
 * reasons of tokens, which no certificate would cure. */
void reason_set(struct tlx_status *status, enum reason reason);
