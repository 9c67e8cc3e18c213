// SPDX-License-Identifier: GPL-2.0-or-later
#include <signal.h>

#include "client/client.h"

int main(int argc, char **argv) {
  /* A reader that goes away (`| head`) shows as an error of the write. */
  signal(SIGPIPE, SIG_IGN);
  return client_main(argc, argv);
}
