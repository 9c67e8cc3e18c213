// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/kill.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "telovix/v1/types.pb-c.h"

/* A process that has not ended this long after SIGKILL is reported as still alive, and looked at
 * again as often. */
#define STILL_ALIVE_MS 2000u
#define EXE_MAX 4096u

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name

struct task {
  struct killer *killer;
  struct task *next, **prev;
  struct kill_order order;
  struct kill_result result;
  char guard_exe[EXE_MAX];
  uv_timer_t timer; /* first the start itself, then the look at a process that does not end */
  uv_poll_t poll;   /* of the pidfd: readable = the process has ended (pidfd_open(2)) */
  bool polling, reported_alive;
  char told_state;
  int pidfd;
  unsigned n_handles;
};

struct killer {
  struct killer_options options;
  struct task *tasks;
  unsigned n_tasks; /* not freed */
  bool closing;
  void (*closed)(void *arg);
  void *arg;
};

/* ---- end of a task ---- */

static void free_killer_if_done(struct killer *killer) {
  if (!killer->closing || killer->n_tasks) return;
  void (*closed)(void *arg) = killer->closed;
  void *arg = killer->arg;
  free(killer);
  if (closed) closed(arg);
}

static void on_handle_closed(uv_handle_t *handle) {
  struct task *task = handle->data;
  struct killer *killer = task->killer;
  if (--task->n_handles) return;
  if (task->pidfd >= 0) close(task->pidfd);
  free(task);
  killer->n_tasks--;
  free_killer_if_done(killer);
}

static void end_task(struct task *task) {
  *task->prev = task->next;
  if (task->next) task->next->prev = task->prev;
  uv_close((uv_handle_t *)&task->timer, on_handle_closed);
  if (task->polling) uv_close((uv_handle_t *)&task->poll, on_handle_closed);
}

static void report(struct task *task, bool is_end) {
  const struct killer_options *options = &task->killer->options;
  options->result(options->arg, &task->result, is_end);
}

/* The ends that we report, as everybody reads them elsewhere. */
static const char *state_word(uint32_t state) {
  switch (state) {
  case STATE(KILLED):
    return "killed";
  case STATE(ALREADY_GONE):
    return "already_gone";
  case STATE(IDENTITY_MISMATCH):
    return "identity_mismatch";
  case STATE(PROTECTED):
    return "protected";
  default:
    return "failed";
  }
}

/* The order ends with |state|. */
static void finish(struct task *task, uint32_t state, const char *detail, int err) {
  struct kill_result *result = &task->result;
  char comm[64];
  result->state = state;
  result->error_number = err < 0 ? (uint32_t)-err : 0;
  snprintf(result->detail, sizeof result->detail, "%s", detail);
  result->observed_boot_ns = tlx_boot_ns(task->killer->options.clock);
  tlx_notice(KILL, "order=%s pid=%u comm=%s state=%s detail=%s errno=%u", result->order_id,
             task->order.pid, tlx_text_escape(result->comm, SIZE_MAX, comm, sizeof comm),
             state_word(state), detail, result->error_number);
  report(task, true);
  end_task(task);
}

/* ---- guards: false = the order has ended ---- */

static bool check_clock(struct task *task) {
  const struct killer_options *options = &task->killer->options;
  if (!options->host->in_initial_namespaces) {
    finish(task, STATE(PROTECTED), "not_initial_namespace", 0);
    return false;
  }
  if (memcmp(task->order.boot_id, options->host->boot_id, 16) != 0) {
    finish(task, STATE(IDENTITY_MISMATCH), "boot_id", 0);
    return false;
  }
  if (task->order.baseline_boot_ns > tlx_boot_ns(options->clock)) {
    finish(task, STATE(IDENTITY_MISMATCH), "baseline_in_future", 0);
    return false;
  }
  return true;
}

static bool check_protected_pid(struct task *task) {
  if (task->order.pid == 1) {
    finish(task, STATE(PROTECTED), "pid_1", 0);
    return false;
  }
  if (task->order.pid == (uint32_t)task->killer->options.host->self_pid) {
    finish(task, STATE(PROTECTED), "sensor", 0);
    return false;
  }
  return true;
}

