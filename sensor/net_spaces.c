// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_spaces.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static bool is_known(const struct net_spaces *spaces, const struct stat *st) {
  for (size_t i = 0; i < spaces->n; i++)
    if (spaces->list[i].ino == st->st_ino && spaces->list[i].dev == st->st_dev) return true;
  return false;
}

/* Takes the namespace at |path|, unless it is known or gone. The first one is our own and is only
 * there to be known. */
static void add(struct net_spaces *spaces, const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) {
    /* A process that ended meanwhile has no namespace; one that we may not look at has one. */
    if (errno == ENOENT || errno == ESRCH || spaces->n == NET_SPACES_MAX) return;
    spaces->list[spaces->n++] = (struct net_space){.fd = -errno};
    return;
  }
  if (is_known(spaces, &st)) return;
  if (spaces->n == NET_SPACES_MAX) {
    spaces->is_cut = true;
    return;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ESRCH)) return;
  spaces->list[spaces->n++] =
      (struct net_space){.dev = st.st_dev, .ino = st.st_ino, .fd = fd < 0 ? -errno : fd};
}

/* The next word of |*at|, up to a space; its length. */
static size_t next_word(const char **at, const char **ret_word) {
  *ret_word = *at;
  size_t len = strcspn(*at, " \n");
  *at += len;
  *at += **at == ' ';
  return len;
}

bool net_spaces_mount_parse(const char *line, char *out, size_t size) {
  const char *words[5], *separator = strstr(line, " - ");
  size_t lens[5], n = 0;
  for (size_t i = 0; i < 5; i++)
    lens[i] = next_word(&line, &words[i]);
  if (!separator || strncmp(separator, " - nsfs ", 8) != 0 || lens[3] < 5 ||
      strncmp(words[3], "net:[", 5) != 0)
    return false;
  for (size_t i = 0; i < lens[4] && n + 1 < size; i++) {
    const char *at = words[4] + i;
    /* A space is \040. */
    if (*at == '\\' && lens[4] - i >= 4) {
      out[n++] = (char)strtol((char[]){at[1], at[2], at[3], '\0'}, NULL, 8);
      i += 3;
    } else {
      out[n++] = *at;
    }
  }
  out[n] = '\0';
  return n > 0;
}

static void add_mounts(struct net_spaces *spaces, const char *proc) {
  char path[PATH_MAX], *line TLX_AUTOFREE = NULL;
  size_t size = 0;
  snprintf(path, sizeof path, "%s/self/mountinfo", proc);
  FILE *mounts TLX_AUTOFCLOSE = fopen(path, "re");
  while (mounts && getline(&line, &size, mounts) > 0)
    if (net_spaces_mount_parse(line, path, sizeof path)) add(spaces, path);
}

static int add_processes(struct net_spaces *spaces, const char *proc) {
  char path[PATH_MAX];
  DIR *folder = opendir(proc);
  if (!folder) return -errno;
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (!isdigit((unsigned char)*entry->d_name)) continue;
    snprintf(path, sizeof path, "%s/%.16s/ns/net", proc, entry->d_name);
    add(spaces, path);
  }
  closedir(folder);
  return 0;
}

int net_spaces_find(const char *proc, struct net_spaces *ret_spaces) {
  struct net_spaces spaces = {.list = calloc(NET_SPACES_MAX, sizeof *spaces.list)};
  char path[PATH_MAX];
  if (!spaces.list) return -ENOMEM;
  snprintf(path, sizeof path, "%s/thread-self/ns/net", proc);
  add(&spaces, path);
  int err = spaces.n == 1 && spaces.list[0].fd >= 0 ? 0 : -ENOENT;
  if (!err) err = add_processes(&spaces, proc);
  if (err) {
    net_spaces_done(&spaces);
    return err;
  }
  add_mounts(&spaces, proc);
  close(spaces.list[0].fd);
  memmove(spaces.list, spaces.list + 1, --spaces.n * sizeof *spaces.list);
  *ret_spaces = spaces;
  return 0;
}

void net_spaces_done(struct net_spaces *spaces) {
  for (size_t i = 0; i < spaces->n; i++)
    if (spaces->list[i].fd >= 0) close(spaces->list[i].fd);
  free(spaces->list);
  *spaces = (struct net_spaces){0};
}
