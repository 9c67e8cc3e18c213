// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* Two assertions. tlx_require is for what would corrupt data if we went on: it logs and aborts in
 * every build. tlx_expect is for what we can survive: it logs, and its value must be used in an
 * `if` that handles the case. */
#define tlx_require(cond)                                                                          \
  ((cond) ? (void)0 : tlx_check_abort(#cond, __FILE__, __LINE__, __func__))
#define tlx_expect(cond) ((cond) ? true : tlx_check_report(#cond, __FILE__, __LINE__, __func__))

/* Logs at crit and aborts. Used by tlx_require only. */
_Noreturn void tlx_check_abort(const char *cond, const char *file, int line, const char *func);

/* Logs at error and returns false. Used by tlx_expect only. */
bool tlx_check_report(const char *cond, const char *file, int line, const char *func)
    __attribute__((warn_unused_result));
