// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/sd_notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"

/* A service manager: a datagram socket that is |name|, with '@' in front an abstract one. */
static int manager(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, name);
  if (*name == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
  cr_assert_eq(bind(fd, (struct sockaddr *)&address, size), 0, "%s", strerror(errno));
  cr_assert_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
  return fd;
}

static void expect_datagram(int fd, const char *text) {
  char got[256];
  ssize_t n = recv(fd, got, sizeof got, 0);
  cr_assert_eq(n, (ssize_t)strlen(text));
  cr_assert_arr_eq(got, text, strlen(text));
  cr_assert_eq(recv(fd, got, sizeof got, 0), -1, "one datagram, no more");
}

Test(sd_notify, without_a_manager_it_is_nothing) {
  unsetenv("NOTIFY_SOCKET");
  cr_assert_eq(sd_notify_send("READY=1"), 0);
  cr_assert_eq(sd_notify_reloading(), 0);
  setenv("NOTIFY_SOCKET", "", 1);
  cr_assert_eq(sd_notify_send("READY=1"), 0);
}

Test(sd_notify, a_path) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/telovix-notify-%d", (int)getpid());
  unlink(path);
  int fd = manager(path);
  cr_assert_eq(sd_notify_send("READY=1"), 0);
  expect_datagram(fd, "READY=1");
  cr_assert_eq(sd_notify_send("STOPPING=1\nSTATUS=stopping"), 0);
  expect_datagram(fd, "STOPPING=1\nSTATUS=stopping");
  close(fd);
  cr_assert_eq(sd_notify_send("READY=1"), -ECONNREFUSED, "nobody listens any more");
  unlink(path);
  cr_assert_eq(sd_notify_send("READY=1"), -ENOENT);
}

Test(sd_notify, an_abstract_name) {
  char name[64];
  snprintf(name, sizeof name, "@telovix-notify-%d", (int)getpid());
  int fd = manager(name);
  cr_assert_eq(sd_notify_send("READY=1"), 0);
  expect_datagram(fd, "READY=1");
  close(fd);
  cr_assert_eq(sd_notify_send("READY=1"), -ECONNREFUSED);
}

Test(sd_notify, names_that_are_none) {
  struct sockaddr_un address;
  char name[sizeof address.sun_path + 1];
  setenv("NOTIFY_SOCKET", "relative", 1);
  cr_assert_eq(sd_notify_send("READY=1"), -EAFNOSUPPORT);
  setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
  cr_assert_eq(sd_notify_send("READY=1"), -EAFNOSUPPORT);
  memset(name, 'a', sizeof name);
  name[0] = '/';
  name[sizeof name - 1] = 0;
  setenv("NOTIFY_SOCKET", name, 1);
  cr_assert_eq(sd_notify_send("READY=1"), -ENAMETOOLONG);
  name[sizeof name - 2] = 0;
  setenv("NOTIFY_SOCKET", name, 1);
  cr_assert_eq(sd_notify_send("READY=1"), -ENOENT, "the longest name is tried");
}

Test(sd_notify, reloading_tells_the_time) {
  char name[64], got[256];
  unsigned long long us = 0;
  int end = 0;
  snprintf(name, sizeof name, "@telovix-notify-%d", (int)getpid());
  int fd = manager(name);
  uint64_t before_mono_ms = tlx_mono_ms(tlx_clock_system());
  cr_assert_eq(sd_notify_reloading(), 0);
  uint64_t after_mono_ms = tlx_mono_ms(tlx_clock_system());
  ssize_t n = recv(fd, got, sizeof got - 1, 0);
  cr_assert_gt(n, 0);
  got[n] = 0;
  cr_assert_eq(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%llu%n", &us, &end), 1, "%s", got);
  cr_assert_eq(end, n);
  cr_assert_geq(us, before_mono_ms * 1000);
  cr_assert_leq(us, after_mono_ms * 1000);
  close(fd);
}
