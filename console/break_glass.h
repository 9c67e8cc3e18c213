// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

/* `telovix-console operator create`: an operator for whoever holds the Console's host, when no
 * admin's profile is left. It opens the store by itself, so the Console must be stopped: a door
 * into a running one would have to be guarded as well as the API is, and there would be two.
 *
 * Makes the profile beside |out|, which must not be there, records the operator with the actor
 * local_root, and renames it there: after a crash there is no operator, or a whole profile. Says
 * what it did. Returns the exit status of the process. */
int break_glass_operator(const char *data, const char *name, uint32_t role, const char *out);
