// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_protect.h"

#include <glob.h>
#include <string.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/file.h"

static const char *const init_programs[] = {"/proc/1/exe", "/sbin/init"};
static const char *const loaders[] = {"/lib/ld-*.so*", "/lib32/ld-*.so*", "/lib64/ld-*.so*",
                                      "/libx32/ld-*.so*", "/lib/*-linux-*/ld-*.so*"};
/* Run by the kernel itself, by name: a refusal would break module loading, keys or core dumps. */
static const char *const helpers[] = {"/sbin/modprobe", "/sbin/request-key"};
static const char *const login_programs[] = {"/bin/login",
                                             "/usr/sbin/sshd",
                                             "/usr/lib/openssh/sshd-session",
                                             "/usr/lib/openssh/sshd-auth",
                                             "/usr/libexec/openssh/sshd-session",
                                             "/usr/libexec/openssh/sshd-auth"};
#define COUNT(list) (sizeof(list) / sizeof *(list))
#define TEXT_MAX (64u << 10)

static bool is_file(const struct stat *st, const char *path) {
  struct stat other;
  return stat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static bool is_one_of(const struct stat *st, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (is_file(st, list[i])) return true;
  return false;
}

static bool is_loader(const struct stat *st) {
  bool found = false;
  for (size_t i = 0; i < COUNT(loaders) && !found; i++) {
    glob_t names = {0};
    if (glob(loaders[i], 0, NULL, &names) == 0)
      found = is_one_of(st, (const char *const *)names.gl_pathv, names.gl_pathc);
    globfree(&names);
  }
  return found;
}

/* Calls for each line that starts with '/', after |skip| where the line starts with it. */
static bool is_in_text(const struct stat *st, const char *path, const char *skip) {
  struct tlx_buf text TLX_CLEANUP(tlx_buf_done) = {0};
  if (tlx_file_read(path, TEXT_MAX, &text) != 0) return false;
  tlx_buf_add_u8(&text, 0);
  if (text.err) return false;
  char *rest = (char *)text.data;
  for (char *line; (line = strsep(&rest, "\n"));) {
    if (*skip && strncmp(line, skip, strlen(skip)) == 0) line += strlen(skip);
    line[strcspn(line, " \t")] = '\0';
    if (*line == '/' && is_file(st, line)) return true;
  }
  return false;
}

static bool is_kernel_helper(const struct stat *st) {
  return is_one_of(st, helpers, COUNT(helpers)) ||
         is_in_text(st, "/proc/sys/kernel/modprobe", "") ||
         is_in_text(st, "/proc/sys/kernel/core_pattern", "|");
}

enum rule_reason rule_protect_check(const struct stat *st, bool force) {
  if (is_file(st, "/proc/self/exe")) return RULE_REASON_OWN_BINARY;
  if (is_one_of(st, init_programs, COUNT(init_programs))) return RULE_REASON_INIT_BINARY;
  if (is_loader(st)) return RULE_REASON_DYNAMIC_LOADER;
  if (is_kernel_helper(st)) return RULE_REASON_KERNEL_HELPER;
  if (!force &&
      (is_one_of(st, login_programs, COUNT(login_programs)) || is_in_text(st, "/etc/shells", "")))
    return RULE_REASON_NEEDS_FORCE;
  return RULE_REASON_NONE;
}
