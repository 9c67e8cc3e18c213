// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

/* What it cannot cost less to switch what programs of the kernel work by: one update of an array of
 * maps. The kernel returns from it when no program uses the former map any more. */
struct floor_map;

/* Ends the benchmark when it cannot be had. */
struct floor_map *floor_map_open(void);
/* Nanoseconds of one update. */
uint64_t floor_map_publish(const struct floor_map *map);
/* Closes and frees. */
void floor_map_close(struct floor_map *map);
