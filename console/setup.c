// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/setup.h"

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
#include "console/limits.h"
#include "console/op_audit.h"
#include "console/op_operator.h"
#include "console/profile.h"
#include "console/trust.h"
#include "pki/identity.h"
#include "storage/audit_tbl.h"
#include "storage/maintain.h"
#include "storage/store.h"

#define ADMIN_NAME "admin"
#define ROLE_ADMIN 3u

/* ---- what init makes ---- */

struct plan {
  const char *data; /* where it will stand */
  char *folder;     /* where it is made */
  const char *fleet_name;
  const struct settings *settings;
  char fleet_id[32];
  uint64_t wall_ms;
  uint8_t admin_serial[TLX_SERIAL_LEN];
  uint64_t admin_not_after_wall_ms;
  char pin[72];
  char why[512];
};

static int fail(struct plan *plan, const char *what, int err) {
  if (!*plan->why) snprintf(plan->why, sizeof plan->why, "%s: %s", what, tlx_err_text(err));
  return err;
}

static int write_file(struct plan *plan, const char *name, const struct tlx_buf *content,
                      mode_t mode) {
  char *path TLX_AUTOFREE = tlx_path_join(plan->folder, name);
  int err = content->err;
  if (!path) err = -ENOMEM;
  if (!err) err = tlx_file_write_atomic(path, content->data, content->len, mode);
  return err ? fail(plan, name, err) : 0;
}

static int write_ini(struct plan *plan) {
  struct tlx_buf ini TLX_CLEANUP(tlx_buf_done) = {0};
  tlx_buf_add_text(&ini, "; Settings of this Console; flags of the command line come first.\n"
                         "[console]\n"
                         "; listen = [::]:15483\n");
  if (plan->settings->n_advertise) tlx_buf_add_text(&ini, "advertise =");
  for (unsigned i = 0; i < plan->settings->n_advertise; i++)
    tlx_buf_printf(&ini, "%s%s", i ? ", " : " ", plan->settings->advertise[i]);
  tlx_buf_add_text(&ini,
                   plan->settings->n_advertise ? "\n" : "; advertise = console.example.org\n");
  tlx_buf_add_text(&ini, "; stale_after = 90s\n; heartbeat_interval = 15s\n; map_size = 16G\n");
  return write_file(plan, "console.ini", &ini, 0600);
}

/* ---- the first admin ---- */

static int make_admin(struct plan *plan, const struct trust *trust) {
  struct profile_plan profile = {.name = ADMIN_NAME,
                                 .fleet_id = plan->fleet_id,
                                 .fleet_name = plan->fleet_name,
                                 .settings = plan->settings,
                                 .wall_ms = plan->wall_ms};
  char *folder TLX_AUTOFREE = tlx_path_join(plan->folder, "admin");
  int err = folder ? profile_make(&profile, trust, folder) : -ENOMEM;
  memcpy(plan->admin_serial, profile.serial, sizeof plan->admin_serial);
  plan->admin_not_after_wall_ms = profile.not_after_wall_ms;
  return err ? fail(plan, "admin profile", err) : 0;
}

static int make_identities(struct plan *plan) {
  struct trust trust = {0};
  int err = trust_create(plan->folder, plan->fleet_id, plan->settings, plan->wall_ms, plan->why);
  if (!err)
    err =
        trust_load(plan->folder, plan->fleet_id, plan->settings, plan->wall_ms, &trust, plan->why);
  if (!err) err = make_admin(plan, &trust);
  if (!err) strcpy(plan->pin, trust.pin);
  trust_done(&trust);
  return err;
}

/* ---- the store ---- */

static void fill_local(struct op *op, const struct plan *plan) {
  op->actor.wall_ms = plan->wall_ms;
  strcpy(op->actor.name, "local_root");
  strcpy(op->actor.role, "local_root");
}

static int run_first_ops(struct plan *plan, struct tlx_store *store) {
  struct op_audit_only initialized = {.action_type = "console_initialized", .success = true};
  struct op_operator_create admin = {.name = ADMIN_NAME, .role = ROLE_ADMIN};
  struct tlx_txn *txn;
  fill_local(&initialized.op, plan);
  fill_local(&admin.op, plan);
  snprintf(initialized.detail, sizeof initialized.detail, "{\"fleet_id\":\"%s\"}", plan->fleet_id);
  memcpy(admin.serial, plan->admin_serial, sizeof admin.serial);
  admin.not_after_wall_ms = plan->admin_not_after_wall_ms;
  initialized.op.run = op_audit_only_run;
  admin.op.run = op_operator_create_run;
  int err = tlx_txn_begin_write(store, &txn);
  if (err) return fail(plan, "store", err);
  op_execute(&initialized.op, txn);
  op_execute(&admin.op, txn);
  err = tlx_txn_commit(txn);
  if (!err && admin.op.status.code != TLX_GRPC_OK) err = TLX_E_CONFLICT;
  return err ? fail(plan, "store", err) : 0;
}

