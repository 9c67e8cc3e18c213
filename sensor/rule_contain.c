// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_contain.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "sensor/net_addresses.h"
#include "telovix/v1/policy.pb-c.h"

bool rule_contain_read(const struct Telovix__V1__EnforcementPolicy *policy,
                       struct rule_contain *ret_rule, char *fault, size_t size) {
  const Telovix__V1__NetworkContainment *from = policy->network_containment;
  struct rule_contain rule = {
      .mode = policy->mode == TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE ? TLX_NET_OBSERVE
                                                                        : TLX_NET_ENFORCE,
      .release_when_lost =
          from->on_lost_console == TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE,
      .force = from->force};
  snprintf(rule.rule_id, sizeof rule.rule_id, "%s", policy->rule_id);
  if (from->n_allow > TLX_ALLOW_LIST_MAX) {
    snprintf(fault, size, "%zu entries, at most %u", from->n_allow, TLX_ALLOW_LIST_MAX);
    return false;
  }
  for (size_t i = 0; i < from->n_allow; i++) {
    const char *why = "";
    char shown[120];
    if (tlx_allow_parse(from->allow[i], &rule.allow[rule.n_allow], &why) != 0) {
      snprintf(fault, size, "%s %s", tlx_text_escape(from->allow[i], SIZE_MAX, shown, sizeof shown),
               why);
      return false;
    }
    rule.n_allow++;
  }
  *ret_rule = rule;
  return true;
}

bool rule_contain_equal(const struct rule_contain *a, const struct rule_contain *b) {
  char one[TLX_ALLOW_TEXT_MAX], other[TLX_ALLOW_TEXT_MAX];
  if (a->mode != b->mode || a->n_allow != b->n_allow) return false;
  for (unsigned i = 0; i < a->n_allow; i++) {
    tlx_allow_format(&a->allow[i], one);
    tlx_allow_format(&b->allow[i], other);
    if (strcmp(one, other) != 0) return false;
  }
  return true;
}

static bool covers(const struct tlx_allow_entry *entry, const uint8_t remote[16]) {
  bool is_v4 = net_address_is_v4(remote);
  if (is_v4 != (entry->family == 4)) return false;
  const uint8_t *address = is_v4 ? remote + 12 : remote;
  unsigned whole = entry->prefix_len / 8, rest = entry->prefix_len % 8;
  if (memcmp(address, entry->addr, whole) != 0) return false;
  return rest == 0 || (address[whole] ^ entry->addr[whole]) >> (8 - rest) == 0;
}

static bool matches(const struct tlx_allow_entry *entry, uint8_t protocol, uint16_t port) {
  bool has_every_port = entry->port_first == 0 && entry->port_last == UINT16_MAX;
  bool has_ports = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
  if (entry->protocol && entry->protocol != protocol) return false;
  return has_every_port || (has_ports && port >= entry->port_first && port <= entry->port_last);
}

bool rule_contain_allows(const struct rule_contain *rule, const uint8_t remote[16],
                         uint8_t protocol, uint16_t local_port, uint16_t remote_port) {
  for (unsigned i = 0; i < rule->n_allow; i++) {
    const struct tlx_allow_entry *entry = &rule->allow[i];
    if (covers(entry, remote) && matches(entry, protocol, entry->is_in ? local_port : remote_port))
      return true;
  }
  return false;
}

bool rule_contain_mentions(const struct rule_contain *rule, const uint8_t remote[16]) {
  for (unsigned i = 0; i < rule->n_allow; i++)
    if (covers(&rule->allow[i], remote)) return true;
  return false;
}
