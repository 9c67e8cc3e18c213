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
#define OWN_MAX 256u
static _Atomic uint64_t own[OWN_MAX];
static atomic_uint next_own;

/* The newest place of |cookie|, counted from the last one that was taken; OWN_MAX = there is none.
 */
static unsigned age_of(uint64_t cookie) {
  const unsigned next = atomic_load(&next_own);
  for (unsigned age = 0; age < OWN_MAX; age++)
    if (cookie && atomic_load(&own[(next - 1 - age) % OWN_MAX]) == cookie) return age;
  return OWN_MAX;
}

static void remember(int fd) {
  uint64_t cookie = 0;
  socklen_t len = sizeof cookie;
  if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) != 0) return;
  /* The link outlives many probes, and is shown with every pass. */
  if (age_of(cookie) < OWN_MAX / 2) return;
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
  return age_of(cookie) < OWN_MAX;
}
