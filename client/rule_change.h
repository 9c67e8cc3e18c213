// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/client.h"
#include "client/rule_view.h"
#include "common/text.h"
#include "telovix/v1/policy.pb-c.h"

/* A change of a rule as the operator follows it: what was stored, then (--wait) what the host makes
 * of it. Main thread. */

struct rule_change {
  struct client *client;
  Telovix__V1__RuleMode mode; /* wanted; UNSPECIFIED = that the rule is gone */
  bool accept_partial;        /* PARTIAL is a success too */
  const char *consequence;    /* said when the time is over: what was not done; NULL = nothing */
  uint64_t start_mono_ms;
  char rule_id[TLX_ID_MAX], sensor_id[TLX_ID_MAX], path[4096], node[254];
  bool is_containment;
  char sentence[RULE_SENTENCE_MAX]; /* the last one that was shown as progress */
  char state[256];                  /* the last state that was heard, and what it waits for */
  bool ended, succeeded, progress;
};

/* Begins now. */
void rule_change_init(struct rule_change *change, struct client *client,
                      Telovix__V1__RuleMode mode);
/* The Console stored it, and |message| is its answer with |rule| and |notice| in it: without --wait
 * that is all there is to say, and how to see the rest. */
void rule_change_stored(struct rule_change *change, const ProtobufCMessage *message,
                        const Telovix__V1__EnforcementRule *rule, const char *notice);
/* Follows the rule until the host has said what it makes of the change, or the time is over; prints
 * the end. Returns the exit status. */
int rule_change_wait(struct rule_change *change);
