// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_block.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "sensor/rule_protect.h"

/* ---- the kernel's part, as stat tells it ---- */

static uint32_t fake_magic;

int bpf_file_identify(struct bpf_file *file, int fd, struct tlx_file_id *ret_id) {
  struct stat st;
  if (fstat(fd, &st) != 0) return -errno;
  *ret_id = (struct tlx_file_id){.dev = major(st.st_dev) << 20 | minor(st.st_dev),
                                 .ino = st.st_ino,
                                 .magic = fake_magic,
                                 .generation = 9,
                                 .mode = st.st_mode};
  return 0;
}

uint64_t bpf_maps_name_hash(const char *name, size_t len) {
  return len * 1000 + (uint8_t)*name;
}

/* Something that happens between the opening of a file and the question where it stands. */
static void (*before_readlink)(void);

ssize_t __real_readlink(const char *path, char *out, size_t size);
ssize_t __wrap_readlink(const char *path, char *out, size_t size);
ssize_t __wrap_readlink(const char *path, char *out, size_t size) {
  void (*act)(void) = before_readlink;
  before_readlink = NULL;
  if (act) act();
  return __real_readlink(path, out, size);
}

/* ---- one rule on one folder ---- */

struct world {
  struct folder folder;
  struct rule_block rule;
  struct rule_block_host host;
  struct bpf_image_entry entries[RULE_BLOCK_ENTRIES_MAX];
  size_t n;
  struct rule_result result;
};

static void world_init(struct world *world, const char *name) {
  memset(world, 0, sizeof *world);
  fake_magic = 0;
  folder_init(&world->folder);
  world->host = (struct rule_block_host){.backend = BPF_BACKEND_LSM, .reads_names = true};
  cr_assert_eq(rule_block_init(&world->rule, "rule_x", folder_join(&world->folder, name), false),
               0);
}

static void world_done(struct world *world) {
  rule_block_done(&world->rule);
  folder_done(&world->folder);
}

static void compile(struct world *world) {
  rule_block_compile(&world->rule, &world->host, 9, TLX_MODE_ENFORCE, world->entries, &world->n,
                     &world->result);
  cr_assert_leq(world->n, RULE_BLOCK_ENTRIES_MAX);
}

static void write_program(struct world *world, const char *name) {
  folder_write(&world->folder, name, "\177ELF", 4, 0755);
}

static bool blocks_file(const struct world *world, const char *path) {
  struct stat st;
  cr_assert_eq(stat(path, &st), 0, "%s", path);
  for (size_t i = 0; i < world->n; i++)
    if (world->entries[i].key.kind == TLX_KEY_FILE && world->entries[i].key.ino == st.st_ino &&
        world->entries[i].key.dev == (major(st.st_dev) << 20 | minor(st.st_dev)))
      return true;
  return false;
}

static bool blocks_name(const struct world *world, const char *name) {
  for (size_t i = 0; i < world->n; i++)
    if (world->entries[i].key.kind == TLX_KEY_NAME &&
        strcmp(world->entries[i].rule.name, name) == 0 &&
        world->entries[i].rule.name_len == strlen(name))
      return true;
  return false;
}

static bool has_gap(const struct world *world, enum rule_gap gap) {
  return world->result.gaps >> gap & 1;
}

#define JOIN(name) folder_join(&world.folder, name)

Test(rule_block, a_file_is_blocked_by_identity_and_by_name) {
  struct world world;
  world_init(&world, "prog");
  write_program(&world, "prog");
  compile(&world);
  cr_assert_eq(world.result.state, RULE_APPLIED);
  cr_assert_eq(world.result.reason, RULE_REASON_NONE);
  cr_assert_str_eq(world.result.file, JOIN("prog"));
  cr_assert_eq(world.n, 2u);
  cr_assert(blocks_file(&world, JOIN("prog")));
  cr_assert(blocks_name(&world, "prog"));
  cr_assert_eq(world.entries[0].rule.slot, 9u);
  cr_assert_eq(world.entries[0].rule.generation, 9u);
  cr_assert(has_gap(&world, RULE_GAP_COPY));
  cr_assert_not(has_gap(&world, RULE_GAP_LOADER));
  world_done(&world);
}

