// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_load.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf-progs/tlx_abi.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "exec_fmod.skel.h"
#include "exec_lsm.skel.h"
#include "exec_tp.skel.h"
#include "sensor/bpf_layout.h"

/* Room for the verifier's words about one program; what matters stands at their end, which newer
 * kernels keep. */
#define LOG_SIZE (1u << 20)

const char *bpf_map_word(enum bpf_map_index map) {
  static const char *const words[BPF_MAP_COUNT] = {
#define X(name, word) [BPF_MAP_##name] = word,
      BPF_MAP_MAP(X)
#undef X
  };
  return words[map];
}

/* ---- words of a refusal ---- */

/* What libbpf warned of last in this thread: for refusals that come before the verifier. */
static __thread char last_warning[200];

static int on_libbpf(enum libbpf_print_level level, const char *format, va_list args) {
  char line[1024];
  vsnprintf(line, sizeof line, format, args);
  size_t len = strlen(line);
  while (len && line[len - 1] == '\n')
    line[--len] = '\0';
  /* "try raising ulimit -l" is libbpf's guess at every EPERM, and wrong since 5.11. */
  if (level == LIBBPF_WARN && !strstr(line, "ulimit -l"))
    snprintf(last_warning, sizeof last_warning, "%s",
             strncmp(line, "libbpf: ", 8) == 0 ? line + 8 : line);
  tlx_debug(BPF, "%s", line);
  return 0;
}

static void set_print(void) {
  libbpf_set_print(on_libbpf);
}

void bpf_load_log(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_print);
  last_warning[0] = '\0';
}

/* Copies the last two lines of |log| that say something: the verifier closes with statistics. */
static void verifier_tail(const char *log, char *out, size_t size) {
  const char *lines[2] = {NULL, NULL};
  size_t lens[2] = {0, 0};
  for (const char *line = log; *line;) {
    size_t len = strcspn(line, "\n");
    if (len && strncmp(line, "processed ", 10) != 0 &&
        strncmp(line, "verification time", 17) != 0 && strncmp(line, "stack depth", 11) != 0) {
      lines[0] = lines[1], lens[0] = lens[1];
      lines[1] = line, lens[1] = len;
    }
    line += len + (line[len] == '\n');
  }
  snprintf(out, size, "%.*s%s%.*s", lines[0] ? (int)(lens[0] < 110 ? lens[0] : 110) : 0,
           lines[0] ? lines[0] : "", lines[0] ? " / " : "",
           lines[1] ? (int)(lens[1] < 110 ? lens[1] : 110) : 0, lines[1] ? lines[1] : "");
}

void bpf_load_explain(const char *log, int err, char why[240]) {
  if (log && *log) {
    char tail[232];
    verifier_tail(log, tail, sizeof tail);
    snprintf(why, 240, "refused by the verifier: %.200s", tail);
  } else if (err == -EPERM || err == -EACCES) {
    snprintf(why, 240, "not permitted%s%.150s", *last_warning ? ": " : "", last_warning);
  } else {
    snprintf(why, 240, "%s%s%.150s", tlx_err_text(err), *last_warning ? ": " : "", last_warning);
  }
}

/* ---- skeletons ---- */

/* A generated skeleton without its type. */
struct skeleton {
  void *owner;
  void (*destroy)(void *owner);
  struct bpf_object *object;
};

#define SKELETON(type)                                                                             \
  static void type##_end(void *owner) {                                                            \
    type##__destroy(owner);                                                                        \
  }                                                                                                \
  static int type##_begin(const struct bpf_object_open_opts *opts, bool reads,                     \
                          struct skeleton *ret_skeleton) {                                         \
    struct type *owner = type##__open_opts(opts);                                                  \
    if (!owner) return -errno;                                                                     \
    owner->rodata->tlx_reads = reads;                                                              \
    *ret_skeleton = (struct skeleton){owner, type##_end, owner->obj};                              \
    return 0;                                                                                      \
  }
SKELETON(exec_lsm)
SKELETON(exec_fmod)
SKELETON(exec_tp)

static const struct backend {
  int (*begin)(const struct bpf_object_open_opts *opts, bool reads, struct skeleton *ret_skeleton);
  enum bpf_attach_type attach;
  /* Programs and the names of their hooks. */
  struct {
    const char *program, *hook;
  } hooks[BPF_HOOKS_MAX];
} backends[BPF_BACKEND_COUNT] = {
    [BPF_BACKEND_LSM] = {exec_lsm_begin,
                         BPF_LSM_MAC,
                         {{"tlx_lsm_bprm", "bprm_check"},
                          {"tlx_lsm_mmap", "mmap_file"},
                          {"tlx_lsm_mprot", "mprotect"}}},
    [BPF_BACKEND_FMOD_RET] = {exec_fmod_begin,
                              BPF_MODIFY_RETURN,
                              {{"tlx_fmod_bprm", "bprm_check"},
                               {"tlx_fmod_mmap", "mmap_file"},
                               {"tlx_fmod_mprot", "mprotect"}}},
    [BPF_BACKEND_TRACEPOINT] = {exec_tp_begin, BPF_TRACE_RAW_TP, {{"tlx_exec_tp", "exec"}}},
};

static void skeleton_end(struct skeleton *skeleton) {
  if (skeleton->owner) skeleton->destroy(skeleton->owner);
}

static int skeleton_begin(enum bpf_backend backend, const char *btf_path, bool reads,
                          struct skeleton *ret_skeleton) {
  LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = btf_path);
  bpf_load_log();
  return backends[backend].begin(&opts, reads, ret_skeleton);
}

