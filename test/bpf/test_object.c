// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_object.h"

#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"
#include "common/err.h"
#include "sensor/bpf_layout.h"
#include "sensor/bpf_load.h"
#include "sensor/bpf_pin.h"
#include "sensor/canary.h"

/* Whose links are in force, across processes, crashes and hands that meddle. */

static struct bed bed;

static void begin(void) {
  bed_begin(&bed);
  bed_engine(&bed);
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_ENFORCE);
  bed_publish(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(object, .init = begin, .fini = end);

static const char *pin(const char *name) {
  static char paths[4][192];
  static unsigned at;
  char *path = paths[at++ % 4];
  snprintf(path, sizeof paths[0], "%s/%d/%s", bed.pins, TLX_ABI_VERSION, name);
  return path;
}
/* The pin of the hook that stops executions: "lsm_bprm_check". */
static const char *first_link(void) {
  static char name[64];
  snprintf(name, sizeof name, "%s_%s", bpf_backend_word(bed.backend),
           bpf_load_hook(bed.backend, 0));
  return name;
}
static uint32_t link_id(void) {
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  int fd = bpf_obj_get(pin(first_link()));
  cr_assert_geq(fd, 0, "%s: %s", first_link(), strerror(errno));
  cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
  close(fd);
  return info.id;
}
static void forget_object(void) {
  bpf_object_close(bed.object);
  bed.object = NULL;
}
static bool is_blocked(void) {
  return bed_exec(&bed, bed.program) == bed_stopped(&bed) && !bed_trace(&bed);
}

/* ---- life ---- */

Test(object, pins_outlive_their_maker_and_end_with_remove) {
  forget_object();
  cr_expect(is_blocked());
  bool adopted = false;
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_expect_eq(bpf_object_remove(bed.object), 0);
  cr_expect_not(is_blocked());
  cr_expect_neq(access(bed.pins, F_OK), 0);
  /* Afterwards every call says so, and the object can be closed. */
  char why[240];
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_object_attach(bed.object, bed.backend, why), -EBADF);
  cr_expect_eq(bpf_object_arm(bed.object, true), -EBADF);
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), -EBADF);
  cr_expect_eq(bpf_maps_publish(bed.object, bed.entries, 1), -EBADF);
}

Test(object, a_successor_adopts_the_same_links) {
  uint32_t before = link_id();
  forget_object();
  bool adopted = false;
  char why[240] = "";
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_expect_eq(bpf_object_backend(bed.object), bed.backend);
  /* The rules of the former process. */
  struct bpf_image_entry *entries = NULL;
  size_t n = 0;
  cr_assert_eq(bpf_maps_read(bed.object, &entries, &n), 0);
  cr_expect_eq(n, bed.n_entries);
  free(entries);
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  cr_expect_eq(link_id(), before);
  cr_expect(is_blocked());
}

/* With and without the reading of kernel text the instructions, and so the tags, are the same. */
Test(object, programs_that_read_something_else_are_not_adopted) {
  char why[240] = "", name[64];
  uint32_t before = link_id();
  const uint32_t zero = 0;
  struct tlx_self self;
  snprintf(name, sizeof name, "%s_self", bpf_backend_word(bed.backend));
  int fd = bpf_obj_get(pin(name));
  cr_assert_geq(fd, 0);
  cr_assert_eq(bpf_map_lookup_elem(fd, &zero, &self), 0);
  self.reads = !self.reads;
  cr_assert_eq(bpf_map_update_elem(fd, &zero, &self, BPF_ANY), 0);
  close(fd);
  forget_object();
  bool adopted = false;
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  cr_expect_neq(link_id(), before);
  cr_expect(is_blocked());
}

Test(object, dropping_leaves_what_was_there) {
  char why[240] = "";
  uint32_t before = link_id();
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  bpf_object_drop(bed.object);
  cr_expect_eq(bpf_object_backend(bed.object), bed.backend);
  cr_expect_eq(link_id(), before);
  cr_expect(is_blocked());
  cr_expect_eq(bpf_object_keep(bed.object, why), -EINVAL);
  /* Links that were adopted and dropped go on too, and are not adopted a second time. */
  forget_object();
  bool adopted;
  bed.object = bed_open(&bed, &adopted);
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  bpf_object_drop(bed.object);
  cr_expect(is_blocked());
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  cr_expect_neq(link_id(), before);
  cr_expect(is_blocked());
}

/* New programs beside old ones: only the canary's hits of the new ones count, and there is no
 * moment without a block. */
