// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"

/* The newest audit head that this profile was told of (file audit_head, "SEQ:HEX"): a Console that
 * tells of a lower or another one later shows a log that was rewritten, cut or rolled back (spec
 * §7). Main thread. */
struct witness {
  uint64_t seq; /* 0 = nothing was told yet */
  uint8_t hash[TLX_SHA256_LEN];
  uint64_t kept_seq; /* as the file has it */
  char fault[512];   /* the first contradiction in words; empty = none */
};
/* Reads the file of the profile |folder|; none is fine. A file that cannot be read is a fault: it
 * proves nothing any more. Before any call is sent: what was remembered by then the Console must
 * still know. */
void witness_load(struct witness *witness, const char *folder);
/* Takes a head that the Console told, in the order of the answers; text that is none is ignored. */
void witness_see(struct witness *witness, const char *head);
/* Keeps the newest head, unless the file has a newer one by now, or there was a fault: then the
 * file stays as the proof. 0 or a negative error. */
int witness_keep(const struct witness *witness, const char *folder);
/* "SEQ:HEX" as remembered, into |out| of 96; empty when nothing is. Returns |out|. */
const char *witness_format(const struct witness *witness, char *out);
