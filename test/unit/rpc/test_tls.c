// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/tls.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "../pki/fixture.h"
#include "common/err.h"
#include "common/text.h"
#include "pki/identity.h"
#include "rpc/tls_ctx.h"

#define CONSOLE "spiffe://" FIXTURE_FLEET "/console"
#define BOB "spiffe://" FIXTURE_FLEET "/operator/bob"

static uint64_t now_wall_ms(void) {
  return tlx_wall_ms(tlx_clock_system());
}

/* A fleet with a server, and what a test changes of its client. */
struct pair {
  struct fixture_ca ca;
  struct fixture_leaf server_leaf;
  struct tlx_tls_ctx *server_ctx, *client_ctx;
  struct tlx_tls *server, *client;
};

static struct tlx_tls_ctx *make_ctx(bool server, const struct fixture_leaf *leaf,
                                    const struct fixture_ca *ca, const char *uri) {
  struct tlx_tls_ctx *ctx;
  struct tlx_bytes chain[1];
  struct tlx_tls_options options = {
      .server = server, .ca = ca ? ca->bundle : NULL, .server_uri = uri};
  if (leaf) {
    chain[0] = (struct tlx_bytes){leaf->der.data, leaf->der.len};
    options.chain = chain;
    options.n_chain = 1;
    options.key = leaf->key;
  }
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), 0);
  return ctx;
}

static void pair_init(struct pair *pair) {
  *pair = (struct pair){0};
  fixture_ca_init(&pair->ca, "Test CA", now_wall_ms());
  fixture_leaf_init(&pair->server_leaf, &pair->ca, TLX_CERT_SERVER, CONSOLE, now_wall_ms(), 0);
  pair->server_ctx = make_ctx(true, &pair->server_leaf, &pair->ca, NULL);
  cr_assert_eq(tlx_tls_new(pair->server_ctx, &pair->server), 0);
}

static void pair_connect(struct pair *pair, struct tlx_tls_ctx *client_ctx) {
  pair->client_ctx = client_ctx;
  cr_assert_eq(tlx_tls_new(client_ctx, &pair->client), 0);
}

static void pair_done(struct pair *pair) {
  tlx_tls_free(pair->client);
  tlx_tls_free(pair->server);
  tlx_tls_ctx_unref(pair->client_ctx);
  tlx_tls_ctx_unref(pair->server_ctx);
  fixture_leaf_done(&pair->server_leaf);
  fixture_ca_done(&pair->ca);
}

/* Moves up to |step| bytes a time from one end to the other. */
static size_t move(struct tlx_tls *from, struct tlx_tls *to, size_t step) {
  struct tlx_bytes pending = tlx_tls_pending(from);
  size_t n = pending.len < step ? pending.len : step;
  if (n == 0) return 0;
  cr_assert_eq(tlx_tls_feed(to, pending.data, n), 0);
  tlx_tls_sent(from, n);
  return n;
}

/* Runs both handshakes to their end; |*ret_client|, |*ret_server| are the results. */
static void shake(struct pair *pair, size_t step, int *ret_client, int *ret_server) {
  *ret_client = *ret_server = -EAGAIN;
  for (int i = 0; i < 200000; i++) {
    if (*ret_client == -EAGAIN) *ret_client = tlx_tls_handshake(pair->client);
    size_t n = move(pair->client, pair->server, step);
    if (*ret_server == -EAGAIN) *ret_server = tlx_tls_handshake(pair->server);
    n += move(pair->server, pair->client, step);
    if (n == 0 && i > 2) return;
  }
}

static void expect_data(struct tlx_tls *from, struct tlx_tls *to, const char *text) {
  char out[64];
  cr_assert_eq(tlx_tls_write(from, text, strlen(text)), 0);
  while (move(from, to, 7))
    ;
  cr_assert_eq(tlx_tls_read(to, out, sizeof out), (ssize_t)strlen(text));
  cr_assert_arr_eq(out, text, strlen(text));
  cr_assert_eq(tlx_tls_read(to, out, sizeof out), -EAGAIN);
}

