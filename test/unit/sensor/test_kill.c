// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/kill.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../harness/loop.h"
#include "telovix/v1/types.pb-c.h"

/* The decisions of a kill at the /proc seam, and two real processes at the end. */

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name
#define PID 4242u
#define SELF 777
#define CLK_TCK 100
#define BASELINE_NS 50000000000ull /* start_ticks below 5000 */
#define NOW_NS 60000000000ull

/* Timers of 2 s in which a process does not end would make these tests slow: they run at once, and
 * what was asked is noted. */
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
static uint64_t asked_ms;

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms) {
  if (timeout_ms) asked_ms = timeout_ms;
  return __real_uv_timer_start(timer, cb, timeout_ms ? 1 : 0, repeat_ms);
}

/* ---- the seam ---- */

struct fake {
  struct proc proc; /* first */
  int open_err, stat_err, exe_err, cgroup_err, signal_err;
  struct proc_stat stat;
  const char *exe, *cgroup;
  /* What ended answers from the n-th question on (1 = the first). */
  unsigned ends_at, n_asked;
  int ended;
  bool dies_of_signal;
  int event; /* its copies are the pidfds */
  int pidfd; /* -1 = copies of |event| */
  unsigned n_opened, n_signals, n_stats, n_exes, n_cgroups;
};

static struct fake *fake_of(const struct proc *proc) {
  return (struct fake *)proc;
}

static int fake_open(const struct proc *proc, pid_t pid) {
  struct fake *fake = fake_of(proc);
  cr_assert_eq(pid, (pid_t)PID);
  fake->n_opened++;
  return fake->open_err ? fake->open_err : dup(fake->pidfd >= 0 ? fake->pidfd : fake->event);
}

static int fake_stat(const struct proc *proc, pid_t pid, struct proc_stat *ret_stat) {
  struct fake *fake = fake_of(proc);
  fake->n_stats++;
  if (fake->stat_err) return fake->stat_err;
  *ret_stat = fake->stat;
  return 0;
}

static int fake_exe(const struct proc *proc, pid_t pid, char *out, size_t size) {
  struct fake *fake = fake_of(proc);
  fake->n_exes++;
  if (fake->exe_err) return fake->exe_err;
  snprintf(out, size, "%s", fake->exe);
  return 0;
}

static int fake_cgroup(const struct proc *proc, pid_t pid, char *out, size_t size) {
  struct fake *fake = fake_of(proc);
  fake->n_cgroups++;
  if (fake->cgroup_err) return fake->cgroup_err;
  snprintf(out, size, "%s", fake->cgroup);
  return 0;
}

static void make_readable(struct fake *fake) {
  uint64_t one = 1;
  cr_assert_eq(write(fake->event, &one, sizeof one), (ssize_t)sizeof one);
}

static int fake_signal(const struct proc *proc, int pidfd, int number) {
  struct fake *fake = fake_of(proc);
  cr_assert_eq(number, SIGKILL);
  if (fake->signal_err) return fake->signal_err;
  fake->n_signals++;
  if (fake->dies_of_signal) {
    fake->ended = 1;
    fake->ends_at = 0;
    make_readable(fake);
  }
  return 0;
}

static int fake_ended(const struct proc *proc, int pidfd) {
  struct fake *fake = fake_of(proc);
  fake->n_asked++;
  return fake->n_asked >= fake->ends_at ? fake->ended : 0;
}

/* ---- world ---- */

struct world {
  uv_loop_t loop;
  struct tlx_clock_fake clock;
  struct host host;
  struct fake fake;
  struct killer *killer;
  struct kill_order order;
  const char *scope;
  /* what came */
  struct kill_result result;
  unsigned n_progress, n_ends;
  char progress[8];
  bool ended, told_alive, closed;
};

static void on_result(void *arg, const struct kill_result *result, bool is_end) {
  struct world *world = arg;
  world->result = *result;
  if (is_end) {
    world->n_ends++;
    world->ended = true;
    return;
  }
  cr_assert_eq(result->state, STATE(STILL_ALIVE));
  if (world->n_progress < sizeof world->progress)
    world->progress[world->n_progress] = result->process_state[0];
  world->n_progress++;
  world->told_alive = true;
}

