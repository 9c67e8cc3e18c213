// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_LEN 4096u
#define ALIGN 16u

struct tlx_arena_block {
  struct tlx_arena_block *older;
  size_t used, len;
  _Alignas(ALIGN) unsigned char data[];
};

void tlx_arena_init(struct tlx_arena *arena, size_t cap) {
  *arena = (struct tlx_arena){.cap = cap};
}

void tlx_arena_done(struct tlx_arena *arena) {
  if (!arena) return;
  for (struct tlx_arena_block *block = arena->head; block;) {
    struct tlx_arena_block *older = block->older;
    free(block);
    block = older;
  }
  *arena = (struct tlx_arena){.cap = arena->cap};
}

void tlx_arena_reset(struct tlx_arena *arena) {
  struct tlx_arena_block *keep = NULL;
  for (struct tlx_arena_block *block = arena->head; block;) {
    struct tlx_arena_block *older = block->older;
    if (!keep && block->len == BLOCK_LEN)
      keep = block;
    else
      free(block);
    block = older;
  }
  if (keep) {
    keep->older = NULL;
    keep->used = 0;
  }
  *arena = (struct tlx_arena){.head = keep, .cap = arena->cap};
}

void *tlx_arena_alloc(struct tlx_arena *arena, size_t len) {
  size_t rounded = (len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (rounded == 0) rounded = ALIGN;
  if (len > SIZE_MAX - ALIGN || rounded > arena->cap - arena->used) {
    arena->refused = true;
    return NULL;
  }
  struct tlx_arena_block *block = arena->head;
  if (!block || block->len - block->used < rounded) {
    size_t block_len = rounded > BLOCK_LEN ? rounded : BLOCK_LEN;
    struct tlx_arena_block *fresh = malloc(sizeof *fresh + block_len);
    if (!fresh) {
      arena->refused = true;
      return NULL;
    }
    fresh->used = 0;
    fresh->len = block_len;
    if (block && rounded > BLOCK_LEN) {
      /* A large piece gets its own block behind the one that is filled, which may have room left.
       */
      fresh->older = block->older;
      block->older = fresh;
    } else {
      fresh->older = block;
      arena->head = fresh;
    }
    block = fresh;
  }
  void *ret = block->data + block->used;
  block->used += rounded;
  arena->used += rounded;
  return ret;
}

void *tlx_arena_zalloc(struct tlx_arena *arena, size_t len) {
  void *ret = tlx_arena_alloc(arena, len);
  if (ret) memset(ret, 0, len);
  return ret;
}

void *tlx_arena_memdup(struct tlx_arena *arena, const void *data, size_t len) {
  void *ret = tlx_arena_alloc(arena, len);
  if (ret && len) memcpy(ret, data, len);
  return ret;
}

char *tlx_arena_strdup(struct tlx_arena *arena, const char *text) {
  return text ? tlx_arena_memdup(arena, text, strlen(text) + 1) : NULL;
}

char *tlx_arena_printf(struct tlx_arena *arena, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *ret = len < 0 ? NULL : tlx_arena_alloc(arena, (size_t)len + 1);
  if (ret) vsnprintf(ret, (size_t)len + 1, format, again);
  va_end(again);
  return ret;
}
