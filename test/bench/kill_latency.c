// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-kill-latency: how long a kill takes, beside the floor measured in the same run.
 *
 *   bench-kill-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP DISK_FOLDER ROUNDS
 *
 * Each round starts a victim (bench-victim) in SCOPE_CGROUP, orders it killed, follows the order
 * with WatchKill, and notes when the process was gone (its pidfd) and when the operator was told.
 * Beside each round the floor is measured: three times { one TLS round trip over loopback, one
 * write + fdatasync in DISK_FOLDER }, because the order, its delivery and its result are each one
 * round trip and one durable commit. It is measured after a rest as long as the one before the
 * order, which is the floor, and at once after the order, "at work". Prints one line of JSON. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/kill_view.h"
#include "client/profile.h"
#include "client/session.h"
#include "common/check.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "floor.h"
#include "measure.h"
#include "telovix/v1/containment.pb-c.h"

/* ---- one kill ---- */

/* Before an order: it kills only what started before it by the sensor's clock tick (10 ms) and the
 * age of its baseline. And before the floor: a disk and a processor that rested take longer to
 * their first flush than those at work, and an order that comes to a quiet host meets both. */
#define QUIET_US 40000u

struct victim {
  pid_t pid;
  int pidfd;
  uint64_t gone_ns;
};

/* The program beside ours. */
static char victim_program[4096];

static void find_victim_program(void) {
  ssize_t len = readlink("/proc/self/exe", victim_program, sizeof victim_program - 32);
  if (len < 0) measure_need(-errno, "/proc/self/exe");
  strcpy(strrchr(victim_program, '/') + 1, "bench-victim");
}

static void victim_start(struct victim *victim, const char *cgroup) {
  int ready[2];
  char path[4096];
  snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
  char *argv[] = {victim_program, path, NULL}, *none[] = {NULL};
  posix_spawn_file_actions_t actions;
  if (pipe2(ready, O_CLOEXEC) != 0) measure_need(-errno, "pipe");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ready[1], STDOUT_FILENO);
  measure_need(-posix_spawn(&victim->pid, victim_program, &actions, NULL, argv, none),
               victim_program);
  posix_spawn_file_actions_destroy(&actions);
  char byte;
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) measure_need(-EIO, cgroup);
  close(ready[0]);
  victim->pidfd = (int)syscall(SYS_pidfd_open, victim->pid, 0);
  if (victim->pidfd < 0) measure_need(-errno, "pidfd_open");
  usleep(QUIET_US);
}

static void *wait_gone(void *arg) {
  struct victim *victim = arg;
  struct pollfd poll_fd = {.fd = victim->pidfd, .events = POLLIN};
  while (poll(&poll_fd, 1, -1) != 1) {
  }
  victim->gone_ns = measure_now_ns();
  return NULL;
}

struct order {
  char id[TLX_ID_MAX];
  unsigned state;
};

static bool take_order(void *arg, const ProtobufCMessage *message) {
  struct order *order = arg;
  snprintf(order->id, sizeof order->id, "%s",
           ((const Telovix__V1__KillProcessReply *)message)->order->order_id);
  return true;
}

static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct order *order = arg;
  const Telovix__V1__KillOrder *state = (const Telovix__V1__KillOrder *)message;
  order->state = state->state;
  return !kill_view_ended(state);
}

struct sample {
  uint64_t answered_ns, gone_ns, confirmed_ns, floor_ns, floor_at_work_ns;
};

/* False when the sensor refused: on a busy machine the last heartbeat, and with it the baseline,
 * may be older than the victim. */
