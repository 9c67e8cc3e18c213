// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

/* Every way to a blocked file: stopped with not one instruction run, or a gap that is known by
 * name. */

static struct bed bed;

static void begin(void) {
  bed_begin(&bed);
  bed_engine(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(exec, .init = begin, .fini = end);

static bool is_tracepoint(void) {
  return bed.backend == BPF_BACKEND_TRACEPOINT;
}
static void block(const char *path) {
  bed_rule_file(&bed, path, 1, TLX_MODE_ENFORCE);
  bed_publish(&bed);
}
/* The row's two answers. */
static void expect_stopped(enum bed_outcome outcome, const char *row) {
  cr_expect_eq(outcome, bed_stopped(&bed), "%s: outcome %d, error %d", row, outcome, bed_error);
  cr_expect_not(bed_trace(&bed), "%s: it left a trace", row);
}
static void expect_ran(enum bed_outcome outcome, const char *row) {
  cr_expect_eq(outcome, BED_ALIVE, "%s: outcome %d, error %d", row, outcome, bed_error);
  cr_expect(bed_trace(&bed), "%s: it left no trace", row);
}

/* ---- ways to the file ---- */

Test(exec, absolute_path) {
  expect_ran(bed_exec(&bed, bed.program), "without a rule");
  block(bed.program);
  expect_stopped(bed_exec(&bed, bed.program), "with a rule");
  cr_expect_eq(bed_count(&bed, 1).acted, 1);
  cr_expect_eq(bed_count(&bed, 1).would, 0);
  bed.n_entries--;
  bed_publish(&bed);
  expect_ran(bed_exec(&bed, bed.program), "without the rule again");
}

static void exec_relative(const struct bed *b, const char *path) {
  char *const argv[] = {(char *)path, (char *)b->trace, NULL};
  if (chdir(b->folder) == 0) execv(path, argv);
}

Test(exec, relative_paths_and_links) {
  const char *soft = bed_path(&bed, "soft"), *hard = bed_path(&bed, "hard");
  cr_assert_eq(symlink(bed.program, soft), 0);
  cr_assert_eq(link(bed.program, hard), 0);
  cr_assert_eq(mkdir(bed_path(&bed, "sub"), 0755), 0);
  block(bed.program);
  expect_stopped(bed_run(&bed, true, exec_relative, "./program"), "relative");
  expect_stopped(bed_run(&bed, true, exec_relative, "sub/../program"), "..");
  expect_stopped(bed_exec(&bed, soft), "symbolic link");
  expect_stopped(bed_exec(&bed, hard), "hard link");
}

Test(exec, bind_mounts) {
  const char *file = bed_path(&bed, "file"), *folder = bed_path(&bed, "folder");
  cr_assert(bed_command("touch %s && mkdir %s", file, folder));
  block(bed.program);
  cr_assert_eq(mount(bed.program, file, NULL, MS_BIND, NULL), 0);
  expect_stopped(bed_exec(&bed, file), "bind mount of the file");
  cr_assert_eq(mount(bed.folder, folder, NULL, MS_BIND, NULL), 0);
  expect_stopped(bed_exec(&bed, bed_path(&bed, "folder/program")), "bind mount of the folder");
}

static void exec_descriptor(const struct bed *b, const char *how) {
  char path[64];
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  char *const envp[] = {NULL};
  int fd = open(b->program, O_RDONLY), dir = open(b->folder, O_RDONLY | O_DIRECTORY);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (strcmp(how, "fexecve") == 0) fexecve(fd, argv, envp);
  if (strcmp(how, "execveat") == 0) execveat(dir, "program", argv, envp, 0);
  if (strcmp(how, "proc") == 0) execve(path, argv, envp);
}

Test(exec, descriptors) {
  block(bed.program);
  expect_stopped(bed_run(&bed, true, exec_descriptor, "fexecve"), "fexecve");
  expect_stopped(bed_run(&bed, true, exec_descriptor, "execveat"), "execveat with a directory");
  expect_stopped(bed_run(&bed, true, exec_descriptor, "proc"), "/proc/self/fd");
}

static void exec_elsewhere(const struct bed *b, const char *where) {
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  if (strcmp(where, "namespace") == 0 && unshare(CLONE_NEWNS) == 0) execv(b->program, argv);
  if (strcmp(where, "chroot") == 0 && chroot(b->folder) == 0 && chdir("/") == 0)
    execv("/program", argv);
}

Test(exec, other_mount_namespace_and_chroot) {
  block(bed.program);
  expect_stopped(bed_run(&bed, true, exec_elsewhere, "namespace"), "another mount namespace");
  expect_stopped(bed_run(&bed, true, exec_elsewhere, "chroot"), "chroot");
}

static void exec_as_nobody(const struct bed *b, const char *path) {
  char *const argv[] = {(char *)path, (char *)b->trace, NULL};
  if (setuid(65534) == 0) execv(path, argv);
}

Test(exec, setuid_program_of_another_user) {
  cr_assert(bed_command("chmod 755 %s && chmod 4755 %s", bed.folder, bed.program));
  expect_ran(bed_run(&bed, true, exec_as_nobody, bed.program), "without a rule");
  block(bed.program);
  expect_stopped(bed_run(&bed, true, exec_as_nobody, bed.program), "setuid");
}

Test(exec, cgroups_below_the_scope) {
  char sub[256];
  snprintf(sub, sizeof sub, "%s/sub", bed.cgroup);
  cr_assert_eq(mkdir(sub, 0755), 0);
  struct bed deeper = bed;
  snprintf(deeper.cgroup, sizeof deeper.cgroup, "%s", sub);
  block(bed.program);
  expect_stopped(bed_exec(&deeper, bed.program), "a cgroup below");
  cr_assert_eq(rmdir(sub), 0);
}

/* ---- scripts ---- */

static void write_script(const char *path, const char *interpreter) {
  cr_assert(bed_command("printf '#!%s\\n' >%s && chmod 755 %s", interpreter, path, path));
}

Test(exec, interpreter_line_names_the_file) {
  const char *script = bed_path(&bed, "script");
  write_script(script, bed.program);
  block(bed.program);
  expect_stopped(bed_exec(&bed, script), "interpreter");
}

Test(exec, blocked_script) {
  const char *script = bed_path(&bed, "script");
  write_script(script, "/bin/true");
  block(script);
  /* Gap "script" of the tracepoint: it sees the interpreter alone. */
  cr_expect_eq(bed_exec(&bed, script), is_tracepoint() ? BED_ALIVE : BED_DENIED);
}

/* ---- another file is another file ---- */

static void exec_memfd(const struct bed *b, const char *arg) {
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  char *const envp[] = {NULL};
  char bytes[65536];
  int from = open(b->program, O_RDONLY), to = (int)syscall(SYS_memfd_create, "copy", 1u);
  ssize_t n = read(from, bytes, sizeof bytes);
  if (n > 0 && write(to, bytes, (size_t)n) == n) fexecve(to, argv, envp);
}

Test(exec, copies_are_the_named_gap) {
  const char *copy = bed_path(&bed, "copy");
  block(bed.program);
  bed_copy_program(&bed, copy);
  expect_ran(bed_exec(&bed, copy), "a copy");
  expect_ran(bed_run(&bed, true, exec_memfd, NULL), "a copy in memory");
}

Test(exec, renamed_away_and_back) {
  const char *away = bed_path(&bed, "away");
  block(bed.program);
  cr_assert_eq(rename(bed.program, away), 0);
  expect_stopped(bed_exec(&bed, away), "renamed");
  cr_assert_eq(rename(away, bed.program), 0);
  expect_stopped(bed_exec(&bed, bed.program), "renamed back");
}

/* ---- the name key ---- */

static void block_name(const char *name) {
  bed_rule_name(&bed, bed.folder, name, 2, TLX_MODE_ENFORCE);
  bed_publish(&bed);
}

Test(exec, replaced_by_rename) {
  const char *fresh = bed_path(&bed, "fresh"), *folder = bed_path(&bed, "folder");
  block(bed.program);
  bed_copy_program(&bed, fresh);
  cr_assert_eq(rename(fresh, bed.program), 0);
  expect_ran(bed_exec(&bed, bed.program), "replaced, with a rule for the file alone");
  if (!bpf_object_reads_names(bed.object)) cr_skip_test("lockdown: names cannot be read");
  block_name("program");
  expect_stopped(bed_exec(&bed, bed.program), "replaced, with a rule for the name");
  cr_assert_eq(mkdir(folder, 0755), 0);
  cr_assert_eq(mount(bed.folder, folder, NULL, MS_BIND, NULL), 0);
  expect_stopped(bed_exec(&bed, bed_path(&bed, "folder/program")),
                 "through a bind mount of the folder");
  expect_stopped(bed_run(&bed, true, exec_elsewhere, "namespace"), "in another mount namespace");
  cr_expect_eq(bed_count(&bed, 2).acted, 3);
  bed_copy_program(&bed, bed_path(&bed, "program2"));
  expect_ran(bed_exec(&bed, bed_path(&bed, "program2")), "a longer name");
}

Test(exec, names_of_every_length) {
  char name[256], path[512];
  if (!bpf_object_reads_names(bed.object)) cr_skip_test("lockdown: names cannot be read");
  const unsigned lens[] = {1, 7, 8, 63, 254, 255};
  for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
    memset(name, 'n', lens[i]);
    name[lens[i]] = '\0';
    snprintf(path, sizeof path, "%s/%s", bed.folder, name);
    bed_copy_program(&bed, path);
    block_name(name);
    expect_stopped(bed_exec(&bed, path), name);
  }
}

Test(exec, names_are_compared_whole) {
  struct bpf_image_entry *entry;
  if (!bpf_object_reads_names(bed.object)) cr_skip_test("lockdown: names cannot be read");
  bed_rule_name(&bed, bed.folder, "program", 2, TLX_MODE_ENFORCE);
  /* As if another name had the same hash. */
  entry = &bed.entries[bed.n_entries - 1];
  entry->rule.name[0] = 'q';
  bed_publish(&bed);
  expect_ran(bed_exec(&bed, bed.program), "another name of the same hash");
}

/* ---- mappings ---- */

static const char *loader(void) {
  static const char *const paths[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"};
  for (unsigned i = 0; i < 2; i++)
    if (access(paths[i], X_OK) == 0) return paths[i];
  return NULL;
}

static void exec_by_loader(const struct bed *b, const char *path) {
  char *const argv[] = {(char *)"ld.so", (char *)path, NULL};
  int null = open("/dev/null", O_WRONLY);
  dup2(null, 2);
  execv(loader(), argv);
}

Test(exec, loader_run_by_hand) {
  const char *dynamic = bed_path(&bed, "true");
  cr_assert(bed_command("cp /bin/true %s", dynamic));
  cr_expect_eq(bed_run(&bed, true, exec_by_loader, dynamic), BED_ALIVE);
  cr_expect_eq(bed_status, 0);
  block(dynamic);
  cr_expect_eq(bed_run(&bed, true, exec_by_loader, dynamic), BED_ALIVE);
  /* 127: "cannot map". Gap "loader" of the tracepoint. */
  cr_expect_eq(bed_status, is_tracepoint() ? 0 : 127);
}

static void map_and_protect(const struct bed *b, const char *how) {
  int fd = open(b->program, O_RDONLY);
  void *at = MAP_FAILED;
  if (strcmp(how, "map") == 0) at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  if (strcmp(how, "protect") == 0) {
    at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at != MAP_FAILED && mprotect(at, 4096, PROT_READ | PROT_EXEC) != 0) at = MAP_FAILED;
  }
  if (strcmp(how, "read") == 0) at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at != MAP_FAILED) _exit(0);
}

