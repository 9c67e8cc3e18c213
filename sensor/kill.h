// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"
#include "sensor/host.h"
#include "sensor/proc.h"

/* Carries out kill orders (spec §5.1): one pidfd from the first look to the observed end, so that a
 * reused PID is never hit. Loop thread. */
struct killer;

/* What is to be done. */
struct kill_order {
  char order_id[32];
  uint32_t pid;
  uint8_t boot_id[16];
  uint64_t baseline_boot_ns;
  uint64_t guard_start_ticks; /* 0 = none */
  const char *guard_exe;      /* empty = none; copied */
};

/* What became of it, as the Console is told (proto/telovix/v1/sensor.proto, KillResult). */
struct kill_result {
  char order_id[32];
  uint32_t state; /* number of telovix.v1.KillState */
  uint32_t error_number;
  char detail[64], process_state[4], comm[PROC_COMM_LEN];
  uint64_t signalled_boot_ns, observed_boot_ns, start_ticks;
  uint8_t boot_id[16];
};

struct killer_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  const struct proc *proc;
  const struct host *host;
  const char *scope_cgroup; /* path below the cgroup2 mount; empty = the whole host */
  /* An end (|is_end|), or that the process is still alive. Never inside killer_start. */
  void (*result)(void *arg, const struct kill_result *result, bool is_end);
  void *arg;
};

/* What |options| points to must outlive it. 0 or -ENOMEM. */
int killer_new(const struct killer_options *options, struct killer **ret_killer);
/* Begins an order (copied), in the next turn of the loop; one that runs already is left alone. The
 * guards come in a fixed order: namespaces, boot id, baseline, PID 1 and ourselves, pidfd, kernel
 * thread, start time against the baseline, the guards of the order, the scope; after each look into
 * /proc the pidfd is asked whether the process still lives. Then SIGKILL through the pidfd, and the
 * wait for its end. 0 or -ENOMEM. */
int killer_start(struct killer *killer, const struct kill_order *order);
/* Whether the order has begun and has not ended. */
bool killer_is_running(const struct killer *killer, const char *order_id);
/* Forgets what runs (the processes were signalled or not; the next start asks again). |closed| when
 * all handles are closed and the memory is gone; no result comes after the call. */
void killer_close(struct killer *killer, void (*closed)(void *arg), void *arg);
