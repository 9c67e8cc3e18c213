// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_result.h"

#include <stddef.h>
#include <string.h>

static const struct {
  const char *word, *text;
  enum rule_state state;
} reasons[RULE_REASON_COUNT] = {[RULE_REASON_NONE] = {"", "", RULE_APPLIED},
#define X(name, word, state, text) [RULE_REASON_##name] = {word, text, state},
                                RULE_REASON_MAP(X)
#undef X
};

static const struct {
  const char *word, *text;
  bool by_kernel;
} gaps[RULE_GAP_COUNT] = {
#define X(name, word, by_kernel, text) [RULE_GAP_##name] = {word, text, by_kernel},
    RULE_GAP_MAP(X)
#undef X
};

_Static_assert(RULE_GAP_COUNT <= 32, "struct rule_result keeps gaps as bits of 32");

const char *rule_reason_word(enum rule_reason reason) {
  return reasons[reason].word;
}

const char *rule_reason_text(enum rule_reason reason) {
  return reasons[reason].text;
}

const char *rule_gap_word(enum rule_gap gap) {
  return gaps[gap].word;
}

const char *rule_gap_text(enum rule_gap gap) {
  return gaps[gap].text;
}

bool rule_gap_by_kernel(enum rule_gap gap) {
  return gaps[gap].by_kernel;
}

void rule_result_set(struct rule_result *result, enum rule_reason reason) {
  result->reason = reason;
  result->state = reasons[reason].state;
}

bool rule_result_equal(const struct rule_result *a, const struct rule_result *b) {
  return a->state == b->state && a->reason == b->reason && a->err == b->err && a->gaps == b->gaps &&
         strcmp(a->step, b->step) == 0 && strcmp(a->file, b->file) == 0;
}
