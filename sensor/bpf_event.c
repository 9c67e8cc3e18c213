// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_event.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "sensor/bpf_load.h"

#define TURN_MAX 4096u

struct bpf_event {
  uv_poll_t poll;
  struct ring_buffer *ring;
  int fd;
  unsigned n_in_turn;
  /* One of the two. */
  void (*event)(void *arg, const struct tlx_event *event);
  void (*net_event)(void *arg, const struct tlx_net_event *event);
  void *arg;
};

/* Stopping has no answer of its own in libbpf: a negative one ends the turn after this event. */
static int on_sample(void *arg, void *data, size_t size) {
  struct bpf_event *reader = arg;
  union {
    struct tlx_event exec;
    struct tlx_net_event net;
  } event;
  size_t wanted = reader->event ? sizeof event.exec : sizeof event.net;
  if (size >= wanted) {
    memcpy(&event, data, wanted);
    if (reader->event)
      reader->event(reader->arg, &event.exec);
    else
      reader->net_event(reader->arg, &event.net);
  }
  return ++reader->n_in_turn < TURN_MAX ? 0 : -EAGAIN;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  struct bpf_event *reader = poll->data;
  reader->n_in_turn = 0;
  /* What is left over keeps the descriptor readable: the loop comes back. */
  int n = status < 0 ? status : ring_buffer__consume(reader->ring);
  if (n < 0 && n != -EAGAIN) tlx_debug(BPF, "the ring of events cannot be read: %d", n);
}

/* Takes |reader|. */
static int start(uv_loop_t *loop, int events_fd, struct bpf_event *reader,
                 struct bpf_event **ret_reader) {
  int err = 0;
  bpf_load_log();
  reader->fd = fcntl(events_fd, F_DUPFD_CLOEXEC, 3);
  if (reader->fd < 0) {
    err = -errno;
    goto fail;
  }
  reader->ring = ring_buffer__new(reader->fd, on_sample, reader, NULL);
  if (!reader->ring) {
    err = -errno;
    goto fail;
  }
  err = uv_poll_init(loop, &reader->poll, ring_buffer__epoll_fd(reader->ring));
  if (err) goto fail;
  reader->poll.data = reader;
  err = uv_poll_start(&reader->poll, UV_READABLE, on_readable);
  if (err) {
    bpf_event_close(reader);
    return err;
  }
  *ret_reader = reader;
  return 0;
fail:
  ring_buffer__free(reader->ring);
  if (reader->fd >= 0) close(reader->fd);
  free(reader);
  return err;
}

void bpf_event_pause(struct bpf_event *reader) {
  uv_poll_stop(&reader->poll);
}

void bpf_event_resume(struct bpf_event *reader) {
  on_readable(&reader->poll, 0, UV_READABLE);
  (void)uv_poll_start(&reader->poll, UV_READABLE, on_readable);
}

int bpf_event_new(uv_loop_t *loop, int events_fd,
                  void (*event)(void *arg, const struct tlx_event *event), void *arg,
                  struct bpf_event **ret_reader) {
  struct bpf_event *reader = calloc(1, sizeof *reader);
  if (!reader) return -ENOMEM;
  reader->event = event;
  reader->arg = arg;
  return start(loop, events_fd, reader, ret_reader);
}

int bpf_event_net_new(uv_loop_t *loop, int events_fd,
                      void (*event)(void *arg, const struct tlx_net_event *event), void *arg,
                      struct bpf_event **ret_reader) {
  struct bpf_event *reader = calloc(1, sizeof *reader);
  if (!reader) return -ENOMEM;
  reader->net_event = event;
  reader->arg = arg;
  return start(loop, events_fd, reader, ret_reader);
}

static void on_closed(uv_handle_t *handle) {
  struct bpf_event *reader = handle->data;
  ring_buffer__free(reader->ring);
  close(reader->fd);
  free(reader);
}

void bpf_event_close(struct bpf_event *reader) {
  if (reader) uv_close((uv_handle_t *)&reader->poll, on_closed);
}
