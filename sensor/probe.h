// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_net_abi.h"
#include "sensor/bpf_net.h"
#include "sensor/rule_contain.h"

/* The differential proof of a containment (spec §5.3): at one moment, to the Console's address and
 * port, a socket with the sensor's mark connects and one without gets the hook's error, and the
 * programs counted that very socket; the same for UDP, for both families. What the hooks of calls
 * refuse never comes to those of packets, so one more socket passes by the former: the program of
 * packets must have stopped it. So neither a dead hook nor another firewall nor a dead network is
 * taken for a containment. Worker thread; bounded by PROBE_LIMIT_MS an unmarked socket, and by
 * PROBE_OWN_LIMIT_MS for the marked ones together. */

#define PROBE_LIMIT_MS 500
/* A link by satellite, and one SYN that is lost (RFC 6298: sent again after a second). */
#define PROBE_OWN_LIMIT_MS 3000

enum probe_outcome {
  PROBE_NOT_TRIED,
  PROBE_PASSED,   /* connected, or was sent */
  PROBE_ANSWERED, /* the peer refused: packets went there and back */
  PROBE_DENIED,   /* EPERM */
  PROBE_SILENT,   /* nothing came back in time */
  PROBE_NO_ROUTE, /* this host has no way there */
  PROBE_ERROR,    /* another error, which stands beside */
};
struct probe_shot {
  enum probe_outcome outcome;
  int err;
  bool was_counted; /* by our programs, for this socket */
};
/* What was seen of one family. */
struct probe_family {
  bool exists;      /* the kernel has it */
  bool has_target;  /* an address that the allow list does not mention */
  bool has_console; /* |own| was tried */
  char target[64];  /* where the unmarked ones went, for people */
  struct probe_shot own, tcp, udp, packet;
};
struct probe {
  struct probe_family families[2]; /* IPv4, IPv6 */
  bool console_is_local;           /* loopback lets everybody there: nothing to tell apart */
  uint64_t would_grown;            /* observing: counted in this time */
};

enum probe_verdict {
  PROBE_HOLDS,      /* proved */
  PROBE_NO_CONSOLE, /* everything is held, but no Console address answered the marked socket */
  PROBE_LEAKS,      /* an unmarked socket was not stopped by our programs */
  PROBE_CUTS_OWN,   /* the marked socket is stopped */
  PROBE_FAILED,     /* could not be tried */
};

struct probe_options {
  struct bpf_net *net;
  const char *pin_folder;
  const char *scope_folder; /* the sockets are made by a process inside; NULL = by this one */
  const struct rule_contain *rule;
  /* Of each family, IPv4 and IPv6; port 0 = none, or it is local. */
  struct probe_console {
    uint8_t address[16];
    uint16_t port;
  } console[2];
  bool console_is_local;            /* an address of the Console is this host's */
  const struct tlx_net_addr *local; /* sorted */
  size_t n_local;
};

/* Tries. 0, or a negative errno when no socket could be made or the counters cannot be read. */
int probe_run(const struct probe_options *options, struct probe *ret_probe);
/* What follows from |probe|, with a sentence in |why| of |size| unless it holds. |has_connect|: the
 * layer that gives errors at once is attached; without it a denied TCP socket is silent. Pure. */
enum probe_verdict probe_judge(const struct probe *probe, uint32_t mode, bool has_connect,
                               char *why, size_t size);
/* Waits for the connections |fds| of the families in |probe| whose |own| is PROBE_SILENT with
 * -EINPROGRESS, until one is answered or |limit_ms| are over; tells each that was decided. */
void probe_own_wait(const int fds[2], unsigned limit_ms, struct probe *probe);
/* Where the unmarked sockets of a family go: the Console, or the first documentation address that
 * is neither local nor mentioned by the allow list. False: there is none. Pure. */
bool probe_target(const struct probe_options *options, unsigned family, uint8_t ret_address[16],
                  uint16_t *ret_port);
