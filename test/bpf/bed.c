// SPDX-License-Identifier: GPL-2.0-or-later
#include "bed.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sensor/canary.h"

int bed_error, bed_status;

bool bed_command(const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  int status = system(text);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- ground ---- */

static void find_cgroup2(char *out, size_t size) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  char line[1024];
  *out = '\0';
  while (file && fgets(line, sizeof line, file))
    if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %127s", out) == 1) break;
  if (file) fclose(file);
  cr_assert_lt(strlen(out), size);
}

static void write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = write(fd, text, strlen(text));
  (void)n;
  close(fd);
}

/* Waits until the test's process is gone, whichever way, and clears up. */
static _Noreturn void guard(const struct bed *bed, int fd) {
  char byte, path[256];
  int null = open("/dev/null", O_RDWR);
  dup2(null, 0), dup2(null, 1), dup2(null, 2);
  dup2(fd, 3);
  close_range(4, ~0u, 0);
  setsid();
  while (read(3, &byte, 1) < 0 && errno == EINTR) {
  }
  snprintf(path, sizeof path, "%s/cgroup.kill", bed->cgroup);
  write_text(path, "1");
  /* A killed process leaves its cgroup some moments later. */
  for (unsigned i = 0; i < 500 && rmdir(bed->cgroup) != 0 && errno == EBUSY; i++)
    usleep(10000);
  snprintf(path, sizeof path, "rm -rf --one-file-system %s", bed->folder);
  _exit(system(path) == 0 ? 0 : 1);
}

void bed_begin(struct bed *bed) {
  char root[128];
  struct stat st;
  int fds[2];
  memset(bed, 0, sizeof *bed);
  bed->guard_fd = -1;
  if (geteuid() != 0) cr_skip_test("needs root");
  find_cgroup2(root, sizeof root);
  if (!*root) cr_skip_test("the cgroup2 hierarchy is not mounted");
  strcpy(bed->folder, "/tmp/telovix-bpf-XXXXXX");
  cr_assert(mkdtemp(bed->folder));
  snprintf(bed->cgroup, sizeof bed->cgroup, "%s/telovix-bpf-%s", root,
           bed->folder + sizeof "/tmp/telovix-bpf");
  cr_assert_eq(mkdir(bed->cgroup, 0755), 0, "%s: %s", bed->cgroup, strerror(errno));
  cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    close(fds[1]);
    guard(bed, fds[0]);
  }
  close(fds[0]);
  bed->guard_fd = fds[1];

  cr_assert_eq(stat(bed->cgroup, &st), 0);
  bed->cgroup_id = st.st_ino; /* kernfs: the number of the inode is the id */
  bed->cgroup_level = 1;
  cr_assert_eq(unshare(CLONE_NEWNS), 0);
  cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
  snprintf(bed->bpffs, sizeof bed->bpffs, "%s/bpffs", bed->folder);
  snprintf(bed->pins, sizeof bed->pins, "%s/telovix", bed->bpffs);
  snprintf(bed->canary, sizeof bed->canary, "%s/canary", bed->folder);
  snprintf(bed->program, sizeof bed->program, "%s/program", bed->folder);
  snprintf(bed->trace, sizeof bed->trace, "%s/trace", bed->folder);
  cr_assert_eq(mkdir(bed->bpffs, 0700), 0);
  if (mount("bpf", bed->bpffs, "bpf", 0, "mode=0700") != 0)
    cr_skip_test("no BPF file system in this kernel");
  bed_copy_program(bed, bed->program);
}

struct bpf_object *bed_open(struct bed *bed, bool *ret_adopted) {
  const char *may = getenv("TELOVIX_HOST_SCOPE");
  cr_assert(!bed->whole_host || (may && strcmp(may, "1") == 0),
            "this machine is not the test's alone");
  struct bpf_object_options options = {.pin_folder = bed->pins,
                                       .whole_host = bed->whole_host,
                                       .scope_cgroup_id = bed->cgroup_id,
                                       .scope_level = bed->cgroup_level};
  struct bpf_object *object = NULL;
  char why[240] = "";
  int err = bpf_object_open(&options, why, ret_adopted, &object);
  cr_assert_eq(err, 0, "open: %d %s", err, why);
  return object;
}