static bool try_round(struct session *session, const char *sensor_id, const char *cgroup,
                      struct floor *floor, struct sample *sample) {
  struct victim victim = {0};
  struct order order = {.id = ""};
  struct tlx_status status;
  pthread_t thread;
  victim_start(&victim, cgroup);
  measure_need(pthread_create(&thread, NULL, wait_gone, &victim), "thread");
  Telovix__V1__KillProcessRequest request = TELOVIX__V1__KILL_PROCESS_REQUEST__INIT;
  request.sensor = (char *)sensor_id;
  request.pid = (uint32_t)victim.pid;
  struct session_call kill_call = {.path = "/telovix.v1.ContainmentService/KillProcess",
                                   .request = &request.base,
                                   .reply = &telovix__v1__kill_process_reply__descriptor,
                                   .timeout_ms = 30000,
                                   .message = take_order,
                                   .arg = &order};
  uint64_t start_ns = measure_now_ns();
  bool ok = session_run(session, &kill_call, &status);
  sample->answered_ns = measure_now_ns() - start_ns;
  Telovix__V1__GetKillRequest get = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  get.order_id = order.id;
  struct session_call watch = {.path = "/telovix.v1.ContainmentService/WatchKill",
                               .is_stream = true,
                               .request = &get.base,
                               .reply = &telovix__v1__kill_order__descriptor,
                               .timeout_ms = 30000,
                               .message = take_state,
                               .arg = &order};
  if (ok) ok = session_run(session, &watch, &status);
  sample->confirmed_ns = measure_now_ns() - start_ns;
  bool killed = ok && order.state == TELOVIX__V1__KILL_STATE__KILL_STATE_KILLED;
  if (!killed) kill(victim.pid, SIGKILL);
  if (!killed && (!ok || order.state != TELOVIX__V1__KILL_STATE__KILL_STATE_IDENTITY_MISMATCH)) {
    fprintf(stderr, "bench-kill-latency: order %s: state %u, %s\n", order.id, order.state,
            status.message);
    exit(1);
  }
  pthread_join(thread, NULL);
  sample->gone_ns = victim.gone_ns - start_ns;
  waitpid(victim.pid, NULL, 0);
  close(victim.pidfd);
  if (!killed) return false;
  sample->floor_at_work_ns = floor_measure(floor);
  usleep(QUIET_US);
  sample->floor_ns = floor_measure(floor);
  return true;
}

int main(int argc, char **argv) {
  uint64_t n;
  if (argc != 7 || tlx_u64_parse(argv[6], 100000, &n) != 0 || n == 0) {
    fprintf(
        stderr,
        "usage: bench-kill-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP DISK_FOLDER ROUNDS\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  find_victim_program();
  struct profile profile;
  struct witness witness = {.n = 0};
  char why[512];
  int err = profile_load(argv[1], &profile, why);
  if (err) {
    fprintf(stderr, "bench-kill-latency: %s\n", why);
    return 1;
  }
  struct session *session;
  measure_need(session_open(&profile, argv[2], &witness, &session), "session");
  struct floor *floor = floor_open(argv[5]);
  struct sample *samples = calloc(n, sizeof *samples), warm;
  tlx_require(samples);
  uint64_t n_refused = 0;
  try_round(session, argv[3], argv[4], floor, &warm);
  for (uint64_t i = 0; i < n;) {
    if (try_round(session, argv[3], argv[4], floor, &samples[i]))
      i++;
    else if (++n_refused > n / 10)
      measure_need(-ETIMEDOUT, "one order in ten came before its victim was old enough");
  }
#define P(field, permille)                                                                         \
  ((double)measure_percentile(&samples[0].field, sizeof *samples, (unsigned)n, permille) / 1e6)
  double p99 = P(confirmed_ns, 990), floor_p99 = P(floor_ns, 990), p50 = P(confirmed_ns, 500),
         floor_p50 = P(floor_ns, 500);
  printf("{\"rounds\":%llu,\"refused\":%llu,\"answered_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"gone_"
         "ms\":{\"p50\":%.3f,"
         "\"p99\":%.3f},"
         "\"confirmed_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"floor_ms\":{\"p50\":%.3f,\"p99\":%.3f},"
         "\"floor_at_work_ms\":{\"p50\":%.3f,\"p99\":%.3f},"
         "\"ratio\":{\"p50\":%.2f,\"p99\":%.2f}}\n",
         (unsigned long long)n, (unsigned long long)n_refused, P(answered_ns, 500),
         P(answered_ns, 990), P(gone_ns, 500), P(gone_ns, 990), p50, p99, floor_p50, floor_p99,
         P(floor_at_work_ns, 500), P(floor_at_work_ns, 990), p50 / floor_p50, p99 / floor_p99);
#undef P
  floor_close(floor);
  session_close(session);
  profile_done(&profile);
  free(samples);
  return 0;
}
