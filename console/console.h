// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "console/live.h"
#include "console/op.h"
#include "console/settings.h"
#include "console/trust.h"
#include "console/writer.h"
#include "rpc/builtin.h"
#include "rpc/server.h"

/* The running Console: owner of loop, store, writer, server and what lives in memory. Everything
 * here runs on the loop thread. */

struct watch;
struct deny;
struct peers;

struct console {
  struct tlx_builtin *builtin; /* first: rpc/builtin.h finds it here */
  uv_loop_t loop;
  const struct tlx_clock *clock;
  const char *data, *config; /* folder; settings file of the command line, or NULL */
  struct settings settings;
  const struct settings *flags; /* what the command line fixed, above the file */
  bool has_listen_flag;
  struct tlx_store *store;
  struct writer *writer;
  struct live *live;
  struct watch *watch;
  struct deny *deny;
  struct peers *peers;
  struct trust trust;
  struct tlx_server *server;
  char fleet_id[32], fleet_name[256];
  uint8_t epoch[16];          /* of the desired states */
  struct tlx_audit_head head; /* newest committed audit record that was told to us */
  uint64_t started_mono_ms;
  uv_signal_t sigterm, sigint, sighup;
  uv_timer_t second;
  uint64_t checkpoint_mono_ms, certificate_mono_ms, event_sweep_mono_ms, serial_sweep_mono_ms;
  uint8_t serial_after[16]; /* where the sweep of certificates goes on; zero = from the start */
  bool stopping, checkpointing, sweeping, expiring, burying;
};

/* Runs the Console below the folder |data| until SIGTERM or SIGINT. |config| is a settings file, or
 * NULL for console.ini in |data|; |flags| holds the listen address when |has_listen|. All are
 * borrowed for the call. Main thread, once a process; ends with an empty loop. Returns the exit
 * status. */
int console_run(const char *data, const char *config, const struct settings *flags,
                bool has_listen);

/* Submits |op|, which belongs to its `done` from here on; when the writer takes no more, |op| is
 * done at once, inside this call, with RESOURCE_EXHAUSTED busy. */
void console_submit(struct console *console, struct op *op);
/* Keeps |head| (of a finished op) when it is newer than what is known: the head that answers carry.
 */
void console_note_head(struct console *console, const struct tlx_audit_head *head);