Test(object, other_programs_are_replaced_without_a_gap) {
  char why[240] = "", name[96];
  struct tlx_count first, second;
  int err = 0;
  uint32_t before = link_id();
  struct bed_hammer *hammer = bed_hammer_begin(&bed, bed.program);
  forget_object();
  /* Without its program beside it nobody can tell what a link does. */
  snprintf(name, sizeof name, "%s_prog", first_link());
  cr_assert_eq(unlink(pin(name)), 0);
  bool adopted = false;
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_expect_eq(bpf_object_backend(bed.object), BPF_BACKEND_NONE);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_maps_count(bed.object, TLX_SLOT_CANARY, &first), 0);
  cr_expect_eq(first.acted, 0);
  canary_run(bed.canary, bed.cgroup, &err);
  cr_assert_eq(bpf_maps_count(bed.object, TLX_SLOT_CANARY, &second), 0);
  cr_expect_eq(second.acted, 1, "the new programs were not asked");
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  bed_hammer_wait(hammer, 50);
  cr_expect_eq(bed_hammer_end(hammer), 0);
  cr_expect_neq(link_id(), before);
}

/* ---- kill -9 ---- */

Test(object, the_block_holds_when_its_maker_is_killed) {
  int ready[2];
  char byte;
  bpf_object_remove(bed.object);
  forget_object();
  cr_assert_eq(pipe(ready), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    bool adopted;
    char why[240];
    struct bpf_object *object = bed_open(&bed, &adopted);
    if (bed_attach(&bed, object, bed.backend) == 0 && bpf_object_keep(object, why) == 0 &&
        write(ready[1], "x", 1) == 1)
      pause();
    _exit(1);
  }
  close(ready[1]);
  cr_assert_eq(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  struct bed_hammer *hammer = bed_hammer_begin(&bed, bed.program);
  cr_assert_eq(kill(pid, SIGKILL), 0);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
  bed_hammer_wait(hammer, 200);
  bool adopted = false;
  char why[240] = "";
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_expect_eq(bpf_object_backend(bed.object), bed.backend);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  bed_hammer_wait(hammer, 50);
  cr_expect_eq(bed_hammer_end(hammer), 0);
}

/* One life of a process, ended at a random instant: whatever it left is enforced, and can be taken
 * over. */
static void one_life(unsigned round) {
  bool adopted;
  char why[240], name[96];
  /* Every other life finds links that it cannot adopt, and replaces them. */
  snprintf(name, sizeof name, "%s_prog", first_link());
  if (round % 2) unlink(pin(name));
  struct bpf_object *object = bed_open(&bed, &adopted);
  for (unsigned i = 0;; i++) {
    if (bed_attach(&bed, object, bed.backend) != 0 || bpf_object_keep(object, why) != 0) _exit(1);
  }
}

Test(object, killed_at_any_instant) {
  const char *rounds_text = getenv("TELOVIX_LONG");
  unsigned rounds = rounds_text && *rounds_text == '1' ? 500 : 40, seed = 4;
  forget_object();
  struct bed_hammer *hammer = bed_hammer_begin(&bed, bed.program);
  for (unsigned round = 0; round < rounds; round++) {
    int status = 0;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) one_life(round);
    usleep((unsigned)rand_r(&seed) % 60000);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status), "round %u: it ended by itself with %d", round, status);
  }
  bool adopted = false;
  char why[240] = "";
  struct bpf_tampers tampers = {0};
  bed.object = bed_open(&bed, &adopted);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  bed_hammer_wait(hammer, 20);
  cr_expect_eq(bed_hammer_end(hammer), 0);
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), 0);
  cr_expect_eq(tampers.n, 0);
}

/* ---- meddling ---- */

static void expect_tamper(const char *what, const char *how) {
  struct bpf_tampers tampers = {0};
  int err = bpf_object_verify(bed.object, &tampers);
  cr_expect_eq(err, 0, "%s: %d", what, err);
  bool found = false;
  for (unsigned i = 0; i < tampers.n; i++)
    found |= !strcmp(tampers.list[i].what, what) && strstr(tampers.list[i].how, how) &&
             tampers.list[i].repaired;
  cr_expect(found, "%s: %s: not among the %u noted", what, how, tampers.n);
  tampers.n = 0;
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), 0);
  cr_expect_eq(tampers.n, 0, "%s: not repaired: %s: %s", what, tampers.list[0].what,
               tampers.list[0].how);
  cr_expect(is_blocked(), "%s", what);
}
static const char *link_what(void) {
  static char what[96];
  snprintf(what, sizeof what, "link %s", first_link());
  return what;
}

