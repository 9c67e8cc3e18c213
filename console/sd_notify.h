// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

/* Tells the service manager about our life (sd_notify(3)): one datagram to the socket named by
 * $NOTIFY_SOCKET, a path or, with a leading '@', an abstract name. Loop thread. */

/* Sends |text|, lines of NAME=VALUE. 0, also when no manager listens (the variable is not set);
 * else a negative errno, which is worth a log line and nothing more. */
int sd_notify_send(const char *text);
/* RELOADING=1 with the monotonic time that the protocol asks for. Same results; READY=1 ends it. */
int sd_notify_reloading(void);
