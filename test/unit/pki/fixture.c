// SPDX-License-Identifier: GPL-2.0-or-later
#include "fixture.h"

#include <criterion/criterion.h>

static void add_hosts(struct tlx_cert_template *template) {
  static const char *const hosts[] = {"console.example.org", "127.0.0.1", "::1"};
  template->hosts = hosts;
  template->n_hosts = 3;
}

void fixture_ca_init(struct fixture_ca *ca, const char *cn, uint64_t wall_ms) {
  struct tlx_buf pem = {0};
  *ca = (struct fixture_ca){0};
  cr_assert_eq(tlx_key_new(&ca->key), 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CA,
                                       .subject_cn = cn,
                                       .issuer_cn = cn,
                                       .not_before_wall_ms = wall_ms - FIXTURE_DAY_MS,
                                       .not_after_wall_ms = wall_ms + 3650 * FIXTURE_DAY_MS,
                                       .subject_spki = tlx_key_spki(ca->key),
                                       .issuer_spki = tlx_key_spki(ca->key)};
  cr_assert_eq(tlx_serial_make(template.serial), 0);
  cr_assert_eq(tlx_cert_issue(&template, ca->key, &ca->der), 0);
  struct tlx_bytes der = {ca->der.data, ca->der.len};
  cr_assert_eq(tlx_cert_parse(der, &ca->cert), 0);
  cr_assert_eq(tlx_cert_format_pem(der, &pem), 0);
  cr_assert_eq(tlx_ca_bundle_parse_pem(pem.data, pem.len, &ca->bundle), 0);
  tlx_buf_done(&pem);
}

void fixture_ca_done(struct fixture_ca *ca) {
  tlx_ca_bundle_free(ca->bundle);
  tlx_buf_done(&ca->der);
  tlx_key_free(ca->key);
}

void fixture_leaf_init(struct fixture_leaf *leaf, const struct fixture_ca *ca,
                       enum tlx_cert_profile profile, const char *uri, uint64_t wall_ms,
                       int shift_days) {
  uint64_t middle_wall_ms = (uint64_t)((int64_t)wall_ms + shift_days * (int64_t)FIXTURE_DAY_MS);
  *leaf = (struct fixture_leaf){0};
  cr_assert_eq(tlx_key_new(&leaf->key), 0);
  struct tlx_cert_template template = {.profile = profile,
                                       .subject_cn = "leaf",
                                       .issuer_cn = ca->cert.subject_cn,
                                       .not_before_wall_ms = middle_wall_ms - FIXTURE_DAY_MS,
                                       .not_after_wall_ms = middle_wall_ms + 30 * FIXTURE_DAY_MS,
                                       .subject_spki = tlx_key_spki(leaf->key),
                                       .issuer_spki = tlx_key_spki(ca->key),
                                       .uri = uri};
  if (profile == TLX_CERT_SERVER) add_hosts(&template);
  cr_assert_eq(tlx_serial_make(template.serial), 0);
  cr_assert_eq(tlx_cert_issue(&template, ca->key, &leaf->der), 0);
  cr_assert_eq(tlx_cert_parse((struct tlx_bytes){leaf->der.data, leaf->der.len}, &leaf->cert), 0);
}

void fixture_leaf_done(struct fixture_leaf *leaf) {
  tlx_buf_done(&leaf->der);
  tlx_key_free(leaf->key);
}
