// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_block.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/rule_protect.h"

#define PATH_LEN_MAX 4095u

/* What stands at the path now. */
struct found {
  int fd; /* -1 = no file that could be blocked by its identity */
  struct tlx_file_id id;
  bool is_symlink, is_script;
  char resolved[PATH_MAX]; /* empty = nothing was found */
};

/* ---- the path ---- */

bool rule_block_path_valid(const char *path, const char **ret_detail) {
  const char *why = NULL;
  if (*path != '/')
    why = "does not start with /";
  else if (strlen(path) > PATH_LEN_MAX)
    why = "has more than 4,095 bytes";
  for (const char *at = path; !why && *at;) {
    at++; /* the slash */
    size_t len = strcspn(at, "/");
    if (len == 0)
      why = "has an empty component";
    else if (len > NAME_MAX)
      why = "has a component of more than 255 bytes";
    else if ((len == 1 && *at == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
      why = "has a . or .. component";
    at += len;
  }
  if (why && ret_detail) *ret_detail = why;
  return !why;
}

int rule_block_init(struct rule_block *rule, const char *rule_id, const char *path, bool force) {
  *rule = (struct rule_block){.force = force};
  snprintf(rule->rule_id, sizeof rule->rule_id, "%s", rule_id);
  rule->path = strdup(path);
  return rule->path ? 0 : -ENOMEM;
}

static void close_file(struct rule_block_file *file) {
  if (file->fd >= 0) close(file->fd);
  file->fd = -1;
}

void rule_block_done(struct rule_block *rule) {
  for (unsigned i = 0; i < rule->n_files; i++)
    close_file(&rule->files[i]);
  rule->n_files = 0;
  free(rule->path);
  free(rule->resolved);
  rule->path = rule->resolved = NULL;
}

/* ---- the files that are remembered ---- */

static bool is_same(const struct tlx_file_id *a, const struct tlx_file_id *b) {
  return a->dev == b->dev && a->ino == b->ino;
}

static void remove_at(struct rule_block *rule, unsigned i) {
  close_file(&rule->files[i]);
  memmove(&rule->files[i], &rule->files[i + 1], (rule->n_files - i - 1) * sizeof *rule->files);
  rule->n_files--;
}

static void forget_if_known(struct rule_block *rule, const struct tlx_file_id *id) {
  for (unsigned i = rule->has_current ? 1 : 0; i < rule->n_files; i++) {
    if (is_same(&rule->files[i].id, id)) {
      remove_at(rule, i);
      return;
    }
  }
}

static void make_room(struct rule_block *rule) {
  if (rule->n_files < 1 + RULE_BLOCK_FORMER_MAX) return;
  remove_at(rule, rule->n_files - 1);
  rule->dropped_former = true;
}

void rule_block_adopt_file(struct rule_block *rule, uint32_t dev, uint64_t ino,
                           uint32_t generation) {
  struct tlx_file_id id = {.dev = dev, .ino = ino, .generation = generation};
  rule->was_applied = true;
  for (unsigned i = 0; i < rule->n_files; i++) {
    const struct tlx_file_id *known = &rule->files[i].id;
    if (is_same(known, &id) || (known->real_dev == dev && known->real_ino == ino)) return;
  }
  make_room(rule);
  rule->files[rule->n_files++] = (struct rule_block_file){.fd = -1, .id = id};
}

/* A file that left the path goes on being blocked: the rule follows it. Only where a symbolic link
 * was pointed elsewhere the rule follows the link, since that is the path which was named. */
static void let_go_of_current(struct rule_block *rule, const struct found *found) {
  bool retargeted = rule->via_symlink && found->is_symlink && rule->resolved && *found->resolved &&
                    strcmp(rule->resolved, found->resolved) != 0;
  if (!rule->has_current) return;
  rule->has_current = false;
  if (retargeted) remove_at(rule, 0);
}

/* Takes |found->fd|. 0 or -ENOMEM. */
static int take_current(struct rule_block *rule, struct found *found) {
  if (rule->has_current && found->fd >= 0 && is_same(&rule->files[0].id, &found->id)) {
    close_file(&rule->files[0]);
    rule->files[0] = (struct rule_block_file){TLX_TAKE_FD(found->fd), found->id};
  } else {
    let_go_of_current(rule, found);
    if (found->fd >= 0) {
      forget_if_known(rule, &found->id);
      make_room(rule);
      memmove(&rule->files[1], &rule->files[0], rule->n_files * sizeof *rule->files);
      rule->files[0] = (struct rule_block_file){TLX_TAKE_FD(found->fd), found->id};
      rule->n_files++;
      rule->has_current = true;
      rule->via_symlink = found->is_symlink;
    }
  }
  if (!*found->resolved || (rule->resolved && strcmp(rule->resolved, found->resolved) == 0))
    return 0;
  char *resolved = strdup(found->resolved);
  if (!resolved) return -ENOMEM;
  free(rule->resolved);
  rule->resolved = resolved;
  return 0;
}

/* ---- looking ---- */

static int fail(struct rule_result *result, int err, const char *step, const char *on) {
  rule_result_set(result, RULE_REASON_STEP_FAILED);
  result->err = err;
  snprintf(result->step, sizeof result->step, "%s %.160s: %s", step, on, tlx_err_text(err));
  return err;
}

/* The folder of |path| and, behind it, the last name. |folder| of PATH_MAX. */
static const char *split(const char *path, char *folder) {
  const char *name = strrchr(path, '/') + 1;
  size_t len = (size_t)(name - path) - 1;
  snprintf(folder, PATH_MAX, "%.*s", len ? (int)len : 1, path);
  return name;
}

/* Opens the file for reading without touching anything that is no file: opening a device may act.
 * The same inode throughout, whatever is renamed meanwhile. */
static int open_file(const char *path, int *ret_fd, struct stat *ret_st) {
  char self[64];
  int at TLX_AUTOCLOSE = open(path, O_PATH | O_CLOEXEC);
  if (at < 0 || fstat(at, ret_st) != 0) return -errno;
  if (!S_ISREG(ret_st->st_mode)) return -EISDIR;
  snprintf(self, sizeof self, "/proc/self/fd/%d", at);
  *ret_fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  return *ret_fd < 0 ? -errno : 0;
}

/* Where the file |st| that |fd| has open stands. Empty when it was replaced a moment ago: the
 * kernel then tells a name that was never there. */
static void read_link(int fd, const struct stat *st, char *out) {
  char self[64];
  struct stat there;
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(self, out, PATH_MAX - 1);
  out[n > 0 ? n : 0] = '\0';
  if (stat(out, &there) != 0 || there.st_dev != st->st_dev || there.st_ino != st->st_ino)
    *out = '\0';
}

/* 0 with |found| filled, or with a reason in |result|; negative when a step failed. */
static int look(const struct rule_block *rule, const struct rule_block_host *host,
                struct found *found, struct rule_result *result) {
  struct stat st, link;
  char start[2];
  *found = (struct found){.fd = -1};
  found->is_symlink = lstat(rule->path, &link) == 0 && S_ISLNK(link.st_mode);
  int fd TLX_AUTOCLOSE = -1;
  int err = open_file(rule->path, &fd, &st);
  if (err == -ENOENT || err == -ENOTDIR) {
    rule_result_set(result, RULE_REASON_NO_FILE_YET);
    return 0;
  }
  if (err == -EISDIR) {
    rule_result_set(result, RULE_REASON_NOT_A_FILE);
    return 0;
  }
  if (err) return fail(result, err, "cannot open", rule->path);
  read_link(fd, &st, found->resolved);
  found->is_script = pread(fd, start, 2, 0) == 2 && start[0] == '#' && start[1] == '!';
  enum rule_reason reason = rule_protect_check(&st, rule->force);
  if (!reason && found->is_script && host->backend == BPF_BACKEND_TRACEPOINT)
    reason = RULE_REASON_SCRIPT;
  if (reason) {
    rule_result_set(result, reason);
    return 0;
  }
  err = bpf_file_identify(host->file, fd, &found->id);
  if (err) return fail(result, err, "cannot identify", rule->path);
  found->fd = TLX_TAKE_FD(fd);
  return 0;
}

/* ---- entries ---- */

struct output {
  struct bpf_image_entry *entries;
  size_t n;
  uint32_t slot, mode;
};

static void add_file(struct output *output, uint32_t dev, uint64_t ino, uint32_t generation) {
  output->entries[output->n++] = (struct bpf_image_entry){
      .key = {.kind = TLX_KEY_FILE, .dev = dev, .ino = ino},
      .rule = {.slot = output->slot, .mode = output->mode, .generation = generation}};
}

/* -ENOENT when there is no such folder. */
static int add_name(struct output *output, const struct rule_block_host *host, const char *path) {
  char folder[PATH_MAX];
  struct tlx_file_id id;
  const char *name = split(path, folder);
  size_t len = strlen(name);
  int fd TLX_AUTOCLOSE = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == ENOTDIR ? -ENOENT : -errno;
  if (!host->reads_names) return 0;
  int err = bpf_file_identify(host->file, fd, &id);
  if (err) return err;
  struct bpf_image_entry *entry = &output->entries[output->n++];
  *entry = (struct bpf_image_entry){
      .key = {.kind = TLX_KEY_NAME,
              .dev = id.dev,
              .ino = id.ino,
              .name_hash = bpf_maps_name_hash(name, len)},
      .rule = {.slot = output->slot, .mode = output->mode, .name_len = (uint32_t)len}};
  memcpy(entry->rule.name, name, len + 1);
  return 0;
}

/* btrfs gives files of two subvolumes the same numbers, so there only the name key is sure. */
static bool is_ambiguous(const struct tlx_file_id *id) {
  return id->magic == BTRFS_SUPER_MAGIC;
}

static void add_files(const struct rule_block *rule, struct output *output) {
  for (unsigned i = 0; i < rule->n_files; i++) {
    const struct tlx_file_id *id = &rule->files[i].id;
    if (is_ambiguous(id)) continue;
    add_file(output, id->dev, id->ino, id->generation);
    if (id->real_ino) add_file(output, id->real_dev, id->real_ino, id->real_generation);
  }
}

static uint32_t find_gaps(const struct rule_block *rule, const struct rule_block_host *host,
                          const struct found *found) {
  uint32_t gaps = 1u << RULE_GAP_COPY | 1u << RULE_GAP_DIRECTORY_MOVED | 1u << RULE_GAP_AFTER_BOOT;
  if (host->backend == BPF_BACKEND_TRACEPOINT) {
    gaps |= 1u << RULE_GAP_LOADER | 1u << RULE_GAP_GLOBAL_INIT;
    if (!rule->has_current) gaps |= 1u << RULE_GAP_SCRIPT_FILE;
  }
  if (!host->reads_names) gaps |= 1u << RULE_GAP_NAMES | 1u << RULE_GAP_OVERLAY;
  if (found->is_script) gaps |= 1u << RULE_GAP_SCRIPT_ARGUMENT;
  if (found->is_symlink) gaps |= 1u << RULE_GAP_SYMLINK;
  if (rule->dropped_former) gaps |= 1u << RULE_GAP_FORMER_FILES;
  for (unsigned i = 0; i < rule->n_files; i++) {
    if (rule->files[i].id.magic == OVERLAYFS_SUPER_MAGIC) gaps |= 1u << RULE_GAP_OVERLAY_COPY;
    if (is_ambiguous(&rule->files[i].id)) gaps |= 1u << RULE_GAP_BTRFS;
  }
  return gaps;
}

/* ---- the whole ---- */

/* The file at the path may not be blocked. A rule that was in force stays so for everything else:
 * else a hard link of the shell, put at the path, would lift it. */
static void refuse(const struct rule_block *rule, struct rule_result *result, size_t *ret_n) {
  if (rule->was_applied && *ret_n) {
    result->state = RULE_PARTIAL;
    return;
  }
  *ret_n = 0;
}

void rule_block_compile(struct rule_block *rule, const struct rule_block_host *host, uint32_t slot,
                        uint32_t mode, struct bpf_image_entry *entries, size_t *ret_n,
                        struct rule_result *ret_result) {
  struct output output = {.entries = entries, .slot = slot, .mode = mode};
  struct rule_result *result = ret_result;
  struct found found = {.fd = -1};
  const char *why = NULL;
  *result = (struct rule_result){.state = RULE_APPLIED};
  *ret_n = 0;
  if (!rule_block_path_valid(rule->path, &why)) {
    rule_result_set(result, RULE_REASON_BAD_PATH);
    snprintf(result->step, sizeof result->step, "the path %s", why);
    return;
  }
  int err = look(rule, host, &found, result);
  if (!err) err = take_current(rule, &found);
  snprintf(result->file, sizeof result->file, "%s", found.resolved);
  add_files(rule, &output);
  int name_err = add_name(&output, host, rule->path);
  if (!name_err && *found.resolved && strcmp(found.resolved, rule->path) != 0 && found.fd == -1 &&
      rule->has_current)
    (void)add_name(&output, host, found.resolved); /* its folder may be gone by now */
  *ret_n = output.n;
  if (err && result->state != RULE_FAILED) fail(result, err, "cannot keep", rule->path);
  if (!err && name_err == -ENOENT)
    rule_result_set(result, RULE_REASON_NO_DIRECTORY);
  else if (!err && name_err)
    fail(result, name_err, "cannot identify the directory of", rule->path);
  if (result->reason == RULE_REASON_NO_FILE_YET && !host->reads_names)
    rule_result_set(result, RULE_REASON_NAMES_UNREADABLE);
  result->gaps = find_gaps(rule, host, &found);
  if (result->state == RULE_APPLIED)
    rule->was_applied = true;
  else
    refuse(rule, result, ret_n);
}
