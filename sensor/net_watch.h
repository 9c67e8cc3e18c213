// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* Hears from the kernel that devices, addresses or default routes of this network namespace changed
 * (rtnetlink(7)), so that a containment follows at once. Loop thread. */
struct net_watch;

/* |changed| once for all that came in one turn, also when the kernel had more to tell than it could
 * keep. 0 or a negative errno. */
int net_watch_new(uv_loop_t *loop, void (*changed)(void *arg), void *arg,
                  struct net_watch **ret_watch);
/* No callback comes after this; the memory goes when the loop has closed the handle. NULL is fine.
 */
void net_watch_close(struct net_watch *watch);
/* Whether one of these messages is of more than a route to somewhere: a router hears of such all
 * the time. Pure. */
bool net_watch_matters(const void *data, size_t len);
