// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault.h"

#include <stddef.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *data, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *data, size_t size);
char *__wrap_strdup(const char *text);

static unsigned left;
static bool hit;

void fault_set(unsigned n) {
  left = n;
  hit = false;
}

bool fault_was_hit(void) {
  return hit;
}

static bool fails(void) {
  if (left == 0 || --left > 0) return false;
  hit = true;
  return true;
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
  return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *data, size_t size) {
  return fails() ? NULL : __real_realloc(data, size);
}

char *__wrap_strdup(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = __wrap_malloc(size);
  return copy ? memcpy(copy, text, size) : NULL;
}