Test(rule_block, a_file_that_is_not_there_yet) {
  struct world world;
  world_init(&world, "prog");
  compile(&world);
  cr_assert_eq(world.result.state, RULE_APPLIED);
  cr_assert_eq(world.result.reason, RULE_REASON_NO_FILE_YET);
  cr_assert_eq(world.n, 1u);
  cr_assert(blocks_name(&world, "prog"));
  world.host.reads_names = false;
  compile(&world);
  cr_assert_eq(world.result.reason, RULE_REASON_NAMES_UNREADABLE);
  write_program(&world, "prog");
  compile(&world);
  cr_assert_eq(world.result.state, RULE_APPLIED);
  cr_assert(has_gap(&world, RULE_GAP_NAMES));
  cr_assert(has_gap(&world, RULE_GAP_OVERLAY));
  world_done(&world);
}

Test(rule_block, without_a_directory_the_rule_waits) {
  struct world world;
  world_init(&world, "no/prog");
  compile(&world);
  cr_assert_eq(world.result.state, RULE_PENDING);
  cr_assert_eq(world.result.reason, RULE_REASON_NO_DIRECTORY);
  cr_assert_eq(world.n, 0u);
  mkdir(JOIN("no"), 0755);
  compile(&world);
  cr_assert_eq(world.result.reason, RULE_REASON_NO_FILE_YET);
  cr_assert_eq(world.n, 1u);
  world_done(&world);
}

Test(rule_block, a_file_that_moved_away_stays_blocked) {
  struct world world;
  world_init(&world, "prog");
  write_program(&world, "prog");
  compile(&world);
  cr_assert_eq(rename(JOIN("prog"), JOIN("moved")), 0);
  compile(&world);
  cr_assert_eq(world.result.reason, RULE_REASON_NO_FILE_YET);
  cr_assert(blocks_file(&world, JOIN("moved")));
  write_program(&world, "prog");
  compile(&world);
  cr_assert(blocks_file(&world, JOIN("prog")));
  cr_assert(blocks_file(&world, JOIN("moved")));
  /* And back: known once, not twice. */
  cr_assert_eq(rename(JOIN("moved"), JOIN("prog")), 0);
  compile(&world);
  cr_assert(blocks_file(&world, JOIN("prog")));
  cr_assert_eq(world.n, 3u, "the file, the replaced one that is deleted now, the name");
  world_done(&world);
}

Test(rule_block, the_oldest_file_is_forgotten_and_that_is_said) {
  struct world world;
  char name[32];
  world_init(&world, "prog");
  for (unsigned i = 0; i <= RULE_BLOCK_FORMER_MAX + 1; i++) {
    write_program(&world, "prog");
    compile(&world);
    cr_assert_eq(has_gap(&world, RULE_GAP_FORMER_FILES), i > RULE_BLOCK_FORMER_MAX);
    snprintf(name, sizeof name, "old-%u", i);
    cr_assert_eq(rename(JOIN("prog"), JOIN(name)), 0);
  }
  cr_assert_not(blocks_file(&world, JOIN("old-0")));
  cr_assert(blocks_file(&world, JOIN("old-1")));
  world_done(&world);
}

Test(rule_block, a_symbolic_link_is_followed) {
  struct world world;
  world_init(&world, "link");
  write_program(&world, "one");
  write_program(&world, "two");
  cr_assert_eq(symlink("one", JOIN("link")), 0);
  compile(&world);
  cr_assert_eq(world.result.state, RULE_APPLIED);
  cr_assert_str_eq(world.result.file, JOIN("one"));
  cr_assert(blocks_file(&world, JOIN("one")));
  cr_assert(blocks_name(&world, "link"));
  cr_assert(blocks_name(&world, "one"), "the target may be replaced");
  cr_assert(has_gap(&world, RULE_GAP_SYMLINK));
  cr_assert_eq(unlink(JOIN("link")), 0);
  cr_assert_eq(symlink("two", JOIN("link")), 0);
  compile(&world);
  cr_assert_str_eq(world.result.file, JOIN("two"));
  cr_assert(blocks_file(&world, JOIN("two")));
  cr_assert_not(blocks_file(&world, JOIN("one")), "the link was pointed elsewhere");
  cr_assert_not(blocks_name(&world, "one"));
  world_done(&world);
}

Test(rule_block, what_is_no_file_is_refused) {
  struct world world;
  world_init(&world, "thing");
  mkdir(JOIN("thing"), 0755);
  compile(&world);
  cr_assert_eq(world.result.state, RULE_REFUSED);
  cr_assert_eq(world.result.reason, RULE_REASON_NOT_A_FILE);
  cr_assert_eq(world.n, 0u);
  rmdir(JOIN("thing"));
  mkfifo(JOIN("thing"), 0644);
  compile(&world);
  cr_assert_eq(world.result.reason, RULE_REASON_NOT_A_FILE, "and it does not hang on a FIFO");
  world_done(&world);
}

