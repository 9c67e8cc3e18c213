// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/pin.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../pki/fixture.h"
#include "common/err.h"
#include "pki/digest.h"
#include "rpc/tls.h"

/* The first contact against a server in a child process, which tells by its exit status whether it
 * was sent anything beyond the handshake. */

enum { SERVER_HEARD_NOTHING = 0, SERVER_HEARD_DATA = 3, SERVER_FAILED = 4 };
#define CONSOLE "spiffe://" FIXTURE_FLEET "/console"

struct world {
  struct fixture_ca ca, other;
  struct fixture_leaf leaf;
  uint64_t wall_ms;
  int listener;
  char address[32];
};

static void world_init(struct world *world, const char *uri) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  *world = (struct world){.wall_ms = tlx_wall_ms(tlx_clock_system())};
  fixture_ca_init(&world->ca, "Fleet CA", world->wall_ms);
  fixture_ca_init(&world->other, "Fleet CA", world->wall_ms);
  fixture_leaf_init(&world->leaf, &world->ca, TLX_CERT_SERVER, uri, world->wall_ms, 0);
  world->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(world->listener, (struct sockaddr *)&at, sizeof at), 0);
  cr_assert_eq(listen(world->listener, 1), 0);
  cr_assert_eq(getsockname(world->listener, (struct sockaddr *)&at, &len), 0);
  snprintf(world->address, sizeof world->address, "127.0.0.1:%u", ntohs(at.sin_port));
}

static void world_done(struct world *world) {
  close(world->listener);
  fixture_leaf_done(&world->leaf);
  fixture_ca_done(&world->other);
  fixture_ca_done(&world->ca);
}

static bool send_pending(int fd, struct tlx_tls *tls) {
  struct tlx_bytes pending;
  while ((pending = tlx_tls_pending(tls)).len) {
    ssize_t n = send(fd, pending.data, pending.len, MSG_NOSIGNAL);
    if (n <= 0) return false;
    tlx_tls_sent(tls, (size_t)n);
  }
  return true;
}

/* Serves one connection with |n_chain| of leaf, CA, other CA. */
static int serve(struct world *world, const struct tlx_bytes *chain, size_t n_chain) {
  struct tlx_tls_options options = {.server = true,
                                    .chain = chain,
                                    .n_chain = n_chain,
                                    .key = world->leaf.key,
                                    .ca = world->ca.bundle};
  struct tlx_tls_ctx *ctx;
  struct tlx_tls *tls;
  uint8_t data[16384];
  int fd = accept(world->listener, NULL, NULL);
  if (fd < 0 || tlx_tls_ctx_new(&options, &ctx) != 0 || tlx_tls_new(ctx, &tls) != 0)
    return SERVER_FAILED;
  bool done = false;
  for (;;) {
    int result = done ? 0 : tlx_tls_handshake(tls);
    if (!send_pending(fd, tls) || (result != 0 && result != -EAGAIN)) return SERVER_FAILED;
    done = result == 0;
    if (done && tlx_tls_read(tls, data, sizeof data) > 0) return SERVER_HEARD_DATA;
    ssize_t n = recv(fd, data, sizeof data, 0);
    if (n <= 0)
      return SERVER_HEARD_NOTHING; /* it may leave without its last message of the handshake */
    if (tlx_tls_feed(tls, data, (size_t)n) != 0) return SERVER_FAILED;
  }
}

static pid_t start_server(struct world *world, const struct tlx_bytes *chain, size_t n_chain) {
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) _exit(serve(world, chain, n_chain));
  return pid;
}

static void expect_nothing_heard(pid_t pid) {
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == SERVER_HEARD_NOTHING, "%d", status);
}

static struct tlx_bytes bytes_of(const struct tlx_buf *buf) {
  return (struct tlx_bytes){buf->data, buf->len};
}

static int fetch(struct world *world, const struct fixture_ca *pinned, struct pin_found *found,
                 char *why) {
  char text[72];
  uint8_t digest[32];
  tlx_pin_format(&pinned->cert, text);
  cr_assert_eq(tlx_pin_parse(text, digest), 0);
  *found = (struct pin_found){.ca_der = {0}};
  return pin_fetch(world->address, digest, 5000, NULL, found, why);
}

