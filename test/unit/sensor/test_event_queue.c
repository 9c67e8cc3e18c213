// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/event_queue.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void add(struct event_queue *queue, const char *rule_id, uint32_t type) {
  char path[] = "/usr/bin/nc";
  struct queued_event event = {.type = type, .pid = 7, .path = path};
  snprintf(event.rule_id, sizeof event.rule_id, "%s", rule_id);
  event_queue_add(queue, &event);
}

Test(event_queue, numbers_without_gaps_and_own_copies) {
  struct event_queue queue;
  cr_assert_eq(event_queue_init(&queue), 0);
  add(&queue, "rule_a", 1);
  add(&queue, "rule_b", 2);
  cr_assert_eq(event_queue_count(&queue), 2u);
  const struct queued_event *first = event_queue_send(&queue, 0);
  cr_assert_eq(first->seq, 1u);
  cr_assert_eq(first->count, 1u);
  cr_assert_str_eq(first->path, "/usr/bin/nc");
  cr_assert_eq(event_queue_send(&queue, 1)->seq, 2u);
  event_queue_acknowledge(&queue, 1);
  cr_assert_eq(event_queue_count(&queue), 1u);
  cr_assert_eq(event_queue_send(&queue, 0)->seq, 2u);
  event_queue_acknowledge(&queue, 99);
  cr_assert_eq(event_queue_count(&queue), 0u);
  event_queue_done(&queue);
}

Test(event_queue, two_queues_are_two_streams) {
  struct event_queue a, b;
  cr_assert_eq(event_queue_init(&a), 0);
  cr_assert_eq(event_queue_init(&b), 0);
  cr_assert_neq(memcmp(a.stream, b.stream, sizeof a.stream), 0);
  event_queue_done(&a);
  event_queue_done(&b);
}

Test(event_queue, a_flood_of_one_rule_is_counted) {
  struct event_queue queue;
  cr_assert_eq(event_queue_init(&queue), 0);
  for (unsigned i = 0; i < EVENT_SINGLE_MAX + 100; i++)
    add(&queue, "rule_a", 1);
  cr_assert_eq(event_queue_count(&queue), EVENT_SINGLE_MAX);
  cr_assert_eq(event_queue_send(&queue, EVENT_SINGLE_MAX - 1)->count, 101u);
  cr_assert_eq(queue.n_seen, EVENT_SINGLE_MAX + 100u);
  cr_assert_eq(queue.n_lost, 0u);
  /* Another rule and another type are not drowned by it. */
  add(&queue, "rule_b", 1);
  add(&queue, "rule_a", 2);
  cr_assert_eq(event_queue_count(&queue), EVENT_SINGLE_MAX + 2);
  event_queue_done(&queue);
}

/* What was sent may be durable already: counting on in it would lose the difference. */
Test(event_queue, what_was_sent_is_not_changed) {
  struct event_queue queue;
  cr_assert_eq(event_queue_init(&queue), 0);
  for (unsigned i = 0; i < EVENT_SINGLE_MAX; i++)
    add(&queue, "rule_a", 1);
  for (unsigned i = 0; i < EVENT_SINGLE_MAX; i++)
    event_queue_send(&queue, i);
  add(&queue, "rule_a", 1);
  cr_assert_eq(event_queue_count(&queue), EVENT_SINGLE_MAX + 1);
  cr_assert_eq(event_queue_send(&queue, EVENT_SINGLE_MAX - 1)->count, 1u);
  event_queue_done(&queue);
}

Test(event_queue, a_full_queue_counts_what_it_loses) {
  struct event_queue queue;
  char rule_id[32];
  cr_assert_eq(event_queue_init(&queue), 0);
  for (unsigned i = 0; i < EVENT_QUEUE_MAX + 5; i++) {
    snprintf(rule_id, sizeof rule_id, "rule_%u", i);
    add(&queue, rule_id, 1);
  }
  cr_assert_eq(event_queue_count(&queue), EVENT_QUEUE_MAX);
  cr_assert_eq(queue.n_lost, 5u);
  event_queue_note_lost(&queue, 2);
  cr_assert_eq(queue.n_lost, 7u);
  /* The ring turns. */
  event_queue_acknowledge(&queue, 10);
  add(&queue, "rule_x", 1);
  cr_assert_eq(event_queue_count(&queue), EVENT_QUEUE_MAX - 9);
  cr_assert_eq(event_queue_send(&queue, EVENT_QUEUE_MAX - 10)->seq, EVENT_QUEUE_MAX + 1u);
  event_queue_done(&queue);
}
