// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_pin.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "bpf-progs/tlx_abi.h"
#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

static int path_of(const char *folder, const char *name, const char *suffix,
                   char path[BPF_PIN_PATH_MAX]) {
  int n = snprintf(path, BPF_PIN_PATH_MAX, "%s/%s%s", folder, name, suffix);
  return n < 0 || n >= BPF_PIN_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- folders ---- */

static int make_folder(const char *path, char why[240]) {
  int err = tlx_folder_make(path, 0700);
  if (err == TLX_E_MODE) {
    snprintf(why, 240, "%s belongs to another user or is open to others: remove it", path);
    return -EPERM;
  }
  if (err) snprintf(why, 240, "%s cannot be made: %s", path, tlx_err_text(err));
  return err;
}

int bpf_pin_folder_make(const char *pin_folder, char why[240], char ret_folder[BPF_PIN_PATH_MAX]) {
  char name[16];
  snprintf(name, sizeof name, "%d", TLX_ABI_VERSION);
  return bpf_pin_folder_make_named(pin_folder, name, why, ret_folder);
}

int bpf_pin_folder_make_named(const char *pin_folder, const char *name, char why[240],
                              char ret_folder[BPF_PIN_PATH_MAX]) {
  char parent[BPF_PIN_PATH_MAX], folder[BPF_PIN_PATH_MAX];
  struct statfs fs;
  if (strlen(pin_folder) + 16 > sizeof parent) return -ENAMETOOLONG;
  strcpy(parent, pin_folder);
  char *slash = strrchr(parent, '/');
  if (!slash || slash == parent) return -EINVAL;
  *slash = '\0';
  if (statfs(parent, &fs) != 0 || (unsigned long)fs.f_type != BPF_FS_MAGIC) {
    snprintf(why, 240, "no BPF file system is mounted on %s: mount -t bpf bpf %s", parent, parent);
    return -ENOENT;
  }
  int err = path_of(pin_folder, name, "", folder);
  if (!err) err = make_folder(pin_folder, why);
  if (!err) err = make_folder(folder, why);
  if (!err) strcpy(ret_folder, folder);
  return err;
}

#define LOCK_TRIES 50u
#define LOCK_TRY_MS 20u

/* By this process: it is not its own stranger. */
static atomic_bool has_held;

int bpf_pin_lock(const char *pin_folder, char why[240], int *lock_fd) {
  char folder[BPF_PIN_PATH_MAX];
  struct stat held, there;
  if (*lock_fd >= 0 && fstat(*lock_fd, &held) == 0 && stat(pin_folder, &there) == 0 &&
      held.st_dev == there.st_dev && held.st_ino == there.st_ino)
    return 0;
  int err = bpf_pin_folder_make(pin_folder, why, folder);
  if (err) return err;
  int fd TLX_AUTOCLOSE = open(pin_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  /* A child of a sensor that was just killed may hold its lock for a moment longer. */
  for (unsigned tries = 0;
       (err = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK && tries < LOCK_TRIES;
       tries++)
    usleep(LOCK_TRY_MS * 1000);
  if (err != 0) {
    err = errno == EWOULDBLOCK ? TLX_E_LOCKED : -errno;
    snprintf(why, 240, err == TLX_E_LOCKED ? "another sensor enforces by the pins in %.120s" : "%s",
             pin_folder);
    return err;
  }
  if (*lock_fd >= 0) close(*lock_fd);
  *lock_fd = TLX_TAKE_FD(fd);
  atomic_store(&has_held, true);
  return 0;
}

bool bpf_pin_is_held_elsewhere(const char *pin_folder) {
  if (atomic_load(&has_held)) return false;
  int fd TLX_AUTOCLOSE = open(pin_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/* ---- objects ---- */

bool bpf_pin_is_frozen(int fd) {
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf text;
  char path[64];
  tlx_buf_init(&text, 0);
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  if (tlx_file_read(path, 4096, &text) != 0) return false;
  tlx_buf_add_u8(&text, 0);
  return !text.err && strstr((const char *)text.data, "\nfrozen:\t1");
}

int bpf_pin_id(int fd, enum bpf_pin_kind kind, uint32_t *ret_id) {
  static const char *const words[][2] = {
      [BPF_PIN_MAP] = {"anon_inode:bpf-map", ""},
      [BPF_PIN_PROG] = {"anon_inode:bpf-prog", ""},
      [BPF_PIN_LINK] = {"anon_inode:bpf_link", "anon_inode:bpf-link"},
  };
  char link[64], target[64] = "";
  union {
    struct bpf_map_info map;
    struct bpf_prog_info prog;
    struct bpf_link_info link;
  } info;
  __u32 len = sizeof info;
  /* The three information structs look alike from outside: only the descriptor's name tells the
   * kind. */
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  if (readlink(link, target, sizeof target - 1) < 0) return -errno;
  if (strncmp(target, "anon_inode:bpf", 14) != 0) return -EBADF;
  if (strcmp(target, words[kind][0]) != 0 && strcmp(target, words[kind][1]) != 0) return -EPROTO;
  memset(&info, 0, sizeof info);
  if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0) return -errno;
  *ret_id = kind == BPF_PIN_MAP ? info.map.id : kind == BPF_PIN_PROG ? info.prog.id : info.link.id;
  return 0;
}

int bpf_pin_open(const char *folder, const char *name, enum bpf_pin_kind kind, int *ret_fd,
                 uint32_t *ret_id) {
  char path[BPF_PIN_PATH_MAX];
  struct stat st;
  int err = path_of(folder, name, "", path);
  if (err) return err;
  if (lstat(path, &st) != 0) return -errno;
  if (!S_ISREG(st.st_mode)) return -EPROTO;
  if (st.st_uid != geteuid()) return -EPERM;
  TLX_AUTOCLOSE int fd = bpf_obj_get(path);
  if (fd < 0) return -errno;
  err = bpf_pin_id(fd, kind, ret_id);
  if (!err) *ret_fd = TLX_TAKE_FD(fd);
  return err;
}

int bpf_pin_prepare(const char *folder, const char *name, int fd) {
  char path[BPF_PIN_PATH_MAX];
  int err = path_of(folder, name, "_new", path);
  if (err) return err;
  /* What a former process left half done. */
  if (unlink(path) != 0 && errno == EISDIR && rmdir(path) != 0) return -errno;
  return bpf_obj_pin(fd, path) == 0 ? 0 : -errno;
}

int bpf_pin_commit(const char *folder, const char *name) {
  char path[BPF_PIN_PATH_MAX], fresh[BPF_PIN_PATH_MAX];
  int err = path_of(folder, name, "_new", fresh);
  if (!err) err = path_of(folder, name, "", path);
  if (err) return err;
  if (rename(fresh, path) == 0) return 0;
  /* A folder of that name holds nothing of ours. */
  if (errno != EISDIR || rmdir(path) != 0) return -errno;
  return rename(fresh, path) == 0 ? 0 : -errno;
}

int bpf_pin_put(const char *folder, const char *name, int fd) {
  int err = bpf_pin_prepare(folder, name, fd);
  return err ? err : bpf_pin_commit(folder, name);
}

static bool is_kept(const char *name, const char *const *keep, unsigned n_keep) {
  for (unsigned i = 0; i < n_keep; i++)
    if (strcmp(name, keep[i]) == 0) return true;
  return false;
}

int bpf_pin_sweep(const char *folder, const char *const *keep, unsigned n_keep) {
  int first = 0;
  DIR *dir = opendir(folder);
  if (!dir) return errno == ENOENT ? 0 : -errno;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (is_kept(entry->d_name, keep, n_keep)) continue;
    if (unlinkat(dirfd(dir), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0) != 0 &&
        errno != ENOENT && !first)
      first = -errno;
  }
  closedir(dir);
  return first;
}

int bpf_pin_sweep_versions(const char *pin_folder) {
  return bpf_pin_sweep_numbered(pin_folder, "", TLX_ABI_VERSION);
}

/* The number in |name|; -1 = it is no |prefix| + number. */
static int number_of(const char *name, const char *prefix) {
  const size_t prefix_len = strlen(prefix);
  if (strncmp(name, prefix, prefix_len) != 0) return -1;
  name += prefix_len;
  return *name && strspn(name, "0123456789") == strlen(name) ? atoi(name) : -1;
}

static bool has_entry(const char *folder) {
  bool has = false;
  DIR *dir = opendir(folder);
  if (!dir) return false;
  for (struct dirent *entry; !has && (entry = readdir(dir));)
    has = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(dir);
  return has;
}

bool bpf_pin_has_numbered(const char *pin_folder, const char *prefix, int but) {
  bool has = false;
  DIR *dir = opendir(pin_folder);
  if (!dir) return false;
  for (struct dirent *entry; !has && (entry = readdir(dir));) {
    char path[BPF_PIN_PATH_MAX];
    int number = number_of(entry->d_name, prefix);
    has = number >= 0 && number != but && path_of(pin_folder, entry->d_name, "", path) == 0 &&
          has_entry(path);
  }
  closedir(dir);
  return has;
}

int bpf_pin_sweep_numbered(const char *pin_folder, const char *prefix, int keep) {
  int first = 0;
  DIR *dir = opendir(pin_folder);
  if (!dir) return errno == ENOENT ? 0 : -errno;
  for (struct dirent *entry; (entry = readdir(dir));) {
    char path[BPF_PIN_PATH_MAX];
    int number = number_of(entry->d_name, prefix);
    if (number < 0 || number == keep) continue;
    int err = path_of(pin_folder, entry->d_name, "", path);
    if (!err) err = bpf_pin_sweep(path, NULL, 0);
    if (!err && rmdir(path) != 0) err = -errno;
    if (!first) first = err;
  }
  closedir(dir);
  return first;
}
