// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_own.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_net.h"
#include "sensor/bpf_pin.h"

/* A link that is made anew while the former one ends, and the probes. The kernel gives no cookie
 * twice, so that what is forgotten late harms nobody. One for the process, since sockets are the
 * process's. */
#define OWN_MAX 64u
static _Atomic uint64_t own[OWN_MAX];
static atomic_uint next_own;

static void remember(int fd) {
  uint64_t cookie = 0;
  socklen_t len = sizeof cookie;
  if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) != 0 || net_own_has(cookie)) return;
  atomic_store(&own[atomic_fetch_add(&next_own, 1) % OWN_MAX], cookie);
}

void net_own_mark(const char *pin_folder, int fd) {
  remember(fd);
  if (bpf_pin_is_held_elsewhere(pin_folder)) {
    tlx_warn(UPLINK,
             "another sensor enforces by the pins in %s: if it contains this host, our own "
             "socket is cut too",
             pin_folder);
    return;
  }
  int err = bpf_net_mark(pin_folder, fd, TLX_SOCK_OWN);
  if (err && err != -ENOENT)
    tlx_warn(UPLINK, "our own socket cannot be marked; while contained it is cut: %s",
             tlx_err_text(err));
}

bool net_own_has(uint64_t cookie) {
  for (unsigned i = 0; i < OWN_MAX; i++)
    if (cookie && atomic_load(&own[i]) == cookie) return true;
  return false;
}
