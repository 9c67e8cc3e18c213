// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/console.h"
#include "rpc/call.h"

/* Refused and failed attempts that no op audits: written once per source or actor, method, reason
 * and minute, and counted beyond that; anonymous ones are bounded over all sources (spec §7),
 * because anybody can make them. Loop thread. */
struct deny;

/* 0 or -ENOMEM; |console| must outlive it. */
int deny_new(struct console *console, struct deny **ret_deny);
/* What was only counted is lost: call deny_turn with |all| before. NULL is fine. */
void deny_free(struct deny *deny);
/* The server's failed hook: records a refused or failed |call|, unless an op of it does so itself,
 * and unless it was only cut off (CANCELLED, UNAVAILABLE) or a read that failed for its arguments.
 */
void deny_failed(struct tlx_call *call, const struct tlx_status *status);
/* Something else that a caller did and that is to be on record, with the same throttle. |sensor_id|
 * and |message| may be NULL; texts are copied. */
void deny_note(struct tlx_call *call, const char *action_type, const char *sensor_id,
               const char *reason, const char *message);
/* Each second: writes summaries of what was only counted. |all| = of everything (at the end). */
void deny_turn(struct deny *deny, bool all);
