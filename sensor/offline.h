// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

/* What the program does on its host without the Console: `telovix-sensor restore` and
 * `telovix-sensor lift`. Folders as for sensor_run. Both block, print what happened, and return the
 * exit status of the process. */

/* Early boot, before there is a network: puts the desired state that is kept on disk in force. A
 * containment is not proved by it and not said to be; the running sensor does that. 0: in force, or
 * nothing is wanted, or root lifted it, or the containment could not be put in force and its rule
 * says to go without (on_lost_console release). 1: a containment could not be put in force: the
 * network must stay down. 0 also while a sensor runs, which has done it. */
int offline_restore(const char *state_folder, const char *cgroup, const char *bpffs);
/* Takes all enforcement down and keeps that on disk, so that only a new desired state puts anything
 * in force again. The running sensor tells the Console first (2 s at most) and does it; without one
 * it is done here, and told when a sensor runs again. 0: nothing is in force. */
int offline_lift(const char *state_folder, const char *cgroup, const char *bpffs);
