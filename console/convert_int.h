// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/arena.h"
#include "console/convert.h"

/* What the files of conversions share: every message, text and list goes into one arena, and one
 * look at its |refused| at the end tells whether all of it is there. */

/* A message of |type| in |arena|, or a return of NULL. */
#define NEW(variable, type, INIT)                                                                  \
  type *variable = tlx_arena_alloc(arena, sizeof *variable);                                       \
  if (!variable) return NULL;                                                                      \
  *variable = (type)INIT
/* The end of a conversion: a text or list that found no room spoils all of it. */
#define DONE(variable) return arena->refused ? NULL : (variable)

/* Copies of gaps and of texts (convert_rule.c). False when the arena is full. */
bool convert_gaps(Telovix__Store__V1__Gap *const *from, size_t n, Telovix__V1__RuleGap ***ret_gaps,
                  size_t *ret_n, struct tlx_arena *arena);
bool convert_texts(char *const *from, size_t n, char ***ret_texts, size_t *ret_n,
                   struct tlx_arena *arena);

static inline char *text(struct tlx_arena *arena, const char *from) {
  char *copy = tlx_arena_strdup(arena, from ? from : "");
  static char nothing[1];
  return copy ? copy : nothing; /* arena->refused is set */
}

static inline ProtobufCBinaryData blob(struct tlx_arena *arena, const ProtobufCBinaryData *from) {
  void *copy = from->len ? tlx_arena_memdup(arena, from->data, from->len) : NULL;
  return (ProtobufCBinaryData){copy ? from->len : 0, copy};
}
