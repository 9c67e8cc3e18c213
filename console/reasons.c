// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/reasons.h"

#include "common/check.h"

static const struct {
  const char *word, *text;
  enum tlx_grpc_code code;
} reasons[] = {
#define X(name, word, code, text) {word, text, TLX_GRPC_##code},
    REASON_MAP(X)
#undef X
};

const char *reason_word(enum reason reason) {
  tlx_require(reason < REASON_COUNT);
  return reasons[reason].word;
}

void reason_set(struct tlx_status *status, enum reason reason) {
  tlx_status_set(status, reasons[reason].code, reason_word(reason), "%s", reasons[reason].text);
  if (reasons[reason].code == TLX_GRPC_UNAUTHENTICATED &&
      (reason < REASON_TOKEN_UNKNOWN || reason > REASON_TOKEN_WRONG_SENSOR))
    status->http_status = 401;
}
