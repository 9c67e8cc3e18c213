// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* A budget for cheap hostile frames: each kind costs, honest work earns some back. When it is spent
 * the connection ends with ENHANCE_YOUR_CALM. Pure. */
enum tlx_glitch_kind {
  TLX_GLITCH_RESET,    /* RST_STREAM from the peer */
  TLX_GLITCH_SETTINGS, /* a SETTINGS frame after the first */
  TLX_GLITCH_EMPTY,    /* empty DATA without END_STREAM, empty HEADERS continuation */
  TLX_GLITCH_TINY,     /* DATA under 16 bytes without END_STREAM */
  TLX_GLITCH_WINDOW,   /* WINDOW_UPDATE under 64 bytes */
  TLX_GLITCH_PRIORITY, /* PRIORITY and unknown frames */
  TLX_GLITCH_PING,     /* PING faster than permitted */
  TLX_GLITCH_REFUSED,  /* a request the protocol refuses */
};
struct tlx_glitch {
  uint32_t spent, budget;
  uint64_t forgiven_mono_ms; /* until when time has been credited */
};
/* Starts with nothing spent of |budget|. */
void tlx_glitch_init(struct tlx_glitch *glitch, uint32_t budget, uint64_t mono_ms);
/* Books one of |kind|, after the seconds since the last one were credited; true = more is spent
 * than the budget: close the connection. */
bool tlx_glitch_add(struct tlx_glitch *glitch, enum tlx_glitch_kind kind, uint64_t mono_ms);
/* Gives one back for honest work: a completed call, a frame of an answer. */
void tlx_glitch_forgive(struct tlx_glitch *glitch);
