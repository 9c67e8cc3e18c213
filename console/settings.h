// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "console/contain.h"

/* What an administrator can set: sections [console] and [containment] of console.ini, below the
 * flags of the command line (spec §12). */

/* Addresses of one Console; each is in every enrollment reply. */
#define SETTINGS_ADVERTISE_MAX 8u
/* [HOST]:PORT with the longest DNS name. */
#define SETTINGS_ADDRESS_MAX 264u

struct settings {
  char listen[SETTINGS_ADDRESS_MAX]; /* ADDR:PORT, ADDR a literal; port 0 = any free one */
  /* Where sensors and operators reach this Console: HOST or HOST:PORT, V6 in brackets when a port
   * follows. */
  char advertise[SETTINGS_ADVERTISE_MAX][SETTINGS_ADDRESS_MAX];
  unsigned n_advertise;
  uint64_t stale_after_ms;
  uint64_t heartbeat_interval_ms;
  uint64_t map_size; /* bytes; 0 = the store's default */
  uint32_t stranger_handshakes;
  /* [containment]: the template's defaults, copied into each rule when it is made. */
  struct contain_list containment_allow;
  uint32_t containment_on_lost; /* enum contain_on_lost; never 0 */
};

/* The defaults. The heartbeat interval is 15 s, or a sixth of a stale threshold below 90 s. */
void settings_init(struct settings *settings);
/* Reads |path| over the defaults, and checks what the settings mean together. 0; -ENOENT when there
 * is no file (settings are the defaults); else a negative error and a sentence with file and line
 * in |why| (512 bytes). |ret_settings| is untouched on failure. */
int settings_read(const char *path, struct settings *ret_settings, char *why);
/* Check and store one value, as the file does; the flags of the command line use these. |why| of
 * 256 gets a sentence. 0, TLX_E_MALFORMED, or TLX_E_LIMIT (SETTINGS_ADVERTISE_MAX); |settings| is
 * untouched on failure. */
int settings_set_listen(struct settings *settings, const char *value, char *why);
int settings_add_advertise(struct settings *settings, const char *value, char *why);
/* Splits |address| (of advertise) into host without brackets (|host| of 256) and port (0 = none is
 * named). 0 or TLX_E_MALFORMED. */
int settings_split(const char *address, char *host, uint16_t *ret_port);
/* HOST:PORT of the |i|-th advertised address, with |port| where it names none. |out| of
 * SETTINGS_ADDRESS_MAX. */
void settings_address(const struct settings *settings, unsigned i, uint16_t port, char *out);
/* Writes HOST:PORT (V6 in brackets); |out| of SETTINGS_ADDRESS_MAX. */
void settings_join(const char *host, uint16_t port, char *out);
