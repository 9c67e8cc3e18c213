// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/session.h"

#include <jansson.h>

#include "../../harness/run.h"
#include "fake_console.h"
#include "telovix/v1/containment.pb-c.h"

/* A session against a Console in a child process, and the exit statuses that telovixctl
 * (TEST_PROGRAM) makes of what it is told. */

/* ---- the session itself ---- */

struct heard {
  int states[8];
  unsigned n, stop_after;
};

static bool hear(void *arg, const ProtobufCMessage *message) {
  struct heard *heard = arg;
  if (heard->n < 8) heard->states[heard->n] = (int)((const Telovix__V1__KillOrder *)message)->state;
  heard->n++;
  return heard->n != heard->stop_after;
}

static struct session_call watch(Telovix__V1__GetKillRequest *request, const char *id,
                                 struct heard *heard) {
  *request = (Telovix__V1__GetKillRequest)TELOVIX__V1__GET_KILL_REQUEST__INIT;
  request->order_id = (char *)id;
  return (struct session_call){.path = "/telovix.v1.ContainmentService/WatchKill",
                               .request = &request->base,
                               .reply = &telovix__v1__kill_order__descriptor,
                               .is_stream = true,
                               .timeout_ms = 10000,
                               .message = hear,
                               .arg = heard};
}

static struct witness witness;

static struct session *open_session(struct fake_console *console, struct profile *profile) {
  char why[512];
  struct session *session;
  cr_assert_eq(profile_load(console->fx.folder.path, profile, why), 0, "%s", why);
  cr_assert_eq(session_open(profile, NULL, &witness, &session), 0);
  return session;
}

Test(session, calls_one_after_the_other) {
  struct fake_console console;
  struct profile profile;
  struct tlx_status status;
  Telovix__V1__GetKillRequest request;
  Telovix__V1__CancelKillRequest cancel = TELOVIX__V1__CANCEL_KILL_REQUEST__INIT;
  fake_console_start(&console);
  struct session *session = open_session(&console, &profile);
  cr_assert_eq(witness.n, 0);
  struct heard heard = {.n = 0};
  struct session_call call = watch(&request, "kill_0000000000000004", &heard);
  cr_assert(session_run(session, &call, &status), "%s", status.message);
  cr_assert_eq(heard.n, 2);
  cr_assert_eq(heard.states[1], 4);
  cancel.order_id = (char *)"ok";
  heard.n = 0;
  struct session_call change = {.path = "/telovix.v1.ContainmentService/CancelKill",
                                .request = &cancel.base,
                                .reply = &telovix__v1__kill_order__descriptor,
                                .timeout_ms = 10000,
                                .message = hear,
                                .arg = &heard};
  cr_assert(session_run(session, &change, &status));
  cr_assert(change.was_sent);
  cr_assert_eq(heard.n, 1);
  cr_assert_eq(witness.n, 1);
  cr_assert_eq(witness.heads[0].seq, 7);
  cancel.order_id = (char *)"refuse";
  cr_assert_not(session_run(session, &change, &status));
  cr_assert_eq(status.code, TLX_GRPC_FAILED_PRECONDITION);
  cr_assert_str_eq(status.reason, "order_not_queued");
  session_close(session);
  profile_done(&profile);
  fake_console_stop(&console);
}

/* The caller has heard enough: that is no error. */
Test(session, a_stream_ends_when_told) {
  struct fake_console console;
  struct profile profile;
  struct tlx_status status;
  Telovix__V1__GetKillRequest request;
  fake_console_start(&console);
  struct session *session = open_session(&console, &profile);
  struct heard heard = {.stop_after = 1};
  struct session_call call = watch(&request, "kill_0000000000000000", &heard);
  cr_assert(session_run(session, &call, &status));
  cr_assert_eq(status.code, TLX_GRPC_OK);
  cr_assert_eq(heard.n, 1);
  session_close(session);
  session_close(NULL);
  profile_done(&profile);
  fake_console_stop(&console);
}

Test(session, was_it_sent) {
  struct fake_console console;
  struct profile profile;
  struct tlx_status status;
  Telovix__V1__CancelKillRequest cancel = TELOVIX__V1__CANCEL_KILL_REQUEST__INIT;
  struct session_call change = {.path = "/telovix.v1.ContainmentService/CancelKill",
                                .request = &cancel.base,
                                .reply = &telovix__v1__kill_order__descriptor,
                                .timeout_ms = 10000};
  fake_console_start(&console);
  struct session *session = open_session(&console, &profile);
  cancel.order_id = (char *)"die";
  cr_assert_not(session_run(session, &change, &status));
  cr_assert_eq(status.code, TLX_GRPC_UNAVAILABLE);
  cr_assert(change.was_sent, "the request was on its way when the Console died");
  cr_assert_not(session_run(session, &change, &status));
  cr_assert_eq(status.code, TLX_GRPC_UNAVAILABLE);
  cr_assert_not(change.was_sent, "nobody was there to send it to");
  session_close(session);
  profile_done(&profile);
  fake_console_stop(&console);
}

/* ---- exit statuses ---- */

static struct run_result result;

static int ctl(struct fake_console *console, const char *const *words) {
  char profile[128];
  const char *argv[24] = {TEST_PROGRAM}, *env[] = {profile, NULL};
  snprintf(profile, sizeof profile, "TELOVIX_PROFILE=%s", console->fx.folder.path);
  for (int i = 0; words[i]; i++)
    argv[i + 1] = words[i];
  run_program(argv, env, &result);
  return result.status;
}
#define CTL(...) ctl(&console, (const char *const[]){__VA_ARGS__, NULL})

