// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/allow.h"
#include "sensor/bpf_net.h"
#include "sensor/rule_result.h"

/* A rule of template "network-containment": its parameters, and the part of a pass that puts it in force and proves it.
 * Worker thread. */

struct rule_contain {
  char rule_id[32];
  uint32_t mode; /* TLX_MODE_* */
  struct tlx_allow_entry allow[TLX_ALLOW_LIST_MAX];
  unsigned n_allow;
  bool release_when_lost; /* on_lost_console */
  bool force;
};
