// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* Makes one allocation of our code fail. Link fault.c and, with it,
 * `-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,
 * --wrap=strdup`: what is linked into the program statically goes through here, shared libraries do
 * not. One thread. */

/* The |n|-th allocation from now fails, once; 0 = none does. */
void fault_set(unsigned n);
/* Whether it came to that since fault_set. */
bool fault_was_hit(void);
