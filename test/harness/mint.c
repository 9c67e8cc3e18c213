// SPDX-License-Identifier: GPL-2.0-or-later
/* telovix-mint: changes the store of a stopped Console in ways for which there is no command, so
 * that tests can show what the product makes of them. Certificates are signed with the fleet CA's
 * key, as the Console would.
 *
 *   telovix-mint --data DIR operator NAME ROLE OUT     a further operator and his profile
 *   telovix-mint --data DIR role NAME ROLE             another role for an operator
 *   telovix-mint --data DIR revoke-operator NAME
 *   telovix-mint --data DIR revoke-sensor SENSOR_ID
 *   telovix-mint --data DIR sensors N OUT              N enrolled sensors: OUT/ca.crt and
 *                                                      OUT/I/{id,client.key,client.crt}
 *   telovix-mint --data DIR age-order ORDER_ID MS      moves every time of the order back
 *   telovix-mint --data DIR age-seen MS                moves the last heartbeat of all sensors back
 *   telovix-mint --data DIR aim-order ORDER_ID PID     another PID for a queued order
 *   telovix-mint --data DIR damage-audit SEQ           another last character of its detail
 *   telovix-mint --data DIR drop-audit SEQ             takes the record out
 *   telovix-mint --data DIR swap-audit SEQ SEQ         each in the other's place, with its number
 *   telovix-mint --data DIR cut-audit SEQ              takes out everything behind the record
 *   telovix-mint --data DIR fill-audit N               appends N records, as an idle fleet would in
 *                                                      months */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "console/authz.h"
#include "console/limits.h"
#include "console/op_operator.h"
#include "pki/identity.h"
#include "storage/audit_tbl.h"
#include "storage/meta_tbl.h"
#include "storage/operator_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/table.h"

struct mint {
  char data[2048];
  struct tlx_store *store;
  struct tlx_key *ca_key;
  struct tlx_buf ca_pem, ca_der;
  struct tlx_bytes ca_bytes;
  struct tlx_cert ca;
  char fleet_id[32];
};

static void need(int err, const char *what) {
  if (err == 0) return;
  fprintf(stderr, "telovix-mint: %s: %s\n", what, tlx_err_text(err));
  exit(1);
}

static void path_in(const char *folder, const char *name, char *out) {
  snprintf(out, 4096, "%s/%s", folder, name);
}

static void open_all(struct mint *mint) {
  char path[4096];
  path_in(mint->data, "store", path);
  need(tlx_store_open(path, 0, &mint->store), path);
  path_in(mint->data, "ca/ca.key", path);
  need(tlx_key_load(path, &mint->ca_key), path);
  path_in(mint->data, "ca/ca.crt", path);
  tlx_buf_init(&mint->ca_pem, 0);
  tlx_buf_init(&mint->ca_der, 0);
  need(tlx_file_read(path, 65536, &mint->ca_pem), path);
  size_t n;
  need(tlx_cert_parse_pem(mint->ca_pem.data, mint->ca_pem.len, &mint->ca_der, &mint->ca_bytes, 1,
                          &n),
       path);
  need(tlx_cert_parse(mint->ca_bytes, &mint->ca), path);
  struct tlx_txn *txn;
  need(tlx_txn_begin_read(mint->store, &txn), "store");
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  tlx_require(meta);
  snprintf(mint->fleet_id, sizeof mint->fleet_id, "%s", meta->fleet_id);
  tlx_txn_abort(txn);
}

/* Key and certificate of |kind| |name| into |folder|; fills serial and end. */
static void make_identity(struct mint *mint, enum tlx_principal_kind kind, const char *name,
                          const char *folder, uint8_t serial[TLX_SERIAL_LEN],
                          uint64_t *ret_not_before_wall_ms, uint64_t *ret_not_after_wall_ms) {
  struct tlx_key *key;
  char path[4096], uri[256];
  need(tlx_folder_make_all(folder, 0700), folder);
  need(tlx_key_new(&key), "key");
  path_in(folder, "client.key", path);
  need(tlx_key_save(key, path), path);
  need(tlx_serial_make(serial), "serial");
  struct tlx_spiffe id = {.kind = kind};
  snprintf(id.fleet_id, sizeof id.fleet_id, "%s", mint->fleet_id);
  snprintf(id.name, sizeof id.name, "%s", name);
  need(tlx_spiffe_format(&id, uri), name);
  uint64_t now_wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_cert_template template = {.profile = TLX_CERT_CLIENT,
                                       .subject_cn = name,
                                       .issuer_cn = mint->ca.subject_cn,
                                       /* old enough to be renewed */
                                       .not_before_wall_ms = now_wall_ms - NOT_BEFORE_SLACK_MS -
                                                             SENSOR_RENEW_INTERVAL_MS,
                                       .not_after_wall_ms = now_wall_ms + SENSOR_CERT_LIFE_MS,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = mint->ca.spki,
                                       .uri = uri};
  memcpy(template.serial, serial, TLX_SERIAL_LEN);
  struct tlx_buf der, pem;
  tlx_buf_init(&der, 0);
  tlx_buf_init(&pem, 0);
  need(tlx_cert_issue(&template, mint->ca_key, &der), "certificate");
  need(tlx_cert_format_pem((struct tlx_bytes){der.data, der.len}, &pem), "PEM");
  path_in(folder, "client.crt", path);
  need(tlx_file_write_atomic(path, pem.data, pem.len, 0600), path);
  tlx_buf_done(&der);
  tlx_buf_done(&pem);
  tlx_key_free(key);
  *ret_not_before_wall_ms = template.not_before_wall_ms;
  *ret_not_after_wall_ms = template.not_after_wall_ms;
}

