// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

/* What all targets share: the entry, the assertion, and a cursor that cuts an input into pieces. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant that must hold for every input; a broken one ends the process, and is a finding. Not
 * assert(): it must not depend on NDEBUG. */
#define must(cond)                                                                                 \
  do {                                                                                             \
    if (!(cond)) must_failed(#cond, __FILE__, __LINE__);                                           \
  } while (0)

static inline _Noreturn void must_failed(const char *cond, const char *file, int line) {
  fprintf(stderr, "%s:%d: must hold: %s\n", file, line, cond);
  abort();
}

/* Reads past the end give zeros: every prefix of an input is an input. */
struct input {
  const uint8_t *at;
  size_t left;
};

static inline uint8_t input_u8(struct input *input) {
  if (input->left == 0) return 0;
  input->left--;
  return *input->at++;
}

static inline uint16_t input_u16(struct input *input) {
  uint16_t high = input_u8(input);
  return (uint16_t)(high << 8 | input_u8(input));
}

static inline uint64_t input_u64(struct input *input) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++)
    value = value << 8 | input_u8(input);
  return value;
}

/* At most |len| bytes, borrowed. */
static inline struct tlx_bytes input_bytes(struct input *input, size_t len) {
  struct tlx_bytes ret = {input->at, len < input->left ? len : input->left};
  input->at += ret.len;
  input->left -= ret.len;
  return ret;
}

/* A length byte and as many bytes. */
static inline struct tlx_bytes input_piece(struct input *input) {
  return input_bytes(input, input_u8(input));
}

/* Copies of exactly their size on the heap, so that the sanitizer sees the first byte past the end.
 * The caller frees. */
static inline void *exact_copy(struct tlx_bytes bytes) {
  uint8_t *copy = malloc(bytes.len ? bytes.len : 1);
  must(copy);
  if (bytes.len) memcpy(copy, bytes.data, bytes.len);
  return copy;
}

/* The same with a NUL behind it; an own NUL ends it earlier. */
static inline char *exact_text(struct tlx_bytes bytes) {
  char *copy = bytes.len ? strndup((const char *)bytes.data, bytes.len) : strdup("");
  must(copy);
  return copy;
}

static inline bool bytes_equal(struct tlx_bytes a, struct tlx_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Sizes of the pieces in which an input is fed a second time; many are small, all are decided by
 * |seed|. */
static inline size_t next_piece(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 29 ? 1 + (*seed >> 8) % 13 : 1 + (*seed >> 8) % 600;
}
