// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enforcement events on their way to the Console: numbered, bounded, told until acknowledged. A
 * flood of one rule becomes few events with a count; what finds no room is counted as lost. Loop
 * thread. */

#define EVENT_QUEUE_MAX 1024u
/* Events of one rule and type that wait one by one; further ones are counted in the newest. */
#define EVENT_SINGLE_MAX 16u
/* In one heartbeat. */
#define EVENT_BATCH_MAX 64u

struct queued_event {
  uint64_t seq, boot_ns, count;
  uint32_t type; /* number of telovix.v1.EventType */
  uint32_t pid, parent_pid, uid;
  char rule_id[32], comm[16];
  char detail[240];
  char *path; /* owned by the queue */
};

struct event_queue {
  uint8_t stream[16]; /* random, new with each process */
  uint64_t last_seq, sent_seq, n_seen, n_lost;
  struct queued_event *events; /* ring of EVENT_QUEUE_MAX */
  unsigned first, n;
};

/* 0 or a negative errno (no randomness, no memory). */
int event_queue_init(struct event_queue *queue);
/* All-zero is fine. */
void event_queue_done(struct event_queue *queue);
/* Takes a copy of |event| (seq and count are set here; |path| is copied, NULL = ""). */
void event_queue_add(struct event_queue *queue, const struct queued_event *event);
/* Events lost before they came here. */
void event_queue_note_lost(struct event_queue *queue, uint64_t n);
/* The n-th oldest that waits, for n below event_queue_count; from then on it is not changed any
 * more. */
const struct queued_event *event_queue_send(struct event_queue *queue, unsigned n);
unsigned event_queue_count(const struct event_queue *queue);
/* Everything up to |seq| is durable at the Console. */
void event_queue_acknowledge(struct event_queue *queue, uint64_t seq);
