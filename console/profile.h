// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/trust.h"

/* An operator's identity, made on the Console's host: the first admin's at init, and those of the
 * break-glass. Elsewhere the key is made where the operator is. */
struct profile_plan {
  const char *name; /* of the operator */
  const char *fleet_id, *fleet_name;
  const struct settings *settings; /* its first advertised address goes into the profile */
  uint64_t wall_ms;
  /* out */
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_after_wall_ms;
};
/* Makes key and certificate, and writes them with profile.ini and ca.crt into |folder|, which it
 * makes (0700) unless it is there. The caller puts the serial on record. 0 or a negative error. */
int profile_make(struct profile_plan *plan, const struct trust *trust, const char *folder);
