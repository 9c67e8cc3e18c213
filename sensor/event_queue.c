// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/event_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

int event_queue_init(struct event_queue *queue) {
  *queue = (struct event_queue){0};
  int err = tlx_random(queue->stream, sizeof queue->stream);
  if (err) return err;
  queue->events = calloc(EVENT_QUEUE_MAX, sizeof *queue->events);
  return queue->events ? 0 : -ENOMEM;
}

static struct queued_event *at(const struct event_queue *queue, unsigned n) {
  return &queue->events[(queue->first + n) % EVENT_QUEUE_MAX];
}

static void drop_first(struct event_queue *queue) {
  free(at(queue, 0)->path);
  queue->first = (queue->first + 1) % EVENT_QUEUE_MAX;
  queue->n--;
}

void event_queue_done(struct event_queue *queue) {
  while (queue->n)
    drop_first(queue);
  free(queue->events);
  queue->events = NULL;
}

/* The newest of its kind, if there are so many that the next is only counted. */
static struct queued_event *crowded(struct event_queue *queue, const struct queued_event *event) {
  struct queued_event *newest = NULL;
  unsigned n_same = 0;
  for (unsigned i = queue->n; i-- > 0;) {
    struct queued_event *other = at(queue, i);
    if (other->type != event->type || strcmp(other->rule_id, event->rule_id) != 0) continue;
    if (!newest) newest = other;
    if (++n_same == EVENT_SINGLE_MAX) return newest->seq > queue->sent_seq ? newest : NULL;
  }
  return NULL;
}

void event_queue_add(struct event_queue *queue, const struct queued_event *event) {
  queue->n_seen++;
  struct queued_event *same = crowded(queue, event);
  if (same) {
    same->count++;
    return;
  }
  char *path = queue->n < EVENT_QUEUE_MAX ? strdup(event->path ? event->path : "") : NULL;
  if (!path) {
    queue->n_lost++;
    return;
  }
  struct queued_event *to = at(queue, queue->n);
  *to = *event;
  to->path = path;
  to->seq = ++queue->last_seq;
  to->count = 1;
  queue->n++;
}

void event_queue_note_lost(struct event_queue *queue, uint64_t n) {
  queue->n_seen += n;
  queue->n_lost += n;
}

const struct queued_event *event_queue_send(struct event_queue *queue, unsigned n) {
  const struct queued_event *event = at(queue, n);
  if (event->seq > queue->sent_seq) queue->sent_seq = event->seq;
  return event;
}

unsigned event_queue_count(const struct event_queue *queue) {
  return queue->n;
}

void event_queue_acknowledge(struct event_queue *queue, uint64_t seq) {
  while (queue->n && at(queue, 0)->seq <= seq)
    drop_first(queue);
}