static void world_init(struct world *world) {
  *world = (struct world){
      .host = {.in_initial_namespaces = true,
               .self_pid = SELF,
               .clk_tck = CLK_TCK,
               .boot_id = {1, 2, 3}},
      .fake = {.proc = {fake_open, fake_stat, fake_exe, fake_cgroup, fake_signal, fake_ended},
               .stat = {.comm = "victim", .state = 'S', .start_ticks = 4999},
               .exe = "/usr/bin/victim",
               .cgroup = "/test/a",
               .dies_of_signal = true,
               .pidfd = -1},
      .order = {.order_id = "kill_1111111111111111",
                .pid = PID,
                .boot_id = {1, 2, 3},
                .baseline_boot_ns = BASELINE_NS}};
  tlx_clock_fake_init(&world->clock, 0, 0, NOW_NS);
  cr_assert_geq(world->fake.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 0);
  cr_assert_eq(uv_loop_init(&world->loop), 0);
}

static void start_killer(struct world *world, const struct proc *proc) {
  struct killer_options options = {.loop = &world->loop,
                                   .clock = &world->clock.clock,
                                   .proc = proc,
                                   .host = &world->host,
                                   .scope_cgroup = world->scope,
                                   .result = on_result,
                                   .arg = world};
  cr_assert_eq(killer_new(&options, &world->killer), 0);
}