Test(object, nothing_is_noted_when_nothing_was_altered) {
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), 0);
  cr_expect_eq(tampers.n, 0, "%s: %s", tampers.list[0].what, tampers.list[0].how);
}

Test(object, a_removed_pin_is_put_back) {
  cr_assert_eq(unlink(pin(first_link())), 0);
  cr_expect(is_blocked());
  expect_tamper(link_what(), "missing");
  cr_assert_eq(unlink(pin("cfg")), 0);
  expect_tamper("map cfg", "missing");
  cr_assert_eq(unlink(pin("image")), 0);
  expect_tamper("map image", "missing");
  cr_assert(bed_command("rm -r %s", bed.pins));
  expect_tamper(link_what(), "missing");
  /* Put back means: it outlives us again. */
  forget_object();
  cr_expect(is_blocked());
}

/* A program that does nothing, attached to a tracepoint: somebody else's link. */
static int foreign_link(void) {
  const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                     {.code = BPF_JMP | BPF_EXIT}};
  int prog = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "foreign", "GPL", nothing, 2, NULL);
  cr_assert_geq(prog, 0);
  int fd = bpf_raw_tracepoint_open("sched_process_exec", prog);
  cr_assert_geq(fd, 0);
  close(prog);
  return fd;
}

Test(object, a_replaced_pin_is_put_back) {
  int fd = foreign_link();
  cr_assert_eq(unlink(pin(first_link())), 0);
  cr_assert_eq(bpf_obj_pin(fd, pin(first_link())), 0);
  expect_tamper(link_what(), "another link");
  /* A link where a map should be, and a folder where a link should be. */
  cr_assert_eq(unlink(pin("cfg")), 0);
  cr_assert_eq(bpf_obj_pin(fd, pin("cfg")), 0);
  expect_tamper("map cfg", "something else");
  cr_assert_eq(unlink(pin(first_link())), 0);
  cr_assert_eq(mkdir(pin(first_link()), 0700), 0);
  expect_tamper(link_what(), "something else");
  close(fd);
}

Test(object, a_rewritten_scope_is_put_back) {
  const uint32_t zero = 0;
  const struct tlx_cfg nobody = {0}, elsewhere = {bed.cgroup_id + 1, 1, TLX_CFG_ARMED};
  int fd = bpf_obj_get(pin("cfg"));
  cr_assert_geq(fd, 0);
  cr_assert_eq(bpf_map_update_elem(fd, &zero, &nobody, BPF_ANY), 0);
  cr_expect_not(is_blocked());
  bed_trace(&bed);
  expect_tamper("map cfg", "flags 0");
  cr_assert_eq(bpf_map_update_elem(fd, &zero, &elsewhere, BPF_ANY), 0);
  expect_tamper("map cfg", "flags 1");
  close(fd);
}

Test(object, what_cannot_be_repaired_is_an_error) {
  struct bpf_tampers tampers = {0};
  const uint32_t zero = 0;
  const struct tlx_cfg nobody = {0};
  int fd = bpf_obj_get(pin("cfg"));
  cr_assert_geq(fd, 0);
  cr_assert_eq(bpf_map_update_elem(fd, &zero, &nobody, BPF_ANY), 0);
  cr_assert_eq(bpf_map_freeze(fd), 0);
  close(fd);
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), -EPERM);
  cr_assert_eq(tampers.n, 1);
  cr_expect_not(tampers.list[0].repaired);
  /* A new object does not take such maps over, and its own take their place. */
  forget_object();
  bool adopted = true;
  char why[240] = "";
  bed.object = bed_open(&bed, &adopted);
  cr_expect_not(adopted);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  cr_expect(is_blocked());
}

/* As the map of the scope: nothing could be published any more, whatever it holds now. */
Test(object, frozen_maps_are_noticed) {
  struct bpf_tampers tampers = {0};
  int fd = bpf_obj_get(pin("rules"));
  cr_assert_geq(fd, 0);
  cr_expect_not(bpf_pin_is_frozen(fd));
  cr_assert_eq(bpf_map_freeze(fd), 0);
  cr_expect(bpf_pin_is_frozen(fd));
  close(fd);
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), -EPERM);
  cr_assert_eq(tampers.n, 1);
  cr_expect_str_eq(tampers.list[0].what, "map rules");
  cr_expect(is_blocked());
}

