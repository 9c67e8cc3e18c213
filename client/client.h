// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>

#include "client/args.h"
#include "client/profile.h"
#include "client/session.h"
#include "client/witness.h"
#include "rpc/status.h"

/* telovixctl: one table of verbs, each with its words, its options and the function that runs it.
 */

enum client_exit {
  CLIENT_OK = 0,
  CLIENT_FAILED = 1,
  CLIENT_USAGE = 2,
  CLIENT_UNKNOWN = 3, /* a change was sent and its outcome is not known */
};

/* One run of the program. */
struct client {
  struct args args;
  char folder[4096]; /* of the profile */
  struct profile profile;
  struct session *session;
  struct witness witness;
  const char *verb;    /* words of the verb, e.g. "sensors list" */
  char request_id[72]; /* of a change: given or made up; empty for reads */
  bool was_refused;    /* the last call reached the Console, and changed nothing for certain */
};

/* Runs one command line; returns the exit status. Main thread, once a process. */
int client_main(int argc, char **argv);

/* Milliseconds that a call may take: --timeout or the default. */
uint64_t client_timeout_ms(const struct client *client);
/* A unary or streaming call; prints the error of a failed one, with |what| (the thing acted on; may
 * be empty). Returns CLIENT_OK, CLIENT_FAILED, or CLIENT_UNKNOWN when |client|->request_id is set
 * and the request may have been carried out. */
int client_call(struct client *client, const char *what, const char *path,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply,
                bool (*message)(void *arg, const ProtobufCMessage *message), void *arg);
/* Runs the watch |call| and takes a lost connection up again, until its callback has set |*ended|,
 * |until_mono_ms| is past, or the Console ended it in another way: during an incident the Console
 * may restart, and what it was told goes on without it. Returns |*ended|; otherwise |ret_status|
 * says why: DEADLINE_EXCEEDED or UNAVAILABLE when the time is over, OK when the Console ended the
 * stream, or its error. */
bool client_watch(struct client *client, struct session_call *call, const bool *ended,
                  uint64_t until_mono_ms, struct tlx_status *ret_status);
/* One error: a line for people, or one JSON object with -o json. */
void client_error(const struct client *client, const char *what, const struct tlx_status *status,
                  int exit_status);

/* The verbs; each is named after its words, reads client->args, makes its calls, prints, and
 * returns the exit status. cmd_help_choose alone needs no session. */
int cmd_whoami(struct client *client);
int cmd_sensors_list(struct client *client);
int cmd_sensors_get(struct client *client);
int cmd_sensors_watch(struct client *client);
int cmd_kill(struct client *client);
int cmd_kills_list(struct client *client);
int cmd_kills_get(struct client *client);
int cmd_kills_cancel(struct client *client);
int cmd_block(struct client *client);
int cmd_contain(struct client *client);
int cmd_release(struct client *client);
int cmd_allow(struct client *client);
int cmd_rules_list(struct client *client);
int cmd_rules_get(struct client *client);
int cmd_rules_mode(struct client *client);
int cmd_rules_delete(struct client *client);
int cmd_events_list(struct client *client);
int cmd_token_create(struct client *client);
int cmd_token_list(struct client *client);
int cmd_token_revoke(struct client *client);
int cmd_audit_list(struct client *client);
int cmd_audit_head(struct client *client);
int cmd_audit_verify(struct client *client);
int cmd_audit_export(struct client *client);
int cmd_operator_create(struct client *client);
int cmd_operator_list(struct client *client);
int cmd_operator_role(struct client *client);
int cmd_operator_revoke(struct client *client);
int cmd_renew(struct client *client);
int cmd_disable(struct client *client);
int cmd_enable(struct client *client);
int cmd_revoke(struct client *client);
int cmd_delete(struct client *client);
int cmd_fleet_health(struct client *client);
int cmd_help_choose(struct client *client);
