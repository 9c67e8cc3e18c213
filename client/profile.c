// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/file.h"
#include "common/settings.h"
#include "common/text.h"
#include "pki/identity.h"
#include "pki/key.h"

#define CHAIN_MAX 4u
#define FILE_MAX (64u << 10)

int profile_folder(const char *given, char *out) {
  if (!given || !*given) given = getenv("TELOVIX_PROFILE");
  if (given && *given) {
    if (snprintf(out, 4096, "%s", given) >= 4096) return -ENAMETOOLONG;
    return 0;
  }
  const char *home = getenv("HOME");
  if (!home || !*home) return TLX_E_NOT_FOUND;
  return snprintf(out, 4096, "%s/.config/telovix", home) >= 4096 ? -ENAMETOOLONG : 0;
}

static int copy(const char *value, char *out, size_t size, char *why) {
  if (*value == '\0' || strlen(value) >= size) {
    snprintf(why, 256, "is empty or longer than %zu bytes", size - 1);
    return TLX_E_MALFORMED;
  }
  strcpy(out, value);
  return 0;
}
static int set_console(void *target, const char *value, char *why) {
  struct profile *profile = target;
  char host[256];
  uint16_t port;
  if (tlx_address_parse(value, host, &port) != 0) {
    snprintf(why, 256, "want HOST:PORT");
    return TLX_E_MALFORMED;
  }
  return copy(value, profile->console, sizeof profile->console, why);
}
static int set_fleet_id(void *target, const char *value, char *why) {
  struct profile *profile = target;
  if (!tlx_id_valid("fleet-", value)) {
    snprintf(why, 256, "want fleet- and 16 characters of [a-z0-9]");
    return TLX_E_MALFORMED;
  }
  return copy(value, profile->fleet_id, sizeof profile->fleet_id, why);
}
static int set_fleet(void *target, const char *value, char *why) {
  struct profile *profile = target;
  return copy(value, profile->fleet, sizeof profile->fleet, why);
}
static int set_name(void *target, const char *value, char *why) {
  struct profile *profile = target;
  return copy(value, profile->name, sizeof profile->name, why);
}
static const struct tlx_setting settings[] = {
    {"profile", "console", set_console},
    {"profile", "fleet_id", set_fleet_id},
    {"profile", "fleet", set_fleet},
    {"profile", "name", set_name},
};

static int read_file(const char *folder, const char *name, struct tlx_buf *buf, char *why) {
  TLX_AUTOFREE char *path = tlx_path_join(folder, name);
  if (!path) return -ENOMEM;
  int err = tlx_file_read(path, FILE_MAX, buf);
  if (err)
    snprintf(why, 512, "%s: %s; get a complete profile folder from whoever manages the Console",
             path, tlx_err_text(err));
  return err;
}

/* Whether the first certificate of |pem| is for |key|. */
static bool is_for_key(const struct tlx_buf *pem, const struct tlx_key *key) {
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf der = {0};
  struct tlx_bytes chain[CHAIN_MAX], own = tlx_key_spki(key);
  struct tlx_cert leaf;
  size_t n;
  return tlx_cert_parse_pem(pem->data, pem->len, &der, chain, CHAIN_MAX, &n) == 0 &&
         tlx_cert_parse(chain[0], &leaf) == 0 && leaf.spki.len == own.len &&
         memcmp(leaf.spki.data, own.data, own.len) == 0;
}

/* A renewal that was cut off after the new key took its place: its certificate follows. */
static void end_renewal(const char *folder, const struct tlx_key *key, struct tlx_buf *leaf_pem) {
  TLX_AUTOFREE char *path = tlx_path_join(folder, "client.crt");
  TLX_AUTOFREE char *new_path = tlx_path_join(folder, PROFILE_NEW_CRT);
  struct tlx_buf new_pem = {0};
  if (path && new_path && !is_for_key(leaf_pem, key) &&
      tlx_file_read(new_path, FILE_MAX, &new_pem) == 0 && is_for_key(&new_pem, key)) {
    (void)rename(new_path, path); /* the next one finds it again otherwise */
    tlx_buf_done(leaf_pem);
    *leaf_pem = new_pem;
    return;
  }
  tlx_buf_done(&new_pem);
}

static int load_tls(const char *folder, struct profile *profile, char *why) {
  struct tlx_buf ca_pem = {0}, leaf_pem = {0}, der = {0};
  TLX_CLEANUP(tlx_key_free_p) struct tlx_key *key = NULL;
  TLX_CLEANUP(tlx_ca_bundle_free_p) struct tlx_ca_bundle *ca = NULL;
  TLX_AUTOFREE char *key_path = tlx_path_join(folder, "client.key");
  struct tlx_bytes chain[CHAIN_MAX];
  size_t n_chain = 0;
  int err = key_path ? read_file(folder, "ca.crt", &ca_pem, why) : -ENOMEM;
  if (!err) err = read_file(folder, "client.crt", &leaf_pem, why);
  if (!err) {
    err = tlx_key_load(key_path, &key);
    if (err == TLX_E_MODE)
      snprintf(why, 512,
               "%s: others may read it; chmod 600 it, or have the certificate replaced if they did",
               key_path);
    else if (err)
      snprintf(why, 512, "%s: %s", key_path, tlx_err_text(err));
  }
  if (!err) {
    err = tlx_ca_bundle_parse_pem(ca_pem.data, ca_pem.len, &ca);
    if (err) snprintf(why, 512, "%s/ca.crt: %s", folder, tlx_err_text(err));
  }
  if (!err) end_renewal(folder, key, &leaf_pem);
  if (!err) {
    err = tlx_cert_parse_pem(leaf_pem.data, leaf_pem.len, &der, chain, CHAIN_MAX, &n_chain);
    if (err) snprintf(why, 512, "%s/client.crt: %s", folder, tlx_err_text(err));
  }
  if (!err) {
    struct tlx_spiffe console = {.kind = TLX_PRINCIPAL_CONSOLE};
    char uri[256];
    strcpy(console.fleet_id, profile->fleet_id);
    err = tlx_spiffe_format(&console, uri);
    struct tlx_tls_options options = {
        .chain = chain, .n_chain = n_chain, .key = key, .ca = ca, .server_uri = uri};
    if (!err) err = tlx_tls_ctx_new(&options, &profile->tls_ctx);
    if (err)
      snprintf(why, 512, "%s: client.crt and client.key cannot be used: %s", folder,
               tlx_err_text(err));
  }
  tlx_buf_done(&ca_pem);
  tlx_buf_done(&leaf_pem);
  tlx_buf_done(&der);
  return err;
}

int profile_load(const char *folder, struct profile *ret_profile, char *why) {
  struct profile profile = {.console = ""};
  TLX_AUTOFREE char *ini = tlx_path_join(folder, "profile.ini");
  if (!ini) return -ENOMEM;
  int err = tlx_settings_read(ini, settings, sizeof settings / sizeof *settings, &profile, why);
  if (err == -ENOENT)
    snprintf(why, 512, "%s: not there; name a profile folder with --profile or TELOVIX_PROFILE",
             ini);
  if (!err && (!*profile.console || !*profile.fleet_id)) {
    snprintf(why, 512, "%s: needs console and fleet_id in [profile]", ini);
    err = TLX_E_MALFORMED;
  }
  if (!err) err = load_tls(folder, &profile, why);
  if (!err) *ret_profile = profile;
  return err;
}

void profile_done(struct profile *profile) {
  if (!profile) return;
  tlx_tls_ctx_unref(profile->tls_ctx);
  profile->tls_ctx = NULL;
}