Test(object, a_folder_opened_to_others_is_closed_again) {
  struct stat st;
  cr_assert_eq(chmod(bed.pins, 0755), 0);
  expect_tamper("folder of pins", "mode 755");
  cr_assert_eq(stat(bed.pins, &st), 0);
  cr_expect_eq(st.st_mode & 07777, 0700);
}

Test(object, pins_are_held_by_one_process) {
  char why[240] = "";
  int mine = -1, other = -1;
  cr_assert_eq(bpf_pin_lock(bed.pins, why, &mine), 0, "%s", why);
  int held = mine;
  cr_expect_eq(bpf_pin_lock(bed.pins, why, &mine), 0);
  cr_expect_eq(mine, held);
  cr_expect_eq(bpf_pin_lock(bed.pins, why, &other), TLX_E_LOCKED);
  cr_expect(strstr(why, "another sensor"), "%s", why);
  /* Somebody put another folder in its place. */
  cr_assert(bed_command("mv %s %s-old", bed.pins, bed.pins));
  cr_expect_eq(bpf_pin_lock(bed.pins, why, &mine), 0, "%s", why);
  cr_expect_eq(bpf_pin_lock(bed.pins, why, &other), TLX_E_LOCKED);
  close(mine);
  cr_expect_eq(bpf_pin_lock(bed.pins, why, &other), 0, "%s", why);
  close(other);
  cr_assert(bed_command("rmdir %s/1 %s && mv %s-old %s", bed.pins, bed.pins, bed.pins, bed.pins));
}

/* ---- pins that cannot be adopted ---- */

/* They go on enforcing until others do. */
static void expect_replaced(void) {
  bool adopted = true;
  char why[240] = "";
  struct bpf_tampers tampers = {0};
  struct bed_hammer *hammer = bed_hammer_begin(&bed, bed.program);
  bed.object = bed_open(&bed, &adopted);
  cr_expect_not(adopted);
  cr_expect_eq(bpf_object_backend(bed.object), BPF_BACKEND_NONE);
  bed_hammer_wait(hammer, 10);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  bed_hammer_wait(hammer, 50);
  cr_expect_eq(bed_hammer_end(hammer), 0);
  cr_expect_eq(bpf_object_verify(bed.object, &tampers), 0);
  cr_expect_eq(tampers.n, 0);
}

Test(object, maps_of_another_size_are_replaced) {
  forget_object();
  int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "tlx_count", 4, sizeof(struct tlx_count), 7, NULL);
  cr_assert_geq(fd, 0);
  cr_assert_eq(unlink(pin("count")), 0);
  cr_assert_eq(bpf_obj_pin(fd, pin("count")), 0);
  close(fd);
  expect_replaced();
}

Test(object, half_a_set_of_maps_is_replaced) {
  forget_object();
  cr_assert_eq(unlink(pin("events")), 0);
  expect_replaced();
}

Test(object, pins_of_another_user_are_replaced) {
  forget_object();
  cr_assert_eq(chown(pin("rules"), 65534, 65534), 0);
  expect_replaced();
}

