// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/confirm.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/text.h"

/* A node name has at most 253 characters; a line break and a NUL come after it. */
#define TYPED_MAX 256u

/* The reference's warning. */
static const char warning[] =
    "Revocation and deletion are not reversible. Use disable or containment first if there is any "
    "chance the sensor\n"
    "will need to resume normal operation. Revocation requires re-enrollment to restore the "
    "sensor.";

bool confirm_can_ask(void) {
  return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int confirm_refuse(const struct client *client) {
  fprintf(stderr,
          "telovixctl %s: this asks for a confirmation, and there is no terminal to ask on: give "
          "--yes\n",
          client->verb);
  return CLIENT_USAGE;
}

bool confirm_node(const struct client *client, const char *sensor_id, const char *node_name) {
  char fleet[1024], node[1024], typed[TYPED_MAX];
  struct tlx_status status;
  tlx_text_escape(client->profile.fleet, SIZE_MAX, fleet, sizeof fleet);
  tlx_text_escape(node_name, SIZE_MAX, node, sizeof node);
  fprintf(stderr, "Fleet %s: %s %s (%s)\n%s\nType the node name to go on: ", fleet, client->verb,
          node, sensor_id, warning);
  fflush(stderr);
  if (!fgets(typed, (int)sizeof typed, stdin)) *typed = '\0';
  typed[strcspn(typed, "\r\n")] = '\0';
  if (strcasecmp(typed, node_name) == 0) return true;
  tlx_status_set(&status, TLX_GRPC_FAILED_PRECONDITION, "not_confirmed",
                 "that is not the node name; nothing was done");
  client_error(client, client->args.words[0], &status, CLIENT_FAILED);
  return false;
}
