// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/host.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

Test(host, boot_id) {
  static const uint8_t want[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                   0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
  uint8_t id[16];
  cr_assert_eq(host_boot_id_parse("01234567-89ab-cdef-0123-456789abcdef\n", id), 0);
  cr_assert_arr_eq(id, want, 16);
  static const char *const bad[] = {"",
                                    "\n",
                                    "01234567-89ab-cdef-0123-456789abcde",
                                    "01234567-89ab-cdef-0123-456789abcdef0",
                                    "01234567-89ab-cdef-0123-456789abcdeg",
                                    "01234567-89ab-cdef-0123\n-456789abcdef",
                                    "--------------------------------------------"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_eq(host_boot_id_parse(bad[i], id), TLX_E_MALFORMED, "%s", bad[i]);
  cr_assert_arr_eq(id, want, 16, "untouched on failure");
}

Test(host, os_name) {
  static const struct {
    const char *text, *name;
  } cases[] = {{"PRETTY_NAME=\"Debian GNU/Linux 12\"\n", "Debian GNU/Linux 12"},
               {"ID=x\nPRETTY_NAME='My OS'\nA=b\n", "My OS"},
               {"PRETTY_NAME=Plain", "Plain"},
               {"XPRETTY_NAME=no\n", "Linux"},
               {"", "Linux"},
               {"PRETTY_NAME=\n", "Linux"},
               {"PRETTY_NAME=\"\"\n", "Linux"},
               {"PRETTY_NAME=\"\n", "\""},
               {"PRETTY_NAME=\"a'\n", "\"a'"},
               {"PRETTY_NAME=\xff\n", "Linux"},
               {"PRETTY_NAME=0123456789012345678901234567890123456789\n", "Linux"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char out[32];
    host_os_name_parse(cases[i].text, out, sizeof out);
    cr_assert_str_eq(out, cases[i].name, "%s", cases[i].text);
  }
}

Test(host, facts_of_this_host) {
  struct host host;
  uint8_t again[16];
  char text[64] = "", path[64];
  cr_assert_eq(host_read(&host), 0);
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
  cr_assert(file && fgets(text, sizeof text, file));
  fclose(file);
  cr_assert_eq(host_boot_id_parse(text, again), 0);
  cr_assert_arr_eq(host.boot_id, again, 16);
  cr_assert_eq(host.self_pid, getpid());
  cr_assert_eq(host.clk_tck, sysconf(_SC_CLK_TCK));
  cr_assert(*host.kernel_release && *host.architecture && *host.os_name && *host.hostname);
  ssize_t n = readlink("/proc/self/ns/pid", path, sizeof path - 1);
  cr_assert_gt(n, 0);
  path[n] = '\0';
  if (strcmp(path, "pid:[4026531836]") != 0)
    cr_assert_not(host.in_initial_namespaces, "PIDs of orders would name other processes here");
}

Test(host, usage_grows) {
  uint64_t rss_bytes, cpu_ms, later_ms;
  host_usage(&rss_bytes, &cpu_ms);
  cr_assert_gt(rss_bytes, 1u << 20);
  do
    host_usage(&rss_bytes, &later_ms);
  while (later_ms == cpu_ms);
  cr_assert_gt(later_ms, cpu_ms);
}

Test(host, cgroup_path) {
  char out[256] = "untouched", mount[512] = "", line[1024];
  cr_assert_eq(host_cgroup_path("/nonexistent/folder", out), -ENOENT);
  cr_assert_eq(host_cgroup_path("/etc/passwd/x", out), -ENOTDIR);
  cr_assert_eq(host_cgroup_path("/", out), -EINVAL);
  cr_assert_eq(host_cgroup_path("/proc", out), -EINVAL);
  cr_assert_str_eq(out, "untouched");
  FILE *mounts = fopen("/proc/self/mounts", "re");
  cr_assert(mounts);
  while (fgets(line, sizeof line, mounts))
    if (strstr(line, " cgroup2 ")) cr_assert_eq(sscanf(line, "%*s %511s", mount), 1);
  fclose(mounts);
  if (!*mount) cr_skip_test("no cgroup2 file system is mounted");
  cr_assert_eq(host_cgroup_path(mount, out), 0);
  cr_assert_str_eq(out, "/");
  snprintf(line, sizeof line, "%s/cgroup.procs", mount);
  cr_assert_eq(host_cgroup_path(line, out), -ENOTDIR, "a file in it is no scope");
}
