// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/store.h"

/* Looks at the whole store: every record unpacks, every index entry has its record and the reverse,
 * the audit chain is unbroken. Calls |finding| for each fault, in words that name table and key.
 * Returns 0 when the walk was complete (also with findings; their number is in |ret_n|), else a
 * negative error. Short read transactions; may run beside a writer. */
int tlx_store_verify(struct tlx_store *store, void (*finding)(void *arg, const char *text),
                     void *arg, uint64_t *ret_n);