Test(exec, executable_mappings) {
  block(bed.program);
  enum bed_outcome mapped = is_tracepoint() ? BED_ALIVE : BED_DENIED;
  cr_expect_eq(bed_run(&bed, true, map_and_protect, "map"), mapped);
  cr_expect_eq(bed_run(&bed, true, map_and_protect, "protect"), mapped);
  cr_expect_eq(bed_run(&bed, true, map_and_protect, "read"), BED_ALIVE);
  cr_expect_eq(bed_run(&bed, false, map_and_protect, "map"), BED_ALIVE);
}

/* Mappings without a file, the second kind without MAP_ANONYMOUS: what a verifier that believes in
 * a file would make of them is a crash of the kernel (tlx_is_null). */
static void map_nothing(const struct bed *b, const char *arg) {
  char *const argv[] = {(char *)"/bin/true", NULL};
  void *at =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED || mprotect(at, 4096, PROT_READ | PROT_EXEC) != 0) return;
  void *plain = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (plain == MAP_FAILED || mprotect(plain, 4096, PROT_READ | PROT_EXEC) != 0) return;
  if (personality(MMAP_PAGE_ZERO) >= 0) execv(argv[0], argv);
}

Test(exec, mappings_without_a_file) {
  block(bed.program);
  cr_expect_eq(bed_run(&bed, true, map_nothing, NULL), BED_ALIVE, "error %d", bed_error);
  cr_expect_eq(bed_status, 0);
  expect_stopped(bed_exec(&bed, bed.program), "afterwards");
}