Test(object, links_on_other_maps_are_not_adopted) {
  bool adopted;
  char why[240] = "";
  uint32_t before = link_id();
  forget_object();
  /* The maps of a second set stand beside the links of the first, as a kill between the two would
   * leave them. */
  cr_assert(bed_command("mkdir %s/saved && mv %s/1/%s_* %s/saved/ && rm %s/1/*", bed.bpffs,
                        bed.pins, bpf_backend_word(bed.backend), bed.bpffs, bed.pins));
  bed.object = bed_open(&bed, &adopted);
  cr_assert_eq(bed_attach(&bed, bed.object, bed.backend), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  forget_object();
  cr_assert(bed_command("mv %s/saved/* %s/1/", bed.bpffs, bed.pins));
  cr_assert_eq(link_id(), before);
  bed.object = bed_open(&bed, &adopted);
  cr_expect(adopted);
  cr_expect_eq(bpf_object_backend(bed.object), BPF_BACKEND_NONE);
}

Test(object, folders_of_other_versions_go_when_ours_is_in_force) {
  char why[240] = "", other[256];
  int fd = foreign_link();
  cr_assert(bed_command("mkdir %s/0 %s/notes", bed.pins, bed.pins));
  snprintf(other, sizeof other, "%s/0/link", bed.pins);
  cr_assert_eq(bpf_obj_pin(fd, other), 0);
  close(fd);
  cr_assert_eq(bpf_object_attach(bed.object, bed.backend, why), 0, "%s", why);
  cr_expect_eq(access(other, F_OK), 0);
  cr_assert_eq(bpf_object_keep(bed.object, why), 0, "%s", why);
  snprintf(other, sizeof other, "%s/0", bed.pins);
  cr_expect_neq(access(other, F_OK), 0);
}

/* ---- why not ---- */

Test(why_not, no_bpf_file_system, .fini = end) {
  struct bpf_object *object = NULL;
  bool adopted;
  char why[240] = "";
  bed_begin(&bed);
  struct bpf_object_options options = {.pin_folder = bed_path(&bed, "plain"),
                                       .scope_cgroup_id = bed.cgroup_id};
  cr_expect_eq(bpf_object_open(&options, why, &adopted, &object), -ENOENT);
  cr_expect(strstr(why, "no BPF file system"), "%s", why);
  cr_expect_null(object);
  cr_expect_neq(access(options.pin_folder, F_OK), 0);
}

Test(why_not, a_folder_that_is_open_to_others, .fini = end) {
  struct bpf_object *object = NULL;
  bool adopted;
  char why[240] = "";
  bed_begin(&bed);
  struct bpf_object_options options = {.pin_folder = bed.pins, .scope_cgroup_id = bed.cgroup_id};
  cr_assert_eq(mkdir(bed.pins, 0700), 0);
  cr_assert_eq(chmod(bed.pins, 0777), 0);
  cr_expect_eq(bpf_object_open(&options, why, &adopted, &object), -EPERM);
  cr_expect(strstr(why, "open to others"), "%s", why);
}

Test(why_not, a_scope_that_is_none, .init = begin, .fini = end) {
  struct bpf_object_options options = {.pin_folder = bed.pins};
  struct bpf_object *object = NULL;
  bool adopted;
  char why[240] = "";
  cr_assert_eq(bpf_object_open(&options, why, &adopted, &object), 0);
  cr_expect_eq(bpf_object_arm(object, true), -EINVAL);
  bpf_object_close(object);
  cr_expect(is_blocked());
}

Test(why_not, types_that_cannot_be_read, .init = begin, .fini = end) {
  struct bpf_object_options options = {.pin_folder = bed.pins,
                                       .scope_cgroup_id = bed.cgroup_id,
                                       .scope_level = bed.cgroup_level,
                                       .btf_path = "/nonexistent/btf"};
  struct bpf_object *object = NULL;
  bool adopted;
  char why[240] = "";
  cr_assert_eq(bpf_object_open(&options, why, &adopted, &object), 0);
  int err = bpf_object_attach(object, bed.backend, why);
  cr_expect_lt(err, 0);
  cr_expect_neq(*why, '\0');
  cr_expect_eq(bpf_object_keep(object, why), -EINVAL);
  bpf_object_close(object);
  cr_expect(is_blocked());
}

Test(why_not, missing_capabilities, .init = begin, .fini = end) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0}};
  int status = 0;
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    char why[240] = "";
    if (syscall(SYS_capset, &head, none) != 0) _exit(1);
    int err = bpf_object_attach(bed.object, bed.backend, why);
    if (err != -EPERM) _exit(2);
    _exit(strstr(why, "CAP_BPF") ? 0 : 3);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_expect_eq(status, 0, "%d", WEXITSTATUS(status));
}

Test(why_not, a_backend_that_this_kernel_refuses, .init = begin, .fini = end) {
  char why[240] = "";
  if (bed.backend != BPF_BACKEND_TRACEPOINT || getenv("TELOVIX_BPF_BACKEND"))
    cr_skip_test("this kernel refuses none");
  cr_expect_eq(bpf_object_attach(bed.object, BPF_BACKEND_FMOD_RET, why), -EPERM);
  cr_expect(strstr(why, "trampolines"), "%s", why);
  cr_expect(is_blocked());
}

/* The verifier closes with statistics; what it means stands before. */
Test(why_not, words_of_the_verifier) {
  char why[240];
  bpf_load_log();
  bpf_load_explain("0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n", -EACCES, why);
  cr_expect_str_eq(why, "refused by the verifier: 0: (95) exit / R0 !read_ok");
  bpf_load_explain("only\n", -EINVAL, why);
  cr_expect_str_eq(why, "refused by the verifier: only");
  bpf_load_explain("", -EPERM, why);
  cr_expect_str_eq(why, "not permitted");
}
