// SPDX-License-Identifier: GPL-2.0-or-later
/* The values of gRPC's header fields (rpc/grpc.h): content type, time-out, message, details. The
 * first byte picks the field; the rest is its value as it came, or what is to be written. */
#include <strings.h>

#include "common/err.h"
#include "common/text.h"
#include "fuzz.h"
#include "rpc/grpc.h"
#include "rpc/limits.h"

static void content_type(struct tlx_bytes value) {
  char *copy = exact_copy(value), *shorter = NULL;
  if (tlx_grpc_content_type_valid(copy, value.len)) {
    static const char base[] = "application/grpc";
    must(value.len >= sizeof base - 1 && strncasecmp(copy, base, sizeof base - 1) == 0);
    must(value.len < 20 || strncasecmp(copy, "application/grpc-web", 20) != 0);
    /* Without its parameters it is the same type. */
    const char *end = memchr(copy, ';', value.len);
    if (end) {
      shorter = exact_copy((struct tlx_bytes){value.data, (size_t)(end - copy)});
      must(tlx_grpc_content_type_valid(shorter, (size_t)(end - copy)));
    }
  }
  free(shorter);
  free(copy);
}

static void check_timeout(uint64_t ms) {
  char text[16];
  uint64_t again = 0;
  tlx_grpc_timeout_format(ms, text);
  must(strlen(text) >= 2 && strlen(text) <= 9);
  must(tlx_grpc_timeout_parse(text, strlen(text), &again) == 0);
  /* Never earlier than asked for, and not much later: 99,999,999 of a unit is the finest. */
  if (ms <= 99999999ull * 3600000) must(again >= ms && again - ms <= ms / 1000);
  must((again == 0) == (ms == 0));
}

static void timeout(struct tlx_bytes value) {
  struct input input = {value.data, value.len};
  char *copy = exact_copy(value);
  uint64_t ms;
  if (tlx_grpc_timeout_parse(copy, value.len, &ms) == 0) {
    must(value.len >= 2 && value.len <= 9);
    must(strspn(copy, "0123456789") >= value.len - 1 && memchr("HMSmun", copy[value.len - 1], 6));
    check_timeout(ms);
  }
  check_timeout(input_u64(&input));
  free(copy);
}

/* A value that may stand in a header field of HTTP/2 and that every client can decode. */
static void look_at_encoded(const char *text) {
  for (const char *c = text; *c; c++) {
    must(*c >= 0x20 && *c <= 0x7e);
    if (*c != '%') continue;
    must(c[1] && strchr("0123456789ABCDEF", c[1]) && c[2] && strchr("0123456789ABCDEF", c[2]));
  }
}

static void message(struct tlx_bytes value) {
  struct input input = {value.data, value.len};
  size_t size = input_u16(&input) % 1024 + 1;
  struct tlx_bytes rest = {input.at, input.left};
  char *raw = exact_copy(rest), *text = exact_text(rest), *out = malloc(size),
       *encoded = malloc(3 * rest.len + 1), *back = malloc(rest.len + 1);
  must(out && encoded && back);
  /* What we send. */
  size_t len = tlx_grpc_message_encode(text, encoded, 3 * rest.len + 1);
  must(len == strlen(encoded));
  look_at_encoded(encoded);
  if (tlx_text_utf8_valid(text, strlen(text))) {
    tlx_grpc_message_decode(encoded, len, back, rest.len + 1);
    must(strcmp(back, text) == 0);
    /* Cut: still whole escapes and whole characters, and a beginning of the text. */
    len = tlx_grpc_message_encode(text, out, size);
    must(len == strlen(out) && len < size && strncmp(out, encoded, len) == 0);
    look_at_encoded(out);
    tlx_grpc_message_decode(out, len, back, rest.len + 1);
    must(tlx_text_utf8_valid(back, strlen(back)) && strncmp(back, text, strlen(back)) == 0);
  }
  /* What we receive: it is shown, and told on as JSON. */
  tlx_grpc_message_decode(raw, rest.len, out, size);
  must(strlen(out) < size && tlx_text_utf8_valid(out, strlen(out)));
  free(back);
  free(encoded);
  free(out);
  free(text);
  free(raw);
}

/* ---- grpc-status-details-bin ---- */

