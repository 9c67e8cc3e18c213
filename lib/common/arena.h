// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Memory with one lifetime (a message, a request) and a cap, so that nothing a peer sends can make
 * it grow without bound. Blocks come from malloc; nothing is freed before tlx_arena_done. One
 * thread at a time. */
struct tlx_arena {
  struct tlx_arena_block *head; /* newest block, the one that is filled */
  size_t used, cap;             /* bytes handed out, and at most to be handed out */
  bool refused;                 /* an allocation was refused since init or reset */
};

/* Starts empty; |cap| in bytes. Never fails. */
void tlx_arena_init(struct tlx_arena *arena, size_t cap);
/* Frees everything. NULL and an all-zero arena are fine; usable again after init. */
void tlx_arena_done(struct tlx_arena *arena);
/* Forgets everything but keeps the cap; memory is freed except for one small block. */
void tlx_arena_reset(struct tlx_arena *arena);
/* |len| bytes aligned for any type, not cleared; NULL past the cap or out of memory, and then
 * |refused| is set: callers of libraries that cannot tell "malformed" from "no memory" look at it.
 */
void *tlx_arena_alloc(struct tlx_arena *arena, size_t len);
/* tlx_arena_alloc with the bytes set to zero. */
void *tlx_arena_zalloc(struct tlx_arena *arena, size_t len);
/* A copy with its NUL; |text| NULL gives NULL. NULL past the cap, and then |refused| is set. */
char *tlx_arena_strdup(struct tlx_arena *arena, const char *text);
/* A copy of |len| bytes; a zero |len| gives a pointer that is not NULL. NULL past the cap, and then
 * |refused| is set. */
void *tlx_arena_memdup(struct tlx_arena *arena, const void *data, size_t len);
/* printf into the arena, NUL-terminated; NULL past the cap (|refused| is set) and for a format that
 * printf refuses. */
char *tlx_arena_printf(struct tlx_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