Test(rule_block, a_script_where_only_its_interpreter_is_seen) {
  struct world world;
  world_init(&world, "script");
  folder_write(&world.folder, "script", "#!/bin/sh\n", 10, 0755);
  compile(&world);
  cr_assert_eq(world.result.state, RULE_APPLIED);
  cr_assert(has_gap(&world, RULE_GAP_SCRIPT_ARGUMENT));
  world_done(&world);
  world_init(&world, "script");
  folder_write(&world.folder, "script", "#!/bin/sh\n", 10, 0755);
  world.host.backend = BPF_BACKEND_TRACEPOINT;
  compile(&world);
  cr_assert_eq(world.result.state, RULE_REFUSED);
  cr_assert_eq(world.result.reason, RULE_REASON_SCRIPT);
  cr_assert_eq(world.n, 0u);
  world_done(&world);
}

Test(rule_block, gaps_of_the_tracepoint) {
  struct world world;
  world_init(&world, "prog");
  world.host.backend = BPF_BACKEND_TRACEPOINT;
  compile(&world);
  cr_assert(has_gap(&world, RULE_GAP_SCRIPT_FILE), "what comes may be a script");
  write_program(&world, "prog");
  compile(&world);
  cr_assert(has_gap(&world, RULE_GAP_LOADER) && has_gap(&world, RULE_GAP_GLOBAL_INIT));
  cr_assert_not(has_gap(&world, RULE_GAP_SCRIPT_FILE));
  world_done(&world);
}

/* Else the block could be lifted by putting a protected file at the path. */
Test(rule_block, a_protected_file_at_the_path_does_not_lift_the_rule) {
  struct world world;
  world_init(&world, "prog");
  write_program(&world, "prog");
  compile(&world);
  cr_assert_eq(rename(JOIN("prog"), JOIN("moved")), 0);
  cr_assert_eq(symlink("/bin/sh", JOIN("prog")), 0);
  compile(&world);
  cr_assert_eq(world.result.state, RULE_PARTIAL);
  cr_assert_eq(world.result.reason, RULE_REASON_NEEDS_FORCE);
  cr_assert(blocks_file(&world, JOIN("moved")));
  cr_assert(blocks_name(&world, "prog"));
  cr_assert_not(blocks_file(&world, "/bin/sh"));
  world_done(&world);
}

Test(rule_block, on_btrfs_only_the_name_is_sure) {
  struct world world;
  world_init(&world, "prog");
  write_program(&world, "prog");
  fake_magic = 0x9123683e;
  compile(&world);
  cr_assert(has_gap(&world, RULE_GAP_BTRFS));
  cr_assert_eq(world.n, 1u);
  cr_assert(blocks_name(&world, "prog"));
  world_done(&world);
}

Test(rule_block, files_of_a_former_process) {
  struct world world;
  struct stat st;
  world_init(&world, "prog");
  write_program(&world, "prog");
  compile(&world);
  cr_assert_eq(stat(JOIN("prog"), &st), 0);
  uint32_t dev = major(st.st_dev) << 20 | minor(st.st_dev);
  rule_block_adopt_file(&world.rule, dev, st.st_ino, 5);
  cr_assert_eq(world.rule.n_files, 1u, "known already");
  rule_block_adopt_file(&world.rule, 77, 4711, 5);
  compile(&world);
  cr_assert_eq(world.n, 3u);
  cr_assert_eq(world.entries[1].key.ino, 4711u);
  cr_assert_eq(world.entries[1].rule.generation, 5u, "a later file of that number is another one");
  world_done(&world);
}

static char race_new[256], race_target[256];
static void replace_target(void) {
  cr_assert_eq(rename(race_new, race_target), 0);
}

/* The kernel tells "TARGET (deleted)" then. Taken for a name, the link would seem to be pointed
 * elsewhere by the next look, and what it blocks would be let go. */
Test(rule_block, a_target_that_is_replaced_while_it_is_looked_at) {
  struct world world;
  world_init(&world, "link");
  write_program(&world, "target");
  cr_assert_eq(symlink("target", JOIN("link")), 0);
  compile(&world);
  cr_assert_eq(link(JOIN("target"), JOIN("other")), 0);
  write_program(&world, "new");
  snprintf(race_new, sizeof race_new, "%s", JOIN("new"));
  snprintf(race_target, sizeof race_target, "%s", JOIN("target"));
  before_readlink = replace_target;
  compile(&world);
  cr_assert(blocks_file(&world, JOIN("other")));
  cr_assert_null(strstr(world.result.file, "deleted"), "%s", world.result.file);
  for (unsigned i = 0; i < 2; i++) {
    compile(&world);
    cr_assert(blocks_file(&world, JOIN("other")), "the link names the same path as before");
    cr_assert(blocks_file(&world, JOIN("target")));
    cr_assert_str_eq(world.result.file, JOIN("target"));
  }
  world_done(&world);
}