/* A status never holds text that is not UTF-8 (rpc/status.h). */
static void look_at_status(const struct tlx_status *status) {
  must(status->n_violations <= TLX_STATUS_VIOLATIONS_MAX);
  must(status->n_metadata <= TLX_STATUS_METADATA_MAX);
  must(tlx_text_utf8_valid(status->reason, strlen(status->reason)));
  must(tlx_text_utf8_valid(status->message, strlen(status->message)));
  for (unsigned i = 0; i < status->n_violations; i++) {
    must(tlx_text_utf8_valid(status->violations[i].field, strlen(status->violations[i].field)));
    must(tlx_text_utf8_valid(status->violations[i].description,
                             strlen(status->violations[i].description)));
  }
  for (unsigned i = 0; i < status->n_metadata; i++) {
    must(tlx_text_utf8_valid(status->metadata[i].key, strlen(status->metadata[i].key)));
    must(tlx_text_utf8_valid(status->metadata[i].value, strlen(status->metadata[i].value)));
  }
}

static void compare_status(const struct tlx_status *a, const struct tlx_status *b) {
  must(strcmp(a->reason, b->reason) == 0);
  must(a->n_violations == b->n_violations);
  for (unsigned i = 0; i < a->n_violations; i++) {
    must(strcmp(a->violations[i].field, b->violations[i].field) == 0);
    must(strcmp(a->violations[i].description, b->violations[i].description) == 0);
  }
  /* Metadata goes out with a reason only. */
  must(!*a->reason || a->n_metadata == b->n_metadata);
  for (unsigned i = 0; i < b->n_metadata; i++) {
    must(strcmp(a->metadata[i].key, b->metadata[i].key) == 0);
    must(strcmp(a->metadata[i].value, b->metadata[i].value) == 0);
  }
}

/* Out as a header value and in again. */
static void check_details(const struct tlx_status *status) {
  struct tlx_status again;
  struct tlx_buf buf = {0};
  tlx_status_set(&again, status->code, NULL, "%s", status->message);
  must(tlx_grpc_details_format(status, &buf) == 0);
  if (!*status->reason && status->n_violations == 0) {
    must(buf.len == 0);
  } else {
    must(buf.len && buf.len % 4 != 1 && !memchr(buf.data, '=', buf.len));
    must(tlx_grpc_details_parse((const char *)buf.data, buf.len, &again) == 0);
    compare_status(status, &again);
  }
  tlx_buf_done(&buf);
}

static void details_in(struct tlx_bytes value) {
  struct tlx_status status, before;
  char *copy = exact_copy(value);
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "as_before", "%s", "as before");
  tlx_status_add_metadata(&status, "k", "v");
  before = status;
  if (tlx_grpc_details_parse(copy, value.len, &status) == 0) {
    look_at_status(&status);
    must(status.code == before.code && strcmp(status.message, before.message) == 0);
    check_details(&status);
  } else {
    must(memcmp(&status, &before, sizeof status) == 0);
  }
  free(copy);
}

/* Raw protobuf: the fuzzer need not learn base64 to get behind it. */
static void details_packed(struct tlx_bytes value) {
  char *text = malloc(value.len / 3 * 4 + 5);
  must(text);
  size_t len = tlx_base64_format(value.data, value.len, text);
  details_in((struct tlx_bytes){(const uint8_t *)text, len});
  free(text);
}

static void details_out(struct tlx_bytes value) {
  struct input input = {value.data, value.len};
  struct tlx_status status;
  tlx_status_clear(&status);
  for (uint8_t kind = input_u8(&input); input.left; kind = input_u8(&input)) {
    struct tlx_bytes first = input_piece(&input), second = input_piece(&input);
    char *a = exact_text(first), *b = exact_text(second);
    /* Our own texts and those from messages that were scanned: UTF-8. */
    if (tlx_text_utf8_valid(a, strlen(a)) && tlx_text_utf8_valid(b, strlen(b))) {
      if (kind % 4 == 0)
        tlx_status_set(&status, (enum tlx_grpc_code)(1 + kind / 4 % 16), a, "%s", b);
      else if (kind % 4 == 1)
        tlx_status_add_metadata(&status, a, b);
      else
        tlx_status_add_violation(&status, a, "%s", b);
    }
    free(a);
    free(b);
  }
  look_at_status(&status);
  check_details(&status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const fields[])(struct tlx_bytes) = {content_type, timeout,        message,
                                                     details_in,   details_packed, details_out};
  struct input input = {data, size};
  uint8_t field = input_u8(&input);
  fields[field % (sizeof fields / sizeof *fields)]((struct tlx_bytes){input.at, input.left});
  return 0;
}
