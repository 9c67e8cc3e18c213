// SPDX-License-Identifier: GPL-2.0-or-later
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/check.h"
#include "common/err.h"

uint64_t measure_now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void measure_need(int err, const char *what) {
  if (err == 0) return;
  fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, tlx_err_text(err));
  exit(1);
}

static int compare(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

uint64_t measure_percentile(const uint64_t *first, size_t stride, unsigned n, unsigned permille) {
  uint64_t *values = malloc(n * sizeof *values);
  tlx_require(values);
  for (unsigned i = 0; i < n; i++)
    memcpy(&values[i], (const char *)first + i * stride, sizeof values[i]);
  qsort(values, n, sizeof *values, compare);
  unsigned at = (n * permille + 999) / 1000;
  uint64_t ret = values[at ? at - 1 : 0];
  free(values);
  return ret;
}