static unsigned parse_role(const char *name) {
  for (unsigned role = AUTHZ_VIEWER; role <= AUTHZ_ADMIN; role++)
    if (strcmp(authz_role_name(role), name) == 0) return role;
  need(-EINVAL, name);
  return 0;
}

static void cmd_operator(struct mint *mint, const char *name, const char *role, const char *out) {
  struct op_operator_create op = {.op = {.run = op_operator_create_run}};
  uint64_t not_before_wall_ms;
  snprintf(op.name, sizeof op.name, "%s", name);
  op.role = parse_role(role);
  make_identity(mint, TLX_PRINCIPAL_OPERATOR, name, out, op.serial, &not_before_wall_ms,
                &op.not_after_wall_ms);
  op.op.actor.wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  op_execute(&op.op, txn);
  if (op.op.status.code != TLX_GRPC_OK) {
    fprintf(stderr, "telovix-mint: %s\n", op.op.status.message);
    exit(1);
  }
  need(tlx_txn_commit(txn), "store");
  op_done(&op.op);
  char path[4096];
  path_in(out, "ca.crt", path);
  need(tlx_file_write_atomic(path, mint->ca_pem.data, mint->ca_pem.len, 0600), path);
  /* The admin's profile with another name. */
  struct tlx_buf ini;
  tlx_buf_init(&ini, 0);
  path_in(mint->data, "admin/profile.ini", path);
  need(tlx_file_read(path, 65536, &ini), path);
  tlx_buf_add_u8(&ini, 0);
  struct tlx_buf own;
  tlx_buf_init(&own, 0);
  for (char *line = strtok((char *)ini.data, "\n"); line; line = strtok(NULL, "\n"))
    if (strncmp(line, "name", 4) != 0) tlx_buf_printf(&own, "%s\n", line);
  tlx_buf_printf(&own, "name = %s\n", name);
  path_in(out, "profile.ini", path);
  need(tlx_file_write_atomic(path, own.data, own.len, 0600), path);
  tlx_buf_done(&ini);
  tlx_buf_done(&own);
}

static void cmd_role(struct mint *mint, const char *name, const char *role, bool revoke) {
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, name);
  if (!record) need(TLX_E_NOT_FOUND, name);
  if (role) record->role = parse_role(role);
  if (revoke) record->revoked = true;
  tlx_operator_put(txn, record);
  need(tlx_txn_commit(txn), "store");
}

static void cmd_revoke_sensor(struct mint *mint, const char *sensor_id) {
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, sensor_id);
  if (!record) need(TLX_E_NOT_FOUND, sensor_id);
  record->trust_state = 4;
  tlx_sensor_put(txn, record);
  need(tlx_txn_commit(txn), "store");
}

static void add_sensor(struct mint *mint, struct tlx_txn *txn, unsigned i, const char *out) {
  char folder[4096], path[4096 + 8], sensor_id[TLX_ID_MAX], node[32];
  uint8_t serial[TLX_SERIAL_LEN];
  snprintf(folder, sizeof folder, "%s/%u", out, i);
  snprintf(node, sizeof node, "virtual-%05u", i);
  need(tlx_id_make("sensor_", sensor_id, sizeof sensor_id), "id");
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  make_identity(mint, TLX_PRINCIPAL_SENSOR, sensor_id, folder, serial,
                &record.cert_not_before_wall_ms, &record.cert_not_after_wall_ms);
  record.schema = 1;
  record.sensor_id = sensor_id;
  record.node_name = node;
  record.trust_state = 1;
  record.enrolled_wall_ms = tlx_wall_ms(tlx_clock_system());
  record.serial.data = serial;
  record.serial.len = sizeof serial;
  tlx_sensor_put(txn, &record);
  Telovix__Store__V1__SerialRecord entry = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  entry.schema = 1;
  entry.kind = TLX_SERIAL_OF_SENSOR;
  entry.owner = sensor_id;
  entry.not_after_wall_ms = record.cert_not_after_wall_ms;
  entry.state = TLX_SERIAL_GOOD;
  tlx_serial_put(txn, serial, &entry);
  snprintf(path, sizeof path, "%s/id", folder);
  need(tlx_file_write_atomic(path, sensor_id, strlen(sensor_id), 0600), path);
}

