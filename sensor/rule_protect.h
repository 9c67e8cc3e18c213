// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <sys/stat.h>

#include "sensor/rule_result.h"

/* The files that no rule may stop, because the host or the sensor would be lost with them, and
 * those that need force (spec §5.2). Files are compared, not names: a hard link to the shell is the
 * shell. */

/* NONE, or the reason of the refusal. |st| is what stat(2) says of the file. Looks the lists up
 * afresh, because shells and helpers change. Any thread. */
enum rule_reason rule_protect_check(const struct stat *st, bool force);
