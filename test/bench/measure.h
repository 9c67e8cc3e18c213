// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Times and percentiles of the benchmarks. */

/* CLOCK_MONOTONIC. */
uint64_t measure_now_ns(void);
/* Ends the benchmark with words unless |err| is 0. */
void measure_need(int err, const char *what);
/* The value below which |permille| of the |n| > 0 values lie. The values stand |stride| bytes apart
 * from |first| on, so that a field of an array of samples can be named. */
uint64_t measure_percentile(const uint64_t *first, size_t stride, unsigned n, unsigned permille);
