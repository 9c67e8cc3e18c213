// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/profile.h"

#include <errno.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "console/limits.h"
#include "pki/identity.h"

static int write_file(const char *folder, const char *name, const struct tlx_buf *content) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, name);
  if (content->err) return content->err;
  return path ? tlx_file_write_atomic(path, content->data, content->len, 0600) : -ENOMEM;
}

static int write_files(const struct profile_plan *plan, const struct trust *trust,
                       struct tlx_bytes leaf, const char *folder) {
  struct tlx_buf ini TLX_CLEANUP(tlx_buf_done) = {0}, crt TLX_CLEANUP(tlx_buf_done) = {0},
                     ca TLX_CLEANUP(tlx_buf_done) = {0};
  char address[SETTINGS_ADDRESS_MAX] = "localhost:15483";
  if (plan->settings->n_advertise)
    settings_address(plan->settings, 0, CONSOLE_PORT_DEFAULT, address);
  tlx_buf_printf(&ini, "[profile]\nconsole = %s\nfleet_id = %s\nfleet = %s\nname = %s\n", address,
                 plan->fleet_id, plan->fleet_name, plan->name);
  int err = tlx_cert_format_pem(leaf, &crt);
  if (!err) err = tlx_cert_format_pem(tlx_ca_bundle_get(trust->ca, 0)->der, &crt);
  if (!err) err = tlx_ca_bundle_format_pem(trust->ca, &ca);
  if (!err) err = write_file(folder, "profile.ini", &ini);
  if (!err) err = write_file(folder, "client.crt", &crt);
  if (!err) err = write_file(folder, "ca.crt", &ca);
  return err;
}

int profile_make(struct profile_plan *plan, const struct trust *trust, const char *folder) {
  struct tlx_key *key TLX_CLEANUP(tlx_key_free_p) = NULL;
  struct tlx_buf leaf TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_spiffe id = {.kind = TLX_PRINCIPAL_OPERATOR};
  char *key_path TLX_AUTOFREE = tlx_path_join(folder, "client.key");
  char uri[256];
  snprintf(id.fleet_id, sizeof id.fleet_id, "%s", plan->fleet_id);
  snprintf(id.name, sizeof id.name, "%s", plan->name);
  int err = key_path ? tlx_folder_make(folder, 0700) : -ENOMEM;
  if (!err) err = tlx_key_new(&key);
  if (!err) err = tlx_key_save(key, key_path);
  if (!err) err = tlx_serial_make(plan->serial);
  if (!err) err = tlx_spiffe_format(&id, uri);
  plan->not_after_wall_ms = plan->wall_ms + OPERATOR_CERT_LIFE_MS;
  if (!err)
    err = trust_issue_client(trust, plan->name, uri, tlx_key_spki(key), plan->serial,
                             plan->wall_ms - NOT_BEFORE_SLACK_MS, plan->not_after_wall_ms, &leaf);
  return err ? err : write_files(plan, trust, (struct tlx_bytes){leaf.data, leaf.len}, folder);
}
