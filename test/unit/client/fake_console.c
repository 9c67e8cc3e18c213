// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_console.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fake_rules.h"
#include "rpc/server.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/operator.pb-c.h"

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name

static void fail(struct tlx_call *call, enum tlx_grpc_code code, const char *reason) {
  struct tlx_status status;
  tlx_status_set(&status, code, reason, "because");
  tlx_call_fail(call, &status);
}

static void reply_order(struct tlx_call *call, const char *order_id, int state, bool stream) {
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  order.order_id = (char *)order_id;
  order.node_name = (char *)"web-1";
  order.pid = 42;
  order.state = (Telovix__V1__KillState)state;
  if (stream)
    tlx_call_send(call, &order.base);
  else
    tlx_call_reply(call, &order.base);
}

static void cancel_kill(struct tlx_call *call, const ProtobufCMessage *message) {
  const char *id = ((const Telovix__V1__CancelKillRequest *)message)->order_id;
  if (strcmp(id, "die") == 0) _exit(0);
  if (strcmp(id, "silent") == 0) return;
  if (strcmp(id, "refuse") == 0) {
    fail(call, TLX_GRPC_FAILED_PRECONDITION, "order_not_queued");
  } else if (strcmp(id, "internal") == 0) {
    fail(call, TLX_GRPC_INTERNAL, "store_failed");
  } else if (strcmp(id, "unavailable") == 0) {
    fail(call, TLX_GRPC_UNAVAILABLE, "stopping");
  } else if (strcmp(id, "exhausted") == 0) {
    fail(call, TLX_GRPC_RESOURCE_EXHAUSTED, "store_full");
  } else {
    tlx_call_add_trailer(call, "telovix-audit-head", "7:" FAKE_CONSOLE_HEAD_HEX);
    reply_order(call, id, STATE(CANCELLED), false);
  }
}

static void kill_process(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__KillProcessReply reply = TELOVIX__V1__KILL_PROCESS_REPLY__INIT;
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  char id[32];
  snprintf(id, sizeof id, "kill_%016u", ((const Telovix__V1__KillProcessRequest *)message)->pid);
  order.order_id = id;
  order.state = STATE(QUEUED);
  reply.order = &order;
  reply.notice = (char *)"PID is queued";
  tlx_call_reply(call, &reply.base);
}

static void watch_kill(struct tlx_call *call, const ProtobufCMessage *message) {
  static unsigned n_cut;
  const char *id = ((const Telovix__V1__GetKillRequest *)message)->order_id;
  int state = atoi(id + strlen("kill_"));
  if (state == 21) {
    fail(call, TLX_GRPC_PERMISSION_DENIED, "role");
    return;
  }
  reply_order(call, id, STATE(DELIVERED), true);
  if (state == 20 && n_cut++ == 0) {
    fail(call, TLX_GRPC_UNAVAILABLE, "stopping");
    return;
  }
  if (state == 0) return;
  reply_order(call, id, state == 20 ? STATE(KILLED) : state, true);
  tlx_call_end(call);
}

static void whoami(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__WhoAmIReply reply = TELOVIX__V1__WHO_AM_IREPLY__INIT;
  reply.name = (char *)"bob";
  reply.fleet_id = (char *)FIXTURE_FLEET;
  tlx_call_reply(call, &reply.base);
}

static bool authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status) {
  return true;
}

static const struct tlx_method methods[] = {
    {"/telovix.v1.ContainmentService/CancelKill", TLX_UNARY,
     &telovix__v1__cancel_kill_request__descriptor, &telovix__v1__kill_order__descriptor,
     cancel_kill},
    {"/telovix.v1.ContainmentService/KillProcess", TLX_UNARY,
     &telovix__v1__kill_process_request__descriptor, &telovix__v1__kill_process_reply__descriptor,
     kill_process},
    {"/telovix.v1.ContainmentService/WatchKill", TLX_SERVER_STREAM,
     &telovix__v1__get_kill_request__descriptor, &telovix__v1__kill_order__descriptor, watch_kill},
    {"/telovix.v1.OperatorService/WhoAmI", TLX_UNARY, &telovix__v1__who_am_irequest__descriptor,
     &telovix__v1__who_am_ireply__descriptor, whoami}};

/* Never returns: it ends by SIGKILL, also when the test dies. */
static void serve(struct fake_console *console, int tell) {
  struct tlx_bytes chain = {console->fx.server.der.data, console->fx.server.der.len};
  struct tlx_tls_options tls_options = {.server = true,
                                        .chain = &chain,
                                        .n_chain = 1,
                                        .key = console->fx.server.key,
                                        .ca = console->fx.ca.bundle};
  struct tlx_tls_ctx *tls;
  struct tlx_server *server;
  uv_loop_t loop;
  struct tlx_method all[32];
  size_t n = sizeof methods / sizeof *methods;
  memcpy(all, methods, sizeof methods);
  memcpy(all + n, fake_rule_methods, n_fake_rule_methods * sizeof *all);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN); /* as our programs do */
  uv_loop_init(&loop);
  if (tlx_tls_ctx_new(&tls_options, &tls) != 0) _exit(1);
  struct tlx_server_options options = {.loop = &loop,
                                       .clock = tlx_clock_system(),
                                       .tls_ctx = tls,
                                       .methods = all,
                                       .n_methods = n + n_fake_rule_methods,
                                       .authorize = authorize};
  if (tlx_server_new(&options, &server) != 0 || tlx_server_listen(server, "127.0.0.1:0") != 0)
    _exit(1);
  uint16_t port = tlx_server_port(server);
  if (write(tell, &port, sizeof port) != (ssize_t)sizeof port) _exit(1);
  for (;;)
    uv_run(&loop, UV_RUN_DEFAULT);
}

void fake_console_start(struct fake_console *console) {
  int ends[2];
  char lines[256];
  profile_fixture_init(&console->fx, "a:1");
  cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
  console->pid = fork();
  cr_assert_geq(console->pid, 0);
  if (console->pid == 0) serve(console, ends[1]);
  close(ends[1]);
  cr_assert_eq(read(ends[0], &console->port, sizeof console->port), (ssize_t)sizeof console->port);
  close(ends[0]);
  snprintf(lines, sizeof lines, "console = 127.0.0.1:%u\nfleet_id = " FIXTURE_FLEET "\n",
           console->port);
  profile_fixture_ini(&console->fx, lines);
}

void fake_console_stop(struct fake_console *console) {
  kill(console->pid, SIGKILL); /* our child and not waited for: the PID is its own */
  waitpid(console->pid, NULL, 0);
  profile_fixture_done(&console->fx);
}