/* The map that the pin |index| is about, in an open object. */
static struct bpf_map *map_of(const struct skeleton *skeleton, enum bpf_map_index index) {
  char name[16];
  snprintf(name, sizeof name, "tlx_%s", bpf_map_word(index));
  return bpf_object__find_map_by_name(skeleton->object, name);
}

static int duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -errno : copy;
}

/* ---- maps ---- */

int bpf_load_maps(const char *btf_path, char why[240], int ret_fds[BPF_MAP_COUNT]) {
  TLX_CLEANUP(skeleton_end) struct skeleton skeleton = {0};
  struct bpf_program *program;
  int fds[BPF_MAP_COUNT];
  int err = skeleton_begin(BPF_BACKEND_TRACEPOINT, btf_path, true, &skeleton);
  if (!err) {
    bpf_object__for_each_program(program, skeleton.object)
        bpf_program__set_autoload(program, false);
    err = bpf_object__load(skeleton.object);
  }
  if (err) {
    bpf_load_explain(NULL, err, why);
    return err;
  }
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++) {
    fds[i] = duplicate(bpf_map__fd(map_of(&skeleton, i)));
    if (fds[i] >= 0) continue;
    err = fds[i];
    while (i--)
      close(fds[i]);
    snprintf(why, 240, "%s", tlx_err_text(err));
    return err;
  }
  memcpy(ret_fds, fds, sizeof fds);
  return 0;
}

int bpf_load_check_map(enum bpf_map_index index, int fd, char why[240]) {
  TLX_CLEANUP(skeleton_end) struct skeleton skeleton = {0};
  int err = skeleton_begin(BPF_BACKEND_TRACEPOINT, NULL, true, &skeleton);
  return err ? err
             : bpf_layout_check_map(map_of(&skeleton, index), bpf_object__btf(skeleton.object),
                                    bpf_map_word(index), fd, why);
}

int bpf_load_check_self(int fd) {
  struct bpf_map_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0) return -errno;
  return info.type == BPF_MAP_TYPE_ARRAY && info.value_size == sizeof(struct tlx_self) ? 0
                                                                                       : -EPROTO;
}

/* ---- programs ---- */

const char *bpf_load_hook(enum bpf_backend backend, unsigned n) {
  return n < BPF_HOOKS_MAX ? backends[backend].hooks[n].hook : NULL;
}

/* Takes descriptors out of a loaded object, before it is destroyed. */
static int take(enum bpf_backend backend, const struct skeleton *skeleton, bool reads,
                struct bpf_load *ret_load) {
  struct bpf_load load = {.reads = reads, .self_fd = -1};
  struct tlx_self self = {.reads = reads};
  const __u32 zero = 0;
  int err = 0;
  load.self_fd = duplicate(bpf_object__find_map_fd_by_name(skeleton->object, "tlx_self"));
  if (load.self_fd < 0) return load.self_fd;
  if (bpf_map_update_elem(load.self_fd, &zero, &self, BPF_ANY) != 0) err = -errno;
  for (unsigned i = 0; !err && bpf_load_hook(backend, i); i++) {
    const char *name = backends[backend].hooks[i].program;
    int fd = duplicate(bpf_program__fd(bpf_object__find_program_by_name(skeleton->object, name)));
    if (fd < 0)
      err = fd;
    else
      load.progs[load.n++] = (struct bpf_load_prog){bpf_load_hook(backend, i), fd};
  }
  if (err)
    bpf_load_done(&load);
  else
    *ret_load = load;
  return err;
}

static int try_load(enum bpf_backend backend, const int map_fds[BPF_MAP_COUNT],
                    const char *btf_path, bool reads, char *log, struct bpf_load *ret_load) {
  TLX_CLEANUP(skeleton_end) struct skeleton skeleton = {0};
  struct bpf_program *program;
  int err = skeleton_begin(backend, btf_path, reads, &skeleton);
  for (unsigned i = 0; i < BPF_MAP_COUNT && !err; i++)
    err = bpf_map__reuse_fd(map_of(&skeleton, i), map_fds[i]);
  if (err) return err;
  log[0] = '\0';
  bpf_object__for_each_program(program, skeleton.object)
      bpf_program__set_log_buf(program, log, LOG_SIZE);
  err = bpf_object__load(skeleton.object);
  return err ? err : take(backend, &skeleton, reads, ret_load);
}

int bpf_load_programs(enum bpf_backend backend, const int map_fds[BPF_MAP_COUNT],
                      const char *btf_path, char why[240], struct bpf_load *ret_load) {
  TLX_AUTOFREE char *log = calloc(1, LOG_SIZE);
  if (!log) return -ENOMEM;
  int err = try_load(backend, map_fds, btf_path, true, log, ret_load);
  /* Lockdown takes the helpers away that read kernel text; without them the file keys still hold.
   */
  if (err && *log && try_load(backend, map_fds, btf_path, false, log, ret_load) == 0) return 0;
  if (!err) return 0;
  if (err == -EPERM && !*log && !bpf_caps_privileged())
    snprintf(why, 240, "CAP_BPF and CAP_PERFMON are missing");
  else if (err == -EPERM && !*log && backend != BPF_BACKEND_TRACEPOINT)
    snprintf(why, 240, "BPF trampolines are refused by this kernel");
  else
    bpf_load_explain(log, err, why);
  return err;
}

void bpf_load_done(struct bpf_load *load) {
  while (load->n)
    close(load->progs[--load->n].fd);
  if (load->self_fd >= 0) close(load->self_fd);
  load->self_fd = -1;
}

int bpf_load_attach(enum bpf_backend backend, int prog_fd) {
  int fd = bpf_link_create(prog_fd, 0, backends[backend].attach, NULL);
  return fd < 0 ? -errno : fd;
}

int bpf_load_n_cpus(void) {
  return libbpf_num_possible_cpus();
}
