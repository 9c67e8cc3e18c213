// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-order-floor FOLDER: for each line of its input the floor of an order that switches what
 * programs work by, as one line of JSON: of the order (floor.h), and of the switch (floor_map.h).
 */
#include <stdio.h>

#include "floor.h"
#include "floor_map.h"

int main(int argc, char **argv) {
  char line[16];
  if (argc != 2) {
    fprintf(stderr, "usage: bench-order-floor FOLDER\n");
    return 2;
  }
  struct floor *floor = floor_open(argv[1]);
  struct floor_map *map = floor_map_open();
  while (fgets(line, sizeof line, stdin)) {
    printf("{\"order_ns\":%llu,\"publish_ns\":%llu}\n", (unsigned long long)floor_measure(floor),
           (unsigned long long)floor_map_publish(map));
    fflush(stdout);
  }
  floor_map_close(map);
  floor_close(floor);
  return 0;
}
