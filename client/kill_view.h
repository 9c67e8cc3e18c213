// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/output.h"
#include "telovix/v1/types.pb-c.h"

/* How a kill order is shown: a row of a list, or all states with their times. Main thread. */

/* An empty table with the heads of the rows below; NULL when out of memory. */
struct output_table *kill_view_table(void);
/* Adds one row. |table| NULL is fine. */
void kill_view_row(struct output_table *table, const Telovix__V1__KillOrder *order);
/* Every state that was reached, with its time, and one sentence as the last line: what, where, how
 * long. */
void kill_view_print(const Telovix__V1__KillOrder *order);
/* The sentence alone, escaped; |out| of 1024. Returns |out|. */
const char *kill_view_sentence(const Telovix__V1__KillOrder *order, char *out);
/* Whether nothing more will happen. */
bool kill_view_ended(const Telovix__V1__KillOrder *order);
/* Whether the process is gone: the only ends that count as success. */
bool kill_view_succeeded(const Telovix__V1__KillOrder *order);
