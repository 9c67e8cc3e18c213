// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/output.h"
#include "telovix/v1/event.pb-c.h"

/* How an event is shown: a row of a list, or a line as it comes. Main thread. */

/* An empty table with the heads of the rows below; NULL when out of memory. */
struct output_table *event_view_table(bool wide);
/* Adds one row; |wide| as for the table. |table| NULL is fine. */
void event_view_row(struct output_table *table, const Telovix__V1__Event *event, bool wide);
/* One line on stdout, escaped: when, where, what, who. */
void event_view_line(const Telovix__V1__Event *event);