static int make_store(struct plan *plan) {
  char *path TLX_AUTOFREE = tlx_path_join(plan->folder, "store");
  struct tlx_store *store = NULL;
  struct tlx_store_facts facts = {
      .fleet_id = plan->fleet_id, .fleet_name = plan->fleet_name, .created_wall_ms = plan->wall_ms};
  int err = path ? tlx_random(facts.epoch, sizeof facts.epoch) : -ENOMEM;
  if (!err) err = tlx_store_create(path, &facts, plan->settings->map_size);
  if (!err) err = tlx_store_open(path, plan->settings->map_size, &store);
  if (!err) err = run_first_ops(plan, store);
  tlx_store_close(store);
  return err ? fail(plan, "store", err) : 0;
}

/* ---- init ---- */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw) {
  return remove(path);
}

static int make_all(struct plan *plan) {
  int err = tlx_folder_make_all(plan->folder, 0700);
  if (err) return fail(plan, plan->folder, err);
  err = make_identities(plan);
  if (!err) err = write_ini(plan);
  if (!err) err = make_store(plan);
  /* Onto an empty folder, or where there is none: anything else stays as it is. */
  if (!err && rename(plan->folder, plan->data) != 0) {
    err = -errno;
    if (err == -ENOTEMPTY || err == -EEXIST)
      snprintf(plan->why, sizeof plan->why,
               "%.300s is there and not empty; choose another folder with --data", plan->data);
    else
      fail(plan, plan->data, err);
  }
  if (err) nftw(plan->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return err;
}

static bool is_taken(const char *data) {
  char *store TLX_AUTOFREE = tlx_path_join(data, "store");
  return store && access(store, F_OK) == 0;
}

static void print_result(const struct plan *plan) {
  char profile[4200];
  snprintf(profile, sizeof profile, "%s/admin", plan->data);
  printf("fleet %s (%s) created in %s\n", plan->fleet_name, plan->fleet_id, plan->data);
  printf("fleet CA key: %s\n", plan->pin);
  printf("admin's profile: %s (keep its key private)\n\nnext:\n", profile);
  printf("  telovix-console run --data %s\n", plan->data);
  printf("  telovixctl --profile %s whoami\n", profile);
  printf("  telovixctl --profile %s token create\n", profile);
}

int setup_init(const char *data, const char *fleet_name, const struct settings *settings) {
  struct plan plan = {.data = data, .fleet_name = fleet_name, .settings = settings};
  char suffix[TLX_ID_MAX];
  plan.wall_ms = tlx_wall_ms(tlx_clock_system());
  if (is_taken(data)) {
    fprintf(stderr,
            "telovix-console init: %s holds a fleet already; choose another folder with "
            "--data\n",
            data);
    return 1;
  }
  int err = tlx_id_make("fleet-", plan.fleet_id, sizeof plan.fleet_id);
  if (!err) err = tlx_id_make("init-", suffix, sizeof suffix);
  size_t len = strlen(data);
  while (len > 1 && data[len - 1] == '/')
    len--;
  if (!err && asprintf(&plan.folder, "%.*s.%s", (int)len, data, suffix) < 0) err = -ENOMEM;
  if (!err) err = make_all(&plan);
  if (err)
    fprintf(stderr, "telovix-console init: %s\n", *plan.why ? plan.why : tlx_err_text(err));
  else
    print_result(&plan);
  free(plan.folder);
  return err ? 1 : 0;
}

/* ---- verify ---- */

static void print_finding(void *arg, const char *text) {
  printf("finding: %s\n", text);
}

int setup_verify(const char *data) {
  char *path TLX_AUTOFREE = tlx_path_join(data, "store");
  struct tlx_store *store TLX_CLEANUP(tlx_store_close_p) = NULL;
  struct tlx_audit_head head = {0};
  uint64_t n = 0;
  int err = path ? tlx_store_open(path, 0, &store) : -ENOMEM;
  if (!err) err = tlx_store_verify(store, print_finding, NULL, &n);
  struct tlx_txn *txn = NULL;
  if (!err) err = tlx_txn_begin_read(store, &txn);
  if (!err) tlx_audit_head(txn, &head);
  tlx_txn_abort(txn);
  if (err) {
    const char *advice = tlx_store_advice(err);
    fprintf(stderr, "telovix-console verify: %s: %s%s%s\n", path ? path : data, tlx_err_text(err),
            advice ? "; " : "", advice ? advice : "");
    return 1;
  }
  char hex[2 * TLX_SHA256_LEN + 1];
  tlx_hex_format(head.hash, sizeof head.hash, hex);
  if (n)
    printf("%llu findings; audit head %llu:%s\n", (unsigned long long)n,
           (unsigned long long)head.seq, hex);
  else
    printf("store intact; audit head %llu:%s\n", (unsigned long long)head.seq, hex);
  return n ? 1 : 0;
}
