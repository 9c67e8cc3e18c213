// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/observed.h"

#include <string.h>

#include "storage/rule_tbl.h"

#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name
#define CONTAINMENT(name) TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_##name

static bool same_blob(const ProtobufCBinaryData *blob, const void *data, size_t len) {
  return blob->len == len && memcmp(blob->data, data, len) == 0;
}

static struct observed ours(Telovix__V1__RuleState state, const char *reason, const char *detail) {
  return (struct observed){.state = state, .reason = reason, .detail = detail};
}

static const char revoked_text[] =
    "the sensor is revoked: what its host enforces is not heard any more";

/* Nothing came back yet; a silent host says why. */
static struct observed waits(Telovix__V1__RuleState state, const struct rule_view *view) {
  if (view->is_revoked) return ours(state, "sensor_revoked", revoked_text);
  if (!view->is_silent) return ours(state, "", "");
  return ours(state, "sensor_silent", "the sensor is silent for longer than the stale threshold");
}

/* A proof is worth what its age is worth. NULL = it holds. */
static const char *proof_fault(const struct rule_view *view, const char **ret_detail) {
  if (view->unconfirmed_since_restart) {
    *ret_detail = "no heartbeat has arrived since the Console started";
    return "unconfirmed_since_restart";
  }
  if (view->verified_wall_ms == 0) {
    *ret_detail = "the host has not said when it last verified it";
    return "not_verified";
  }
  if (view->verified_age_ms > view->stale_after_ms + OBSERVED_VERIFY_SLACK_MS) {
    *ret_detail = "the host's last verification is older than the stale threshold";
    return "verification_stale";
  }
  return NULL;
}

struct observed observed_rule(const Telovix__Store__V1__RuleRecord *record,
                              const struct rule_view *view) {
  if (record->removing) return waits(STATE(REMOVING), view);
  if (view->is_revoked) return ours(STATE(UNKNOWN), "sensor_revoked", revoked_text);
  if (!same_blob(&record->observed_revision, record->revision.data, record->revision.len))
    return waits(STATE(PENDING), view);
  if (view->is_silent) return waits(STATE(UNKNOWN), view);
  if (!view->has_boot_id ||
      !same_blob(&record->observed_boot_id, view->boot_id, sizeof view->boot_id))
    return ours(STATE(UNKNOWN), "new_boot", "the host has booted since it reported");
  if (view->is_lifted)
    return ours(STATE(FAILED), "enforcement_lifted",
                "all enforcement was taken down on the host by its root; only a new desired state "
                "arms it again");
  /* What was reported under our copy of the past says nothing of a set that we do not know. */
  if (view->desired_rollback)
    return ours(STATE(UNKNOWN), "desired_rollback",
                "the host keeps a newer set than ours: this Console was rolled back");
  bool claims_proof =
      record->observed_state == STATE(APPLIED) || record->observed_state == STATE(PARTIAL);
  /* An engine that hangs from its start on reports no rule. */
  if (view->is_engine_down && claims_proof && !tlx_rule_is_containment(record))
    return ours(STATE(UNKNOWN), "engine_down", "the sensor cannot prove any more what it enforces");
  const char *detail = NULL;
  const char *fault =
      claims_proof && tlx_rule_is_containment(record) ? proof_fault(view, &detail) : NULL;
  if (fault) return ours(STATE(UNKNOWN), fault, detail);
  return (struct observed){.state = (Telovix__V1__RuleState)record->observed_state,
                           .is_reported = true,
                           .reason = record->observed_reason,
                           .detail = record->observed_detail};
}

static Telovix__V1__ContainmentState containment_state(Telovix__V1__RuleState state) {
  switch (state) {
  case STATE(PENDING):
    return CONTAINMENT(PENDING);
  case STATE(APPLIED):
    return CONTAINMENT(CONTAINED);
  case STATE(PARTIAL):
    return CONTAINMENT(PARTIAL);
  case STATE(REMOVING):
    return CONTAINMENT(RELEASE_PENDING);
  case STATE(REFUSED):
  case STATE(FAILED):
    return CONTAINMENT(FAILED);
  default:
    return CONTAINMENT(UNKNOWN);
  }
}

struct observed_containment observed_containment(const Telovix__Store__V1__RuleRecord *record,
                                                 const struct rule_view *view) {
  if (!record && view->desired_rollback)
    return (struct observed_containment){CONTAINMENT(UNKNOWN), false, "desired_rollback",
                                         "the host keeps a newer desired state than this Console "
                                         "has; a containment may be part of it"};
  if (!record) return (struct observed_containment){CONTAINMENT(NONE), false, "", ""};
  struct observed rule = observed_rule(record, view);
  return (struct observed_containment){containment_state(rule.state), rule.is_reported, rule.reason,
                                       rule.detail};
}
