// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/check.h"

#include <stdlib.h>

#include "common/log.h"

void tlx_check_abort(const char *cond, const char *file, int line, const char *func) {
  tlx_crit(CORE, "broken invariant condition=\"%s\" at=%s:%d function=%s", cond, file, line, func);
  abort();
}

bool tlx_check_report(const char *cond, const char *file, int line, const char *func) {
  tlx_error(CORE, "broken invariant condition=\"%s\" at=%s:%d function=%s", cond, file, line, func);
  return false;
}