/* Whether the programs of |backend| stop the canary; then they are kept. */
static bool try_backend(struct bed *bed, enum bpf_backend backend, char why[240]) {
  struct tlx_count before, after;
  int err = bpf_object_attach(bed->object, backend, why);
  if (err) return false;
  cr_assert_eq(bpf_maps_count(bed->object, TLX_SLOT_CANARY, &before), 0);
  enum canary_result result = canary_run(bed->canary, bed->cgroup, &err);
  cr_assert_eq(bpf_maps_count(bed->object, TLX_SLOT_CANARY, &after), 0);
  if (result == CANARY_ALIVE || after.acted == before.acted) {
    snprintf(why, 240, "attached, and the canary ran");
    bpf_object_drop(bed->object);
    return false;
  }
  cr_assert_eq(result, backend == BPF_BACKEND_TRACEPOINT ? CANARY_KILLED : CANARY_DENIED);
  cr_assert_eq(bpf_object_keep(bed->object, why), 0, "%s", why);
  return true;
}

int bed_attach(struct bed *bed, struct bpf_object *object, enum bpf_backend backend) {
  char why[240] = "";
  int err = bpf_maps_publish(object, bed->entries, bed->n_entries);
  if (!err) err = bpf_object_arm(object, true);
  if (!err) err = bpf_object_attach(object, backend, why);
  return err;
}

void bed_engine(struct bed *bed) {
  const char *wanted = getenv("TELOVIX_BPF_BACKEND");
  char why[240] = "", reasons[800] = "";
  bool adopted = true;
  int err = bpf_file_open(NULL, why, &bed->file);
  if (err) cr_skip_test("%s", why);
  bed->object = bed_open(bed, &adopted);
  cr_assert_not(adopted);
  cr_assert_eq(canary_write(bed->canary), 0);
  bed_rule_file(bed, bed->canary, TLX_SLOT_CANARY, TLX_MODE_ENFORCE);
  bed_publish(bed);
  cr_assert_eq(bpf_object_arm(bed->object, true), 0);
  for (unsigned backend = BPF_BACKEND_NONE + 1; backend < BPF_BACKEND_COUNT && !bed->backend;
       backend++) {
    if (wanted && strcmp(wanted, bpf_backend_word(backend)) != 0) continue;
    if (try_backend(bed, backend, why))
      bed->backend = backend;
    else
      snprintf(reasons + strlen(reasons), sizeof reasons - strlen(reasons), "%s: %.200s. ",
               bpf_backend_word(backend), why);
  }
  printf("bed: backend %s\n", bpf_backend_word(bed->backend));
  fflush(stdout);
  if (bed->backend) return;
  /* A backend that was asked for by name must work. */
  cr_assert_null(wanted, "%s", reasons);
  cr_skip_test("%s", reasons);
}

void bed_end(struct bed *bed) {
  if (bed->object) bpf_object_remove(bed->object);
  bpf_object_close(bed->object);
  bpf_file_close(bed->file);
  if (*bed->bpffs) umount2(bed->bpffs, MNT_DETACH);
  if (bed->guard_fd >= 0) close(bed->guard_fd);
}

