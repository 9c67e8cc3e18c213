// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/client.h"
#include "client/output.h"

/* A verb that lists: it asks for page after page and shows each item as the operator wants it. Main
 * thread. */

#define PAGES_TOKEN_MAX 1024u
/* One listing; fields are read by everybody and changed by the functions below. */
struct pages {
  struct client *client;
  struct output_table *table;  /* set by the verb when |has_table| */
  bool has_table;              /* the output is a table, short or wide */
  char token[PAGES_TOKEN_MAX]; /* of the next page; empty = there is none */
  uint64_t shown, limit;       /* limit 0 = all */
};

/* A listing of at most |limit| items, nothing asked yet. */
void pages_init(struct pages *pages, struct client *client, uint64_t limit);
/* Whether another item may be shown. */
bool pages_have_room(const struct pages *pages);
/* Size of the page to ask for, at most |most|. */
uint32_t pages_size(const struct pages *pages, uint32_t most);
/* Counts one item; prints it as JSON, or |name| with -o name, and returns false; true = the caller
 * adds a row to the table. */
bool pages_show(struct pages *pages, const ProtobufCMessage *item, const char *name);
/* Takes the reply's |token| for the next page; none when the limit is reached. */
void pages_next(struct pages *pages, const char *token);
/* Prints the table, if there is one. */
void pages_done(struct pages *pages);