Test(tls, mutual_handshake_at_any_split) {
  static const size_t steps[] = {1, 100, 1 << 20};
  for (int i = 0; i < 3; i++) {
    struct pair pair;
    struct fixture_leaf bob;
    const struct tlx_bytes *chain;
    int client, server;
    pair_init(&pair);
    fixture_leaf_init(&bob, &pair.ca, TLX_CERT_CLIENT, BOB, now_wall_ms(), 0);
    pair_connect(&pair, make_ctx(false, &bob, &pair.ca, CONSOLE));
    shake(&pair, steps[i], &client, &server);
    cr_assert_eq(client, 0, "%s", tlx_tls_error(pair.client));
    cr_assert_eq(server, 0, "%s", tlx_tls_error(pair.server));
    cr_assert_eq(tlx_tls_peer_chain(pair.server, &chain), 1);
    cr_assert_eq(chain[0].len, bob.der.len);
    cr_assert_arr_eq(chain[0].data, bob.der.data, bob.der.len);
    expect_data(pair.client, pair.server, "hello");
    expect_data(pair.server, pair.client, "hello back");
    tlx_tls_close_notify(pair.client);
    move(pair.client, pair.server, 1 << 20);
    char out[8];
    cr_assert_eq(tlx_tls_read(pair.server, out, sizeof out), 0, "a clean close");
    fixture_leaf_done(&bob);
    pair_done(&pair);
  }
}

Test(tls, a_client_without_a_certificate_passes) {
  struct pair pair;
  const struct tlx_bytes *chain;
  int client, server;
  pair_init(&pair);
  pair_connect(&pair, make_ctx(false, NULL, &pair.ca, CONSOLE));
  shake(&pair, 1 << 20, &client, &server);
  cr_assert_eq(client, 0);
  cr_assert_eq(server, 0, "%s", tlx_tls_error(pair.server));
  cr_assert_eq(tlx_tls_peer_chain(pair.server, &chain), 0);
  pair_done(&pair);
}

/* What the server makes of a client's certificate. */
static int server_verdict(enum tlx_cert_profile profile, int shift_days, bool foreign,
                          char *ret_told) {
  struct pair pair;
  struct fixture_ca other;
  struct fixture_leaf leaf;
  int client, server;
  char out[8];
  pair_init(&pair);
  fixture_ca_init(&other, "Other CA", now_wall_ms());
  fixture_leaf_init(&leaf, foreign ? &other : &pair.ca, profile, BOB, now_wall_ms(), shift_days);
  pair_connect(&pair, make_ctx(false, &leaf, &pair.ca, CONSOLE));
  shake(&pair, 1 << 20, &client, &server);
  /* The client learns of it at its first read. */
  (void)tlx_tls_read(pair.client, out, sizeof out);
  strcpy(ret_told, tlx_tls_error(pair.client));
  fixture_leaf_done(&leaf);
  fixture_ca_done(&other);
  pair_done(&pair);
  return server;
}

Test(tls, client_certificates) {
  char told[512];
  cr_assert_eq(server_verdict(TLX_CERT_CLIENT, 0, false, told), 0);
  cr_assert_eq(server_verdict(TLX_CERT_CLIENT, -100, false, told), 0,
               "an expired one is told per call");
  cr_assert_eq(server_verdict(TLX_CERT_CLIENT, 100, false, told), TLX_E_CERT_NOT_YET_VALID);
  cr_assert(strstr(told, "ours begins at ") && strstr(told, " and ends at ") &&
                strstr(told, "our clock says "),
            "which clock is wrong is for people to see: %s", told);
  cr_assert_eq(server_verdict(TLX_CERT_SERVER, 0, false, told), TLX_E_CERT_PURPOSE);
  cr_assert_eq(server_verdict(TLX_CERT_CLIENT, 0, true, told), TLX_E_CERT_UNTRUSTED);
  cr_assert(strstr(told, "certificate"), "the alert in words: %s", told);
  cr_assert_eq(server_verdict(TLX_CERT_CLIENT, -100, true, told), TLX_E_CERT_UNTRUSTED,
               "expired forgives nothing else");
}

