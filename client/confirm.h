// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "client/client.h"

/* What cannot be taken back is asked for once more, by name. Main thread. */

/* Whether there is somebody to ask: standard input and standard error are both a terminal. */
bool confirm_can_ask(void);
/* Says that |client|'s verb wants --yes where there is nobody to ask. Returns CLIENT_USAGE. */
int confirm_refuse(const struct client *client);
/* Prints fleet, what is meant and what it means, and asks for the node name. True when |node_name|
 * was typed, in any case of letters; false with the error printed. */
bool confirm_node(const struct client *client, const char *sensor_id, const char *node_name);
