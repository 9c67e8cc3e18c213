// SPDX-License-Identifier: GPL-2.0-or-later
#include "fixture_profile.h"

#include "common/clock.h"

void profile_fixture_ini(struct profile_fixture *fx, const char *lines) {
  char text[1024];
  int len = snprintf(text, sizeof text, "[profile]\n%s", lines);
  folder_write(&fx->folder, "profile.ini", text, (size_t)len, 0600);
}

void profile_fixture_pem(struct profile_fixture *fx, const char *name, const struct tlx_buf *der) {
  struct tlx_buf pem = {0};
  cr_assert_eq(tlx_cert_format_pem((struct tlx_bytes){der->data, der->len}, &pem), 0);
  folder_write(&fx->folder, name, pem.data, pem.len, 0600);
  tlx_buf_done(&pem);
}

void profile_fixture_init(struct profile_fixture *fx, const char *console) {
  uint64_t wall_ms = tlx_wall_ms(tlx_clock_system());
  char lines[512];
  memset(fx, 0, sizeof *fx);
  folder_init(&fx->folder);
  fixture_ca_init(&fx->ca, "Fleet CA", wall_ms);
  fixture_leaf_init(&fx->server, &fx->ca, TLX_CERT_SERVER, FIXTURE_CONSOLE, wall_ms, 0);
  fixture_leaf_init(&fx->operator, & fx->ca, TLX_CERT_CLIENT,
                    "spiffe://" FIXTURE_FLEET "/operator/bob", wall_ms, 0);
  profile_fixture_pem(fx, "ca.crt", &fx->ca.der);
  profile_fixture_pem(fx, "client.crt", &fx->operator.der);
  cr_assert_eq(tlx_key_save(fx->operator.key, folder_join(&fx->folder, "client.key")), 0);
  snprintf(lines, sizeof lines,
           "console = %s\nfleet_id = " FIXTURE_FLEET "\nfleet = Test\nname = bob\n", console);
  profile_fixture_ini(fx, lines);
}

void profile_fixture_done(struct profile_fixture *fx) {
  fixture_leaf_done(&fx->operator);
  fixture_leaf_done(&fx->server);
  fixture_ca_done(&fx->ca);
  folder_done(&fx->folder);
}
