// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pki/digest.h"

/* The audit heads that this profile was told of (file audit_head, a line "SEQ:HEX" each,
 * ascending): a Console that tells of a lower one than the last, or of another one, shows a log
 * that was rewritten, cut or rolled back (spec §7). A log that was cut and has grown beyond the
 * last one since is found by `audit verify`, which must meet every one of them, and then keeps the
 * newest alone. Main thread. */
#define WITNESS_HEADS_MAX 64u
struct witness_head {
  uint64_t seq;
  uint8_t hash[TLX_SHA256_LEN];
};
struct witness {
  struct witness_head heads[WITNESS_HEADS_MAX]; /* ascending */
  size_t n;
  uint64_t kept_seq; /* the last one, as the file has it */
  bool is_verified;  /* the whole log was walked: the last head stands for all */
  char fault[512];   /* the first contradiction in words; empty = none */
};
/* Reads the file of the profile |folder|; none is fine. A file that cannot be read is a fault: it
 * proves nothing any more. Before any call is sent: what was remembered by then the Console must
 * still know. */
void witness_load(struct witness *witness, const char *folder);
/* Takes a head that the Console told, in the order of the answers; text that is none is ignored.
 * When there is no room, every other one of the older ones goes. */
void witness_see(struct witness *witness, const char *head);
/* Whether the record |seq| of a walk through the log, with |hash|, is what was told of it; true
 * when nothing was. */
bool witness_knows(const struct witness *witness, uint64_t seq, const uint8_t *hash);
/* The whole log was walked up to |seq|, and every head was met. */
void witness_verified(struct witness *witness, uint64_t seq, const uint8_t *hash);
/* Keeps the heads, unless the file has a newer one by now, or there was a fault: then the file
 * stays as the proof. 0 or a negative error. */
int witness_keep(const struct witness *witness, const char *folder);