static void cmd_sensors(struct mint *mint, const char *count, const char *out) {
  uint64_t n;
  need(tlx_u64_parse(count, 20000, &n), count);
  need(tlx_folder_make_all(out, 0700), out);
  char path[4096];
  path_in(out, "ca.crt", path);
  need(tlx_file_write_atomic(path, mint->ca_pem.data, mint->ca_pem.len, 0600), path);
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  for (unsigned i = 0; i < n; i++)
    add_sensor(mint, txn, i, out);
  need(tlx_txn_commit(txn), "store");
}

/* Every time of the order moves back by |age|, also the one at which its next state is due. */
static void cmd_age_order(struct mint *mint, const char *order_id, const char *age) {
  uint64_t age_ms;
  need(tlx_u64_parse(age, UINT32_MAX, &age_ms), age);
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, order_id);
  if (!record) need(TLX_E_NOT_FOUND, order_id);
  uint64_t *times[] = {&record->queued_wall_ms, &record->delivered_wall_ms,
                       &record->expires_wall_ms};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++)
    if (*times[i]) *times[i] -= age_ms;
  struct tlx_db_key number, open;
  tlx_db_key_number(record->queue_no, &number);
  tlx_table_put(txn, TLX_TABLE_ORDER, &number, &record->base);
  tlx_db_key_sensor_no(record->sensor_id, record->queue_no, &open);
  uint64_t due_wall_ms =
      record->expires_wall_ms + (record->delivered_wall_ms ? TLX_ORDER_RESULT_GRACE_MS : 0);
  tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &open, due_wall_ms);
  need(tlx_txn_commit(txn), "store");
}

struct aging {
  struct tlx_txn *txn;
  uint64_t age_ms;
};

static bool age_sensor(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  struct aging *aging = arg;
  Telovix__Store__V1__SensorRecord copy = *record;
  if (copy.last_seen_wall_ms > aging->age_ms) copy.last_seen_wall_ms -= aging->age_ms;
  tlx_sensor_put(aging->txn, &copy);
  return true;
}

/* As if the Console had been off for so long. */
static void cmd_age_seen(struct mint *mint, const char *age) {
  struct aging aging;
  need(tlx_u64_parse(age, UINT32_MAX, &aging.age_ms), age);
  need(tlx_txn_begin_write(mint->store, &aging.txn), "store");
  tlx_sensor_each(aging.txn, NULL, NULL, age_sensor, &aging);
  need(tlx_txn_commit(aging.txn), "store");
}

/* What a Console that does not check would queue. */
static void cmd_aim_order(struct mint *mint, const char *order_id, const char *pid) {
  uint64_t number;
  need(tlx_u64_parse(pid, UINT32_MAX, &number), pid);
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, order_id);
  if (!record || record->state != TLX_ORDER_QUEUED) need(TLX_E_NOT_FOUND, order_id);
  record->pid = (uint32_t)number;
  struct tlx_db_key key;
  tlx_db_key_number(record->queue_no, &key);
  tlx_table_put(txn, TLX_TABLE_ORDER, &key, &record->base);
  need(tlx_txn_commit(txn), "store");
}

static void cmd_damage_audit(struct mint *mint, const char *number) {
  uint64_t seq;
  need(tlx_u64_parse(number, UINT64_MAX, &seq), number);
  struct tlx_txn *txn;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, seq);
  if (!record || !record->detail || !*record->detail) need(TLX_E_NOT_FOUND, number);
  record->detail[strlen(record->detail) - 1] ^= 1;
  struct tlx_db_key key;
  tlx_db_key_number(seq, &key);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &key, &record->base);
  need(tlx_txn_commit(txn), "store");
}

static Telovix__Store__V1__AuditRecord *audit_at(struct tlx_txn *txn, const char *number,
                                                 struct tlx_db_key *ret_key) {
  uint64_t seq;
  need(tlx_u64_parse(number, UINT64_MAX, &seq), number);
  Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, seq);
  if (!record) need(TLX_E_NOT_FOUND, number);
  tlx_db_key_number(seq, ret_key);
  return record;
}

