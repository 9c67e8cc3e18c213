// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "fuzz.h"

/* What an INI file says, line by line and without any limit: a second opinion that knows nothing of
 * the library's buffers. */

struct ini_model {
  struct tlx_bytes left, section;
  bool first_line, has_key; /* a line that begins with a blank goes on with the key before it */
  bool fault;               /* a line that is none, or one that would be a second value */
};

struct ini_pair {
  struct tlx_bytes section, key, value;
};

static inline bool ini_blank(uint8_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline struct tlx_bytes ini_trim(struct tlx_bytes bytes) {
  while (bytes.len && ini_blank(*bytes.data))
    bytes.data++, bytes.len--;
  while (bytes.len && ini_blank(bytes.data[bytes.len - 1]))
    bytes.len--;
  return bytes;
}

/* Where one of |wanted| stands, or a comment begins (';' behind a blank), or the end. */
static inline size_t ini_find(struct tlx_bytes bytes, const char *wanted) {
  for (size_t i = 0; i < bytes.len; i++) {
    if (strchr(wanted, bytes.data[i])) return i;
    if (i && bytes.data[i] == ';' && ini_blank(bytes.data[i - 1])) return i;
  }
  return bytes.len;
}

static inline struct tlx_bytes ini_part(struct tlx_bytes bytes, size_t from, size_t to) {
  return (struct tlx_bytes){bytes.data + from, to - from};
}

static inline void ini_model_init(struct ini_model *model, struct tlx_bytes content) {
  *model = (struct ini_model){.left = content, .first_line = true};
}

/* The next key with its value. False at the end. The file has no NUL. */
static inline bool ini_model_next(struct ini_model *model, struct ini_pair *ret) {
  while (model->left.len) {
    const uint8_t *end = memchr(model->left.data, '\n', model->left.len);
    size_t len = end ? (size_t)(end - model->left.data) : model->left.len;
    struct tlx_bytes line = ini_part(model->left, 0, len);
    model->left = ini_part(model->left, len + (end != NULL), model->left.len);
    if (model->first_line && line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0)
      line = ini_part(line, 3, line.len);
    model->first_line = false;
    struct tlx_bytes text = ini_trim(line);
    if (text.len == 0 || *text.data == ';' || *text.data == '#') continue;
    if (model->has_key && text.data != line.data) {
      model->fault = true;
      continue;
    }
    struct tlx_bytes behind = ini_part(text, *text.data == '[', text.len);
    size_t at = ini_find(behind, *text.data == '[' ? "]" : "=:");
    if (at == behind.len || behind.data[at] == ';') {
      model->fault = true;
    } else if (*text.data == '[') {
      model->section = ini_part(behind, 0, at);
      model->has_key = false;
    } else {
      model->has_key = true;
      ret->section = model->section;
      ret->key = ini_trim(ini_part(behind, 0, at));
      struct tlx_bytes value = ini_part(behind, at + 1, behind.len);
      ret->value = ini_trim(ini_part(value, 0, ini_find(value, "")));
      return true;
    }
  }
  return false;
}