Test(rule_block, paths) {
  static const struct {
    const char *path;
    bool good;
  } rows[] = {{"/usr/bin/nc", true}, {"/x", true},       {"/..x", true},   {"/.x", true},
              {"/x...", true},       {"", false},        {"x", false},     {"./x", false},
              {"/", false},          {"//x", false},     {"/x/", false},   {"/a//b", false},
              {"/a/./b", false},     {"/a/../b", false}, {"/a/..", false}, {"/a/.", false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *why = NULL;
    cr_assert_eq(rule_block_path_valid(rows[i].path, &why), rows[i].good, "%s", rows[i].path);
    cr_assert_eq(!why, rows[i].good);
  }
  char longest[4097], name[258] = "/";
  for (unsigned i = 0; i < 4096; i++)
    longest[i] = i % 2 ? 'x' : '/';
  longest[4095] = '\0';
  longest[4094] = 'x';
  cr_assert(rule_block_path_valid(longest, NULL));
  longest[4095] = 'x';
  longest[4096] = '\0';
  cr_assert_not(rule_block_path_valid(longest, NULL));
  memset(name + 1, 'n', 255);
  cr_assert(rule_block_path_valid(name, NULL));
  name[256] = 'n';
  cr_assert_not(rule_block_path_valid(name, NULL));
}

/* ---- protected files ---- */

static enum rule_reason protects(const char *path, bool force) {
  struct stat st;
  cr_assert_eq(stat(path, &st), 0, "%s", path);
  return rule_protect_check(&st, force);
}

Test(rule_protect, files_without_which_the_host_is_lost) {
  cr_assert_eq(protects("/proc/self/exe", true), RULE_REASON_OWN_BINARY);
  cr_assert_eq(protects("/lib64/ld-linux-x86-64.so.2", true), RULE_REASON_DYNAMIC_LOADER);
  cr_assert_eq(protects("/bin/sh", false), RULE_REASON_NEEDS_FORCE);
  cr_assert_eq(protects("/bin/sh", true), RULE_REASON_NONE);
  cr_assert_eq(protects("/bin/true", false), RULE_REASON_NONE);
}

Test(rule_protect, the_program_of_pid_1) {
  struct stat st;
  if (stat("/proc/1/exe", &st) != 0)
    cr_skip_test("/proc/1/exe cannot be read here: %s", strerror(errno));
  cr_assert_eq(rule_protect_check(&st, true), RULE_REASON_INIT_BINARY);
}

Test(rule_protect, a_hard_link_is_the_same_file) {
  struct world world;
  struct stat st;
  world_init(&world, "copy");
  cr_assert_eq(stat("/bin/login", &st), 0);
  cr_assert_eq(rule_protect_check(&st, false), RULE_REASON_NEEDS_FORCE);
  st.st_ino++;
  cr_assert_neq(rule_protect_check(&st, false), RULE_REASON_OWN_BINARY);
  world_done(&world);
}

/* ---- words ---- */

Test(rule_result, every_word_is_there_once) {
  for (unsigned i = 1; i < RULE_REASON_COUNT; i++) {
    cr_assert(*rule_reason_word(i) && *rule_reason_text(i));
    for (unsigned k = 1; k < i; k++)
      cr_assert_str_neq(rule_reason_word(i), rule_reason_word(k));
  }
  for (unsigned i = 0; i < RULE_GAP_COUNT; i++) {
    cr_assert(*rule_gap_word(i) && *rule_gap_text(i));
    for (unsigned k = 0; k < i; k++)
      cr_assert_str_neq(rule_gap_word(i), rule_gap_word(k));
  }
}

Test(rule_result, a_difference_that_is_seen) {
  static struct rule_result a, b;
  rule_result_set(&a, RULE_REASON_NEEDS_FORCE);
  cr_assert_eq(a.state, RULE_REFUSED);
  b = a;
  cr_assert(rule_result_equal(&a, &b));
  b.gaps = 1;
  cr_assert_not(rule_result_equal(&a, &b));
  b = a;
  strcpy(b.file, "/x");
  cr_assert_not(rule_result_equal(&a, &b));
}
