// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/bytes.h"

/* Private files that are either whole or not there. Paths are UTF-8 without limits of our own; all
 * functions return 0 or a negative errno / tlx_err and may be called from any thread. */

/* Joins with one '/'. Heap; NULL when out of memory. */
char *tlx_path_join(const char *folder, const char *name);
/* Makes |path| (and not its parents) with |mode| unless it is there; an existing one must be a folder
 * owned by this user with no more rights than |mode|: else TLX_E_MODE. */
int tlx_folder_make(const char *path, mode_t mode);
/* The same for |path| with all missing parents (parents get 0755). */
int tlx_folder_make_all(const char *path, mode_t mode);
/* Writes |len| bytes to a temporary file beside |path|, fsyncs, renames over |path|, fsyncs the
 * folder. Readers see the old or the new content, never a part; on failure the old one stays. */
int tlx_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode);
/* The same, but fails with -EEXIST when |path| exists. */
int tlx_file_create_atomic(const char *path, const void *data, size_t len, mode_t mode);
/* Reads the whole file, at most |max| bytes (else TLX_E_TOO_LARGE), appended to |buf|. */
int tlx_file_read(const char *path, size_t max, struct tlx_buf *buf);
/* The same for a secret: refuses with TLX_E_MODE a file that others may read or that is not ours. */
int tlx_file_read_private(const char *path, size_t max, struct tlx_buf *buf);
/* Removes and fsyncs the folder; 0 when it was not there. */
int tlx_file_remove(const char *path);
/* Opens (and makes, 0600) |path| and takes an exclusive lock that lives as long as the descriptor.
 * TLX_E_LOCKED when another process holds it. */
int tlx_file_lock(const char *path, int *ret_fd);
