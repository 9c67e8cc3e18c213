// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/settings.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

/* ---- the file ---- */

static int read_ini(const char *text, struct settings *settings, char why[512]) {
  char path[] = "/tmp/telovix-console-XXXXXX";
  int fd = mkstemp(path);
  cr_assert_geq(fd, 0);
  cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  *why = 0;
  int err = settings_read(path, settings, why);
  unlink(path);
  if (err) cr_assert(strstr(why, path), "\"%s\" names no file", why);
  return err;
}

static int read_line(const char *line, struct settings *settings, char why[512]) {
  char text[1024];
  snprintf(text, sizeof text, "[console]\n%s\n", line);
  return read_ini(text, settings, why);
}

Test(settings, defaults) {
  struct settings settings;
  settings_init(&settings);
  cr_assert_str_eq(settings.listen, "[::]:15483");
  cr_assert_eq(settings.n_advertise, 0);
  cr_assert_eq(settings.stale_after_ms, 90000);
  cr_assert_eq(settings.heartbeat_interval_ms, 15000);
  cr_assert_eq(settings.map_size, 0);
  cr_assert_gt(settings.stranger_handshakes, 0);
}

Test(settings, edges_of_every_value) {
  static const struct {
    const char *line;
    bool good;
  } cases[] = {{"listen = [::]:15483", true},
               {"listen = 127.0.0.1:0", true},
               {"listen = 127.0.0.1:65535", true},
               {"listen = 127.0.0.1:65536", false},
               {"listen = localhost:1", false},
               {"listen = 127.0.0.1", false},
               {"listen = :1", false},
               {"listen = [::]", false},
               {"listen = []:1", false},
               {"listen = [::1:1", false},
               {"listen = ::1:1", false},
               {"listen = [127.0.0.1]:1", false},
               {"listen = 127.0.0.1:", false},
               {"listen = 127.0.0.1:-1", false},
               {"advertise = a.example.org, 192.0.2.1:99, [2001:db8::1]:7", true},
               {"advertise = -bad-", false},
               {"advertise = a,b c,,d", true},
               {"stale_after = 1s", true},
               {"stale_after = 999ms", false},
               {"stale_after = 24h", true},
               {"stale_after = 86400001ms", false},
               {"stale_after = 90", false},
               {"heartbeat_interval = 100ms", true},
               {"heartbeat_interval = 99ms", false},
               {"heartbeat_interval = 45s", true},
               {"heartbeat_interval = 45001ms", false},
               {"map_size = 16M", true},
               {"map_size = 16m", true},
               {"map_size = 16777216", true},
               {"map_size = 16777215", false},
               {"map_size = 15M", false},
               {"map_size = 16384K", true},
               {"map_size = 32T", true},
               {"map_size = 33T", false},
               {"map_size = 16X", false},
               {"map_size = 16MM", false},
               {"map_size = M", false},
               {"map_size = 99999999999999999999999999", false},
               {"stranger_handshakes = 1", true},
               {"stranger_handshakes = 100000", true},
               {"stranger_handshakes = 100001", false},
               {"stranger_handshakes = 0", false},
               {"unknown = 1", false},
               {"listen", false},
               {"stale_after = 60s\nstale_after = 60s", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct settings settings;
    char why[512];
    settings_init(&settings);
    int err = read_line(cases[i].line, &settings, why);
    cr_assert_eq(err == 0, cases[i].good, "%s: %s", cases[i].line, why);
    cr_assert_eq(*why == 0, cases[i].good, "%s", cases[i].line);
  }
}

Test(settings, values_arrive) {
  struct settings settings;
  char why[512];
  cr_assert_eq(read_line("listen = 127.0.0.1:7\nadvertise = a.example.org 192.0.2.1:99\n"
                         "stale_after = 30s\nheartbeat_interval = 3s\nmap_size = 1G\n"
                         "stranger_handshakes = 5",
                         &settings, why),
               0);
  cr_assert_str_eq(settings.listen, "127.0.0.1:7");
  cr_assert_eq(settings.n_advertise, 2);
  cr_assert_str_eq(settings.advertise[0], "a.example.org");
  cr_assert_str_eq(settings.advertise[1], "192.0.2.1:99");
  cr_assert_eq(settings.stale_after_ms, 30000);
  cr_assert_eq(settings.heartbeat_interval_ms, 3000);
  cr_assert_eq(settings.map_size, 1ull << 30);
  cr_assert_eq(settings.stranger_handshakes, 5);
}

/* ---- containment ---- */

Test(settings, containment) {
  struct settings settings;
  char why[512];
  settings_init(&settings);
  cr_assert_eq(settings.containment_allow.n, 0);
  cr_assert_eq(settings.containment_on_lost, CONTAIN_KEEP);
  cr_assert_eq(
      read_ini(
          "[containment]\nallow = out:192.0.2.1/32,53/udp  in:2001:DB8::/32\tin:2001:db8::/32\n"
          "on_lost_console = release\n",
          &settings, why),
      0, "%s", why);
  cr_assert_eq(settings.containment_allow.n, 2);
  cr_assert_str_eq(settings.containment_allow.entries[0], "out:192.0.2.1/32,53/udp");
  cr_assert_str_eq(settings.containment_allow.entries[1], "in:2001:db8::/32");
  cr_assert_eq(settings.containment_on_lost, CONTAIN_RELEASE);
  cr_assert_eq(read_ini("[containment]\nallow =\n", &settings, why), 0);
  cr_assert_eq(settings.containment_allow.n, 0);
}

Test(settings, containment_faults_name_line_and_entry) {
  static const struct {
    const char *text, *part;
  } cases[] = {
      {"[containment]\nallow = in:10.0.0.0/8 in:0.0.0.0/0\n",
       ":2: [containment] allow: \"in:0.0.0.0/0\" is a /0, which would let everything through"},
      {"[containment]\n\nallow = in:10.0.0.0/8,out:10.0.0.0/8\n",
       ":3: [containment] allow: \"in:10.0.0.0/8,out:10.0.0.0/8\" has a port that is not between"},
      {"[containment]\nallow = in:10.0.0.0/8\nallow = in:10.0.0.0/8\n",
       ":3: [containment] allow: is given twice"},
      {"[containment]\non_lost_console = stay\n",
       ":2: [containment] on_lost_console: want keep or release"},
      {"[containment]\non_lost_console =\n",
       ":2: [containment] on_lost_console: want keep or release"},
      {"[containment]\nallowed = in:10.0.0.0/8\n", ":2: [containment] allowed: is not a setting"},
      {"[console]\nallow = in:10.0.0.0/8\n", ":2: [console] allow: is not a setting"},
      {"[containment]\nallow = "
       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       "xxxxxxxxxxxxxxxxxxxxx\n",
       "is not in:CIDR or out:CIDR"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct settings settings;
    char why[512];
    settings_init(&settings);
    cr_assert_neq(read_ini(cases[i].text, &settings, why), 0, "%s", cases[i].text);
    cr_assert(strstr(why, cases[i].part), "%s", why);
    cr_assert_eq(settings.containment_allow.n, 0, "untouched");
  }
}

/* The most that there may be, in one line of the file, and one more. */
Test(settings, containment_has_room_for_64_entries) {
  static char text[8192];
  struct settings settings;
  char why[512];
  size_t at = (size_t)snprintf(text, sizeof text, "[containment]\nallow =");
  for (unsigned i = 0; i < TLX_ALLOW_LIST_MAX; i++)
    at += (size_t)snprintf(text + at, sizeof text - at,
                           " out:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff%02x/128,10000-65535/tcp", i);
  cr_assert_eq(read_ini(text, &settings, why), 0, "%s", why);
  cr_assert_eq(settings.containment_allow.n, TLX_ALLOW_LIST_MAX);
  snprintf(text + at, sizeof text - at, " in:10.0.0.0/8\n");
  cr_assert_neq(read_ini(text, &settings, why), 0);
  cr_assert(strstr(why, ":2: [containment] allow: at most 64 entries"), "%s", why);
}

Test(settings, an_empty_file_is_the_defaults) {
  struct settings settings, defaults;
  char why[512];
  settings_init(&defaults);
  cr_assert_eq(read_ini("", &settings, why), 0);
  cr_assert_str_eq(settings.listen, defaults.listen);
  cr_assert_eq(settings.stale_after_ms, defaults.stale_after_ms);
  cr_assert_eq(settings.heartbeat_interval_ms, defaults.heartbeat_interval_ms);
}

Test(settings, no_file) {
  struct settings settings;
  char why[512] = "";
  settings_init(&settings);
  cr_assert_eq(settings_read("/nonexistent/console.ini", &settings, why), -ENOENT);
  cr_assert_str_eq(settings.listen, "[::]:15483");
  cr_assert_eq(settings.stale_after_ms, 90000);
}

Test(settings, a_fault_names_its_line_and_changes_nothing) {
  struct settings settings;
  char why[512];
  settings_init(&settings);
  cr_assert_neq(read_line("listen = 127.0.0.1:7\nstale_after = never", &settings, why), 0);
  cr_assert(strstr(why, ":3: "), "%s", why);
  cr_assert(strstr(why, "stale_after"), "%s", why);
  cr_assert_str_eq(settings.listen, "[::]:15483", "untouched");
  cr_assert_neq(read_ini("[other]\nlisten = 127.0.0.1:7\n", &settings, why), 0);
  cr_assert(strstr(why, ":2: "), "%s", why);
}

Test(settings, interval_and_threshold_belong_together) {
  struct settings settings;
  char why[512];
  static const struct {
    const char *text;
    uint64_t interval_ms;                  /* 0 = refused */
  } cases[] = {{"stale_after = 6s", 1000}, /* six beats fit */
               {"stale_after = 89s", 14833},
               {"stale_after = 90s", 15000},
               {"stale_after = 180s", 15000}, /* never more than the default by itself */
               {"stale_after = 10s\nheartbeat_interval = 5s", 5000},
               {"stale_after = 10s\nheartbeat_interval = 5001ms", 0},
               {"heartbeat_interval = 5s\nstale_after = 10s", 5000},
               {"heartbeat_interval = 5001ms\nstale_after = 10s", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int err = read_line(cases[i].text, &settings, why);
    cr_assert_eq(err, cases[i].interval_ms ? 0 : TLX_E_CONFLICT, "%s: %s", cases[i].text, why);
    if (!err) cr_assert_eq(settings.heartbeat_interval_ms, cases[i].interval_ms);
  }
}

/* ---- addresses ---- */

Test(settings, advertise_has_a_limit) {
  struct settings settings;
  char why[256] = "";
  settings_init(&settings);
  for (unsigned i = 0; i < SETTINGS_ADVERTISE_MAX; i++)
    cr_assert_eq(settings_add_advertise(&settings, "a.example.org", why), 0);
  cr_assert_eq(settings_add_advertise(&settings, "a.example.org", why), TLX_E_LIMIT);
  cr_assert_gt(strlen(why), 0);
  cr_assert_eq(settings.n_advertise, SETTINGS_ADVERTISE_MAX);
}

Test(settings, what_is_shown_is_escaped) {
  struct settings settings;
  char why[256] = "";
  settings_init(&settings);
  cr_assert_eq(settings_add_advertise(&settings, "a\x1b[2J\n", why), TLX_E_MALFORMED);
  cr_assert_eq(strcspn(why, "\x1b\n"), strlen(why));
  cr_assert_eq(settings.n_advertise, 0);
}

Test(settings, listen_is_untouched_by_a_fault) {
  struct settings settings;
  char why[256] = "";
  settings_init(&settings);
  cr_assert_eq(settings_set_listen(&settings, "example.org:1", why), TLX_E_MALFORMED);
  cr_assert_gt(strlen(why), 0);
  cr_assert_str_eq(settings.listen, "[::]:15483");
  cr_assert_eq(settings_set_listen(&settings, "[::1]:1", why), 0);
  cr_assert_str_eq(settings.listen, "[::1]:1");
}

Test(settings, split) {
  static const struct {
    const char *address, *host; /* NULL = refused */
    uint16_t port;
  } cases[] = {{"a.example.org", "a.example.org", 0},
               {"a.example.org:1", "a.example.org", 1},
               {"a.example.org:65535", "a.example.org", 65535},
               {"192.0.2.1:99", "192.0.2.1", 99},
               {"2001:db8::1", "2001:db8::1", 0},
               {"[2001:db8::1]", "2001:db8::1", 0},
               {"[2001:db8::1]:7", "2001:db8::1", 7},
               {"a", "a", 0},
               {"a.example.org:0", NULL, 0},
               {"a.example.org:65536", NULL, 0},
               {"a.example.org:", NULL, 0},
               {"a.example.org:x", NULL, 0},
               {"", NULL, 0},
               {":1", NULL, 0},
               {"[]:1", NULL, 0},
               {"[2001:db8::1", NULL, 0},
               {"[2001:db8::1]x", NULL, 0},
               {"[2001:db8::1]:", NULL, 0},
               {"[a.example.org]:1", NULL, 0},
               {"[192.0.2.1]:1", NULL, 0},
               {"a..b", NULL, 0},
               {".a", NULL, 0},
               {"a.", NULL, 0},
               {"-a", NULL, 0},
               {"a-", NULL, 0},
               {"a-.b", NULL, 0},
               {"a_b", NULL, 0},
               {"a b", NULL, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char host[256] = "untouched";
    uint16_t port = 42;
    int err = settings_split(cases[i].address, host, &port);
    cr_assert_eq(err, cases[i].host ? 0 : TLX_E_MALFORMED, "%s", cases[i].address);
    cr_assert_str_eq(host, cases[i].host ? cases[i].host : "untouched", "%s", cases[i].address);
    cr_assert_eq(port, cases[i].host ? cases[i].port : 42, "%s", cases[i].address);
  }
}

/* |len| bytes in labels of at most |label|. */
static void make_name(char *out, size_t len, size_t label) {
  for (size_t i = 0; i < len; i++)
    out[i] = i % (label + 1) == label ? '.' : 'a';
  out[len] = 0;
}

Test(settings, longest_names) {
  char name[300], host[256], out[SETTINGS_ADDRESS_MAX], address[SETTINGS_ADDRESS_MAX];
  uint16_t port;
  make_name(name, 63, 63);
  cr_assert_eq(settings_split(name, host, &port), 0);
  make_name(name, 64, 64);
  cr_assert_eq(settings_split(name, host, &port), TLX_E_MALFORMED, "a label of 64");
  make_name(name, 254, 63);
  name[253] = 'a';
  cr_assert_eq(settings_split(name, host, &port), TLX_E_MALFORMED, "254 bytes");
  make_name(name, 253, 63);
  cr_assert_eq(settings_split(name, host, &port), 0);
  snprintf(address, sizeof address, "%s:65535", name);
  cr_assert_eq(settings_split(address, host, &port), 0);
  settings_join(host, port, out);
  cr_assert_str_eq(out, address, "nothing is cut");
}

Test(settings, join_and_address) {
  struct settings settings;
  char out[SETTINGS_ADDRESS_MAX], why[256] = "";
  settings_join("a.example.org", 7, out);
  cr_assert_str_eq(out, "a.example.org:7");
  settings_join("2001:db8::1", 7, out);
  cr_assert_str_eq(out, "[2001:db8::1]:7");
  settings_init(&settings);
  cr_assert_eq(settings_add_advertise(&settings, "2001:db8::1", why), 0);
  cr_assert_eq(settings_add_advertise(&settings, "a.example.org:99", why), 0);
  settings_address(&settings, 0, 77, out);
  cr_assert_str_eq(out, "[2001:db8::1]:77");
  settings_address(&settings, 1, 77, out);
  cr_assert_str_eq(out, "a.example.org:99", "its own port wins");
}