/* ---- overlayfs ---- */

static bool overlay(const char *folder) {
  if (!bed_command("mkdir -p %s/lower %s/upper %s/work %s/merged", folder, folder, folder, folder))
    return false;
  return bed_command("mount -t overlay overlay -o "
                     "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work %s/merged 2>/dev/null",
                     folder, folder, folder, folder);
}

Test(exec, overlayfs) {
  const char *folder = bed_path(&bed, "overlay");
  char lower[256], upper[256], in_upper[256];
  /* An overlay's upper folder wants a file system that can hold it. */
  cr_assert_eq(mkdir(folder, 0755), 0);
  cr_assert_eq(mount("tmpfs", folder, "tmpfs", 0, NULL), 0);
  cr_assert(bed_command("mkdir %s/lower", folder));
  snprintf(lower, sizeof lower, "%s/lower/program", folder);
  bed_copy_program(&bed, lower);
  if (!overlay(folder)) cr_skip_test("this kernel has no overlayfs");
  snprintf(upper, sizeof upper, "%s/merged/other", folder);
  snprintf(in_upper, sizeof in_upper, "%s/upper/other", folder);
  bed_copy_program(&bed, upper);
  char merged[256];
  snprintf(merged, sizeof merged, "%s/merged/program", folder);

  block(lower);
  expect_stopped(bed_exec(&bed, lower), "the lower file itself");
  /* The file behind is read by helper: under lockdown an overlay's file is another file. */
  bool sees_behind = bpf_object_reads_names(bed.object);
  if (sees_behind)
    expect_stopped(bed_exec(&bed, merged), "the lower file through the overlay");
  else
    expect_ran(bed_exec(&bed, merged), "the lower file through the overlay, under lockdown");
  expect_ran(bed_exec(&bed, upper), "another file of the overlay");
  bed_rule_file(&bed, in_upper, 3, TLX_MODE_ENFORCE);
  bed_publish(&bed);
  if (sees_behind)
    expect_stopped(bed_exec(&bed, upper), "a rule for the upper file, through the overlay");
  else
    expect_ran(bed_exec(&bed, upper), "a rule for the upper file, under lockdown");
  /* Gap "overlay_copy". */
  cr_assert(bed_command("printf x >>%s", merged));
  expect_ran(bed_exec(&bed, merged), "copied up");
}

