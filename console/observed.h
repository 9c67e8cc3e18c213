// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "telovix/store/v1/store.pb-c.h"
#include "telovix/v1/types.pb-c.h"

/* What may be said of a rule now: the one place where what a host reported is weighed against what
 * is known of the host. Pure; any thread. */

/* What is known of a rule's sensor now. */
struct rule_view {
  bool is_silent;                 /* past the stale threshold */
  bool unconfirmed_since_restart; /* no heartbeat since our start */
  bool has_boot_id;               /* the boot of its last heartbeat */
  uint8_t boot_id[16];
  bool is_lifted;        /* its root took all enforcement down, and nothing newer is in force */
  bool desired_rollback; /* it keeps a set that this Console does not know */
  bool is_engine_down;   /* it proves nothing any more */
  bool is_revoked;       /* nothing that it says is heard */
  uint64_t verified_wall_ms,
      verified_age_ms; /* of the last verification on the host; 0 = none known */
  uint64_t stale_after_ms, now_wall_ms;
  char scope_cgroup[256];
};
/* A verification may be older than the stale threshold by this: three of the host's turns. */
#define OBSERVED_VERIFY_SLACK_MS 15000u

/* Where a rule stands. */
struct observed {
  Telovix__V1__RuleState state;
  bool is_reported;            /* as the host reported it: backend, file, gaps and errno hold too */
  const char *reason, *detail; /* the host's, or ours in static storage; never NULL */
};
/* REMOVING after its deletion; PENDING until there is a report on this revision; UNKNOWN when the
 * sensor is revoked (it may have done what is wanted, and cannot say so) or silent, the report is
 * of another boot, the host keeps a set that is newer than ours, or its engine proves nothing any
 * more; FAILED (enforcement_lifted) when it was taken down on the host; else as reported. A
 * containment is moreover UNKNOWN while its last verification is not known or too old: what it says
 * would pass for a proof. */
struct observed observed_rule(const Telovix__Store__V1__RuleRecord *record,
                              const struct rule_view *view);

/* Whether a host is contained. */
struct observed_containment {
  Telovix__V1__ContainmentState state;
  bool is_reported;
  const char *reason, *detail; /* never NULL */
};
/* |record| is the sensor's containment, or the one that is being removed; NULL = neither. NONE
 * without one, unless the host keeps a set that this Console does not know (UNKNOWN,
 * desired_rollback); else what observed_rule says, in the words of a containment: only APPLIED is
 * CONTAINED, and a host that refuses it FAILED. */
struct observed_containment observed_containment(const Telovix__Store__V1__RuleRecord *record,
                                                 const struct rule_view *view);
