// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

/* What an order cannot cost less, measured in the same run on the same disk and loopback: an order,
 * its delivery and its result are each one round trip and one durable commit. */
struct floor;

/* A TLS pair over loopback, and a file in |folder| that is written without growing. Ends the
 * benchmark when it cannot be had. */
struct floor *floor_open(const char *folder);
/* Nanoseconds of three times { one TLS round trip, one write of a page with fdatasync }. */
uint64_t floor_measure(struct floor *floor);
/* Closes and frees. */
void floor_close(struct floor *floor);
