// SPDX-License-Identifier: GPL-2.0-or-later
/* Text forms that people, files and peers give us (common/text.h): what is accepted comes out again
 * the same, what is made is accepted, and what is shown is harmless. The first byte picks the form;
 * the rest is its text or its value. */
#include "common/err.h"
#include "common/text.h"
#include "fuzz.h"
#include "text_model.h"

#define DURATION_MAX (UINT64_MAX / 2)
#define TIME_MAX_MS 253402300799999ull /* the last millisecond of the year 9999 */

/* ---- ids and names ---- */

/* Whatever passes for a name can be shown as it is. */
static void look_at_shown(const char *text) {
  char shown[512];
  must(tlx_text_utf8_valid(text, strlen(text)));
  must(strcmp(tlx_text_escape(text, SIZE_MAX, shown, sizeof shown), text) == 0);
}

static void names(struct tlx_bytes bytes) {
  char *text = exact_text(bytes), folded[256], again[256], made[TLX_ID_MAX];
  if (tlx_id_valid("kill_", text)) must(strlen(text) == 5 + TLX_ID_RANDOM_LEN);
  must(tlx_id_make("kill_", made, sizeof made) == 0 && tlx_id_valid("kill_", made));
  if (tlx_name_node_valid(text)) {
    must(strlen(text) <= 253 && !tlx_id_valid("sensor_", text));
    tlx_name_node_fold(text, folded, sizeof folded);
    tlx_name_node_fold(folded, again, sizeof again);
    must(strcasecmp(text, folded) == 0 && strcmp(folded, again) == 0);
    must(tlx_name_node_valid(folded));
  }
  if (tlx_name_operator_valid(text)) must(strlen(text) <= 32 && tlx_name_request_id_valid(text));
  if (tlx_name_label_key_valid(text)) must(*text && strlen(text) <= 63);
  if (tlx_name_request_id_valid(text)) must(*text && strlen(text) <= 64);
  if (tlx_name_label_value_valid(text)) must(strlen(text) <= 63);
  if (tlx_id_valid("token_", text) || tlx_name_node_valid(text) || tlx_name_operator_valid(text) ||
      tlx_name_label_key_valid(text) || tlx_name_label_value_valid(text) ||
      tlx_name_request_id_valid(text))
    look_at_shown(text);
  free(text);
}

