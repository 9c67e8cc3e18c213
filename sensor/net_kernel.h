// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Senders below every program of ours: those of the kernel that hand their frames to the card
 * itself (netconsole, pktgen), RDMA, whose packets the card makes, and cards that a driver in user
 * space has taken. Any thread. */

/* Whether one of them is there, and then which, in |ret_what| of |size|. |sys| and |proc| are
 * "/sys" and "/proc" but in tests. What cannot be read is not there. */
bool net_kernel_bypasses(const char *sys, const char *proc, char *ret_what, size_t size);
