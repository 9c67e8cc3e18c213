// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* The sensor as its own host sees it: control.sock in the state folder (mode 0600) takes one line
 * of words from each connection ("status", "lift TTY"), answers with one JSON object, and closes.
 */
struct local;
/* One that asked and waits. */
struct local_call;

/* Listens; a socket left over from a crash is replaced, since the state folder is locked by us.
 * |asked| gets each line, and answers by local_call_answer, now or later. 0; -ENAMETOOLONG (the
 * path does not fit a socket address), -ENOMEM or a negative errno. Loop thread. */
int local_new(uv_loop_t *loop, const char *folder,
              void (*asked)(void *arg, struct local_call *call, const char *line), void *arg,
              struct local **ret_local);
/* Sends |object| (takes it; NULL sends nothing) and closes. */
void local_call_answer(struct local_call *call, json_t *object);
/* User id of the process that asked. */
uint32_t local_call_uid(const struct local_call *call);
/* Closes and removes the socket and all that wait, which must not be answered any more; the memory
 * goes when the loop has closed the handles. */
void local_close(struct local *local);

/* `telovix-sensor status`: asks the running sensor, or tells from the files that none runs. Returns
 * the exit status of the process. */
int local_status(const char *folder, bool json);
/* Asks the running sensor: sends |line| and waits |timeout_ms|. 0 with a new reference; -ENOENT or
 * -ECONNREFUSED when no sensor runs; -ETIMEDOUT, TLX_E_MALFORMED or a negative errno. */
int local_ask(const char *folder, const char *line, int timeout_ms, json_t **ret_object);
