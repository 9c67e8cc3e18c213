// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Policies of IPsec, which wrap packets without a device of their own. Worker thread. */

/* Whether an outward policy of this network namespace wraps what goes to |address| (16 bytes,
 * v4-mapped). What cannot be read is none. */
bool net_xfrm_wraps(const uint8_t address[16]);
/* Whether a message of such a dump (XFRM_MSG_NEWPOLICY; |body| of |len| bytes) is one that does,
 * whatever else it selects. Pure. */
bool net_xfrm_policy_wraps(const void *body, size_t len, const uint8_t address[16]);
