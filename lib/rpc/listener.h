// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>
#include <uv.h>

/* A listening TCP socket that hands accepted sockets to its owner. Loop thread. */
struct tlx_listener;

/* Listens on "ADDR:PORT" or "[V6]:PORT" (literals; port 0 = any free one; "[::]" also takes IPv4).
 * |accepted| owns |fd| (non-blocking, close-on-exec). 0; -EINVAL for an address that is none; else
 * a negative errno of socket, bind or listen. */
int tlx_listener_new(uv_loop_t *loop, const char *address, void (*accepted)(void *arg, int fd),
                     void *arg, struct tlx_listener **ret_listener);
/* The port that it listens on, also when any free one was asked for. */
uint16_t tlx_listener_port(const struct tlx_listener *listener);
/* Stops at once; |closed| (may be NULL) when the handle is closed. Frees. */
void tlx_listener_close(struct tlx_listener *listener, void (*closed)(void *arg), void *arg);