Test(tls, the_client_checks_who_answers) {
  struct pair pair;
  struct fixture_ca other;
  int client, server;
  pair_init(&pair);
  fixture_ca_init(&other, "Other CA", now_wall_ms());
  pair_connect(&pair, make_ctx(false, NULL, &pair.ca, "spiffe://fleet-ffffffffffffffff/console"));
  shake(&pair, 1 << 20, &client, &server);
  cr_assert_eq(client, TLX_E_CERT_IDENTITY);
  tlx_tls_free(pair.client);
  tlx_tls_ctx_unref(pair.client_ctx);
  tlx_tls_free(pair.server);
  cr_assert_eq(tlx_tls_new(pair.server_ctx, &pair.server), 0);
  pair_connect(&pair, make_ctx(false, NULL, &other, NULL));
  shake(&pair, 1 << 20, &client, &server);
  cr_assert_eq(client, TLX_E_CERT_UNTRUSTED);
  cr_assert_gt(strlen(tlx_tls_error(pair.client)), 0);
  fixture_ca_done(&other);
  pair_done(&pair);
}

static uint64_t moved_wall_ms(void *arg) {
  return now_wall_ms() + *(uint64_t *)arg;
}

/* A clock that is far ahead: refused, with the certificate's time and our own. */
Test(tls, a_refusal_for_its_age_names_both_times) {
  struct pair pair;
  int client, server;
  uint64_t by_ms = 400 * FIXTURE_DAY_MS;
  char ends[TLX_TIME_TEXT_MAX];
  struct tlx_cert leaf;
  pair_init(&pair);
  struct tlx_tls_options options = {
      .ca = pair.ca.bundle, .server_uri = CONSOLE, .wall_ms = moved_wall_ms, .wall_arg = &by_ms};
  struct tlx_tls_ctx *ctx;
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), 0);
  pair_connect(&pair, ctx);
  shake(&pair, 1 << 20, &client, &server);
  cr_assert_eq(client, TLX_E_CERT_EXPIRED);
  cr_assert_eq(tlx_cert_parse(
                   (struct tlx_bytes){pair.server_leaf.der.data, pair.server_leaf.der.len}, &leaf),
               0);
  tlx_time_format(leaf.not_after_wall_ms, ends);
  const char *said = tlx_tls_error(pair.client);
  cr_assert(strstr(said, "is expired: it ended at ") && strstr(said, ends) &&
                strstr(said, ", and our clock says "),
            "%s", said);
  pair_done(&pair);
}

Test(tls, a_probe_sees_the_chain) {
  struct pair pair;
  const struct tlx_bytes *chain;
  int client, server;
  pair_init(&pair);
  pair_connect(&pair, make_ctx(false, NULL, NULL, NULL));
  shake(&pair, 1 << 20, &client, &server);
  cr_assert_eq(client, 0);
  cr_assert_eq(tlx_tls_peer_chain(pair.client, &chain), 1);
  cr_assert_arr_eq(chain[0].data, pair.server_leaf.der.data, pair.server_leaf.der.len);
  pair_done(&pair);
}

Test(tls, a_foreign_key_is_noticed) {
  struct fixture_ca ca;
  struct fixture_leaf one, two;
  struct tlx_tls_ctx *ctx;
  fixture_ca_init(&ca, "Test CA", now_wall_ms());
  fixture_leaf_init(&one, &ca, TLX_CERT_SERVER, CONSOLE, now_wall_ms(), 0);
  fixture_leaf_init(&two, &ca, TLX_CERT_SERVER, CONSOLE, now_wall_ms(), 0);
  struct tlx_bytes chain = {one.der.data, one.der.len};
  struct tlx_tls_options options = {
      .server = true, .chain = &chain, .n_chain = 1, .key = two.key, .ca = ca.bundle};
  cr_assert_eq(tlx_tls_ctx_new(&options, &ctx), TLX_E_KEY_MISMATCH);
  fixture_leaf_done(&two);
  fixture_leaf_done(&one);
  fixture_ca_done(&ca);
}

Test(tls, garbage) {
  struct pair pair;
  pair_init(&pair);
  cr_assert_eq(tlx_tls_feed(pair.server, "GET / HTTP/1.1\r\n\r\n", 18), 0);
  cr_assert_eq(tlx_tls_handshake(pair.server), TLX_E_TLS);
  cr_assert_gt(strlen(tlx_tls_error(pair.server)), 0);
  pair_done(&pair);
}
