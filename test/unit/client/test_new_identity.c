// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/new_identity.h"

#include <errno.h>

#include "client/profile.h"
#include "common/clock.h"
#include "common/err.h"
#include "fixture_profile.h"

static char why[512];

static void open_in(struct profile_fixture *fx, struct new_identity *identity) {
  cr_assert_eq(new_identity_open(fx->folder.path, PROFILE_NEW_KEY, "csr", "bob", identity, why), 0,
               "%s", why);
}

Test(new_identity, is_taken_up_again) {
  struct profile_fixture fx;
  struct new_identity first, again;
  struct stat info;
  profile_fixture_init(&fx, "localhost:1");
  open_in(&fx, &first);
  cr_assert_eq(stat(first.key_path, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
  open_in(&fx, &again);
  cr_assert_eq(first.csr.len, again.csr.len);
  cr_assert_arr_eq(first.csr.data, again.csr.data, first.csr.len);
  new_identity_done(&again);
  /* Half of it is worth nothing: the request of a key that is gone. */
  cr_assert_eq(unlink(first.key_path), 0);
  open_in(&fx, &again);
  cr_assert(first.csr.len != again.csr.len ||
            memcmp(first.csr.data, again.csr.data, first.csr.len) != 0);
  new_identity_done(&again);
  /* A key that others may read is not used. */
  cr_assert_eq(chmod(first.key_path, 0644), 0);
  open_in(&fx, &again);
  cr_assert_eq(stat(again.key_path, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
  new_identity_done(&again);
  new_identity_done(&first);
  new_identity_done(&first);
  cr_assert_neq(new_identity_open("/nowhere", "key", "csr", "bob", &first, why), 0);
  cr_assert(strstr(why, "/nowhere/key"), "%s", why);
  profile_fixture_done(&fx);
}

static int check(const struct new_identity *identity, struct profile_fixture *fx, const char *name,
                 struct tlx_bytes leaf) {
  struct tlx_buf chain_pem = {0}, bundle_pem = {0};
  struct tlx_bytes ca = {fx->ca.der.data, fx->ca.der.len};
  int err = new_identity_check(identity, FIXTURE_FLEET, name, &leaf, leaf.len ? 1 : 0, &ca, 1,
                               &chain_pem, &bundle_pem, why);
  tlx_buf_done(&chain_pem);
  tlx_buf_done(&bundle_pem);
  return err;
}

static void issue(struct profile_fixture *fx, struct tlx_bytes spki, const char *uri,
                  struct tlx_buf *der) {
  uint64_t wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_cert_template template = {.profile = TLX_CERT_CLIENT,
                                       .serial = {1},
                                       .subject_cn = "bob",
                                       .issuer_cn = fx->ca.cert.subject_cn,
                                       .not_before_wall_ms = wall_ms,
                                       .not_after_wall_ms = wall_ms + FIXTURE_DAY_MS,
                                       .subject_spki = spki,
                                       .issuer_spki = fx->ca.cert.spki,
                                       .uri = uri};
  der->len = 0;
  cr_assert_eq(tlx_cert_issue(&template, fx->ca.key, der), 0);
}

Test(new_identity, only_its_own_certificate_is_taken) {
  struct profile_fixture fx;
  struct new_identity identity;
  struct tlx_buf der = {0};
  profile_fixture_init(&fx, "localhost:1");
  open_in(&fx, &identity);
  struct tlx_bytes spki = tlx_key_spki(identity.key);
  issue(&fx, spki, "spiffe://" FIXTURE_FLEET "/operator/bob", &der);
  cr_assert_eq(check(&identity, &fx, "bob", (struct tlx_bytes){der.data, der.len}), 0, "%s", why);
  cr_assert_eq(check(&identity, &fx, "eve", (struct tlx_bytes){der.data, der.len}),
               TLX_E_CERT_UNTRUSTED);
  cr_assert_eq(check(&identity, &fx, "bob", (struct tlx_bytes){NULL, 0}), TLX_E_MALFORMED);
  cr_assert_eq(check(&identity, &fx, "bob",
                     (struct tlx_bytes){fx.operator.der.data, fx.operator.der.len}),
               TLX_E_KEY_MISMATCH);
  issue(&fx, spki, "spiffe://fleet-zzzzzzzzzzzzzzzz/operator/bob", &der);
  cr_assert_eq(check(&identity, &fx, "bob", (struct tlx_bytes){der.data, der.len}),
               TLX_E_CERT_UNTRUSTED);
  struct fixture_ca other;
  fixture_ca_init(&other, "Other CA", tlx_wall_ms(tlx_clock_system()));
  struct fixture_ca own = fx.ca;
  fx.ca = other;
  issue(&fx, spki, "spiffe://" FIXTURE_FLEET "/operator/bob", &der);
  fx.ca = own;
  cr_assert_eq(check(&identity, &fx, "bob", (struct tlx_bytes){der.data, der.len}),
               TLX_E_CERT_UNTRUSTED);
  fixture_ca_done(&other);
  tlx_buf_done(&der);
  new_identity_done(&identity);
  profile_fixture_done(&fx);
}
