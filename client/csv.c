// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"

void csv_field(struct tlx_buf *buf, const char *text, bool first) {
  /* The longest escape of a byte is shorter than this. */
  size_t size = strlen(text) * 12 + 1;
  TLX_AUTOFREE char *shown = malloc(size);
  if (!shown) {
    if (!buf->err) buf->err = -ENOMEM;
    return;
  }
  tlx_text_escape(text, SIZE_MAX, shown, size);
  bool is_formula = *text && strchr("=+-@\t\r", *text);
  bool is_quoted = strpbrk(shown, ",\"\r\n") != NULL;
  if (!first) tlx_buf_add_u8(buf, ',');
  if (is_quoted) tlx_buf_add_u8(buf, '"');
  if (is_formula) tlx_buf_add_u8(buf, '\'');
  for (const char *c = shown; *c; c++) {
    if (*c == '"') tlx_buf_add_u8(buf, '"');
    tlx_buf_add_u8(buf, (uint8_t)*c);
  }
  if (is_quoted) tlx_buf_add_u8(buf, '"');
}

void csv_end(struct tlx_buf *buf) {
  tlx_buf_add_text(buf, "\r\n");
}
