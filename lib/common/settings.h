// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>

/* INI files below command-line flags. A caller lists what it knows; anything else is an error that
 * names file and line, because a misspelt setting must not be silently ignored. */

struct tlx_setting {
  const char *section, *key;
  /* Checks and stores |value| (borrowed, NUL-terminated). Returns 0, or a negative error and a
   * sentence in |why| (256 bytes) that says what is wrong and what would be right. */
  int (*set)(void *target, const char *value, char *why);
};

/* Reads |path| into |target| with the |n| settings of |list|. 0; -ENOENT without a message when the
 * file is not there; else a negative error and "FILE:LINE: …" in |why| (512 bytes): TLX_E_NOT_FOUND
 * for a key that is not in the list, TLX_E_EXISTS for one that is given twice, TLX_E_MALFORMED for
 * a line that is none, or what |set| returned. |target| may be half filled after an error: read
 * into a copy. Any thread. */
int tlx_settings_read(const char *path, const struct tlx_setting *list, size_t n, void *target,
                      char *why);
