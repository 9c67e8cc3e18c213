// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/err.h"

#include <stddef.h>
#include <string.h>

const char *tlx_err_name(int err) {
  if (err > 0) err = -err;
  switch (err) {
#define X(name, number, text)                                                                      \
  case number:                                                                                     \
    return "TLX_E_" #name;
    TLX_ERR_MAP(X)
#undef X
  case 0:
    return "OK";
  default:
    break;
  }
  const char *name = strerrorname_np(-err);
  return name ? name : "UNKNOWN";
}

const char *tlx_err_text(int err) {
  if (err > 0) err = -err;
  switch (err) {
#define X(name, number, text)                                                                      \
  case number:                                                                                     \
    return text;
    TLX_ERR_MAP(X)
#undef X
  case 0:
    return "no error";
  default:
    break;
  }
  /* strerror's text depends on the locale and on a shared buffer; this one is constant. */
  const char *text = strerrordesc_np(-err);
  return text ? text : "unknown error";
}
