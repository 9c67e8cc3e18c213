// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"

const char *tlx_grpc_code_name(int code) {
  switch (code) {
#define X(name, number)                                                                            \
  case number:                                                                                     \
    return #name;
    TLX_GRPC_MAP(X)
#undef X
  default:
    return "UNKNOWN";
  }
}

void tlx_status_clear(struct tlx_status *status) {
  *status = (struct tlx_status){.code = TLX_GRPC_OK};
}

/* Half a character at the end would make some clients report a broken encoding instead of our text,
 * and a byte that is none would leave them without any. */
static void format_text(char *out, size_t size, const char *format, va_list args) {
  if (vsnprintf(out, size, format, args) < 0) out[0] = '\0';
  tlx_text_utf8_repair(out);
}

static void copy_text(char *out, size_t size, const char *text) {
  snprintf(out, size, "%s", text);
  tlx_text_utf8_repair(out);
}

void tlx_status_set(struct tlx_status *status, enum tlx_grpc_code code, const char *reason,
                    const char *format, ...) {
  va_list args;
  tlx_status_clear(status);
  status->code = code;
  if (reason) copy_text(status->reason, sizeof status->reason, reason);
  va_start(args, format);
  format_text(status->message, sizeof status->message, format, args);
  va_end(args);
}

void tlx_status_add_violation(struct tlx_status *status, const char *field, const char *format,
                              ...) {
  char description[sizeof status->violations->description];
  va_list args;
  va_start(args, format);
  format_text(description, sizeof description, format, args);
  va_end(args);
  if (status->n_violations == 0)
    tlx_status_set(status, TLX_GRPC_INVALID_ARGUMENT, "invalid_argument", "%s: %s", field,
                   description);
  if (status->n_violations == TLX_STATUS_VIOLATIONS_MAX) return;
  copy_text(status->violations[status->n_violations].field, sizeof status->violations->field,
            field);
  strcpy(status->violations[status->n_violations].description, description);
  status->n_violations++;
}

void tlx_status_add_metadata(struct tlx_status *status, const char *key, const char *value) {
  if (status->n_metadata == TLX_STATUS_METADATA_MAX) return;
  copy_text(status->metadata[status->n_metadata].key, sizeof status->metadata->key, key);
  copy_text(status->metadata[status->n_metadata].value, sizeof status->metadata->value, value);
  status->n_metadata++;
}
