// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>

/* `telovix-sensor enroll` (spec §2.1). */
#define ENROLL_LABELS_MAX 32u

/* What was asked on the command line; borrowed for the call. */
struct enroll_request {
  const char *console, *ca_cert_hash, *token, *state, *bpffs;
  const char *node_name; /* NULL = the host's name */
  struct {
    const char *key, *value;
  } labels[ENROLL_LABELS_MAX];
  size_t n_labels;
};

/* A host that is enrolled already is enrolled again as the same sensor, which takes a re-enrollment
 * token and a sensor that does not run: identity and addresses are replaced, what it enforces is
 * not touched. Makes a key, checks the pin on a first connection (pin_fetch), and sends token and
 * signing request on a second, verified one. Blocks; runs a loop of its own. Prints what happened.
 * Returns the exit status of the process: 0 enrolled, 1 failed, 2 wrong usage, 3 the answer was
 * lost (the same command is safe to repeat). */
int enroll_run(const struct enroll_request *request);
