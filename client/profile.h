// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/cleanup.h"
#include "rpc/tls_ctx.h"

/* An operator's profile: a folder of mode 0700 with profile.ini, ca.crt, client.crt and client.key.
 */
struct profile {
  char console[300]; /* HOST:PORT */
  char fleet_id[32], fleet[256], name[64];
  struct tlx_tls_ctx *tls_ctx; /* owned */
};

/* Names of a key and a certificate in the middle of their renewal (`renew`): the certificate comes
 * first, then the key takes its place, then the certificate. */
#define PROFILE_NEW_KEY "client.key.new"
#define PROFILE_NEW_CRT "client.crt.new"

/* The folder in use: |given|, else $TELOVIX_PROFILE, else ~/.config/telovix. |out| of 4096. 0, or
 * TLX_E_NOT_FOUND when there is no home folder to look in. */
int profile_folder(const char *given, char *out);
/* Reads |folder| and prepares TLS, with the Console of this fleet as the only one that may answer.
 * On failure |why| (512 bytes) says what is wrong with which file and what to do (a key that others
 * may read is refused), and |ret_profile| is untouched. A renewal that was cut off between key and
 * certificate is ended. 0 or a negative error. */
int profile_load(const char *folder, struct profile *ret_profile, char *why);
/* Lets go of the TLS context. NULL and an all-zero profile are fine. */
void profile_done(struct profile *profile);
