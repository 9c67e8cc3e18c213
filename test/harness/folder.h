// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder for one test: `FOLDER folder; folder_init(&folder);`, gone at the end. Every function
 * asserts. */
struct folder {
  char path[64];
  char joined[4][256];
  unsigned n_joined;
};

static inline int folder_remove_one(const char *path, const struct stat *st, int type,
                                    struct FTW *ftw) {
  return remove(path);
}

static inline void folder_done(struct folder *folder) {
  if (*folder->path) nftw(folder->path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
#define FOLDER __attribute__((cleanup(folder_done))) struct folder

static inline void folder_init(struct folder *folder) {
  memset(folder, 0, sizeof *folder);
  strcpy(folder->path, "/tmp/telovix-test-XXXXXX");
  cr_assert(mkdtemp(folder->path));
}

/* Path of |name| in the folder; the last four are kept. */
static inline const char *folder_join(struct folder *folder, const char *name) {
  char *to = folder->joined[folder->n_joined++ % 4];
  cr_assert_lt(snprintf(to, sizeof folder->joined[0], "%s/%s", folder->path, name),
               (int)sizeof folder->joined[0]);
  return to;
}

static inline void folder_write(struct folder *folder, const char *name, const void *data,
                                size_t len, mode_t mode) {
  int fd = open(folder_join(folder, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  cr_assert_geq(fd, 0);
  cr_assert_eq(fchmod(fd, mode), 0);
  cr_assert_eq(write(fd, data, len), (ssize_t)len);
  close(fd);
}

static inline bool folder_has(struct folder *folder, const char *name) {
  return access(folder_join(folder, name), F_OK) == 0;
}
