// SPDX-License-Identifier: GPL-2.0-or-later
/* help choose: which control fits. Only what this version can do is named. */
#include <stdio.h>

#include "client/client.h"

int cmd_help_choose(struct client *client) {
  fputs("What must stop?                                       Use\n"
        "one process, now                                      telovixctl kill SENSOR PID --wait\n"
        "one process whose PID may have been reused meanwhile  telovixctl kill SENSOR PID --exe "
        "PATH --start-ticks T --wait\n"
        "an order that was a mistake and is still queued       telovixctl kills cancel ORDER\n"
        "the enrollment of a host that was not meant to join   telovixctl token revoke TOKEN\n"
        "\n"
        "A kill ends in a state that says what really happened on the host; only `killed` and "
        "`already_gone` mean that\n"
        "the process is gone, and only they give exit status 0 with --wait. A process that "
        "something restarts comes\n"
        "back under a new PID: stop what restarts it first.\n",
        stdout);
  return CLIENT_OK;
}
