// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/check.h"
#include "common/clock.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"

struct session {
  uv_loop_t loop;
  struct tlx_channel *channel;
  struct witness *witness;
};

/* What one session_run waits for. */
struct run {
  struct session *session;
  struct session_call *call;
  struct tlx_client_call *client_call;
  struct tlx_status *status;
  bool done, stopped;
};

int session_open(const struct profile *profile, const char *console, struct witness *witness,
                 struct session **ret_session) {
  struct session *session = calloc(1, sizeof *session);
  if (!session) return -ENOMEM;
  int err = uv_loop_init(&session->loop);
  if (err) {
    free(session);
    return err;
  }
  const char *address = console ? console : profile->console;
  struct tlx_channel_options options = {
      .loop = &session->loop,
      .clock = tlx_clock_system(),
      .tls_ctx = profile->tls_ctx,
      .addresses = &address,
      .n_addresses = 1,
      .user_agent = "telovixctl/" TLX_VERSION,
      /* An operator waits in front of the screen: try again soon. */
      .backoff_min_ms = 200,
      .backoff_max_ms = 2000,
  };
  err = tlx_channel_new(&options, &session->channel);
  if (err) {
    uv_loop_close(&session->loop);
    free(session);
    return err;
  }
  session->witness = witness;
  *ret_session = session;
  return 0;
}

static void closed(void *arg) {
  *(bool *)arg = true;
}

void session_close(struct session *session) {
  if (!session) return;
  bool gone = false;
  tlx_channel_close(session->channel, closed, &gone);
  while (!gone)
    uv_run(&session->loop, UV_RUN_ONCE);
  uv_run(&session->loop, UV_RUN_DEFAULT);
  tlx_require(uv_loop_close(&session->loop) == 0);
  free(session);
}

static void on_message(struct tlx_client_call *client_call, const ProtobufCMessage *message,
                       void *arg) {
  struct run *run = arg;
  if (run->stopped || !run->call->message) return;
  if (!run->call->message(run->call->arg, message)) {
    run->stopped = true;
    tlx_client_call_cancel(client_call);
  }
}

static void on_metadata(struct tlx_client_call *client_call, const char *name, const char *value,
                        void *arg) {
  struct run *run = arg;
  if (strcmp(name, "telovix-audit-head") == 0) witness_see(run->session->witness, value);
}

static void on_done(struct tlx_client_call *client_call, const struct tlx_status *status,
                    void *arg) {
  struct run *run = arg;
  *run->status = *status;
  run->call->was_sent = tlx_client_call_was_sent(client_call);
  run->done = true;
}

bool session_run(struct session *session, struct session_call *call,
                 struct tlx_status *ret_status) {
  struct run run = {.session = session, .call = call, .status = ret_status};
  struct tlx_client_call_options options = {
      .channel = session->channel,
      .path = call->path,
      .request = call->request,
      .reply = call->reply,
      .is_stream = call->is_stream,
      .timeout_ms = call->timeout_ms,
      .message = on_message,
      .metadata = on_metadata,
      .done = on_done,
      .arg = &run,
  };
  tlx_status_clear(ret_status);
  call->was_sent = false;
  int err = tlx_client_call_start(&options, &run.client_call);
  if (err) {
    tlx_status_set(ret_status, TLX_GRPC_RESOURCE_EXHAUSTED, NULL, "out of memory");
    return false;
  }
  while (!run.done)
    uv_run(&session->loop, UV_RUN_ONCE);
  if (run.stopped) tlx_status_clear(ret_status);
  return ret_status->code == TLX_GRPC_OK;
}
