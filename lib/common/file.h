// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/bytes.h"

/* Private files that are either whole or not there. Paths are UTF-8 without limits of our own; all
 * functions return 0 or a negative errno / tlx_err and may be called from any thread. */

/* |folder| and |name| with one '/' between. Heap, the caller frees; NULL when out of memory. */
char *tlx_path_join(const char *folder, const char *name);
/* Makes |path| (and not its parents) with |mode| unless it is there; an existing one must be a
 * folder
 * (-ENOTDIR) owned by this user with no more rights than |mode|: else TLX_E_MODE. */
int tlx_folder_make(const char *path, mode_t mode);
/* The same for |path| with all missing parents (parents get 0755). */
int tlx_folder_make_all(const char *path, mode_t mode);
/* Writes |len| bytes to a temporary file beside |path|, fsyncs, renames over |path|, fsyncs the
 * folder. Readers see the old or the new content, never a part; on failure the old one stays. */
int tlx_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode);
/* The same, but fails with -EEXIST when |path| exists, and then leaves it alone: for keys. */
int tlx_file_create_atomic(const char *path, const void *data, size_t len, mode_t mode);
/* Reads the whole file, at most |max| bytes (else TLX_E_TOO_LARGE), appended to |buf|. -EISDIR for
 * a folder; the error of |buf| when its cap is lower. */
int tlx_file_read(const char *path, size_t max, struct tlx_buf *buf);
/* The same for a secret: a file that group or others may use in any way, or that is not ours, is
 * TLX_E_MODE and is not read. */
int tlx_file_read_private(const char *path, size_t max, struct tlx_buf *buf);
/* Removes and fsyncs the folder; 0 when it was not there. */
int tlx_file_remove(const char *path);
/* Opens (and makes, 0600) |path| and takes an exclusive lock (flock(2)) that lives as long as the
 * descriptor, which the caller closes. TLX_E_LOCKED when another process holds it. */
int tlx_file_lock(const char *path, int *ret_fd);
