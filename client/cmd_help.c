// SPDX-License-Identifier: GPL-2.0-or-later
/* help choose: which control fits. Only what this version can do is named. */
#include <stdio.h>

#include "client/client.h"

int cmd_help_choose(struct client *client) {
  fputs("What must stop?                                       Use\n"
        "one process, now                                      telovixctl kill SENSOR PID --wait\n"
        "one process whose PID may have been reused meanwhile  telovixctl kill SENSOR PID --exe "
        "PATH --start-ticks T --wait\n"
        "every execution of one file, from now on              telovixctl block SENSOR PATH "
        "--wait\n"
        "nothing yet: count what a block would stop            telovixctl block SENSOR PATH "
        "--observe\n"
        "a block, once it has been observed for long enough    telovixctl rules mode RULE enforce "
        "--wait\n"
        "a block that stops too much                           telovixctl rules mode RULE observe "
        "--wait\n"
        "a block that is no longer needed                      telovixctl rules delete RULE "
        "--wait\n"
        "all network traffic of a host                         telovixctl contain SENSOR --wait\n"
        "the same, but a jump host must get in                 telovixctl contain SENSOR --allow "
        "in:CIDR,PORT/tcp --wait\n"
        "a containment that lets too much or too little in     telovixctl allow SENSOR set "
        "ENTRY...\n"
        "a containment that is no longer needed                telovixctl release SENSOR --wait\n"
        "an order that was a mistake and is still queued       telovixctl kills cancel ORDER\n"
        "the enrollment of a host that was not meant to join   telovixctl token revoke TOKEN\n"
        "\n"
        "A kill ends in a state that says what really happened on the host; only `killed` and "
        "`already_gone` mean that\n"
        "the process is gone, and only they give exit status 0 with --wait. A process that "
        "something restarts comes\n"
        "back under a new PID: block its file, or stop what restarts it first.\n"
        "\n"
        "A block stops executions, not processes that run already: kill those too. With --wait it "
        "gives exit status 0\n"
        "only when the host reports it `applied`; what a host cannot stop is named as a gap "
        "(telovixctl rules get RULE).\n"
        "Who was stopped: telovixctl events list --follow\n"
        "\n"
        "A containment stops packets, not processes: what runs on the host goes on, and kill and "
        "block work while it is\n"
        "contained. With --wait it gives exit status 0 only when the host has proved it "
        "(`contained`); a part that a host\n"
        "cannot hold makes it `partial`, with the gaps named, which --accept-partial takes for a "
        "success. An offline host\n"
        "is `pending`, never `contained`. It is the choice when a host may be compromised and "
        "should stay under control;\n"
        "it can be taken back at any time.\n",
        stdout);
  return CLIENT_OK;
}
