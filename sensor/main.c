// SPDX-License-Identifier: GPL-2.0-or-later
#include <signal.h>

#include "sensor/command.h"

int main(int argc, char **argv) {
  /* A Console that goes away in the middle of enrollment is an error of the write, which is told.
   */
  signal(SIGPIPE, SIG_IGN);
  return command_main(argc, argv);
}
