// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

/* The command line of telovix-sensor (enroll, run, status). Main thread, once a process. Returns
 * the exit status: 0 success, 1 failure, 2 wrong usage, 3 outcome unknown. */
int command_main(int argc, char **argv);