Test(pin, the_pinned_console) {
  struct world world;
  struct pin_found found;
  char why[512] = "";
  world_init(&world, CONSOLE);
  struct tlx_bytes chain[] = {bytes_of(&world.leaf.der), bytes_of(&world.ca.der)};
  pid_t pid = start_server(&world, chain, 2);
  cr_assert_eq(fetch(&world, &world.ca, &found, why), 0, "%s", why);
  cr_assert_str_eq(found.console_uri, CONSOLE);
  cr_assert_str_eq(found.fleet_id, FIXTURE_FLEET);
  cr_assert_eq(found.ca_der.len, world.ca.der.len);
  cr_assert_arr_eq(found.ca_der.data, world.ca.der.data, found.ca_der.len);
  tlx_buf_done(&found.ca_der);
  expect_nothing_heard(pid);
  world_done(&world);
}

static void expect_refused(struct world *world, const struct tlx_bytes *chain, size_t n_chain,
                           const struct fixture_ca *pinned, int err, const char *part) {
  struct pin_found found;
  char why[512] = "";
  pid_t pid = start_server(world, chain, n_chain);
  int got = fetch(world, pinned, &found, why);
  cr_assert_eq(got, err, "%d %s", got, why);
  cr_assert(strstr(why, part) && strstr(why, world->address), "%s", why);
  cr_assert_eq(found.ca_der.len, 0);
  expect_nothing_heard(pid);
}

Test(pin, another_fleet) {
  struct world world;
  world_init(&world, CONSOLE);
  struct tlx_bytes chain[] = {bytes_of(&world.leaf.der), bytes_of(&world.ca.der)};
  expect_refused(&world, chain, 2, &world.other, TLX_E_CERT_PIN, "nothing was sent");
  world_done(&world);
}

Test(pin, a_chain_without_the_ca) {
  struct world world;
  world_init(&world, CONSOLE);
  struct tlx_bytes chain[] = {bytes_of(&world.leaf.der)};
  expect_refused(&world, chain, 1, &world.ca, TLX_E_CERT_PIN, "nothing was sent");
  world_done(&world);
}

/* Anybody can show the pinned CA's certificate; only that CA can have signed the leaf. */
Test(pin, the_right_ca_with_a_foreign_leaf) {
  struct world world;
  world_init(&world, CONSOLE);
  struct tlx_bytes chain[] = {bytes_of(&world.leaf.der), bytes_of(&world.other.der)};
  expect_refused(&world, chain, 2, &world.other, TLX_E_CERT_UNTRUSTED, "");
  world_done(&world);
}

Test(pin, an_operator_is_no_console) {
  struct world world;
  world_init(&world, "spiffe://" FIXTURE_FLEET "/operator/bob");
  struct tlx_bytes chain[] = {bytes_of(&world.leaf.der), bytes_of(&world.ca.der)};
  expect_refused(&world, chain, 2, &world.ca, TLX_E_CERT_IDENTITY, "not that of a Console");
  world_done(&world);
}

Test(pin, nobody_there) {
  struct world world;
  struct pin_found found = {.ca_der = {0}};
  uint8_t digest[32] = {0};
  char why[512] = "";
  world_init(&world, CONSOLE);
  cr_assert_eq(pin_fetch("no address", digest, 1000, NULL, &found, why), -EINVAL);
  cr_assert(strstr(why, "HOST:PORT"), "%s", why);
  /* The kernel accepts for a listener that never answers. */
  cr_assert_eq(pin_fetch(world.address, digest, 50, NULL, &found, why), -ETIMEDOUT);
  cr_assert(strstr(why, world.address), "%s", why);
  close(world.listener);
  cr_assert_eq(pin_fetch(world.address, digest, 1000, NULL, &found, why), -ECONNREFUSED);
  world.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
  world_done(&world);
}

Test(pin, no_tls_at_all) {
  struct world world;
  struct pin_found found = {.ca_der = {0}};
  uint8_t digest[32] = {0};
  char why[512] = "";
  world_init(&world, CONSOLE);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    static const char hello[] = "220 mail.example.org ESMTP\r\n";
    char data[4096];
    int fd = accept(world.listener, NULL, NULL);
    if (write(fd, hello, sizeof hello - 1) < 0) _exit(1);
    while (read(fd, data, sizeof data) > 0)
      ;
    _exit(0);
  }
  cr_assert_eq(pin_fetch(world.address, digest, 5000, NULL, &found, why), TLX_E_TLS);
  cr_assert(strstr(why, world.address), "%s", why);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
  world_done(&world);
}
