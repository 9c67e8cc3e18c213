// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "rpc/channel.h"
#include "sensor/identity.h"

/* Renewal of the sensor's certificate (spec §2.1): with a new key, between 45 and 35 % of the life
 * left, at a point drawn once for each certificate, so that a fleet that enrolled together does not
 * renew as one. Key, request and files are made by a worker. A try whose answer was lost is
 * repeated with the same key, and gets the same certificate. What is on disk already is taken into
 * use first: to ask for another would end it. Loop thread. */
struct renewal;

struct renewal_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  const char *folder;              /* state folder */
  const struct identity *identity; /* the present one; read with each try */
  /* Where to call; NULL while the sensor stops. */
  struct tlx_channel *(*channel)(void *arg);
  /* Another identity than |identity| is on disk: 0 when it is in use now, else a negative error. */
  int (*renewed)(void *arg);
  /* renewal_error says another thing than before. */
  void (*told)(void *arg);
  void *arg;
};

/* What |options| points to must outlive it. 0 or -ENOMEM. */
int renewal_new(const struct renewal_options *options, struct renewal **ret_renewal);
/* The Console's clock says |console_wall_ms|: begins when that is due, or when the Console asks for
 * it
 * (|is_asked|), but not while a try runs or the wait after a failed one lasts (1 min to 1 h). The
 * Console's clock, because it judges the certificate: a host whose own is ahead must not renew
 * without end. */
void renewal_look(struct renewal *renewal, uint64_t console_wall_ms, bool is_asked);
/* The certificate has ended: begins at once unless a try runs. */
void renewal_now(struct renewal *renewal);
/* Why the last try failed, one line of UTF-8 of at most 255 bytes; empty = none failed since the
 * last success, or there is nothing to renew: by a wrong clock there was. Lives with |renewal|, and
 * changes with each try. */
const char *renewal_error(const struct renewal *renewal);
/* The channel must be closed. Waits for the worker; |closed| when the memory is gone. */
void renewal_close(struct renewal *renewal, void (*closed)(void *arg), void *arg);

/* When a certificate of that life is to be renewed; |draw| is 0 to 1000 of the way from 45 to 35 %
 * of the life left. Its start may be that of a certificate before it: more than 30 days are none of
 * its life. Pure. */
uint64_t renewal_due_wall_ms(uint64_t not_before_wall_ms, uint64_t not_after_wall_ms,
                             unsigned draw);
