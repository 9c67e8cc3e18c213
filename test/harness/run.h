// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>

/* One run of a program of ours, to its end. */
struct run_result {
  int status; /* exit status; 128 + number when a signal ended it */
  char out[65536], err[65536];
};

/* Runs |argv| (NULL at the end) with standard input from /dev/null and these variables
 * ("NAME=VALUE", NULL at the end; NULL = none) added to the environment. Texts are cut at their
 * size and end with NUL. Asserts. */
void run_program(const char *const *argv, const char *const *env, struct run_result *ret_result);
