// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/allow.h"
#include "sensor/bpf_net.h"
#include "sensor/rule_result.h"

/* A rule of template "network-containment": its parameters, and the part of a pass that puts it in
 * force and proves it. Worker thread. */

struct rule_contain {
  char rule_id[32];
  uint32_t mode; /* TLX_MODE_* */
  struct tlx_allow_entry allow[TLX_ALLOW_LIST_MAX];
  unsigned n_allow;
  bool release_when_lost; /* on_lost_console */
  bool force;
};

struct Telovix__V1__EnforcementPolicy;
/* Reads the parameters of |policy|, whose network_containment is set. False with the fault in
 * |fault| (of |size|) when an entry of the allow list cannot be read: then the rule is refused,
 * since to leave the entry out would cut what an operator wanted to keep. |ret_rule| is untouched
 * then. Pure. */
bool rule_contain_read(const struct Telovix__V1__EnforcementPolicy *policy,
                       struct rule_contain *ret_rule, char *fault, size_t size);
/* Whether two rules let the same through, in the same mode: nothing is to be published. Pure. */
bool rule_contain_equal(const struct rule_contain *a, const struct rule_contain *b);
/* Whether the allow list lets a session with |remote| through, as the programs decide (statelessly,
 * both ways). |protocol| is an IPPROTO_*; ports in host byte order. Pure. */
bool rule_contain_allows(const struct rule_contain *rule, const uint8_t remote[16],
                         uint8_t protocol, uint16_t local_port, uint16_t remote_port);
/* Whether an entry covers |remote| at all, in any direction and with any port. Pure. */
bool rule_contain_mentions(const struct rule_contain *rule, const uint8_t remote[16]);