const char *bed_path(const struct bed *bed, const char *name) {
  static char paths[8][192];
  static unsigned at;
  char *path = paths[at++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", bed->folder, name);
  return path;
}

void bed_copy_program(const struct bed *bed, const char *path) {
  cr_assert(bed_command("cp %s %s && chmod 755 %s", TLX_TRACE_PROGRAM, path, path));
}

/* ---- rules ---- */

static struct bpf_image_entry *add(struct bed *bed, uint32_t slot, uint32_t mode) {
  cr_assert_lt(bed->n_entries, sizeof bed->entries / sizeof *bed->entries);
  struct bpf_image_entry *entry = &bed->entries[bed->n_entries++];
  memset(entry, 0, sizeof *entry);
  entry->rule.slot = slot;
  entry->rule.mode = mode;
  return entry;
}

static struct tlx_file_id identify(struct bed *bed, const char *path) {
  struct tlx_file_id id = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
  int err = bpf_file_identify(bed->file, fd, &id);
  cr_assert_eq(err, 0, "%s: %d", path, err);
  close(fd);
  return id;
}

void bed_rule_file(struct bed *bed, const char *path, uint32_t slot, uint32_t mode) {
  struct tlx_file_id id = identify(bed, path);
  struct bpf_image_entry *entry = add(bed, slot, mode);
  entry->key = (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = id.dev, .ino = id.ino};
  entry->rule.generation = id.generation;
  if (!id.real_ino) return;
  entry = add(bed, slot, mode);
  entry->key = (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = id.real_dev, .ino = id.real_ino};
  entry->rule.generation = id.real_generation;
}

void bed_rule_name(struct bed *bed, const char *folder, const char *name, uint32_t slot,
                   uint32_t mode) {
  struct tlx_file_id id = identify(bed, folder);
  struct bpf_image_entry *entry = add(bed, slot, mode);
  entry->key = (struct tlx_exec_key){.kind = TLX_KEY_NAME,
                                     .dev = id.dev,
                                     .ino = id.ino,
                                     .name_hash = bpf_maps_name_hash(name, strlen(name))};
  entry->rule.name_len = (uint32_t)strlen(name);
  memcpy(entry->rule.name, name, strlen(name));
}

void bed_publish(struct bed *bed) {
  int err = bpf_maps_publish(bed->object, bed->entries, bed->n_entries);
  cr_assert_eq(err, 0, "publish: %d", err);
}

struct tlx_count bed_count(struct bed *bed, uint32_t slot) {
  struct tlx_count count = {0};
  cr_assert_eq(bpf_maps_count(bed->object, slot, &count), 0);
  return count;
}

/* ---- executions ---- */

static void enter(const struct bed *bed) {
  char path[256];
  snprintf(path, sizeof path, "%s/cgroup.procs", bed->cgroup);
  write_text(path, "0");
}

enum bed_outcome bed_run(const struct bed *bed, bool inside,
                         void (*act)(const struct bed *bed, const char *arg), const char *arg) {
  int fds[2], status = 0, err = 0;
  bed_error = 0;
  cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    if (inside) enter(bed);
    act(bed, arg);
    err = errno;
    ssize_t n = write(fds[1], &err, sizeof err);
    _exit(n == sizeof err ? 126 : 125);
  }
  close(fds[1]);
  while (waitpid(pid, &status, 0) < 0)
    cr_assert_eq(errno, EINTR);
  bool refused = read(fds[0], &err, sizeof err) == sizeof err;
  close(fds[0]);
  bed_error = err;
  if (refused) return err == EPERM ? BED_DENIED : BED_STRANGE;
  bed_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL ? BED_KILLED : BED_STRANGE;
  return BED_ALIVE;
}

static void exec_path(const struct bed *bed, const char *path) {
  char *const argv[] = {(char *)path, (char *)bed->trace, NULL};
  char *const envp[] = {NULL};
  execve(path, argv, envp);
}

enum bed_outcome bed_exec(const struct bed *bed, const char *path) {
  return bed_run(bed, true, exec_path, path);
}

/* ---- many executions ---- */

static void hammer(const struct bed *bed, const char *path, struct bed_hammer *shared) {
  enter(bed);
  while (!shared->end) {
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
      char *const argv[] = {(char *)path, (char *)bed->trace, NULL};
      execv(path, argv);
      _exit(126);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) _exit(1);
    if (WIFEXITED(status) && WEXITSTATUS(status) == BED_RAN) shared->n_alive++;
    shared->n_tries++;
  }
  _exit(0);
}

struct bed_hammer *bed_hammer_begin(const struct bed *bed, const char *path) {
  struct bed_hammer *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(shared, MAP_FAILED);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) hammer(bed, path, shared);
  shared->pid = pid;
  bed_hammer_wait(shared, 1);
  return shared;
}

void bed_hammer_wait(struct bed_hammer *hammer_, unsigned n) {
  unsigned until = hammer_->n_tries + n;
  for (unsigned i = 0; i < 60000 && (int)(hammer_->n_tries - until) < 0; i++)
    usleep(1000);
  cr_assert_geq((int)(hammer_->n_tries - until), 0, "executions do not go on");
}

unsigned bed_hammer_end(struct bed_hammer *hammer_) {
  int status = 0;
  hammer_->end = true;
  cr_assert_eq(waitpid(hammer_->pid, &status, 0), hammer_->pid);
  cr_assert_eq(status, 0);
  unsigned n = hammer_->n_alive;
  munmap(hammer_, sizeof *hammer_);
  return n;
}

bool bed_trace(const struct bed *bed) {
  return unlink(bed->trace) == 0;
}

enum bed_outcome bed_stopped(const struct bed *bed) {
  return bed->backend == BPF_BACKEND_TRACEPOINT ? BED_KILLED : BED_DENIED;
}
