// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "sensor/bpf_pin.h"
#include "sensor/canary.h"
#include "sensor/engine_rules.h"
#include "sensor/host.h"

/* A kernel that could not do it may be able to after an operator mounted or granted something. */
#define RETRY_MS 30000u
#define RULE_LIFTED_WORD "lifted"

/* ---- nothing can be enforced ---- */

static void give_up(struct core *core, const char *reason, const char *detail) {
  core->reason = reason;
  snprintf(core->detail, sizeof core->detail, "%s", detail);
  core->retry_mono_ms = tlx_mono_ms(core->clock) + RETRY_MS;
}

/* What a former process pinned and we cannot open may still be in force. */
static bool nothing_is_in_force(const struct core *core) {
  if (core->was_proved) return false;
  return core->object || (access(core->pin_folder, F_OK) != 0 && errno == ENOENT);
}

/* Every rule says so. What was in force and cannot be proved any more has failed; what never was is
 * refused. */
static void refuse_all(struct core *core) {
  for (size_t i = 0; i < core->n_rules; i++) {
    struct core_rule *rule = core->rules[i];
    if (rule->kind != RULE_KIND_BLOCK) continue;
    struct rule_result result = {0};
    rule_result_set(&result,
                    core->was_proved ? RULE_REASON_ENGINE_DOWN : RULE_REASON_NO_ENFORCEMENT);
    snprintf(result.step, sizeof result.step, "%s", core->detail);
    core_note_result(core, rule, &result);
  }
  core->exec_in_force = core->has_name && nothing_is_in_force(core);
}

/* ---- opening ---- */

/* Two sensors that shared their pins would undo each other's rules. Whoever has them may end at any
 * moment, so the next pass asks again. */
static bool hold_pins(struct core *core) {
  char why[240] = "";
  int err = bpf_pin_lock(core->pin_folder, why, &core->lock_fd);
  if (!err) return true;
  core->backend = BPF_BACKEND_NONE;
  give_up(core, err == TLX_E_LOCKED ? "pins_in_use" : "step_failed", why);
  if (err == TLX_E_LOCKED) core->retry_mono_ms = 0;
  return false;
}

/* What a former process had in force, or one that we could not repair counted. */
static void take_over(struct core *core, bool adopted) {
  struct bpf_image_entry *former = NULL;
  size_t n_former = 0;
  core->was_proved |= adopted;
  if (adopted && bpf_maps_read(core->object, &former, &n_former) == 0) {
    free(core->former);
    core->former = former;
    core->n_former = n_former;
  }
  for (size_t i = 0; !adopted && i < core->n_rules; i++)
    if (core->rules[i]->slot)
      (void)bpf_maps_count_set(core->object, core->rules[i]->slot, &core->rules[i]->count);
}

static bool open_parts(struct core *core) {
  struct bpf_caps_paths paths = {core->btf_path, core->securityfs, core->bpffs};
  struct bpf_object_options options = {.pin_folder = core->pin_folder,
                                       .whole_host = core->whole_host,
                                       .scope_cgroup_id = core->scope_cgroup_id,
                                       .scope_level = core->scope_level,
                                       .btf_path = core->btf_path};
  char why[240] = "";
  const char *reason = "step_failed";
  bool adopted = false;
  if (core->object) return hold_pins(core);
  bpf_caps_probe(&paths, &core->caps);
  if (!bpf_caps_enough(&core->caps, &reason, why, sizeof why)) {
    give_up(core, reason, why);
    return false;
  }
  if (!hold_pins(core)) return false;
  int err = core->file ? 0 : bpf_file_open(core->btf_path, why, &core->file);
  if (!err) err = bpf_object_open(&options, why, &adopted, &core->object);
  if (err) {
    give_up(core, err == -EPERM || err == -EACCES ? "no_capability" : "step_failed", why);
    return false;
  }
  core->n_objects++;
  take_over(core, adopted);
  return true;
}

/* ---- the canary ---- */

