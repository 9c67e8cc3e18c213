// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/text.h"

#define LINE_MAX_LEN 2048u
#define WINDOW_MS 10000u
#define WINDOW_LINES 10u

static const char *const level_names[] = {
#define X(name, text) text,
    TLX_LOG_LEVEL_MAP(X)
#undef X
};
static const char *const group_names[] = {
#define X(name, text) text,
    TLX_LOG_GROUP_MAP(X)
#undef X
};

/* The log sink is the one global of the house. */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_fn)(void *arg, enum tlx_log_level level, const char *line);
static void *sink_arg;
static _Atomic int log_level = TLX_LOG_NOTICE;
static _Atomic uint64_t n_errors;

void tlx_log_set_level(enum tlx_log_level level) {
  atomic_store(&log_level, (int)level);
}

int tlx_log_level_parse(const char *name, enum tlx_log_level *ret_level) {
  for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
    if (strcmp(name, level_names[i]) == 0) {
      *ret_level = (enum tlx_log_level)i;
      return 0;
    }
  return -EINVAL;
}

void tlx_log_set_sink(void (*sink)(void *arg, enum tlx_log_level level, const char *line),
                      void *arg) {
  pthread_mutex_lock(&sink_lock);
  sink_fn = sink;
  sink_arg = arg;
  pthread_mutex_unlock(&sink_lock);
}

bool tlx_log_on(enum tlx_log_level level) {
  return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

uint64_t tlx_log_error_count(void) {
  return atomic_load(&n_errors);
}

/* Whether this line may pass; |*ret_left_out| is how many before it did not. Under the lock. */
static bool pass(struct tlx_log_place *place, uint32_t *ret_left_out) {
  uint64_t now_mono_ms = tlx_mono_ms(tlx_clock_system());
  if (now_mono_ms - place->window_mono_ms >= WINDOW_MS) {
    place->window_mono_ms = now_mono_ms;
    place->n_in_window = 0;
  }
  if (place->n_in_window >= WINDOW_LINES) {
    place->n_suppressed++;
    return false;
  }
  place->n_in_window++;
  *ret_left_out = place->n_suppressed;
  place->n_suppressed = 0;
  return true;
}

/* In one write, so that lines of several processes on one pipe do not mix. */
static void write_line(const char *line, size_t len) {
  while (len) {
    ssize_t n = write(STDERR_FILENO, line, len);
    if (n < 0 && errno == EINTR) continue;
    /* There is nobody left to tell. */
    if (n <= 0) return;
    line += n;
    len -= (size_t)n;
  }
}

void tlx_log_write(struct tlx_log_place *place, enum tlx_log_group group, enum tlx_log_level level,
                   const char *format, ...) {
  char line[LINE_MAX_LEN];
  uint32_t left_out = 0;
  if (level <= TLX_LOG_ERROR) atomic_fetch_add(&n_errors, 1);
  pthread_mutex_lock(&sink_lock);
  if (!pass(place, &left_out)) {
    pthread_mutex_unlock(&sink_lock);
    return;
  }
  size_t at = 0;
  if (!sink_fn && !getenv("JOURNAL_STREAM")) {
    tlx_time_format(tlx_wall_ms(tlx_clock_system()), line);
    at = strlen(line);
    line[at++] = ' ';
  }
  at += (size_t)snprintf(line + at, sizeof line - at, "%s %s ", level_names[level],
                         group_names[group]);
  va_list args;
  va_start(args, format);
  int len = vsnprintf(line + at, sizeof line - at, format, args);
  va_end(args);
  if (len > 0) at += (size_t)len;
  /* Room for the count and the newline. */
  if (at > sizeof line - 40) at = sizeof line - 40;
  if (left_out) at += (size_t)snprintf(line + at, 39, " left_out=%u", left_out);
  line[at] = '\0';
  if (sink_fn) {
    sink_fn(sink_arg, level, line);
  } else {
    line[at] = '\n';
    write_line(line, at + 1);
  }
  pthread_mutex_unlock(&sink_lock);
}