static bool open_process(struct task *task) {
  const struct proc *proc = task->killer->options.proc;
  task->pidfd = proc->open(proc, (pid_t)task->order.pid);
  if (task->pidfd >= 0) return true;
  if (task->pidfd == -ESRCH)
    finish(task, STATE(ALREADY_GONE), "", 0);
  else if (task->pidfd == -EINVAL)
    finish(task, STATE(IDENTITY_MISMATCH), "thread_id", 0);
  else
    finish(task, STATE(FAILED), "pidfd_open", task->pidfd);
  return false;
}

/* What /proc says of a PID holds for our process only if that still lives afterwards. */
static bool still_there(struct task *task) {
  const struct proc *proc = task->killer->options.proc;
  int ended = proc->ended(proc, task->pidfd);
  if (ended == 0) return true;
  if (ended > 0)
    finish(task, STATE(ALREADY_GONE), "", 0);
  else
    finish(task, STATE(FAILED), "pidfd_poll", ended);
  return false;
}

/* A look into /proc failed: the process is gone, or we may not look. Only the pidfd tells: /proc
 * shows no exe either of a process whose first thread has ended while others run. */
static bool look_failed(struct task *task, const char *step, int err) {
  if (still_there(task)) finish(task, STATE(FAILED), step, err);
  return false;
}

/* floor(ns × ticks / 10⁹) without losing digits. */
static uint64_t ticks_of(uint64_t boot_ns, long clk_tck) {
  return boot_ns / 1000000000u * (uint64_t)clk_tck +
         boot_ns % 1000000000u * (uint64_t)clk_tck / 1000000000u;
}

static bool check_identity(struct task *task) {
  const struct killer_options *options = &task->killer->options;
  struct proc_stat stat;
  int err = options->proc->stat(options->proc, (pid_t)task->order.pid, &stat);
  if (err) return look_failed(task, "stat", err);
  if (!still_there(task)) return false;
  memcpy(task->result.comm, stat.comm, sizeof task->result.comm);
  task->result.start_ticks = stat.start_ticks;
  if (stat.flags & PROC_KTHREAD) {
    finish(task, STATE(PROTECTED), "kernel_thread", 0);
    return false;
  }
  /* State Z alone is no end: that is how a process looks whose first thread has ended while others
   * run. */
  if (stat.start_ticks >= ticks_of(task->order.baseline_boot_ns, options->host->clk_tck)) {
    finish(task, STATE(IDENTITY_MISMATCH), "started_after_order", 0);
    return false;
  }
  if (task->order.guard_start_ticks && task->order.guard_start_ticks != stat.start_ticks) {
    finish(task, STATE(IDENTITY_MISMATCH), "start_ticks", 0);
    return false;
  }
  return true;
}

static bool check_exe(struct task *task) {
  const struct proc *proc = task->killer->options.proc;
  char exe[EXE_MAX];
  if (!*task->guard_exe) return true;
  int err = proc->exe(proc, (pid_t)task->order.pid, exe, sizeof exe);
  if (err) return look_failed(task, "exe", err);
  if (!still_there(task)) return false;
  if (strcmp(exe, task->guard_exe) == 0) return true;
  finish(task, STATE(IDENTITY_MISMATCH), "exe", 0);
  return false;
}