static int identify_canary(struct core *core) {
  struct tlx_file_id id;
  int err = canary_write(core->canary_path);
  if (err) return err;
  int fd TLX_AUTOCLOSE = open(core->canary_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  err = bpf_file_identify(core->file, fd, &id);
  if (err) return err;
  struct tlx_exec_rule rule = {.slot = TLX_SLOT_CANARY, .mode = TLX_MODE_ENFORCE};
  memset(core->canary, 0, sizeof core->canary);
  core->canary[0].key = (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = id.dev, .ino = id.ino};
  core->canary[1].key =
      (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = id.real_dev, .ino = id.real_ino};
  core->canary[0].rule = core->canary[1].rule = rule;
  core->canary[0].rule.generation = id.generation;
  core->canary[1].rule.generation = id.real_generation;
  core->n_canary = id.real_ino ? 2 : 1;
  return 0;
}

/* True when it was stopped *and* counted: another module that refuses it proves nothing about ours.
 */
static bool canary_is_stopped(struct core *core, char *why, size_t size) {
  struct tlx_count before = {0}, after = {0};
  int err = bpf_maps_count(core->object, TLX_SLOT_CANARY, &before), run_err = 0;
  enum canary_result result = canary_run(core->canary_path, core->scope_folder, &run_err);
  if (!err) err = bpf_maps_count(core->object, TLX_SLOT_CANARY, &after);
  if (err)
    snprintf(why, size, "the canary's counter cannot be read: %s", tlx_err_text(err));
  else if (result == CANARY_ALIVE)
    snprintf(why, size, "the hook is attached and dead: the canary ran");
  else if (result == CANARY_UNKNOWN)
    snprintf(why, size, "the canary %.100s cannot be executed: %s", core->canary_path,
             tlx_err_text(run_err));
  else if (after.acted == before.acted)
    snprintf(why, size, "something else stopped the canary, not our hook");
  else
    return true;
  return false;
}

/* ---- publishing ---- */

static bool is_published_image(const struct core *core, const struct bpf_image_entry *image,
                               size_t n) {
  return core->is_published && n == core->n_image &&
         (n == 0 || memcmp(image, core->image, n * sizeof *image) == 0);
}

/* Takes |image|. */
static int publish(struct core *core, struct bpf_image_entry *image, size_t n) {
  int err = is_published_image(core, image, n) ? 0 : bpf_maps_publish(core->object, image, n);
  if (err) {
    free(image);
    return err;
  }
  free(core->image);
  core->image = image;
  core->n_image = n;
  core->is_published = true;
  return 0;
}

/* What is in force, by us or by a former process, and the canary: the image under which hooks are
 * tried. */
static int publish_trial(struct core *core) {
  const struct bpf_image_entry *held = core->is_published ? core->image : core->former;
  size_t n_held = core->is_published ? core->n_image : core->n_former, n = 0;
  struct bpf_image_entry *image = calloc(n_held + core->n_canary + 1, sizeof *image);
  if (!image) return -ENOMEM;
  for (size_t i = 0; i < n_held; i++)
    if (held[i].rule.slot != TLX_SLOT_CANARY) image[n++] = held[i];
  for (unsigned i = 0; i < core->n_canary; i++)
    image[n++] = core->canary[i];
  return publish(core, image, n);
}

/* ---- attaching ---- */

static enum bpf_cap cap_of(enum bpf_backend backend) {
  switch (backend) {
  case BPF_BACKEND_LSM:
    return BPF_CAP_LSM;
  case BPF_BACKEND_FMOD_RET:
    return BPF_CAP_FMOD_RET;
  default:
    return BPF_CAP_TRACEPOINT;
  }
}

/* Whether |backend| is attached and proved now. */
static bool try_backend(struct core *core, enum bpf_backend backend) {
  char why[240] = "";
  int err = bpf_object_attach(core->object, backend, why);
  if (!err && !canary_is_stopped(core, why, sizeof why)) {
    bpf_object_drop(core->object);
    err = -ENODEV;
  }
  bpf_caps_note(&core->caps, cap_of(backend), !err, err, err ? "%s" : NULL, why);
  return !err;
}

static bool attach(struct core *core) {
  char detail[240] = "";
  if (core->backend) return true;
  int err = identify_canary(core);
  if (!err) err = publish_trial(core);
  if (!err) err = bpf_object_arm(core->object, true);
  if (err) {
    snprintf(detail, sizeof detail, "the canary and its rule: %s", tlx_err_text(err));
    give_up(core, "step_failed", detail);
    return false;
  }
  for (unsigned backend = BPF_BACKEND_NONE + 1; backend < BPF_BACKEND_COUNT; backend++) {
    if (!try_backend(core, backend)) continue;
    core->backend = backend;
    core->is_kept = false;
    core->was_proved = true;
    core->reason = "";
    core->detail[0] = '\0';
    tlx_notice(BPF, "executions are stopped by %s", bpf_backend_word(backend));
    return true;
  }
  give_up(core, "no_backend", core->caps.findings[BPF_CAP_TRACEPOINT].detail);
  return false;
}

/* ---- rules ---- */

static void fail_rules(struct core *core, int err, const char *step) {
  for (size_t i = 0; i < core->n_rules; i++) {
    struct core_rule *rule = core->rules[i];
    if (rule->kind != RULE_KIND_BLOCK) continue;
    if (rule->result.state != RULE_APPLIED && rule->result.state != RULE_PARTIAL) continue;
    rule_result_set(&rule->result, RULE_REASON_STEP_FAILED);
    rule->result.err = err;
    snprintf(rule->result.step, sizeof rule->result.step, "%s: %s", step, tlx_err_text(err));
    rule->since_boot_ns = tlx_boot_ns(core->clock);
  }
}

/* Whether the rules were published. Without a word of the Console what a former process had in
 * force stays: its pins, and the image of the trial. */
static bool put_in_force(struct core *core) {
  struct bpf_image_entry *image = NULL;
  size_t n = 0;
  if (!core->has_name) return false;
  core_compile(core);
  if (core_assign_slots(core)) core_compile(core);
  int err = core_build_image(core, &image, &n);
  if (!err) err = publish(core, image, n);
  if (err) {
    fail_rules(core, err, "the rules cannot be published");
    tlx_error(RULE, "the rules cannot be published, what was in force stays: %s",
              tlx_err_text(err));
    return false;
  }
  free(core->former);
  core->former = NULL;
  core->n_former = 0;
  core->exec_in_force = true;
  return true;
}

/* Pins the links and lets go of all that enforced before: only now that the rules are published, as
 * what cannot be adopted goes with it. False when they cannot be pinned. */
static bool keep(struct core *core) {
  char why[240] = "";
  if (core->is_kept) return true;
  int err = bpf_object_keep(core->object, why);
  if (err) {
    bpf_object_drop(core->object);
    core->backend = BPF_BACKEND_NONE;
    give_up(core, "step_failed", why);
    return false;
  }
  core->is_kept = true;
  bpf_object_close(core->lost);
  core->lost = NULL;
  return true;
}

/* ---- verification ---- */

/* An object that cannot be repaired is replaced by a new one, and enforces until that is kept. */
static void set_aside(struct core *core) {
  if (core->lost)
    bpf_object_close(core->object); /* never kept: the one before still enforces */
  else
    core->lost = core->object;
  core->object = NULL;
  free(core->former);
  core->former = core->image;
  core->n_former = core->n_image;
  core->image = NULL;
  core->n_image = 0;
  core->is_published = false;
}

/* Whether all is as it should be now, maybe after repair. |n_others|: what other parts found in
 * this pass. */
static bool verify(struct core *core, unsigned n_others) {
  char why[240] = "";
  uint64_t seen_boot_ns = tlx_boot_ns(core->clock);
  int err = bpf_object_verify(core->object, &core->tampers);
  if (!err) err = bpf_maps_verify(core->object, core->image, core->n_image, &core->tampers);
  bool stopped = canary_is_stopped(core, why, sizeof why);
  if (core->tampers.n) core->repaired_boot_ns = tlx_boot_ns(core->clock);
  if (!err && stopped) {
    core->verified_boot_ns = seen_boot_ns;
    /* All is as it should be now: also what the first try of this pass could not mend. */
    for (unsigned i = n_others; i < core->tampers.n; i++)
      core->tampers.list[i].repaired = true;
    return true;
  }
  if (err) snprintf(why, sizeof why, "a repair failed: %s", tlx_err_text(err));
  tlx_error(BPF, "enforcement is lost, attaching anew: %s", why);
  core->backend = BPF_BACKEND_NONE;
  give_up(core, "engine_down", why);
  if (err == -EPERM || err == -EPROTO) set_aside(core);
  return false;
}

static void exec_pass(struct core *core) {
  /* What is lost is tried again at once and with every pass; what never worked, now and then. */
  bool may_try =
      core->backend || core->was_proved || tlx_mono_ms(core->clock) >= core->retry_mono_ms;
  unsigned n_others = core->tampers.n;
  for (unsigned tries = 0; may_try && tries < 2; tries++) {
    if (!open_parts(core) || !attach(core)) break;
    if (put_in_force(core) && !keep(core)) break;
    if (verify(core, n_others)) return;
  }
  refuse_all(core);
}

/* ---- all parts ---- */

static bool has_exec_pins(const struct core *core) {
  char *path = NULL;
  bool has =
      asprintf(&path, "%s/%d", core->pin_folder, TLX_ABI_VERSION) > 0 && access(path, F_OK) == 0;
  free(path);
  return has;
}

/* Whether nothing of the exec rules is left. */
static bool exec_remove(struct core *core) {
  if (!core->object && has_exec_pins(core) && !open_parts(core)) {
    tlx_error(BPF, "programs of a former process stay in force: %s", core->detail);
    return false;
  }
  int err = core->object ? bpf_object_remove(core->object) : 0;
  if (err) tlx_error(BPF, "programs stay in force: %s", tlx_err_text(err));
  bpf_object_close(core->object);
  bpf_object_close(core->lost);
  core->object = core->lost = NULL;
  core->backend = BPF_BACKEND_NONE;
  core->was_proved = err != 0;
  core->is_published = false;
  free(core->image);
  core->image = NULL;
  core->n_image = 0;
  core->exec_in_force = core->has_name && err == 0;
  return err == 0;
}

/* Root on the host wants nothing of ours: only a new desired state puts anything in force again. */
static void stand_down(struct core *core) {
  struct rule_result *result = calloc(1, sizeof *result);
  bool is_exec_down = exec_remove(core);
  core->net.is_settled = core_net_remove(core);
  core->is_down = is_exec_down && core->net.is_settled;
  give_up(core, RULE_LIFTED_WORD, "root on this host ran `telovix-sensor lift`");
  if (result) rule_result_set(result, RULE_REASON_LIFTED);
  for (size_t i = 0; result && i < core->n_rules; i++)
    core_note_result(core, core->rules[i], result);
  free(result);
}

void core_pass(struct core *core, const struct desired *desired) {
  core->tampers.n = 0;
  core->n_passes++;
  int err = desired ? core_take_desired(core, desired) : 0;
  if (err)
    tlx_error(RULE, "the desired rules cannot be taken, the former stay: %s", tlx_err_text(err));
  if (core->is_lifted) {
    stand_down(core);
  } else {
    if (strcmp(core->reason, RULE_LIFTED_WORD) == 0) {
      core->reason = "";
      core->retry_mono_ms = 0;
    }
    /* First what cuts a whole host off: it cannot wait for a program to be executed. */
    core_net_pass(core);
    if (!core->net_only || desired) exec_pass(core);
    core_net_prepare(core);
  }
  core->in_force = core->exec_in_force && core->net.is_settled;
}

void core_leave(struct core *core) {
  if (!core->object || !core->in_force || core->n_rules) return;
  int err = bpf_object_remove(core->object);
  if (err) tlx_warn(BPF, "programs without rules stay loaded: %s", tlx_err_text(err));
}

int core_init(struct core *core, const struct engine_options *options) {
  core->clock = options->clock;
  core->reason = "";
  core->link.fd = core->lock_fd = -1;
  core->whole_host = !options->scope_folder;
  core->pin_folder = tlx_path_join(options->paths->bpffs, "telovix");
  core->canary_path = tlx_path_join(options->state_folder, "canary");
  core->btf_path = strdup(options->paths->btf);
  core->securityfs = strdup(options->paths->securityfs);
  core->bpffs = strdup(options->paths->bpffs);
  if (!core->pin_folder || !core->canary_path || !core->btf_path || !core->securityfs ||
      !core->bpffs)
    return -ENOMEM;
  if (!options->scope_folder) return 0;
  core->scope_folder = strdup(options->scope_folder);
  if (!core->scope_folder) return -ENOMEM;
  return host_cgroup_id(options->scope_folder, &core->scope_cgroup_id, &core->scope_level);
}

void core_done(struct core *core) {
  core_free_rules(core);
  core_net_done(core);
  bpf_object_close(core->object);
  bpf_object_close(core->lost);
  if (core->lock_fd >= 0) close(core->lock_fd);
  bpf_file_close(core->file);
  free(core->image);
  free(core->former);
  free(core->pin_folder);
  free(core->canary_path);
  free(core->scope_folder);
  free(core->btf_path);
  free(core->securityfs);
  free(core->bpffs);
}
