// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/text.h"

char *tlx_path_join(const char *folder, const char *name) {
  size_t len = strlen(folder);
  const char *slash = len && folder[len - 1] == '/' ? "" : "/";
  char *ret;
  return asprintf(&ret, "%s%s%s", folder, slash, name) < 0 ? NULL : ret;
}

int tlx_folder_make(const char *path, mode_t mode) {
  struct stat st;
  if (mkdir(path, mode) == 0) {
    /* The umask may have taken bits away that the caller asked for. */
    return chmod(path, mode) == 0 ? 0 : -errno;
  }
  if (errno != EEXIST) return -errno;
  if (stat(path, &st) != 0) return -errno;
  if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
  if (st.st_uid != geteuid() || (st.st_mode & 07777 & ~mode)) return TLX_E_MODE;
  return 0;
}

int tlx_folder_make_all(const char *path, mode_t mode) {
  TLX_AUTOFREE char *copy = strdup(path);
  if (!copy) return -ENOMEM;
  for (char *slash = copy + (*copy == '/'); (slash = strchr(slash, '/')); slash++) {
    *slash = '\0';
    if (mkdir(copy, 0755) != 0 && errno != EEXIST) return -errno;
    *slash = '/';
  }
  return tlx_folder_make(path, mode);
}

/* Makes a rename in |path|'s folder durable. */
static int sync_folder_of(const char *path) {
  TLX_AUTOFREE char *folder = strdup(path);
  if (!folder) return -ENOMEM;
  char *slash = strrchr(folder, '/');
  if (!slash)
    strcpy(folder, ".");
  else
    slash[slash == folder] = '\0';
  TLX_AUTOCLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  return fsync(fd) == 0 ? 0 : -errno;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
  while (len) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    data += n;
    len -= (size_t)n;
  }
  return fsync(fd) == 0 ? 0 : -errno;
}

static int write_atomic(const char *path, const void *data, size_t len, mode_t mode, bool replace) {
  TLX_AUTOFREE char *temporary = NULL;
  uint64_t random;
  int err = tlx_random(&random, sizeof random);
  if (err) return err;
  /* A name of its own each time: what a crash left behind is never taken up. */
  if (asprintf(&temporary, "%s.%016llx.tmp", path, (unsigned long long)random) < 0) return -ENOMEM;
  TLX_AUTOCLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return -errno;
  err = fchmod(fd, mode) == 0 ? 0 : -errno;
  if (!err) err = write_all(fd, data, len);
  /* link refuses an existing name, rename replaces it. */
  if (!err && replace && rename(temporary, path) != 0) err = -errno;
  if (!err && !replace && link(temporary, path) != 0) err = -errno;
  if (err || !replace) unlink(temporary);
  return err ? err : sync_folder_of(path);
}

int tlx_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode) {
  return write_atomic(path, data, len, mode, true);
}

int tlx_file_create_atomic(const char *path, const void *data, size_t len, mode_t mode) {
  return write_atomic(path, data, len, mode, false);
}

static int read_file(const char *path, size_t max, struct tlx_buf *buf, bool private_only) {
  TLX_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  struct stat st;
  if (fd < 0) return -errno;
  if (fstat(fd, &st) != 0) return -errno;
  if (S_ISDIR(st.st_mode)) return -EISDIR;
  if (private_only && (st.st_uid != geteuid() || (st.st_mode & 077))) return TLX_E_MODE;
  size_t total = 0;
  for (;;) {
    /* One byte past the limit tells "too large" from "just fits". */
    size_t wanted = max - total < 65536 ? max - total + 1 : 65536;
    uint8_t *at = tlx_buf_reserve(buf, wanted);
    if (!at) return buf->err;
    ssize_t n = read(fd, at, wanted);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) return 0;
    total += (size_t)n;
    if (total > max) return TLX_E_TOO_LARGE;
    buf->len += (size_t)n;
  }
}

int tlx_file_read(const char *path, size_t max, struct tlx_buf *buf) {
  return read_file(path, max, buf, false);
}

int tlx_file_read_private(const char *path, size_t max, struct tlx_buf *buf) {
  return read_file(path, max, buf, true);
}

int tlx_file_remove(const char *path) {
  if (unlink(path) != 0) return errno == ENOENT ? 0 : -errno;
  return sync_folder_of(path);
}

int tlx_file_lock(const char *path, int *ret_fd) {
  TLX_AUTOCLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? TLX_E_LOCKED : -errno;
  *ret_fd = TLX_TAKE_FD(fd);
  return 0;
}