static void addresses(struct tlx_bytes bytes) {
  char *text = exact_text(bytes), host[256], again_host[256], again[300];
  uint16_t port = 0, again_port = 0;
  if (tlx_address_parse(text, host, &port) == 0) {
    must(port != 0 && *host);
    look_at_shown(host);
    snprintf(again, sizeof again, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    must(tlx_address_parse(again, again_host, &again_port) == 0);
    must(strcmp(host, again_host) == 0 && port == again_port);
  }
  free(text);
}

/* ---- bytes as text ---- */

static void hex(struct tlx_bytes bytes) {
  char *out = malloc(2 * bytes.len + 1), *text = exact_text(bytes);
  uint8_t *back = malloc(bytes.len + 1);
  must(out && back);
  tlx_hex_format(bytes.data, bytes.len, out);
  must(strlen(out) == 2 * bytes.len);
  must(tlx_hex_parse(out, back, bytes.len) == 0);
  must(bytes_equal((struct tlx_bytes){back, bytes.len}, bytes));
  must(tlx_hex_parse(out, back, bytes.len + 1) == TLX_E_MALFORMED);
  size_t len = strlen(text) / 2;
  if (tlx_hex_parse(text, back, len) == 0) {
    tlx_hex_format(back, len, out);
    must(strcasecmp(out, text) == 0);
  }
  free(back);
  free(text);
  free(out);
}

static void check_base64(const char *text, size_t len, struct tlx_bytes wanted) {
  uint8_t *back = malloc(wanted.len ? wanted.len : 1);
  size_t n = SIZE_MAX;
  must(back);
  must(tlx_base64_parse(text, len, back, wanted.len, &n) == 0);
  must(bytes_equal((struct tlx_bytes){back, n}, wanted));
  if (wanted.len) must(tlx_base64_parse(text, len, back, wanted.len - 1, &n) == TLX_E_TOO_LARGE);
  free(back);
}

static void base64(struct tlx_bytes bytes) {
  char *out = malloc((bytes.len + 2) / 3 * 4 + 1), *text = exact_copy(bytes);
  uint8_t *data = malloc(bytes.len + 1);
  size_t n;
  must(out && data);
  size_t len = tlx_base64url_format(bytes.data, bytes.len, out);
  must(len == strlen(out) && !strpbrk(out, "+/="));
  check_base64(out, len, bytes);
  len = tlx_base64_format(bytes.data, bytes.len, out);
  must(len == strlen(out) && !strpbrk(out, "-_="));
  check_base64(out, len, bytes);
  while (len % 4)
    out[len++] = '=';
  check_base64(out, len, bytes);
  /* The input as base64: what it means can be written down, and means the same. */
  if (tlx_base64_parse(text, bytes.len, data, bytes.len + 1, &n) == 0) {
    must(n <= bytes.len / 4 * 3 + 2);
    struct tlx_bytes parsed = {data, n};
    len = tlx_base64_format(parsed.data, parsed.len, out);
    check_base64(out, len, parsed);
  }
  free(data);
  free(text);
  free(out);
}

/* ---- times and numbers ---- */

static void check_time(uint64_t wall_ms) {
  char text[TLX_TIME_TEXT_MAX];
  uint64_t again = 0;
  tlx_time_format(wall_ms, text);
  must(strlen(text) == 24 && text[23] == 'Z');
  must(tlx_time_parse(text, &again) == 0);
  must(again == (wall_ms < TIME_MAX_MS ? wall_ms : TIME_MAX_MS));
}

static void times(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  char *text = exact_text(bytes);
  uint64_t wall_ms;
  if (tlx_time_parse(text, &wall_ms) == 0) check_time(wall_ms);
  check_time(input_u64(&input));
  free(text);
}

static void check_duration(uint64_t ms) {
  char text[TLX_TIME_TEXT_MAX], again_text[TLX_TIME_TEXT_MAX];
  uint64_t again = 0;
  tlx_duration_format(ms, text);
  must(tlx_duration_parse(text, &again) == 0);
  /* Two units are shown: never more than there is, and at most a tenth less. */
  must(again <= ms && ms - again <= ms / 10 + (ms >= 1000 ? 999 : 0));
  tlx_duration_format(again, again_text);
  must(strcmp(text, again_text) == 0);
}

static void durations(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  char *text = exact_text(bytes);
  uint64_t ms;
  if (tlx_duration_parse(text, &ms) == 0) {
    must(ms <= DURATION_MAX);
    check_duration(ms);
  }
  check_duration(input_u64(&input) & DURATION_MAX);
  free(text);
}

static void numbers(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  uint64_t max = input_u64(&input), value = 0;
  char *text = exact_text((struct tlx_bytes){input.at, input.left}), out[32];
  int err = tlx_u64_parse(text, max, &value);
  if (err == 0) {
    const char *digits = text;
    while (*digits == '0' && digits[1])
      digits++;
    snprintf(out, sizeof out, "%llu", (unsigned long long)value);
    must(value <= max && strcmp(out, digits) == 0);
  } else {
    must(err == TLX_E_MALFORMED || err == TLX_E_TOO_LARGE);
    must((err == TLX_E_MALFORMED) == (!*text || text[strspn(text, "0123456789")]));
  }
  free(text);
}

/* ---- what is shown ---- */

static void escaping(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  size_t size = input_u8(&input) + 1u;
  struct tlx_bytes text = {input.at, input.left};
  char *copy = exact_copy(text), *full = malloc(10 * text.len + 1), *out = malloc(size);
  must(full && out);
  tlx_text_escape(copy, text.len, full, 10 * text.len + 1);
  size_t len = strlen(full);
  must(tlx_text_utf8_valid(full, len) && model_is_harmless(full));
  /* Nothing is lost: the text can be told from what is shown. */
  char *back = malloc(len + 1);
  must(back && model_unescape(full, back) == text.len);
  must(text.len == 0 || memcmp(back, copy, text.len) == 0);
  tlx_text_escape(copy, text.len, out, size);
  if (len < size) {
    must(strcmp(out, full) == 0);
  } else {
    static const char mark[] = "\xe2\x80\xa6";
    size_t out_len = strlen(out);
    must(out_len < size && tlx_text_utf8_valid(out, out_len));
    if (size > 3) {
      must(out_len >= 3 && strcmp(out + out_len - 3, mark) == 0);
      out_len -= 3;
    }
    must(memcmp(out, full, out_len) == 0);
  }
  free(back);
  free(out);
  free(full);
  free(copy);
}

static void utf8(struct tlx_bytes bytes) {
  char *copy = exact_copy(bytes);
  size_t n_characters = 0;
  bool valid = model_utf8((const uint8_t *)copy, bytes.len, &n_characters);
  must(tlx_text_utf8_valid(copy, bytes.len) == valid);
  free(copy);
  if (!valid) return;
  char *text = exact_text(bytes);
  must(tlx_text_utf8_count(text) == n_characters);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const forms[])(struct tlx_bytes) = {names,     addresses, hex,      base64, times,
                                                    durations, numbers,   escaping, utf8};
  struct input input = {data, size};
  uint8_t form = input_u8(&input);
  forms[form % (sizeof forms / sizeof *forms)]((struct tlx_bytes){input.at, input.left});
  return 0;
}
