// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <criterion/criterion.h>
#include <stdbool.h>
#include <uv.h>

/* A loop for one test. A test declares `LOOP loop;` after what must outlive it, and ends by
 * demanding that nothing is left open: a forgotten handle fails the test that forgot it. */

/* Turns the loop until |*flag| holds. What never comes is ended by the time limit of the program's
 * ctest. */
static inline void loop_until(uv_loop_t *loop, const bool *flag) {
  while (!*flag)
    cr_assert(uv_run(loop, UV_RUN_ONCE) || *flag,
              "the loop is empty and what was waited for did not come");
}

/* Runs what is left and closes |loop|, which must be empty then. */
static inline void loop_done(uv_loop_t *loop) {
  uv_run(loop, UV_RUN_DEFAULT);
  cr_assert_eq(uv_loop_close(loop), 0, "a handle was left open");
}
