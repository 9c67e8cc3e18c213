// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

/* The sensor as its own host sees it: control.sock in the state folder (mode 0600) answers each
 * connection with one JSON object and closes. */
struct local;

/* Listens; a socket left over from a crash is replaced, since the state folder is locked by us.
 * |describe| makes the object (new reference). 0; -ENAMETOOLONG (the path does not fit a socket
 * address), -ENOMEM or a negative errno. Loop thread. */
int local_new(uv_loop_t *loop, const char *folder, json_t *(*describe)(void *arg), void *arg,
              struct local **ret_local);
/* Closes and removes the socket; the memory goes when the loop has closed the handles. */
void local_close(struct local *local);

/* `telovix-sensor status`: asks the running sensor, or tells from the files that none runs. Returns
 * the exit status of the process. */
int local_status(const char *folder, bool json);
