// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/cert.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "fixture.h"

#define URI "spiffe://" FIXTURE_FLEET "/console"

Test(cert, what_is_issued_is_read_back) {
  struct fixture_ca ca;
  struct fixture_leaf leaf;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  fixture_leaf_init(&leaf, &ca, TLX_CERT_SERVER, URI, FIXTURE_WALL_MS, 0);
  cr_assert(ca.cert.is_ca && ca.cert.ku_cert_sign && !ca.cert.has_eku);
  cr_assert_str_eq(ca.cert.subject_cn, "Test CA");
  cr_assert(!leaf.cert.is_ca && leaf.cert.eku_server_auth && !leaf.cert.eku_client_auth);
  cr_assert_str_eq(leaf.cert.uri, URI);
  cr_assert_eq(leaf.cert.n_uris, 1);
  cr_assert_eq(leaf.cert.serial_len, TLX_SERIAL_LEN);
  cr_assert_eq(leaf.cert.not_before_wall_ms, FIXTURE_WALL_MS - FIXTURE_DAY_MS);
  cr_assert_eq(leaf.cert.not_after_wall_ms, FIXTURE_WALL_MS + 30 * FIXTURE_DAY_MS);
  cr_assert(tlx_cert_has_host(&leaf.cert, "console.example.org"));
  cr_assert(tlx_cert_has_host(&leaf.cert, "127.0.0.1"));
  cr_assert(tlx_cert_has_host(&leaf.cert, "0:0:0:0:0:0:0:1"));
  cr_assert_not(tlx_cert_has_host(&leaf.cert, "example.org"));
  fixture_leaf_done(&leaf);
  fixture_ca_done(&ca);
}

Test(cert, times) {
  struct fixture_ca ca;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  uint64_t from = ca.cert.not_before_wall_ms, to = ca.cert.not_after_wall_ms;
  cr_assert_eq(tlx_cert_check_time(&ca.cert, from - 1000), TLX_E_CERT_NOT_YET_VALID);
  cr_assert_eq(tlx_cert_check_time(&ca.cert, from), 0);
  cr_assert_eq(tlx_cert_check_time(&ca.cert, to), 0);
  cr_assert_eq(tlx_cert_check_time(&ca.cert, to + 1000), TLX_E_CERT_EXPIRED);
  fixture_ca_done(&ca);
}

Test(cert, only_the_issuer_verifies) {
  struct fixture_ca ca, other;
  struct fixture_leaf leaf;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  fixture_ca_init(&other, "Test CA", FIXTURE_WALL_MS);
  fixture_leaf_init(&leaf, &ca, TLX_CERT_CLIENT, URI, FIXTURE_WALL_MS, 0);
  cr_assert_eq(tlx_cert_verify_issued(&leaf.cert, &ca.cert), 0);
  cr_assert_eq(tlx_cert_verify_issued(&leaf.cert, &other.cert), TLX_E_CERT_UNTRUSTED);
  cr_assert_eq(tlx_cert_verify_issued(&ca.cert, &leaf.cert), TLX_E_CERT_UNTRUSTED);
  fixture_leaf_done(&leaf);
  fixture_ca_done(&other);
  fixture_ca_done(&ca);
}

/* Each bit of a certificate is either signed or part of the signature. */
Test(cert, a_changed_bit_is_noticed) {
  struct fixture_ca ca;
  struct fixture_leaf leaf;
  struct tlx_cert cert;
  fixture_ca_init(&ca, "Test CA", FIXTURE_WALL_MS);
  fixture_leaf_init(&leaf, &ca, TLX_CERT_CLIENT, URI, FIXTURE_WALL_MS, 0);
  for (size_t i = 0; i < leaf.der.len; i += 3) {
    leaf.der.data[i] ^= 0x10;
    if (tlx_cert_parse((struct tlx_bytes){leaf.der.data, leaf.der.len}, &cert) == 0)
      cr_assert_lt(tlx_cert_verify_issued(&cert, &ca.cert), 0, "byte %zu", i);
    leaf.der.data[i] ^= 0x10;
  }
  for (size_t len = 0; len < leaf.der.len; len += 7)
    cr_assert_eq(tlx_cert_parse((struct tlx_bytes){leaf.der.data, len}, &cert), TLX_E_MALFORMED);
  fixture_leaf_done(&leaf);
  fixture_ca_done(&ca);
}

static void write_pem(const char *path, const struct tlx_buf *der) {
  struct tlx_buf pem = {0};
  FILE *file = fopen(path, "w");
  cr_assert(file);
  cr_assert_eq(tlx_cert_format_pem((struct tlx_bytes){der->data, der->len}, &pem), 0);
  cr_assert_eq(fwrite(pem.data, 1, pem.len, file), pem.len);
  fclose(file);
  tlx_buf_done(&pem);
}

Test(cert, strict_verifiers_agree) {
  struct fixture_ca ca;
  struct fixture_leaf leaf;
  char folder[] = "/tmp/telovix-cert-XXXXXX", ca_path[64], leaf_path[64], command[256];
  if (system("openssl version >/dev/null 2>&1") != 0) cr_skip("openssl is not installed");
  cr_assert(mkdtemp(folder));
  uint64_t now_wall_ms = (uint64_t)time(NULL) * 1000;
  fixture_ca_init(&ca, "Test CA", now_wall_ms);
  fixture_leaf_init(&leaf, &ca, TLX_CERT_CLIENT, URI, now_wall_ms, 0);
  snprintf(ca_path, sizeof ca_path, "%s/ca.pem", folder);
  snprintf(leaf_path, sizeof leaf_path, "%s/leaf.pem", folder);
  write_pem(ca_path, &ca.der);
  write_pem(leaf_path, &leaf.der);
  snprintf(command, sizeof command,
           "openssl verify -x509_strict -purpose sslclient -CAfile %s %s >/dev/null", ca_path,
           leaf_path);
  cr_assert_eq(system(command), 0);
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_assert_eq(system(command), 0);
  fixture_leaf_done(&leaf);
  fixture_ca_done(&ca);
}

Test(cert, requests_prove_possession) {
  struct tlx_key *key;
  struct tlx_buf der = {0};
  struct tlx_bytes spki;
  cr_assert_eq(tlx_key_new(&key), 0);
  cr_assert_eq(tlx_csr_make(key, "web-1", &der), 0);
  cr_assert_eq(tlx_csr_verify((struct tlx_bytes){der.data, der.len}, &spki), 0);
  cr_assert_eq(spki.len, tlx_key_spki(key).len);
  cr_assert_arr_eq(spki.data, tlx_key_spki(key).data, spki.len);
  for (size_t i = 0; i < der.len; i++) {
    der.data[i] ^= 1;
    cr_assert_lt(tlx_csr_verify((struct tlx_bytes){der.data, der.len}, &spki), 0, "byte %zu", i);
    der.data[i] ^= 1;
  }
  tlx_buf_done(&der);
  tlx_key_free(key);
}

Test(cert, names_that_do_not_fit) {
  struct tlx_key *key;
  struct tlx_buf der = {0};
  char longest[66];
  memset(longest, 'a', sizeof longest);
  longest[65] = 0;
  cr_assert_eq(tlx_key_new(&key), 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CA,
                                       .serial = {1},
                                       .subject_cn = longest,
                                       .issuer_cn = "x",
                                       .not_after_wall_ms = 1,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = tlx_key_spki(key)};
  cr_assert_lt(tlx_cert_issue(&template, key, &der), 0);
  tlx_buf_done(&der);
  tlx_key_free(key);
}