static void cmd_drop_audit(struct mint *mint, const char *number) {
  struct tlx_txn *txn;
  struct tlx_db_key key;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  (void)audit_at(txn, number, &key);
  tlx_table_remove(txn, TLX_TABLE_AUDIT, &key);
  need(tlx_txn_commit(txn), "store");
}

static void cmd_swap_audit(struct mint *mint, const char *one, const char *other) {
  struct tlx_txn *txn;
  struct tlx_db_key key_a, key_b;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  Telovix__Store__V1__AuditRecord *a = audit_at(txn, one, &key_a);
  Telovix__Store__V1__AuditRecord *b = audit_at(txn, other, &key_b);
  uint64_t seq = a->seq;
  a->seq = b->seq;
  b->seq = seq;
  tlx_table_put(txn, TLX_TABLE_AUDIT, &key_a, &b->base);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &key_b, &a->base);
  need(tlx_txn_commit(txn), "store");
}

static void cmd_cut_audit(struct mint *mint, const char *number) {
  struct tlx_txn *txn;
  struct tlx_db_key key;
  struct tlx_audit_head head;
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  uint64_t last_seq = audit_at(txn, number, &key)->seq;
  tlx_audit_head(txn, &head);
  for (uint64_t seq = last_seq + 1; seq <= head.seq; seq++) {
    tlx_db_key_number(seq, &key);
    tlx_table_remove(txn, TLX_TABLE_AUDIT, &key);
  }
  need(tlx_txn_commit(txn), "store");
}

static void cmd_fill_audit(struct mint *mint, const char *count) {
  uint64_t n;
  struct tlx_txn *txn;
  need(tlx_u64_parse(count, 1000000, &n), count);
  struct tlx_audit_entry entry = {.wall_ms = tlx_wall_ms(tlx_clock_system()),
                                  .action_type = "access_denied",
                                  .actor = "filler",
                                  .detail = "{\"reason\":\"filled\"}"};
  need(tlx_txn_begin_write(mint->store, &txn), "store");
  for (uint64_t i = 0; i < n; i++)
    tlx_audit_append(txn, &entry);
  need(tlx_txn_commit(txn), "store");
}

int main(int argc, char **argv) {
  struct mint mint = {.data = ""};
  if (argc < 4 || strcmp(argv[1], "--data") != 0) {
    fprintf(stderr, "usage: telovix-mint --data DIR COMMAND... (see mint.c)\n");
    return 2;
  }
  snprintf(mint.data, sizeof mint.data, "%s", argv[2]);
  open_all(&mint);
  const char *command = argv[3];
  char **words = argv + 4;
  int n = argc - 4, ret = 0;
  if (strcmp(command, "operator") == 0 && n == 3)
    cmd_operator(&mint, words[0], words[1], words[2]);
  else if (strcmp(command, "role") == 0 && n == 2)
    cmd_role(&mint, words[0], words[1], false);
  else if (strcmp(command, "revoke-operator") == 0 && n == 1)
    cmd_role(&mint, words[0], NULL, true);
  else if (strcmp(command, "revoke-sensor") == 0 && n == 1)
    cmd_revoke_sensor(&mint, words[0]);
  else if (strcmp(command, "sensors") == 0 && n == 2)
    cmd_sensors(&mint, words[0], words[1]);
  else if (strcmp(command, "age-order") == 0 && n == 2)
    cmd_age_order(&mint, words[0], words[1]);
  else if (strcmp(command, "age-seen") == 0 && n == 1)
    cmd_age_seen(&mint, words[0]);
  else if (strcmp(command, "aim-order") == 0 && n == 2)
    cmd_aim_order(&mint, words[0], words[1]);
  else if (strcmp(command, "damage-audit") == 0 && n == 1)
    cmd_damage_audit(&mint, words[0]);
  else if (strcmp(command, "drop-audit") == 0 && n == 1)
    cmd_drop_audit(&mint, words[0]);
  else if (strcmp(command, "swap-audit") == 0 && n == 2)
    cmd_swap_audit(&mint, words[0], words[1]);
  else if (strcmp(command, "cut-audit") == 0 && n == 1)
    cmd_cut_audit(&mint, words[0]);
  else if (strcmp(command, "fill-audit") == 0 && n == 1)
    cmd_fill_audit(&mint, words[0]);
  else
    ret = 2;
  if (ret) fprintf(stderr, "telovix-mint: %s: unknown, or wrong number of words\n", command);
  tlx_store_close(mint.store);
  tlx_key_free(mint.ca_key);
  tlx_buf_done(&mint.ca_pem);
  tlx_buf_done(&mint.ca_der);
  return ret;
}
