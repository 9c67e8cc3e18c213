// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/identity.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"
#include "pki/digest.h"

Test(identity, spiffe_forms) {
  static const struct {
    const char *uri;
    enum tlx_principal_kind kind;
    const char *name;
  } good[] = {
      {"spiffe://" FIXTURE_FLEET "/console", TLX_PRINCIPAL_CONSOLE, ""},
      {"spiffe://" FIXTURE_FLEET "/operator/bob", TLX_PRINCIPAL_OPERATOR, "bob"},
      {"spiffe://" FIXTURE_FLEET "/sensor/sensor_0123456789abcdef", TLX_PRINCIPAL_SENSOR,
       "sensor_0123456789abcdef"},
  };
  static const char *const bad[] = {
      "",
      "spiffe://" FIXTURE_FLEET,
      "spiffe://" FIXTURE_FLEET "/console/",
      "spiffe://" FIXTURE_FLEET "/sensor/x",
      "spiffe://" FIXTURE_FLEET "/operator/Bob",
      "spiffe://" FIXTURE_FLEET "/operator/",
      "spiffe://other/console",
      "https://" FIXTURE_FLEET "/console",
      "spiffe://" FIXTURE_FLEET "/operator/a/b",
  };
  struct tlx_spiffe id;
  char uri[256];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_assert_eq(tlx_spiffe_parse(good[i].uri, &id), 0, "%s", good[i].uri);
    cr_assert_eq(id.kind, good[i].kind);
    cr_assert_str_eq(id.name, good[i].name);
    cr_assert_eq(tlx_spiffe_format(&id, uri), 0);
    cr_assert_str_eq(uri, good[i].uri);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_eq(tlx_spiffe_parse(bad[i], &id), TLX_E_MALFORMED, "%s", bad[i]);
}

Test(identity, bundle_judges) {
  struct fixture_ca ca, other;
  struct fixture_leaf client, server, foreign;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  fixture_ca_init(&other, "Other CA", FIXTURE_WALL_MS);
  const char *uri = "spiffe://" FIXTURE_FLEET "/operator/bob";
  fixture_leaf_init(&client, &ca, TLX_CERT_CLIENT, uri, FIXTURE_WALL_MS, 0);
  fixture_leaf_init(&server, &ca, TLX_CERT_SERVER, uri, FIXTURE_WALL_MS, 0);
  fixture_leaf_init(&foreign, &other, TLX_CERT_CLIENT, uri, FIXTURE_WALL_MS, -100);
  cr_assert_eq(tlx_ca_bundle_count(ca.bundle), 1);
  uint64_t at = FIXTURE_WALL_MS;
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &client.cert, TLX_PRINCIPAL_OPERATOR, at), 0);
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &server.cert, TLX_PRINCIPAL_CONSOLE, at), 0);
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &client.cert, TLX_PRINCIPAL_CONSOLE, at),
               TLX_E_CERT_PURPOSE);
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &server.cert, TLX_PRINCIPAL_SENSOR, at),
               TLX_E_CERT_PURPOSE);
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &foreign.cert, TLX_PRINCIPAL_OPERATOR, at),
               TLX_E_CERT_UNTRUSTED, "untrusted is found before expired");
  cr_assert_eq(tlx_ca_bundle_check(ca.bundle, &client.cert, TLX_PRINCIPAL_OPERATOR,
                                   at + 31 * FIXTURE_DAY_MS),
               TLX_E_CERT_EXPIRED);
  cr_assert_eq(
      tlx_ca_bundle_check(ca.bundle, &client.cert, TLX_PRINCIPAL_OPERATOR, at - 2 * FIXTURE_DAY_MS),
      TLX_E_CERT_NOT_YET_VALID);
  fixture_leaf_done(&foreign);
  fixture_leaf_done(&server);
  fixture_leaf_done(&client);
  fixture_ca_done(&other);
  fixture_ca_done(&ca);
}

Test(identity, pins) {
  struct fixture_ca ca, other;
  struct fixture_leaf leaf;
  char text[72];
  uint8_t digest[32], wanted[32];
  size_t index = 99;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  fixture_ca_init(&other, "Test CA", FIXTURE_WALL_MS);
  fixture_leaf_init(&leaf, &ca, TLX_CERT_SERVER, "spiffe://" FIXTURE_FLEET "/console",
                    FIXTURE_WALL_MS, 0);
  tlx_pin_format(&ca.cert, text);
  cr_assert_eq(tlx_pin_parse(text, digest), 0);
  tlx_sha256(ca.cert.spki.data, ca.cert.spki.len, wanted);
  cr_assert_arr_eq(digest, wanted, 32);
  struct tlx_bytes chain[] = {{leaf.der.data, leaf.der.len}, {ca.der.data, ca.der.len}};
  cr_assert_eq(tlx_pin_check(digest, chain, 2, &index), 0);
  cr_assert_eq(index, 1);
  cr_assert_eq(tlx_pin_check(digest, chain, 1, &index), TLX_E_CERT_PIN);
  /* The pinned CA is shown, but did not issue the leaf. */
  struct tlx_bytes mixed[] = {{other.der.data, other.der.len}, {ca.der.data, ca.der.len}};
  cr_assert_lt(tlx_pin_check(digest, mixed, 2, &index), 0);
  static const char *const bad[] = {"", "sha256:", "sha1:00", "sha256:zz"};
  for (int i = 0; i < 4; i++)
    cr_assert_eq(tlx_pin_parse(bad[i], digest), TLX_E_MALFORMED);
  fixture_leaf_done(&leaf);
  fixture_ca_done(&other);
  fixture_ca_done(&ca);
}
