// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "sensor/bpf_caps.h"

/* The running Sensor: owner of loop, state, killer, uplink and control socket, and the one who
 * introduces them. Runs until SIGTERM or SIGINT; SIGHUP ends a silence. |cgroup| confines
 * everything to that cgroup2 folder (NULL = the whole host). |bpffs| is a folder on a BPF file
 * system. Returns the exit status of the process. */
int sensor_run(const char *state_folder, const char *cgroup, const char *bpffs);
/* Where the kernel shows what it can do; |bpffs| is borrowed. */
void sensor_bpf_paths(const char *bpffs, struct bpf_caps_paths *ret_paths);
