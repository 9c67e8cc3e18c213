// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/host.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"

#define INITIAL_PID_NS "pid:[4026531836]"
/* The id of a cgroup is the inode number of its folder (kernel: kernfs), and that of the root is 1.
 */
#define CGROUP_ROOT_INODE 1u
#define INITIAL_TIME_NS "time:[4026531834]"

int host_boot_id_parse(const char *text, uint8_t ret_boot_id[16]) {
  char hex[33];
  size_t n = 0;
  for (; *text && *text != '\n'; text++) {
    if (*text == '-') continue;
    if (n == 32) return TLX_E_MALFORMED;
    hex[n++] = *text;
  }
  hex[n] = '\0';
  return n == 32 ? tlx_hex_parse(hex, ret_boot_id, 16) : TLX_E_MALFORMED;
}

void host_os_name_parse(const char *text, char *out, size_t size) {
  static const char key[] = "PRETTY_NAME=";
  snprintf(out, size, "Linux");
  for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
    if (strncmp(line, key, sizeof key - 1) != 0) continue;
    line += sizeof key - 1;
    size_t len = strcspn(line, "\n");
    if (len >= 2 && (*line == '"' || *line == '\'') && line[len - 1] == *line) {
      line++;
      len -= 2;
    }
    if (len && len < size && tlx_text_utf8_valid(line, len))
      snprintf(out, size, "%.*s", (int)len, line);
    return;
  }
}

static bool is_namespace(const char *path, const char *wanted) {
  char link[64];
  ssize_t n = readlink(path, link, sizeof link - 1);
  if (n < 0) return errno == ENOENT; /* a kernel without this kind of namespace has only one */
  link[n] = '\0';
  return strcmp(link, wanted) == 0;
}

static void read_os_name(char *out, size_t size) {
  struct tlx_buf text TLX_CLEANUP(tlx_buf_done) = {0};
  int err = tlx_file_read("/etc/os-release", 65536, &text);
  if (err) err = tlx_file_read("/usr/lib/os-release", 65536, &text);
  tlx_buf_add_u8(&text, 0);
  host_os_name_parse(err || text.err ? "" : (const char *)text.data, out, size);
}

int host_read(struct host *ret_host) {
  struct host host = {0};
  struct tlx_buf boot_id TLX_CLEANUP(tlx_buf_done) = {0};
  struct utsname names;
  int err = tlx_file_read("/proc/sys/kernel/random/boot_id", 64, &boot_id);
  tlx_buf_add_u8(&boot_id, 0);
  if (!err) err = boot_id.err;
  if (!err) err = host_boot_id_parse((const char *)boot_id.data, host.boot_id);
  if (!err && uname(&names) != 0) err = -errno;
  if (!err && gethostname(host.hostname, sizeof host.hostname - 1) != 0) err = -errno;
  if (err) return err;
  snprintf(host.kernel_release, sizeof host.kernel_release, "%s", names.release);
  snprintf(host.architecture, sizeof host.architecture, "%s", names.machine);
  read_os_name(host.os_name, sizeof host.os_name);
  host.in_initial_namespaces = is_namespace("/proc/self/ns/pid", INITIAL_PID_NS) &&
                               is_namespace("/proc/self/ns/time", INITIAL_TIME_NS);
  host.self_pid = getpid();
  host.clk_tck = sysconf(_SC_CLK_TCK);
  if (host.clk_tck <= 0) return -ENOTSUP;
  *ret_host = host;
  return 0;
}

void host_usage(uint64_t *ret_rss_bytes, uint64_t *ret_cpu_ms) {
  struct rusage usage = {0};
  unsigned long long pages = 0;
  *ret_rss_bytes = *ret_cpu_ms = 0;
  FILE *statm TLX_AUTOFCLOSE = fopen("/proc/self/statm", "re");
  if (statm && fscanf(statm, "%*u %llu", &pages) == 1)
    *ret_rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
  if (getrusage(RUSAGE_SELF, &usage) != 0) return;
  *ret_cpu_ms = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

int host_cgroup_path(const char *folder, char *out) {
  char path[PATH_MAX];
  struct statfs info;
  struct stat st;
  if (!realpath(folder, path) || stat(path, &st) != 0) return -errno;
  if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
  if (statfs(path, &info) != 0) return -errno;
  if ((uint32_t)info.f_type != CGROUP2_SUPER_MAGIC) return -EINVAL;
  /* The mount point is the highest folder of this file system. */
  char parent[PATH_MAX];
  strcpy(parent, path);
  size_t mount_len = strlen(path);
  for (char *slash; (slash = strrchr(parent, '/')) && slash != parent;) {
    *slash = '\0';
    if (statfs(parent, &info) != 0 || (uint32_t)info.f_type != CGROUP2_SUPER_MAGIC) break;
    mount_len = strlen(parent);
  }
  const char *rest = path + mount_len;
  if (!*rest) rest = "/";
  return snprintf(out, 256, "%s", rest) < 256 ? 0 : -ENAMETOOLONG;
}

int host_cgroup_root(char *out, size_t size) {
  char mount[PATH_MAX], type[32], *line TLX_AUTOFREE = NULL;
  size_t line_size = 0;
  struct stat st;
  int err = -ENOENT;
  FILE *mounts TLX_AUTOFCLOSE = fopen("/proc/self/mountinfo", "re");
  while (err && mounts && getline(&line, &line_size, mounts) > 0) {
    const char *rest = strstr(line, " - ");
    if (!rest || sscanf(rest, " - %31s", type) != 1 || strcmp(type, "cgroup2") != 0 ||
        sscanf(line, "%*s %*s %*s %*s %4095s", mount) != 1 || stat(mount, &st) != 0)
      continue;
    err = st.st_ino == CGROUP_ROOT_INODE ? 0 : -EXDEV;
    if (!err && snprintf(out, size, "%s", mount) >= (int)size) return -ENAMETOOLONG;
  }
  return err;
}

int host_cgroup_id(const char *folder, uint64_t *ret_id, uint32_t *ret_level) {
  char path[256], mount[PATH_MAX];
  struct stat st, root;
  uint32_t level = 0;
  int err = host_cgroup_path(folder, path);
  if (err) return err;
  if (!realpath(folder, mount) || stat(mount, &st) != 0) return -errno;
  mount[strcmp(path, "/") == 0 ? strlen(mount) : strlen(mount) - strlen(path)] = '\0';
  if (stat(mount, &root) != 0) return -errno;
  /* Below another root, as in a container, the level that the kernel counts is not known. */
  if (root.st_ino != CGROUP_ROOT_INODE) return -EXDEV;
  for (const char *at = path; *at; at++)
    level += *at == '/' && at[1];
  *ret_id = st.st_ino;
  *ret_level = level;
  return 0;
}