Test(exec, overlayfs_file_that_was_named_through_the_overlay) {
  const char *folder = bed_path(&bed, "overlay");
  char lower[256], merged[256];
  cr_assert_eq(mkdir(folder, 0755), 0);
  cr_assert_eq(mount("tmpfs", folder, "tmpfs", 0, NULL), 0);
  cr_assert(bed_command("mkdir %s/lower", folder));
  snprintf(lower, sizeof lower, "%s/lower/program", folder);
  snprintf(merged, sizeof merged, "%s/merged/program", folder);
  bed_copy_program(&bed, lower);
  if (!overlay(folder)) cr_skip_test("this kernel has no overlayfs");
  block(merged);
  expect_stopped(bed_exec(&bed, merged), "through the overlay");
  if (bpf_object_reads_names(bed.object))
    expect_stopped(bed_exec(&bed, lower), "the file behind it");
  else
    expect_ran(bed_exec(&bed, lower), "the file behind it, under lockdown");
}

/* ---- what is not touched ---- */

static void exec_program(const struct bed *b, const char *arg) {
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  execv(b->program, argv);
}

Test(exec, outside_of_the_scope_nothing_is_stopped) {
  block(bed.program);
  expect_ran(bed_run(&bed, false, exec_program, NULL), "outside");
  cr_expect_eq(bed_count(&bed, 1).acted, 0);
  expect_stopped(bed_exec(&bed, bed.program), "inside");
}

