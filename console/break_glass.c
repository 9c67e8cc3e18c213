// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/break_glass.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "console/authz.h"
#include "console/op_operator.h"
#include "console/profile.h"
#include "console/settings.h"
#include "storage/meta_tbl.h"
#include "storage/store.h"

struct glass {
  const char *data, *name, *out;
  uint32_t role;
  char *folder; /* where the profile is made */
  struct settings settings;
  struct tlx_store *store;
  struct trust trust;
  char fleet_id[32], fleet_name[256];
  struct profile_plan profile;
  char why[512];
};

static int fail(struct glass *glass, const char *what, int err) {
  if (!*glass->why) snprintf(glass->why, sizeof glass->why, "%.400s: %s", what, tlx_err_text(err));
  return err;
}

/* ---- what there is ---- */

static int read_settings(struct glass *glass) {
  char *path TLX_AUTOFREE = tlx_path_join(glass->data, "console.ini");
  settings_init(&glass->settings);
  int err = path ? settings_read(path, &glass->settings, glass->why) : -ENOMEM;
  return err == -ENOENT ? 0 : err ? fail(glass, path ? path : glass->data, err) : 0;
}

static int open_store(struct glass *glass) {
  char *path TLX_AUTOFREE = tlx_path_join(glass->data, "store");
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  int err = path ? tlx_store_open(path, glass->settings.map_size, &glass->store) : -ENOMEM;
  if (err == TLX_E_LOCKED) {
    snprintf(glass->why, sizeof glass->why,
             "a Console runs on %.200s: stop it, repeat this, and start it again (hosts keep "
             "enforcing meanwhile); with an admin's profile, telovixctl operator create needs no "
             "stop",
             glass->data);
    return err;
  }
  if (!err) err = tlx_txn_begin_read(glass->store, &txn);
  const Telovix__Store__V1__MetaRecord *meta = err ? NULL : tlx_meta_get(txn);
  if (!err && !meta) err = tlx_txn_err(txn) ? tlx_txn_err(txn) : TLX_E_CORRUPT;
  if (err) {
    const char *advice = tlx_store_advice(err);
    snprintf(glass->why, sizeof glass->why, "%.300s: %s%s%s", path ? path : glass->data,
             tlx_err_text(err), advice ? "; " : "", advice ? advice : "");
    return err;
  }
  snprintf(glass->fleet_id, sizeof glass->fleet_id, "%s", meta->fleet_id);
  snprintf(glass->fleet_name, sizeof glass->fleet_name, "%s", meta->fleet_name);
  return 0;
}

/* ---- what it makes ---- */

static int make_profile(struct glass *glass) {
  struct stat info;
  char suffix[TLX_ID_MAX];
  size_t len = strlen(glass->out);
  while (len > 1 && glass->out[len - 1] == '/')
    len--;
  if (lstat(glass->out, &info) == 0) {
    snprintf(glass->why, sizeof glass->why, "%.400s is there; choose another --out", glass->out);
    return -EEXIST;
  }
  int err = tlx_id_make("new-", suffix, sizeof suffix);
  if (!err && asprintf(&glass->folder, "%.*s.%s", (int)len, glass->out, suffix) < 0) {
    glass->folder = NULL;
    err = -ENOMEM;
  }
  glass->profile = (struct profile_plan){.name = glass->name,
                                         .fleet_id = glass->fleet_id,
                                         .fleet_name = glass->fleet_name,
                                         .settings = &glass->settings,
                                         .wall_ms = tlx_wall_ms(tlx_clock_system())};
  if (!err) err = profile_make(&glass->profile, &glass->trust, glass->folder);
  return err ? fail(glass, glass->out, err) : 0;
}

static int record(struct glass *glass) {
  struct op_operator_create op = {.role = glass->role};
  struct tlx_txn *txn;
  snprintf(op.name, sizeof op.name, "%s", glass->name);
  memcpy(op.serial, glass->profile.serial, sizeof op.serial);
  op.not_after_wall_ms = glass->profile.not_after_wall_ms;
  op.op.run = op_operator_create_run;
  op.op.actor.wall_ms = glass->profile.wall_ms;
  strcpy(op.op.actor.name, "local_root");
  strcpy(op.op.actor.role, "local_root");
  int err = tlx_txn_begin_write(glass->store, &txn);
  if (err) return fail(glass, "store", err);
  op_execute(&op.op, txn);
  err = tlx_txn_commit(txn); /* a refusal is on record too */
  if (err) return fail(glass, "store", err);
  if (op.op.status.code == TLX_GRPC_OK) return 0;
  snprintf(glass->why, sizeof glass->why, "%s", op.op.status.message);
  return TLX_E_CONFLICT;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw) {
  return remove(path);
}

static int make(struct glass *glass) {
  int err = read_settings(glass);
  if (!err) err = open_store(glass);
  if (!err)
    err = trust_load(glass->data, glass->fleet_id, &glass->settings,
                     tlx_wall_ms(tlx_clock_system()), &glass->trust, glass->why);
  if (!err) err = make_profile(glass);
  if (!err) err = record(glass);
  if (err) {
    if (glass->folder) nftw(glass->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return err;
  }
  if (rename(glass->folder, glass->out) != 0)
    snprintf(glass->why, sizeof glass->why,
             "%.200s was created, but its profile could not be moved to %.100s (%s): it is in "
             "%.100s",
             glass->name, glass->out, tlx_err_text(-errno), glass->folder);
  return *glass->why ? TLX_E_CONFLICT : 0;
}

int break_glass_operator(const char *data, const char *name, uint32_t role, const char *out) {
  struct glass glass = {.data = data, .name = name, .role = role, .out = out};
  int err = make(&glass);
  if (err)
    fprintf(stderr, "telovix-console operator create: %s\n",
            *glass.why ? glass.why : tlx_err_text(err));
  else
    printf("operator %s (%s) created; profile: %s (keep its key private)\n", name,
           authz_role_name(role), out);
  free(glass.folder);
  trust_done(&glass.trust);
  tlx_store_close(glass.store);
  return err ? 1 : 0;
}
