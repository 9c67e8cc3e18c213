// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "sensor/engine_int.h"

/* The rules of a pass: from policies to the image of all rules. Worker thread. */

/* Makes the core's rules those of |desired|; a rule whose path stays keeps its slot and its files.
 * 0 or -ENOMEM, and then the rules stay as they were. */
int core_take_desired(struct core *core, const struct desired *desired);
/* Compiles every rule against the host as it is now. */
void core_compile(struct core *core);
/* The image of all rules and the canary: heap, sorted by key, each key once (enforce beats
 * observe). 0 or -ENOMEM. */
int core_build_image(const struct core *core, struct bpf_image_entry **ret_image, size_t *ret_n);
/* Gives every rule without a slot the one under which a former process blocked its path, with the
 * files that it blocked, or a free one whose counter is zeroed. Whether anything was taken over, so
 * that the rules must be compiled again. */
bool core_assign_slots(struct core *core);
void core_free_rules(struct core *core);
