// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/output.h"
#include "telovix/v1/policy.pb-c.h"

/* How a rule is shown: what is desired and what was observed stand side by side and never become
 * one word. Main thread. */

/* Room for a sentence: a whole path, escaped where it must be. */
#define RULE_SENTENCE_MAX 8192u

/* An empty table with the heads of the rows below; NULL when out of memory. */
struct output_table *rule_view_table(bool wide);
/* Adds one row; |wide| as for the table. |table| NULL is fine. */
void rule_view_row(struct output_table *table, const Telovix__V1__EnforcementRule *rule, bool wide);
/* Everything, a line for each thing, and the sentence as the last line. */
void rule_view_print(const Telovix__V1__EnforcementRule *rule);
/* The end of a --wait: the rule, each gap, and the sentence with |waited_ms| as the last line. */
void rule_view_print_end(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms);
/* A line for each gap. */
void rule_view_gaps(Telovix__V1__RuleGap *const *gaps, size_t n_gaps);
/* One sentence, escaped: what, where, how long. |waited_ms| is how long the caller waited for this
 * state, 0 = it did not. |out| of RULE_SENTENCE_MAX; returns it. */
const char *rule_view_sentence(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms,
                               char *out);
/* The observed state alone, with what it waits for or why it is so, escaped:
 * "pending 12s, no_directory: /opt/x is not there". |out| of 256; returns it. */
const char *rule_view_state(const Telovix__V1__EnforcementRule *rule, char *out);
/* Whether the rule is a containment: it has no path, and is told in the words of one. */
bool rule_view_is_containment(const Telovix__V1__EnforcementRule *rule);
/* "in:10.0.0.0/8 out:192.0.2.1/32,53/udp", or "nothing"; cut to |size|. Returns |out|. */
const char *rule_view_allow(char *const *allow, size_t n_allow, char *out, size_t size);
/* Whether the host has said what it makes of the rule as it is now. What was reported before the
 * Console's restart, a silent host, and a removal in progress are no ends. */
bool rule_view_ended(const Telovix__V1__EnforcementRule *rule);
/* Whether the host does it whole: APPLIED alone, with its gaps named. PARTIAL is not: a part that
 * was asked for is not in force. */
bool rule_view_succeeded(const Telovix__V1__EnforcementRule *rule);
