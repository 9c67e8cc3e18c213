// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sensor/bpf_caps.h"
#include "sensor/bpf_file.h"
#include "sensor/bpf_maps.h"
#include "sensor/rule_result.h"

/* A rule's entries: each file and, on overlayfs, the file behind it; the name at the path, and that
 * of a symbolic link's target. */
#define RULE_BLOCK_ENTRIES_MAX (2 * (1 + RULE_BLOCK_FORMER_MAX) + 2)

/* Compiles one block-binary rule to map entries: path → file identities and name key, refusing the
 * files without which the host or the sensor would be lost (spec §5.2). Worker thread. */

/* How many former files (renamed away, replaced) a rule goes on blocking beside the one at its
 * path. */
#define RULE_BLOCK_FORMER_MAX 8u

struct rule_block_host {
  enum bpf_backend backend; /* what can be enforced */
  bool reads_names;         /* rules by directory and name work */
  struct bpf_file *file;    /* identity of open files */
};

/* What is kept of a rule between two compilations: descriptors hold the inodes, so that their
 * numbers cannot come back as another file. */
struct rule_block {
  char rule_id[32];
  char *path;
  bool force;
  struct rule_block_file {
    int fd; /* -1: taken over from the image of a former process */
    struct tlx_file_id id;
  } files[1 + RULE_BLOCK_FORMER_MAX]; /* the one at the path first, if there is one */
  unsigned n_files;
  bool has_current; /* files[0] is the file at the path */
  bool via_symlink; /* which is a symbolic link to it */
  char *resolved;   /* where it was found; NULL = never found */
  bool dropped_former, was_applied;
};

/* |path| was checked by the Console and is checked again. 0, -ENOMEM. */
int rule_block_init(struct rule_block *rule, const char *rule_id, const char *path, bool force);
void rule_block_done(struct rule_block *rule);
/* Resolves the path now and fills |entries| (room for RULE_BLOCK_ENTRIES_MAX) for |slot| and
 * |mode|. |*ret_n| = 0 when the result is a refusal or waits for a directory. |ret_result| gets
 * state (APPLIED stands for "may be applied"), reason, detail, gaps and file. Never fails
 * otherwise. */
void rule_block_compile(struct rule_block *rule, const struct rule_block_host *host, uint32_t slot,
                        uint32_t mode, struct bpf_image_entry *entries, size_t *ret_n,
                        struct rule_result *ret_result);
/* Takes a file over that a former process blocked for this rule and that is not at the path any
 * more. Nothing holds its inode: |generation| tells it from a later file of the same number. */
void rule_block_adopt_file(struct rule_block *rule, uint32_t dev, uint64_t ino,
                           uint32_t generation);
/* "/usr/bin/nc": whether the path has the form that the specification asks for; why not in
 * |detail|. Pure. */
bool rule_block_path_valid(const char *path, const char **ret_detail);