static bool is_inside(const char *path, const char *scope) {
  size_t len = strlen(scope);
  if (strcmp(scope, "/") == 0) return true;
  return strncmp(path, scope, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool check_scope(struct task *task) {
  const struct killer_options *options = &task->killer->options;
  char path[4096];
  if (!options->scope_cgroup || !*options->scope_cgroup) return true;
  int err = options->proc->cgroup(options->proc, (pid_t)task->order.pid, path, sizeof path);
  if (err) return look_failed(task, "cgroup", err);
  if (!still_there(task)) return false;
  if (is_inside(path, options->scope_cgroup)) return true;
  finish(task, STATE(PROTECTED), "outside_scope", 0);
  return false;
}

/* ---- signal and wait ---- */

static void observed_end(struct task *task) {
  if (task->polling) uv_poll_stop(&task->poll);
  uv_timer_stop(&task->timer);
  finish(task, STATE(KILLED), "", 0);
}

static void on_pidfd(uv_poll_t *poll, int status, int events) {
  struct task *task = poll->data;
  const struct proc *proc = task->killer->options.proc;
  if (proc->ended(proc, task->pidfd) > 0)
    observed_end(task);
  else if (status < 0)
    uv_poll_stop(poll); /* an error is no end: the timer goes on looking */
}

static void on_still_alive(uv_timer_t *timer) {
  struct task *task = timer->data;
  const struct killer_options *options = &task->killer->options;
  struct proc_stat stat = {.state = '?'};
  if (options->proc->ended(options->proc, task->pidfd) > 0) {
    observed_end(task);
    return;
  }
  (void)options->proc->stat(options->proc, (pid_t)task->order.pid, &stat);
  uv_timer_start(&task->timer, on_still_alive, STILL_ALIVE_MS, 0);
  if (task->reported_alive && stat.state == task->told_state) return;
  task->reported_alive = true;
  task->told_state = stat.state;
  task->result.state = STATE(STILL_ALIVE);
  snprintf(task->result.process_state, sizeof task->result.process_state, "%c", stat.state);
  task->result.observed_boot_ns = tlx_boot_ns(options->clock);
  tlx_warn(KILL, "order=%s pid=%u signalled and still alive, state %c", task->order.order_id,
           task->order.pid, stat.state);
  report(task, false);
}

static void send_signal(struct task *task) {
  const struct killer_options *options = &task->killer->options;
  if (!still_there(task)) return;
  uint64_t signalled_boot_ns = tlx_boot_ns(options->clock);
  int err = options->proc->signal(options->proc, task->pidfd, SIGKILL);
  if (err == -ESRCH) {
    finish(task, STATE(ALREADY_GONE), "", 0);
    return;
  }
  if (err) {
    finish(task, STATE(FAILED), "signal", err);
    return;
  }
  task->result.signalled_boot_ns = signalled_boot_ns;
  err = uv_poll_init(options->loop, &task->poll, task->pidfd);
  if (!err) {
    task->polling = true;
    task->poll.data = task;
    task->n_handles++;
    err = uv_poll_start(&task->poll, UV_READABLE, on_pidfd);
  }
  if (err)
    tlx_warn(KILL, "order=%s the end is looked for by time: %s", task->order.order_id,
             uv_strerror(err));
  uv_timer_start(&task->timer, on_still_alive, STILL_ALIVE_MS, 0);
}

static void run(uv_timer_t *timer) {
  struct task *task = timer->data;
  if (check_clock(task) && check_protected_pid(task) && open_process(task) &&
      check_identity(task) && check_exe(task) && check_scope(task))
    send_signal(task);
}

/* ---- public ---- */

int killer_new(const struct killer_options *options, struct killer **ret_killer) {
  struct killer *killer = calloc(1, sizeof *killer);
  if (!killer) return -ENOMEM;
  killer->options = *options;
  *ret_killer = killer;
  return 0;
}

bool killer_is_running(const struct killer *killer, const char *order_id) {
  for (const struct task *task = killer->tasks; task; task = task->next)
    if (strcmp(task->order.order_id, order_id) == 0) return true;
  return false;
}

int killer_start(struct killer *killer, const struct kill_order *order) {
  if (killer->closing || killer_is_running(killer, order->order_id)) return 0;
  struct task *task = calloc(1, sizeof *task);
  if (!task) return -ENOMEM;
  task->killer = killer;
  task->pidfd = -1;
  task->order = *order;
  snprintf(task->guard_exe, sizeof task->guard_exe, "%s", order->guard_exe ? order->guard_exe : "");
  task->order.guard_exe = task->guard_exe;
  memcpy(task->result.order_id, order->order_id, sizeof task->result.order_id);
  memcpy(task->result.boot_id, killer->options.host->boot_id, sizeof task->result.boot_id);
  uv_timer_init(killer->options.loop, &task->timer);
  task->timer.data = task;
  task->n_handles = 1;
  task->next = killer->tasks;
  task->prev = &killer->tasks;
  if (killer->tasks) killer->tasks->prev = &task->next;
  killer->tasks = task;
  killer->n_tasks++;
  /* In a turn of its own, so that no result comes inside this call. */
  uv_timer_start(&task->timer, run, 0, 0);
  return 0;
}

void killer_close(struct killer *killer, void (*closed)(void *arg), void *arg) {
  killer->closing = true;
  killer->closed = closed;
  killer->arg = arg;
  while (killer->tasks)
    end_task(killer->tasks);
  free_killer_if_done(killer);
}
