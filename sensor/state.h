// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "sensor/desired.h"

/* What a running sensor keeps on its disk: the rules that it must enforce (file `desired`), ends of
 * orders that the Console has not acknowledged (`results`), what the Console last told
 * (`uplink`), and what was taken down here in spite of the rules (`released`). Memory changes at
 * once; files follow in a worker, whole or not at all, several changes in one write; a write that
 * failed is tried again every 5 s. Loop thread. */
struct state;

#define STATE_ADDRESSES_MAX 16u
#define STATE_RESOLVED_MAX 4u

/* Locks |folder| (TLX_E_LOCKED: another sensor runs) and reads the files. One that cannot be read
 * is moved aside with an error line: the order is then handed out again, and a process that is gone
 * is found gone. One of a newer version is left alone: TLX_E_SCHEMA_NEWER. */
int state_open(const char *folder, uv_loop_t *loop, const struct tlx_clock *clock,
               struct state **ret_state);
/* Writes what is not yet written, then lets go; |closed| when the memory is gone. */
void state_close(struct state *state, void (*closed)(void *arg), void *arg);
/* Whether everything that was put is on disk. */
bool state_is_saved(const struct state *state);
/* Whether a restart would find what is wanted and what was taken down as they are now: false from a
 * write of either that failed until one succeeded. */
bool state_outlives_restart(const struct state *state);

/* ---- results ---- */
/* Keeps (or replaces) the serialized telovix.v1.KillResult of an order; copied. The file follows
 * within milliseconds, and only if it is still there then. 0 or -ENOMEM. */
int state_result_put(struct state *state, const char *order_id, const void *result, size_t len);
/* No-op when it is not there. */
void state_result_remove(struct state *state, const char *order_id);
/* Whether a result of this order waits to be acknowledged. */
bool state_result_has(const struct state *state, const char *order_id);
/* Oldest first; |cb| must not change the state. False stops. */
void state_result_each(const struct state *state,
                       bool (*cb)(void *arg, const char *order_id, struct tlx_bytes result),
                       void *arg);
/* How many wait. */
size_t state_result_count(const struct state *state);

/* ---- uplink ---- */
/* Addresses that the Console told; borrowed, valid until the next set. Returns how many; 0 = none.
 */
size_t state_addresses(const struct state *state, const char *const **ret_list);
/* Keeps the first STATE_ADDRESSES_MAX of them (copied). True when they differ from the former ones;
 * false also when out of memory, and then the former ones stay. */
bool state_set_addresses(struct state *state, char *const *list, size_t n);
/* Where the Console answered, "IP:PORT" each, newest first; borrowed, valid until the next note.
 * How many. */
size_t state_resolved(const struct state *state, const char *const **ret_list);
/* Puts |address| first. True when the list is another one now. */
bool state_note_resolved(struct state *state, const char *address);
/* Whether the Console refuses this sensor, as far as it was heard last. */
bool state_is_refused(const struct state *state);
/* Keeps it. */
void state_set_refused(struct state *state, bool is_refused);
/* Highest audit head seen; seq 0 = none. */
uint64_t state_audit_head(const struct state *state, uint8_t ret_hash[32]);
/* Keeps it, whatever was there: the caller compares. Written to disk within a second. */
void state_set_audit_head(struct state *state, uint64_t seq, const uint8_t hash[32]);
/* The later of the system's clock and the last time that the Console told. */
uint64_t state_certificate_wall_ms(const struct state *state);
/* The Console's wall clock; one that lies before the highest known is ignored. Written to disk
 * every 10 minutes at most. */
void state_set_console_time(struct state *state, uint64_t wall_ms);

/* ---- desired state ---- */
/* The latest that was put or read; NULL = none was ever received. Borrowed, valid until the next
 * put. */
const struct desired *state_desired(const struct state *state);
/* Keeps |desired| (takes it). |saved| is called once it is on disk, with 0, or with the error of a
 * write that failed, and then again after each further try: never inside this call, and not for a
 * set that a later put replaced before it was written. */
void state_desired_put(struct state *state, struct desired *desired,
                       void (*saved)(void *arg, int err), void *arg);
/* Whether there was one that could not be read, and none came since: what it wanted, nobody knows.
 */
bool state_desired_is_broken(const struct state *state);

/* ---- what was taken down ---- */
struct state_released {
  struct desired_name name; /* of the desired state in spite of which; all zero = there was none */
  bool is_lifted;           /* everything, by root; else the containment, by itself */
  bool is_hazard;           /* it was never put up: a hazard refused it */
  bool was_told;            /* the Console knows */
  uint32_t uid;
  char tty[64];
  uint64_t wall_ms;
};
/* Whether |released| (NULL = nothing was) says that the containment went by itself, for want of a
 * Console. Pure. */
bool state_released_is_lost(const struct state_released *released);
/* What holds under the desired state that is kept; NULL = nothing was taken down, or another
 * desired state came since. Borrowed, valid until the next put. */
const struct state_released *state_released(const struct state *state);
/* Keeps it, with the name of the present desired state. */
void state_released_put(struct state *state, const struct state_released *released);
void state_released_told(struct state *state);
/* Forgets it. */
void state_released_clear(struct state *state);
