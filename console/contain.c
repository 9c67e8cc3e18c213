// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/contain.h"

#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

/* ---- words ---- */

const char contain_description[] =
    "Denies all IP traffic of the host: IPv4 and IPv6, TCP, UDP, ICMP and everything else, both "
    "directions, new and "
    "established, every process and container; no process is killed. Let through: loopback, the "
    "sensor's own connection "
    "to its Console, address resolution, DHCP, path-MTU errors, and the allow list.";

const char *contain_on_lost_word(uint32_t on_lost) {
  return on_lost == CONTAIN_KEEP ? "keep" : on_lost == CONTAIN_RELEASE ? "release" : "unset";
}

uint32_t contain_on_lost_parse(const char *word) {
  if (strcmp(word, "keep") == 0) return CONTAIN_KEEP;
  return strcmp(word, "release") == 0 ? CONTAIN_RELEASE : 0;
}

const char *contain_hazard_text(const char *hazard) {
  static const char *const texts[][2] = {
      {"console_host", "the Console runs there"},
      {"network_root", "its root file system comes over the network"},
      {"uplink_tunnel", "its way to the Console is a tunnel interface"}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (strcmp(texts[i][0], hazard) == 0) return texts[i][1];
  return hazard;
}

/* ---- lists ---- */

static bool has_entry(const struct contain_list *list, const char *text) {
  for (unsigned i = 0; i < list->n; i++)
    if (strcmp(list->entries[i], text) == 0) return true;
  return false;
}

int contain_list_add(struct contain_list *list, const char *text, const char **ret_fault) {
  struct tlx_allow_entry entry;
  char canonical[TLX_ALLOW_TEXT_MAX];
  int err = tlx_allow_parse(text, &entry, ret_fault);
  if (err) return err;
  tlx_allow_format(&entry, canonical);
  if (has_entry(list, canonical)) return 0;
  if (list->n == TLX_ALLOW_LIST_MAX) return TLX_E_LIMIT;
  strcpy(list->entries[list->n++], canonical);
  return 0;
}

bool contain_list_equal(const struct contain_list *list, char *const *texts, size_t n) {
  /* Both sides have each entry once. */
  if (list->n != n) return false;
  for (size_t i = 0; i < n; i++)
    if (!has_entry(list, texts[i])) return false;
  return true;
}

/* ---- policy ---- */

void contain_pack(const struct contain_policy *policy, struct tlx_buf *buf) {
  Telovix__V1__EnforcementPolicy message = TELOVIX__V1__ENFORCEMENT_POLICY__INIT;
  Telovix__V1__NetworkContainment containment = TELOVIX__V1__NETWORK_CONTAINMENT__INIT;
  char *allow[TLX_ALLOW_LIST_MAX];
  message.rule_id = (char *)policy->rule_id;
  message.name = (char *)CONTAIN_NAME;
  message.template_ = (char *)CONTAIN_TEMPLATE;
  message.mode = TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE;
  message.revision = (ProtobufCBinaryData){sizeof policy->revision, (uint8_t *)policy->revision};
  for (unsigned i = 0; i < policy->allow->n; i++)
    allow[i] = (char *)policy->allow->entries[i];
  containment.allow = allow;
  containment.n_allow = policy->allow->n;
  containment.on_lost_console = (Telovix__V1__OnLostConsole)policy->on_lost;
  containment.force = policy->force;
  message.network_containment = &containment;
  tlx_pb_pack(&message.base, buf);
}