Test(exec, unarmed_programs_touch_nobody) {
  struct tlx_stats before, after;
  block(bed.program);
  cr_assert_eq(bpf_object_arm(bed.object, false), 0);
  cr_assert_eq(bpf_maps_stats(bed.object, &before), 0);
  expect_ran(bed_exec(&bed, bed.program), "unarmed");
  cr_assert_eq(bpf_maps_stats(bed.object, &after), 0);
  cr_expect_eq(after.seen, before.seen);
}

/* The number of a file that is gone was given to another one. */
Test(exec, another_generation_is_another_file) {
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_ENFORCE);
  struct tlx_exec_rule *rule = &bed.entries[bed.n_entries - 1].rule;
  uint32_t generation = rule->generation;
  rule->generation = generation + 1 ? generation + 1 : 1;
  bed_publish(&bed);
  expect_ran(bed_exec(&bed, bed.program), "a rule for a file that had this number before");
  rule->generation = 0;
  bed_publish(&bed);
  expect_stopped(bed_exec(&bed, bed.program), "any generation");
  rule->generation = generation;
  bed_publish(&bed);
  expect_stopped(bed_exec(&bed, bed.program), "its own");
}

Test(exec, observed_rules_count_and_stop_nothing) {
  struct tlx_stats stats;
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_OBSERVE);
  bed_publish(&bed);
  expect_ran(bed_exec(&bed, bed.program), "observed");
  expect_ran(bed_exec(&bed, bed.program), "observed");
  cr_expect_eq(bed_count(&bed, 1).would, 2);
  cr_expect_eq(bed_count(&bed, 1).acted, 0);
  cr_assert_eq(bpf_maps_stats(bed.object, &stats), 0);
  cr_expect_eq(stats.would, 2);
  cr_expect_geq(stats.seen, 2);
  for (unsigned i = 0; i < TLX_HELPERS; i++)
    cr_expect_eq(stats.failed[i], 0, "helper %u", i);
}

Test(exec, a_rule_that_enforces_beats_one_that_observes) {
  if (!bpf_object_reads_names(bed.object)) cr_skip_test("lockdown: names cannot be read");
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_OBSERVE);
  block_name("program");
  expect_stopped(bed_exec(&bed, bed.program), "observed by file, enforced by name");
  cr_expect_eq(bed_count(&bed, 1).would, 0);
  cr_expect_eq(bed_count(&bed, 2).acted, 1);
}

/* ---- the parent ---- */

static void spawn(const struct bed *b, const char *arg) {
  char *const argv[] = {(char *)"program", (char *)b->trace, NULL};
  char *const envp[] = {NULL};
  pid_t pid = 0;
  int status = 0;
  int err = posix_spawn(&pid, b->program, NULL, NULL, argv, envp);
  if (err) _exit(err == EPERM ? 10 : 11);
  waitpid(pid, &status, 0);
  _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 20 : 21);
}

Test(exec, the_parent_lives_and_is_told) {
  block(bed.program);
  cr_expect_eq(bed_run(&bed, true, spawn, NULL), BED_ALIVE);
  cr_expect_eq(bed_status, is_tracepoint() ? 20 : 10);
  cr_expect_not(bed_trace(&bed));
}
