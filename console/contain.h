// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/allow.h"
#include "common/bytes.h"

/* What a rule of template "network-containment" is made of: its allow list, what to do without a
 * Console, and the serialized telovix.v1.EnforcementPolicy. Pure; any thread. */

#define CONTAIN_TEMPLATE "network-containment"
#define CONTAIN_NAME "telovix-network-containment"

/* What a rule of the template does, for people. */
extern const char contain_description[];

/* Numbers of telovix.v1.OnLostConsole, which no op may see. */
enum contain_on_lost { CONTAIN_KEEP = 1, CONTAIN_RELEASE = 2 };
/* "keep" and "release"; "unset" for another number. Static storage. */
const char *contain_on_lost_word(uint32_t on_lost);
/* The number of "keep" or "release"; 0 for anything else. */
uint32_t contain_on_lost_parse(const char *word);

/* An allow list: canonical texts, each once, in the order in which they were given. */
struct contain_list {
  char entries[TLX_ALLOW_LIST_MAX][TLX_ALLOW_TEXT_MAX];
  unsigned n;
};
/* Adds |text| in its canonical form; one that is there already is not added again. 0;
 * TLX_E_MALFORMED with the end of a sentence in |ret_fault| (see tlx_allow_parse); TLX_E_LIMIT when
 * the list is full. |list| is untouched on failure. */
int contain_list_add(struct contain_list *list, const char *text, const char **ret_fault);
/* Whether |list| lets through exactly the |n| canonical |texts|, in any order. */
bool contain_list_equal(const struct contain_list *list, char *const *texts, size_t n);

/* A hazard that a host can report, as what it means there: "the Console runs there" for
 * "console_host"; the word itself for one that is not known. */
const char *contain_hazard_text(const char *hazard);

/* What goes into a policy; texts are borrowed. */
struct contain_policy {
  const char *rule_id;
  uint8_t revision[16];
  const struct contain_list *allow;
  uint32_t on_lost; /* enum contain_on_lost */
  bool force;
};
/* Appends the serialized policy, which always enforces. A failure sticks in |buf|->err. */
void contain_pack(const struct contain_policy *policy, struct tlx_buf *buf);
