// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/sd_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/clock.h"

int sd_notify_send(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!path || !*path) return 0;
  size_t len = strlen(path);
  if (*path != '/' && *path != '@') return -EAFNOSUPPORT;
  if (len >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, len);
  if (*path == '@') address.sun_path[0] = 0;
  TLX_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  /* The length tells an abstract name's end. */
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
  if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
    return -errno;
  return 0;
}

int sd_notify_reloading(void) {
  char text[64];
  snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
           (unsigned long long)tlx_mono_ms(tlx_clock_system()) * 1000);
  return sd_notify_send(text);
}
