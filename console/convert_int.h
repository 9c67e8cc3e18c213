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

static inline char *text(struct tlx_arena *arena, const char *from) {
  char *copy = tlx_arena_strdup(arena, from ? from : "");
  static char nothing[1];
  return copy ? copy : nothing; /* arena->refused is set */
}

static inline ProtobufCBinaryData blob(struct tlx_arena *arena, const ProtobufCBinaryData *from) {
  void *copy = from->len ? tlx_arena_memdup(arena, from->data, from->len) : NULL;
  return (ProtobufCBinaryData){copy ? from->len : 0, copy};
}