static void start(struct world *world) {
  start_killer(world, &world->fake.proc);
  cr_assert_eq(killer_start(world->killer, &world->order), 0);
  cr_assert_eq(world->n_ends, 0, "never inside killer_start");
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

static void world_done(struct world *world) {
  unsigned n_ends = world->n_ends;
  killer_close(world->killer, on_closed, &world->closed);
  loop_done(&world->loop);
  cr_assert(world->closed);
  cr_assert_eq(world->n_ends, n_ends, "no result after the close");
  close(world->fake.event);
}

/* The order of |world| ends in this way; a signal was sent only if it says killed. */
static void expect(struct world *world, unsigned state, const char *detail, unsigned error_number) {
  start(world);
  loop_until(&world->loop, &world->ended);
  cr_assert_eq(world->result.state, state, "state %u, wanted %u (%s)", world->result.state, state,
               detail);
  cr_assert_str_eq(world->result.detail, detail);
  cr_assert_eq(world->result.error_number, error_number);
  cr_assert_str_eq(world->result.order_id, "kill_1111111111111111");
  cr_assert_arr_eq(world->result.boot_id, world->host.boot_id, 16);
  cr_assert_eq(world->result.observed_boot_ns, NOW_NS);
  cr_assert_eq(world->fake.n_signals, state == STATE(KILLED) ? 1 : 0);
  cr_assert_eq(world->result.signalled_boot_ns, state == STATE(KILLED) ? NOW_NS : 0);
  cr_assert_not(killer_is_running(world->killer, world->order.order_id));
  world_done(world);
}

#define ENDS(name, change, state, detail, error_number)                                            \
  Test(kill, name) {                                                                               \
    struct world world;                                                                            \
    world_init(&world);                                                                            \
    change;                                                                                        \
    expect(&world, STATE(state), detail, error_number);                                            \
  }

/* ---- host, boot, baseline ---- */

ENDS(killed, (void)0, KILLED, "", 0)
ENDS(container, world.host.in_initial_namespaces = false, PROTECTED, "not_initial_namespace", 0)
ENDS(other_boot, world.order.boot_id[15] = 1, IDENTITY_MISMATCH, "boot_id", 0)
ENDS(baseline_ahead, world.order.baseline_boot_ns = NOW_NS + 1, IDENTITY_MISMATCH,
     "baseline_in_future", 0)
ENDS(baseline_now, world.order.baseline_boot_ns = NOW_NS, KILLED, "", 0)

/* ---- start before the baseline: below floor(ns × ticks / 10⁹), never at it ---- */

ENDS(started_at_the_baseline, world.fake.stat.start_ticks = 5000, IDENTITY_MISMATCH,
     "started_after_order", 0)
ENDS(started_in_the_same_tick,
     (world.order.baseline_boot_ns = 50009999999, world.fake.stat.start_ticks = 5000),
     IDENTITY_MISMATCH, "started_after_order", 0)
ENDS(started_in_the_tick_before,
     (world.order.baseline_boot_ns = 50010000000, world.fake.stat.start_ticks = 5000), KILLED, "",
     0)
ENDS(no_baseline_at_all, (world.order.baseline_boot_ns = 0, world.fake.stat.start_ticks = 0),
     IDENTITY_MISMATCH, "started_after_order", 0)
ENDS(start_beyond_any_clock, world.fake.stat.start_ticks = UINT64_MAX, IDENTITY_MISMATCH,
     "started_after_order", 0)

/* The product of 60 years of nanoseconds and the ticks does not fit 64 bits. */
Test(kill, a_host_up_for_long) {
  struct world world;
  world_init(&world);
  world.clock.boot_now_ns = world.order.baseline_boot_ns = 1892160000ull * 1000000000 + 19999999;
  world.fake.stat.start_ticks = 189216000001;
  start(&world);
  loop_until(&world.loop, &world.ended);
  cr_assert_str_eq(world.result.detail, "started_after_order");
  world.ended = false;
  world.fake.stat.start_ticks--;
  cr_assert_eq(killer_start(world.killer, &world.order), 0);
  loop_until(&world.loop, &world.ended);
  cr_assert_eq(world.result.state, STATE(KILLED));
  world_done(&world);
}

/* ---- what may not be killed ---- */

ENDS(init, world.order.pid = 1, PROTECTED, "pid_1", 0)
ENDS(ourselves, world.order.pid = SELF, PROTECTED, "sensor", 0)
ENDS(kernel_thread, world.fake.stat.flags = PROC_KTHREAD | 0x40, PROTECTED, "kernel_thread", 0)
ENDS(not_quite_kernel_thread, world.fake.stat.flags = ~PROC_KTHREAD, KILLED, "", 0)

/* ---- gone, and what only looks so ---- */

ENDS(no_such_process, world.fake.open_err = -ESRCH, ALREADY_GONE, "", 0)
ENDS(a_thread, world.fake.open_err = -EINVAL, IDENTITY_MISMATCH, "thread_id", 0)
ENDS(no_pidfd, world.fake.open_err = -EMFILE, FAILED, "pidfd_open", EMFILE)
ENDS(ended_before_the_look, (world.fake.ended = 1, world.fake.stat.start_ticks = 9999),
     ALREADY_GONE, "", 0)
ENDS(ended_after_the_look, (world.fake.ended = 1, world.fake.ends_at = 2), ALREADY_GONE, "", 0)
ENDS(ended_while_the_exe_was_read,
     (world.order.guard_exe = "/usr/bin/victim", world.fake.exe = "/usr/bin/other",
      world.fake.ended = 1, world.fake.ends_at = 2),
     ALREADY_GONE, "", 0)
ENDS(ended_while_the_cgroup_was_read,
     (world.scope = "/scope", world.fake.ended = 1, world.fake.ends_at = 2), ALREADY_GONE, "", 0)
ENDS(stat_gone_with_it, (world.fake.stat_err = -ESRCH, world.fake.ended = 1), ALREADY_GONE, "", 0)
ENDS(stat_gone_alone, world.fake.stat_err = -ESRCH, FAILED, "stat", ESRCH)
ENDS(stat_refused, world.fake.stat_err = -EACCES, FAILED, "stat", EACCES)
ENDS(pidfd_broken, world.fake.ended = -EBADF, FAILED, "pidfd_poll", EBADF)
ENDS(zombie_leader_with_living_threads, world.fake.stat.state = 'Z', KILLED, "", 0)
ENDS(signal_finds_nothing, world.fake.signal_err = -ESRCH, ALREADY_GONE, "", 0)
ENDS(signal_refused, world.fake.signal_err = -EPERM, FAILED, "signal", EPERM)

/* ---- guards ---- */

ENDS(start_ticks_match, world.order.guard_start_ticks = 4999, KILLED, "", 0)
ENDS(start_ticks_below, world.order.guard_start_ticks = 4998, IDENTITY_MISMATCH, "start_ticks", 0)
ENDS(start_ticks_above, world.order.guard_start_ticks = 5000, IDENTITY_MISMATCH, "start_ticks", 0)
ENDS(exe_matches, world.order.guard_exe = "/usr/bin/victim", KILLED, "", 0)
ENDS(exe_differs, world.order.guard_exe = "/usr/bin/victi", IDENTITY_MISMATCH, "exe", 0)
ENDS(exe_is_longer, world.order.guard_exe = "/usr/bin/victim (deleted)", IDENTITY_MISMATCH, "exe",
     0)
ENDS(exe_refused, (world.order.guard_exe = "/usr/bin/victim", world.fake.exe_err = -EACCES), FAILED,
     "exe", EACCES)
ENDS(exe_gone_alone, (world.order.guard_exe = "/usr/bin/victim", world.fake.exe_err = -ESRCH),
     FAILED, "exe", ESRCH)
ENDS(no_guard_no_look, (world.order.guard_exe = NULL, world.fake.exe_err = -EACCES), KILLED, "", 0)

/* ---- scope ---- */

ENDS(scope_itself, world.scope = "/test/a", KILLED, "", 0)
ENDS(scope_above, world.scope = "/test", KILLED, "", 0)
ENDS(scope_root, world.scope = "/", KILLED, "", 0)
ENDS(scope_none, (world.scope = "", world.fake.cgroup_err = -EACCES), KILLED, "", 0)
ENDS(scope_below, world.scope = "/test/a/b", PROTECTED, "outside_scope", 0)
ENDS(scope_beside, world.scope = "/test/", PROTECTED, "outside_scope", 0)
ENDS(scope_that_begins_alike, world.scope = "/tes", PROTECTED, "outside_scope", 0)
ENDS(scope_unreadable, (world.scope = "/test", world.fake.cgroup_err = -EACCES), FAILED, "cgroup",
     EACCES)

/* ---- after the signal ---- */

/* Said once a state of the process, until the end. */
Test(kill, still_alive) {
  struct world world;
  world_init(&world);
  world.fake.dies_of_signal = false;
  world.fake.stat.state = 'R';
  start(&world);
  loop_until(&world.loop, &world.told_alive);
  cr_assert_eq(asked_ms, 2000);
  cr_assert_eq(world.result.signalled_boot_ns, NOW_NS);
  cr_assert(killer_is_running(world.killer, world.order.order_id));
  for (unsigned n = world.fake.n_stats; world.fake.n_stats < n + 3;)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(world.n_progress, 1, "the same state is not told again");
  world.told_alive = false;
  world.fake.stat.state = 'D';
  loop_until(&world.loop, &world.told_alive);
  cr_assert_arr_eq(world.progress, "RD", 2);
  tlx_clock_fake_advance(&world.clock, 5000);
  world.fake.ended = 1;
  make_readable(&world.fake);
  loop_until(&world.loop, &world.ended);
  cr_assert_eq(world.result.state, STATE(KILLED));
  cr_assert_eq(world.result.signalled_boot_ns, NOW_NS);
  cr_assert_eq(world.result.observed_boot_ns, NOW_NS + 5000000000);
  cr_assert_str_eq(world.result.comm, "victim");
  cr_assert_eq(world.result.start_ticks, 4999);
  cr_assert_eq(world.fake.n_signals, 1);
  world_done(&world);
}

/* Readable and not ended, and an error of the poll: neither says that the process is gone. */
Test(kill, only_the_pidfd_says_killed) {
  struct world world;
  int ends[2];
  world_init(&world);
  world.fake.dies_of_signal = false;
  cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  close(ends[0]); /* a pipe without a reader polls with POLLERR */
  world.fake.pidfd = ends[1];
  start(&world);
  loop_until(&world.loop, &world.told_alive);
  cr_assert_eq(world.n_ends, 0);
  world.fake.ended = 1;
  loop_until(&world.loop, &world.ended);
  cr_assert_eq(world.result.state, STATE(KILLED));
  close(ends[1]);
  world_done(&world);
}

Test(kill, without_a_poll_the_timer_looks) {
  struct world world;
  world_init(&world);
  world.fake.dies_of_signal = false;
  cr_assert_geq(world.fake.pidfd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
                0); /* epoll takes no such file */
  start(&world);
  loop_until(&world.loop, &world.told_alive);
  world.fake.ended = 1;
  loop_until(&world.loop, &world.ended);
  cr_assert_eq(world.result.state, STATE(KILLED));
  close(world.fake.pidfd);
  world_done(&world);
}

Test(kill, an_order_runs_once) {
  struct world world;
  world_init(&world);
  world.fake.dies_of_signal = false;
  start(&world);
  cr_assert_eq(killer_start(world.killer, &world.order), 0);
  loop_until(&world.loop, &world.told_alive);
  cr_assert_eq(killer_start(world.killer, &world.order), 0);
  cr_assert_eq(world.fake.n_opened, 1);
  strcpy(world.order.order_id, "kill_2222222222222222");
  cr_assert_eq(killer_start(world.killer, &world.order), 0, "another order for the same process");
  while (world.fake.n_signals < 2)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert(killer_is_running(world.killer, "kill_1111111111111111"));
  cr_assert(killer_is_running(world.killer, "kill_2222222222222222"));
  world.fake.ended = 1;
  make_readable(&world.fake);
  while (world.n_ends < 2)
    uv_run(&world.loop, UV_RUN_ONCE);
  world_done(&world);
}

Test(kill, closing_forgets_what_runs) {
  struct world world;
  world_init(&world);
  world.fake.dies_of_signal = false;
  start(&world);
  loop_until(&world.loop, &world.told_alive);
  strcpy(world.order.order_id, "kill_2222222222222222");
  cr_assert_eq(killer_start(world.killer, &world.order), 0);
  killer_close(world.killer, on_closed, &world.closed);
  make_readable(&world.fake);
  loop_done(&world.loop);
  cr_assert(world.closed);
  cr_assert_eq(world.n_ends, 0);
  cr_assert_eq(world.fake.n_signals, 1, "the second was not begun");
  close(world.fake.event);
}

/* ---- real processes ---- */

static void kill_child(struct world *world, pid_t pid) {
  cr_assert_eq(host_read(&world->host), 0);
  world->host.in_initial_namespaces = true; /* the PID is this namespace's own */
  world->clock.boot_now_ns = tlx_boot_ns(tlx_clock_system()) + 1000000000;
  world->order.baseline_boot_ns = world->clock.boot_now_ns;
  memcpy(world->order.boot_id, world->host.boot_id, 16);
  world->order.pid = (uint32_t)pid;
  start_killer(world, proc_system());
  cr_assert_eq(killer_start(world->killer, &world->order), 0);
  loop_until(&world->loop, &world->ended);
}

Test(kill, a_real_process) {
  struct world world;
  world_init(&world);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0)
    for (;;)
      pause();
  kill_child(&world, pid);
  cr_assert_eq(world.result.state, STATE(KILLED), "%s", world.result.detail);
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  world_done(&world);
}

static void *linger(void *arg) {
  for (;;)
    pause();
  return NULL;
}

/* A process whose first thread has ended shows state Z and no exe, and runs on. */
Test(kill, a_process_without_its_first_thread) {
  struct world world;
  struct proc_stat stat;
  const struct proc *proc = proc_system();
  world_init(&world);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, linger, NULL) != 0) _exit(1);
    pthread_exit(NULL);
  }
  do
    cr_assert_eq(proc->stat(proc, pid, &stat), 0);
  while (stat.state != 'Z');
  kill_child(&world, pid);
  cr_assert_eq(world.result.state, STATE(KILLED), "%s", world.result.detail);
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  world_done(&world);
}
