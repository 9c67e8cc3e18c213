// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>
#include <sys/types.h>

#include "fixture_profile.h"

/* A Console of a few methods in a child process, which does what the request says:
 *
 *   CancelKill ORDER    ok: CANCELLED with an audit head; refuse: FAILED_PRECONDITION
 * order_not_queued; internal, unavailable, exhausted: that code; silent: no answer; die: the
 * process ends at once KillProcess S PID   the order kill_0000000000000PID, and the notice
 *   WatchKill ORDER     delivered, then the state of that number; 0: nothing more; 20: UNAVAILABLE
 * the first time, then killed; 21: PERMISSION_DENIED WhoAmI              bob
 */
#define FAKE_CONSOLE_HEAD_HEX "abababababababababababababababababababababababababababababababab"
struct fake_console {
  struct profile_fixture fx; /* its profile names the Console's address */
  pid_t pid;
  uint16_t port;
};

void fake_console_start(struct fake_console *console);
/* Kills the child, if it still is. */
void fake_console_stop(struct fake_console *console);
