// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-net-cost: one end of a measured stream. net-cost puts it into network namespaces and
 * cgroups.
 *
 *   bench-net-cost sink tcp|udp ADDRESS PORT
 *   bench-net-cost send tcp|udp ADDRESS PORT MILLISECONDS SIZE
 *
 * The sink prints "ready" and takes everything until it is ended; the sender prints one line of
 * JSON.
 *
 * The sender counts what the kernel took: of a veth pair the whole way of a datagram, the filter
 * included, is part of its send(2). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE_MAX_SENT 262144u
/* Between two looks at the clock. */
#define BURST 64u

static uint64_t clock_ns(clockid_t clock) {
  struct timespec ts;
  clock_gettime(clock, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int fail(const char *what) {
  fprintf(stderr, "bench-net-cost: %s: %s\n", what, strerror(errno));
  return 1;
}

static int take(int fd, bool is_tcp) {
  static char buffer[SIZE_MAX_SENT];
  if (is_tcp && listen(fd, 8) != 0) return fail("listen");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int from = is_tcp ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : fd;
    if (from < 0) return fail("accept");
    while (recv(from, buffer, sizeof buffer, 0) > 0) {
    }
    if (is_tcp) close(from);
  }
}

static int give(int fd, uint64_t limit_ns, size_t size) {
  static char buffer[SIZE_MAX_SENT];
  uint64_t sent = 0, refused = 0, start_ns = clock_ns(CLOCK_MONOTONIC),
           start_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID), spent_ns;
  do {
    for (unsigned i = 0; i < BURST; i++) {
      ssize_t n = send(fd, buffer, size, MSG_NOSIGNAL);
      if (n < 0 && errno != ENOBUFS && errno != EAGAIN) return fail("send");
      if (n < 0)
        refused++;
      else
        sent += (uint64_t)n;
    }
    spent_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
  } while (spent_ns < limit_ns);
  printf("{\"bytes\": %llu, \"refused\": %llu, \"wall_ns\": %llu, \"cpu_ns\": %llu}\n",
         (unsigned long long)sent, (unsigned long long)refused, (unsigned long long)spent_ns,
         (unsigned long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_cpu_ns));
  return 0;
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  bool is_sink = argc == 5 && strcmp(argv[1], "sink") == 0,
       is_send = argc == 7 && strcmp(argv[1], "send") == 0;
  if ((!is_sink && !is_send) || inet_pton(AF_INET, argv[3], &address.sin_addr) != 1) {
    fprintf(stderr, "usage: bench-net-cost sink|send tcp|udp ADDRESS PORT [MILLISECONDS SIZE]\n");
    return 2;
  }
  bool is_tcp = strcmp(argv[2], "tcp") == 0;
  int one = 1, fd = socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
  address.sin_port = htons((uint16_t)atoi(argv[4]));
  if (fd < 0) return fail("socket");
  if (is_sink) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) return fail("bind");
    return take(fd, is_tcp);
  }
  size_t size = strtoul(argv[6], NULL, 10);
  if (size == 0 || size > SIZE_MAX_SENT) return 2;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return fail("connect");
  return give(fd, strtoull(argv[5], NULL, 10) * 1000000u, size);
}
