// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/bytes.h"

/* CSV for spreadsheets (RFC 4180). Pure. */

/* Appends |text| as one field, with a comma before it unless |first|. What could hurt a terminal is
 * escaped (common/text.h), and what a spreadsheet would take for a formula (first character one of
 * = + - @ TAB CR) gets a ' before it: the text comes from anybody. A field with comma, quote, CR or
 * LF is quoted. Errors stay in |buf|. */
void csv_field(struct tlx_buf *buf, const char *text, bool first);
/* Ends the record: CR LF. */
void csv_end(struct tlx_buf *buf);
