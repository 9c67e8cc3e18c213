// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The sensor's own sockets: marked before their connect(2), so that a containment lets them through
 * by what they are and not by where they go (spec §5.3), and remembered by their cookies, so that
 * the sweep spares them. Any thread. */

/* Marks |fd| as the sensor's own link in the maps pinned below |pin_folder| and remembers it. Not
 * an error when nothing is pinned: then nothing is contained. Failures are logged: the link would
 * be cut. So is one of a process beside the sensor that enforces by these pins: that one cannot
 * tell it from an intruder's, and would take its mark away. */
void net_own_mark(const char *pin_folder, int fd);
/* Whether |cookie| (SO_COOKIE) is that of one of the last sockets that were marked. */
bool net_own_has(uint64_t cookie);
