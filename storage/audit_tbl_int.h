// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "storage/audit_tbl.h"

/* |detail| (JSON object text) with "clock_stepped_back_ms" added, compact, keys sorted. Text that
 * is no JSON object is kept whole as the string "detail" beside it. Heap. -EINVAL for text that is
 * not UTF-8, -ENOMEM. */
int tlx_audit_detail_note(const char *detail, uint64_t stepped_back_ms, char **ret_detail);

/* Looks at |record| as the one that follows |at| (all zero at the start), and moves |at| on to it
 * in any case. Returns what is wrong with it in words, or NULL. Static storage. */
const char *tlx_audit_chain_follow(struct tlx_audit_head *at,
                                   const Telovix__Store__V1__AuditRecord *record);
