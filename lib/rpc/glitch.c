// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/glitch.h"

/* What each kind costs: a frame that makes us allocate costs more than one that is only read. */
static const uint32_t costs[] = {
    [TLX_GLITCH_RESET] = 2, [TLX_GLITCH_SETTINGS] = 2, [TLX_GLITCH_EMPTY] = 1,
    [TLX_GLITCH_TINY] = 1,  [TLX_GLITCH_WINDOW] = 1,   [TLX_GLITCH_PRIORITY] = 1,
    [TLX_GLITCH_PING] = 5,  [TLX_GLITCH_REFUSED] = 2,
};

void tlx_glitch_init(struct tlx_glitch *glitch, uint32_t budget, uint64_t mono_ms) {
  *glitch = (struct tlx_glitch){.budget = budget, .forgiven_mono_ms = mono_ms};
}

bool tlx_glitch_add(struct tlx_glitch *glitch, enum tlx_glitch_kind kind, uint64_t mono_ms) {
  /* One a second is forgiven. */
  uint64_t seconds =
      mono_ms > glitch->forgiven_mono_ms ? (mono_ms - glitch->forgiven_mono_ms) / 1000 : 0;
  glitch->forgiven_mono_ms += seconds * 1000;
  glitch->spent -= seconds < glitch->spent ? (uint32_t)seconds : glitch->spent;
  glitch->spent += costs[kind];
  return glitch->spent > glitch->budget;
}

void tlx_glitch_forgive(struct tlx_glitch *glitch) {
  if (glitch->spent) glitch->spent--;
}