/* 3 only for a change that was sent and whose outcome is not known; the line says how to go on
 * safely. */
Test(session, outcome_of_a_change) {
  static const struct {
    const char *order;
    int status;
    const char *part;
  } cases[] = {{"ok", 0, ""},
               {"refuse", 1, "FAILED_PRECONDITION order_not_queued: because"},
               {"exhausted", 1, "RESOURCE_EXHAUSTED store_full"},
               {"internal", 3, "repeat it with --request-id my-id"},
               {"unavailable", 3, "repeat it with --request-id my-id"},
               {"silent", 3, "repeat it with --request-id my-id"},
               {"die", 3, "repeat it with --request-id my-id"}};
  struct fake_console console;
  fake_console_start(&console);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *timeout = strcmp(cases[i].order, "silent") == 0 ? "300ms" : "20s";
    CTL("kills", "cancel", cases[i].order, "--request-id", "my-id", "--timeout", timeout);
    cr_assert_eq(result.status, cases[i].status, "%s: %d %s", cases[i].order, result.status,
                 result.err);
    cr_assert(strstr(result.err, cases[i].part), "%s", result.err);
    cr_assert_eq(strstr(result.err, "my-id") != NULL, cases[i].status == 3, "%s", result.err);
    if (cases[i].status) cr_assert_str_empty(result.out);
  }
  cr_assert_eq(CTL("kills", "cancel", "ok", "--timeout", "5s"), 1, "it has gone: nothing was sent");
  cr_assert_null(strstr(result.err, "--request-id"), "%s", result.err);
  fake_console_stop(&console);
}

Test(session, a_made_up_request_id_is_named_too) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("kills", "cancel", "internal"), 3);
  cr_assert(strstr(result.err, "--request-id ctl-"), "%s", result.err);
  fake_console_stop(&console);
}

Test(session, errors_as_json) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("-o", "json", "kills", "cancel", "internal", "--request-id", "my-id"), 3);
  cr_assert_str_empty(result.out);
  json_t *error = json_loads(result.err, 0, NULL);
  cr_assert(json_is_object(error), "%s", result.err);
  cr_assert_str_eq(json_string_value(json_object_get(error, "requestId")), "my-id");
  cr_assert_eq(json_integer_value(json_object_get(error, "exitStatus")), 3);
  cr_assert_str_eq(json_string_value(json_object_get(error, "code")), "INTERNAL");
  cr_assert_str_eq(json_string_value(json_object_get(error, "reason")), "store_failed");
  cr_assert_str_eq(json_string_value(json_object_get(error, "subject")), "internal");
  json_decref(error);
  cr_assert_eq(CTL("-o", "json", "whoami"), 0, "%s", result.err);
  json_t *reply = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(reply, "name")), "bob");
  json_decref(reply);
  cr_assert_str_empty(result.err);
  fake_console_stop(&console);
}

/* A read has no outcome that could be unknown. */
Test(session, a_read_that_fails) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("sensors", "list"), 1, "%s", result.err);
  cr_assert(strstr(result.err, "UNIMPLEMENTED"), "%s", result.err);
  cr_assert_eq(CTL("--console", "127.0.0.1:1", "whoami"), 1);
  cr_assert(strstr(result.err, "127.0.0.1:1"), "%s", result.err);
  fake_console_stop(&console);
}

/* ---- kill --wait: its exit status says whether the host really did it ---- */

Test(session, every_end_of_a_kill) {
  struct fake_console console;
  char pid[12];
  fake_console_start(&console);
  for (unsigned state = 4; state <= 11; state++) {
    snprintf(pid, sizeof pid, "%u", state);
    CTL("kill", "web-1", pid, "--wait", "--timeout", "20s");
    cr_assert_eq(result.status, state <= 5 ? 0 : 1, "state %u: %d %s", state, result.status,
                 result.err);
    cr_assert(strstr(result.out, "PID 42 on web-1"), "%s", result.out);
    cr_assert_str_empty(result.err, "progress is for terminals: %s", result.err);
  }
  CTL("-o", "json", "kill", "web-1", "4", "--wait");
  cr_assert_eq(result.status, 0);
  json_t *order = json_loads(result.out, 0, NULL);
  cr_assert_str_eq(json_string_value(json_object_get(order, "state")), "KILL_STATE_KILLED");
  json_decref(order);
  fake_console_stop(&console);
}

Test(session, a_kill_without_an_end) {
  struct fake_console console;
  fake_console_start(&console);
  cr_assert_eq(CTL("kill", "web-1", "0", "--wait", "--timeout", "400ms", "--request-id", "my-id"),
               3, "%s", result.err);
  cr_assert(strstr(result.err, "kills get kill_0000000000000000"), "%s", result.err);
  cr_assert(strstr(result.err, "my-id"), "%s", result.err);
  cr_assert_eq(CTL("kill", "web-1", "20", "--wait", "--timeout", "20s"), 0,
               "a cut watch is taken up again: %s", result.err);
  cr_assert_eq(CTL("kill", "web-1", "21", "--wait", "--timeout", "20s"), 3, "the order stands: %s",
               result.err);
  cr_assert_eq(CTL("kill", "web-1", "0"), 0, "without --wait it is done when it is queued");
  cr_assert(strstr(result.out, "PID is queued"), "%s", result.out);
  fake_console_stop(&console);
}
