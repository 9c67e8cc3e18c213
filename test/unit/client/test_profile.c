// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/profile.h"

#include <errno.h>

#include "common/clock.h"
#include "common/err.h"
#include "fixture_profile.h"

static char why[512];

static int load(struct profile_fixture *fx, struct profile *profile) {
  why[0] = '\0';
  memset(profile, 0, sizeof *profile);
  return profile_load(fx->folder.path, profile, why);
}

/* A failure names the file, and nothing is left behind in the caller's profile. */
static void expect_fails(struct profile_fixture *fx, int err, const char *file, const char *part) {
  struct profile profile;
  int got = load(fx, &profile);
  cr_assert_eq(got, err, "%d %s", got, why);
  cr_assert(strstr(why, fx->folder.path) && strstr(why, file), "%s", why);
  cr_assert(strstr(why, part), "%s is not in: %s", part, why);
  cr_assert_null(profile.tls_ctx);
}

Test(profile, which_folder) {
  char out[4096], long_name[5000];
  setenv("HOME", "/home/bob", 1);
  setenv("TELOVIX_PROFILE", "/env", 1);
  cr_assert_eq(profile_folder("/given", out), 0);
  cr_assert_str_eq(out, "/given");
  cr_assert_eq(profile_folder(NULL, out), 0);
  cr_assert_str_eq(out, "/env");
  cr_assert_eq(profile_folder("", out), 0);
  cr_assert_str_eq(out, "/env");
  setenv("TELOVIX_PROFILE", "", 1);
  cr_assert_eq(profile_folder(NULL, out), 0);
  cr_assert_str_eq(out, "/home/bob/.config/telovix");
  memset(long_name, 'a', sizeof long_name);
  long_name[sizeof long_name - 1] = '\0';
  cr_assert_eq(profile_folder(long_name, out), -ENAMETOOLONG);
  setenv("HOME", long_name, 1);
  cr_assert_eq(profile_folder(NULL, out), -ENAMETOOLONG);
  setenv("HOME", "", 1);
  cr_assert_eq(profile_folder(NULL, out), TLX_E_NOT_FOUND);
  unsetenv("HOME");
  unsetenv("TELOVIX_PROFILE");
  cr_assert_eq(profile_folder(NULL, out), TLX_E_NOT_FOUND);
}

Test(profile, loaded) {
  struct profile_fixture fx;
  struct profile profile;
  profile_fixture_init(&fx, "console.example.org:15483");
  cr_assert_eq(load(&fx, &profile), 0, "%s", why);
  cr_assert_str_eq(profile.console, "console.example.org:15483");
  cr_assert_str_eq(profile.fleet_id, FIXTURE_FLEET);
  cr_assert_str_eq(profile.fleet, "Test");
  cr_assert_str_eq(profile.name, "bob");
  cr_assert(profile.tls_ctx);
  profile_done(&profile);
  profile_done(&profile);
  profile_done(NULL);
  profile_fixture_done(&fx);
}

Test(profile, settings) {
  struct profile_fixture fx;
  profile_fixture_init(&fx, "a:1");
  profile_fixture_ini(&fx, "console = a:1\n");
  expect_fails(&fx, TLX_E_MALFORMED, "profile.ini", "needs console and fleet_id");
  profile_fixture_ini(&fx, "fleet_id = " FIXTURE_FLEET "\n");
  expect_fails(&fx, TLX_E_MALFORMED, "profile.ini", "needs console and fleet_id");
  profile_fixture_ini(&fx, "console = nowhere\n");
  expect_fails(&fx, TLX_E_MALFORMED, "profile.ini", "HOST:PORT");
  profile_fixture_ini(&fx, "fleet_id = fleet-x\n");
  expect_fails(&fx, TLX_E_MALFORMED, "profile.ini", "fleet-");
  profile_fixture_ini(&fx, "name =\n");
  expect_fails(&fx, TLX_E_MALFORMED, "profile.ini", "empty or longer");
  profile_fixture_ini(&fx, "colour = blue\n");
  expect_fails(&fx, TLX_E_NOT_FOUND, "profile.ini", "colour");
  unlink(folder_join(&fx.folder, "profile.ini"));
  expect_fails(&fx, -ENOENT, "profile.ini", "--profile or TELOVIX_PROFILE");
  profile_fixture_done(&fx);
}

Test(profile, a_missing_or_damaged_file) {
  static const char *const names[] = {"ca.crt", "client.crt", "client.key"};
  for (int i = 0; i < 3; i++) {
    struct profile_fixture fx;
    profile_fixture_init(&fx, "a:1");
    cr_assert_eq(unlink(folder_join(&fx.folder, names[i])), 0);
    expect_fails(&fx, -ENOENT, names[i], "");
    folder_write(&fx.folder, names[i], "garbage", 7, 0600);
    expect_fails(&fx, TLX_E_MALFORMED, names[i], "");
    profile_fixture_done(&fx);
  }
}

Test(profile, a_key_that_others_may_read) {
  struct profile_fixture fx;
  profile_fixture_init(&fx, "a:1");
  cr_assert_eq(chmod(folder_join(&fx.folder, "client.key"), 0644), 0);
  expect_fails(&fx, TLX_E_MODE, "client.key", "chmod 600");
  profile_fixture_done(&fx);
}

Test(profile, key_and_certificate_must_match) {
  struct profile_fixture fx;
  profile_fixture_init(&fx, "a:1");
  profile_fixture_pem(&fx, "client.crt", &fx.server.der);
  expect_fails(&fx, TLX_E_KEY_MISMATCH, "client.crt", "cannot be used");
  profile_fixture_done(&fx);
}

/* ---- a renewal that was cut off: at each instant the profile is one that works ---- */

static void expect_loads(struct profile_fixture *fx, const char *when) {
  struct profile profile;
  cr_assert_eq(load(fx, &profile), 0, "%s: %s", when, why);
  profile_done(&profile);
}

Test(profile, a_renewal_cut_off_at_each_step) {
  struct profile_fixture fx;
  struct fixture_leaf renewed;
  char key[256], new_key[256], crt[256], new_crt[256];
  profile_fixture_init(&fx, "localhost:1");
  fixture_leaf_init(&renewed, &fx.ca, TLX_CERT_CLIENT, "spiffe://" FIXTURE_FLEET "/operator/bob",
                    tlx_wall_ms(tlx_clock_system()), 0);
  strcpy(key, folder_join(&fx.folder, "client.key"));
  strcpy(new_key, folder_join(&fx.folder, PROFILE_NEW_KEY));
  strcpy(crt, folder_join(&fx.folder, "client.crt"));
  strcpy(new_crt, folder_join(&fx.folder, PROFILE_NEW_CRT));
  cr_assert_eq(tlx_key_save(renewed.key, new_key), 0);
  expect_loads(&fx, "the new key is made");
  profile_fixture_pem(&fx, PROFILE_NEW_CRT, &renewed.der);
  expect_loads(&fx, "the new certificate has come");
  cr_assert_eq(rename(new_key, key), 0);
  expect_loads(&fx, "the new key is in its place");
  cr_assert_neq(access(new_crt, F_OK), 0, "and its certificate follows it");
  expect_loads(&fx, "all is in its place");
  /* Another key's certificate that lies about is not taken. */
  profile_fixture_pem(&fx, PROFILE_NEW_CRT, &fx.server.der);
  profile_fixture_pem(&fx, "client.crt", &fx.operator.der);
  struct profile profile;
  cr_assert_neq(load(&fx, &profile), 0);
  fixture_leaf_done(&renewed);
  profile_fixture_done(&fx);
}
