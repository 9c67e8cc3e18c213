// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-exec-cost: what the exec programs cost each execution.
 *
 *   bench-exec-cost FOLDER SCOPE_CGROUP BACKEND ROUNDS EXECUTIONS RULES...
 *
 * Joins SCOPE_CGROUP, to which the programs are confined, mounts a BPF file system of its own below
 * FOLDER in a mount namespace of its own (nothing of it stays), and measures with each count of
 * RULES, in rounds that take turns:
 *
 * - by the kernel's statistics (BPF_ENABLE_STATS): the time that the pinned programs ran, over the
 *   time that EXECUTIONS times spawn + exec + exit of a static program took. Executions of other
 *   processes of the host are counted as if they were ours: the figure is an upper bound.
 * - without statistics, the whole execution with the programs and with none attached.
 *
 * BACKEND: "best", or one by name. The rules go into the image itself, since a sensor takes 256 at
 * most: a file and a name each, as the product makes them. Prints one line of JSON. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/err.h"
#include "common/text.h"
#include "measure.h"
#include "sensor/bpf_maps.h"
#include "sensor/bpf_object.h"
#include "sensor/canary.h"
#include "sensor/host.h"

#define SIZES_MAX 8u
#define WARM_EXECUTIONS 20u

/* Times of one execution. */
struct round {
  /* With statistics: the programs, how often they ran (thousandths), all, and the programs' part.
   */
  uint64_t bpf_ns, n_runs, mean_ns, share_ppm;
  /* Without: with the programs, with none, and the first over the second (1,000,000 = the same). */
  uint64_t with_ns, without_ns, extra_ppm;
};

struct bench {
  char folder[2048], pins[4096], program[4096];
  struct bpf_object *object;
  enum bpf_backend backend;
  unsigned n_rounds, n_executions, n_sizes;
  struct bpf_image_entry *images[SIZES_MAX];
  unsigned sizes[SIZES_MAX];
  struct round *rounds[SIZES_MAX];
  uint64_t *times_ns; /* of the executions of a round */
};

/* ---- executions ---- */

static void execute(const struct bench *bench) {
  char *const argv[] = {(char *)bench->program, NULL};
  char *const envp[] = {NULL};
  pid_t pid;
  int status = 0, err = posix_spawn(&pid, bench->program, NULL, NULL, argv, envp);
  measure_need(-err, bench->program);
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != CANARY_RAN)
    measure_need(-EPROTO, "the program did not run to its end");
}

static void warm_up(const struct bench *bench) {
  for (unsigned i = 0; i < WARM_EXECUTIONS; i++)
    execute(bench);
}

/* Median of as many as a round has: what else runs on the host disturbs some executions. */
static uint64_t median_ns(struct bench *bench) {
  for (unsigned i = 0; i < bench->n_executions; i++) {
    uint64_t start_ns = measure_now_ns();
    execute(bench);
    bench->times_ns[i] = measure_now_ns() - start_ns;
  }
  return measure_percentile(bench->times_ns, sizeof *bench->times_ns, bench->n_executions, 500);
}

static uint64_t seen(const struct bench *bench) {
  struct tlx_stats stats;
  measure_need(bpf_maps_stats(bench->object, &stats), "counters");
  return stats.seen;
}

/* Whether the attached programs see what we execute. */
static bool is_alive(const struct bench *bench) {
  uint64_t before = seen(bench);
  execute(bench);
  return seen(bench) > before;
}

/* ---- programs ---- */

static void attach(struct bench *bench) {
  char why[240] = "";
  measure_need(bpf_object_attach(bench->object, bench->backend, why), why);
}

static void find_backend(struct bench *bench, const char *wanted) {
  for (unsigned backend = BPF_BACKEND_NONE + 1; backend < BPF_BACKEND_COUNT; backend++) {
    char why[240] = "attached, and never called";
    if (strcmp(wanted, "best") != 0 && strcmp(wanted, bpf_backend_word(backend)) != 0) continue;
    if (bpf_object_attach(bench->object, backend, why) == 0) {
      bool alive = is_alive(bench);
      bpf_object_drop(bench->object);
      bench->backend = backend;
      if (alive) return;
    }
    fprintf(stderr, "bench-exec-cost: %s: %s\n", bpf_backend_word(backend), why);
  }
  measure_need(-ENODEV, "no backend");
}

struct runs {
  uint64_t ns, n;
};

/* Sum over the pinned programs (BACKEND_HOOK_prog, bpf_object.h). */
static struct runs runs_of_pinned(const struct bench *bench) {
  struct runs sum = {0};
  char folder[4200], path[4600];
  snprintf(folder, sizeof folder, "%s/%d", bench->pins, TLX_ABI_VERSION);
  DIR *dir = opendir(folder);
  measure_need(dir ? 0 : -errno, folder);
  for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
    size_t len = strlen(entry->d_name);
    if (len < 5 || strcmp(entry->d_name + len - 5, "_prog") != 0) continue;
    struct bpf_prog_info info = {0};
    __u32 info_len = sizeof info;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    int fd = bpf_obj_get(path);
    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &info_len) != 0) measure_need(-errno, path);
    sum.ns += info.run_time_ns;
    sum.n += info.run_cnt;
    close(fd);
  }
  closedir(dir);
  return sum;
}

/* ---- rules ---- */

/* As many as a rule has that was compiled for a file at a path: the file and the name. None of them
 * names anything that is there. */
static struct bpf_image_entry *make_image(unsigned n_rules) {
  struct bpf_image_entry *entries = calloc(2 * (size_t)n_rules, sizeof *entries);
  tlx_require(entries);
  for (unsigned i = 0; i < n_rules; i++) {
    struct bpf_image_entry *file = &entries[2 * i], *name = file + 1;
    file->key = (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = 0xfffffu, .ino = i + 1};
    file->rule.slot = name->rule.slot = 1 + i % (TLX_SLOTS - 1);
    file->rule.mode = name->rule.mode = TLX_MODE_ENFORCE;
    int len = snprintf(name->rule.name, sizeof name->rule.name, "blocked-program-%u", i);
    name->rule.name_len = (uint32_t)len;
    name->key =
        (struct tlx_exec_key){.kind = TLX_KEY_NAME,
                              .dev = 0xfffffu,
                              .ino = 1000000 + i,
                              .name_hash = bpf_maps_name_hash(name->rule.name, (size_t)len)};
  }
  return entries;
}

static void publish(struct bench *bench, unsigned size) {
  measure_need(bpf_maps_publish(bench->object, bench->images[size], 2 * (size_t)bench->sizes[size]),
               "publish");
  warm_up(bench);
}

/* ---- rounds ---- */

static uint64_t measure_without(struct bench *bench) {
  warm_up(bench);
  return median_ns(bench);
}

/* The whole execution; with the programs first in every second round. */
static void measure_whole(struct bench *bench, unsigned at) {
  uint64_t without_ns = at % 2 ? 0 : measure_without(bench);
  attach(bench);
  for (unsigned size = 0; size < bench->n_sizes; size++) {
    publish(bench, size);
    bench->rounds[size][at].with_ns = median_ns(bench);
  }
  bpf_object_drop(bench->object);
  if (!without_ns) without_ns = measure_without(bench);
  for (unsigned size = 0; size < bench->n_sizes; size++) {
    struct round *round = &bench->rounds[size][at];
    round->without_ns = without_ns;
    round->extra_ppm = round->with_ns * 1000000 / without_ns;
  }
}

static void measure_runs(struct bench *bench, unsigned at) {
  for (unsigned size = 0; size < bench->n_sizes; size++) {
    struct round *round = &bench->rounds[size][at];
    publish(bench, size);
    uint64_t seen_before = seen(bench);
    struct runs before = runs_of_pinned(bench);
    uint64_t start_ns = measure_now_ns();
    for (unsigned i = 0; i < bench->n_executions; i++)
      execute(bench);
    uint64_t ns = measure_now_ns() - start_ns;
    struct runs after = runs_of_pinned(bench);
    if (seen(bench) - seen_before < bench->n_executions)
      measure_need(-EPROTO, "the programs did not see every execution");
    round->bpf_ns = (after.ns - before.ns) / bench->n_executions;
    round->n_runs = (after.n - before.n) * 1000 / bench->n_executions;
    round->mean_ns = ns / bench->n_executions;
    round->share_ppm = (after.ns - before.ns) * 1000000 / ns;
  }
}

/* ---- ground ---- */

/* Parent and child share a core anyway, as they take turns; so no moving between cores is measured.
 */
static void stay_on_one_core(void) {
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  int core = CPU_SETSIZE - 1;
  while (core > 0 && !CPU_ISSET(core, &all))
    core--;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  measure_need(sched_setaffinity(0, sizeof one, &one) == 0 ? 0 : -errno, "one core");
}

static void prepare(struct bench *bench, const char *cgroup) {
  char path[4200], why[240] = "";
  bool adopted = false;
  struct bpf_object_options options = {.pin_folder = bench->pins};
  measure_need(host_cgroup_id(cgroup, &options.scope_cgroup_id, &options.scope_level), cgroup);
  snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) measure_need(-errno, path);
  close(fd);
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    measure_need(-errno, "mount namespace");
  snprintf(path, sizeof path, "%s/bpffs", bench->folder);
  if ((mkdir(path, 0700) != 0 && errno != EEXIST) || mount("bpf", path, "bpf", 0, "mode=0700") != 0)
    measure_need(-errno, path);
  snprintf(bench->program, sizeof bench->program, "%s/program", bench->folder);
  measure_need(canary_write(bench->program), bench->program);
  measure_need(bpf_object_open(&options, why, &adopted, &bench->object), why);
  measure_need(bpf_object_arm(bench->object, true), "arm");
}

static void print_size(const struct bench *bench, unsigned size) {
  const struct round *first = bench->rounds[size];
#define P(field, permille)                                                                         \
  ((double)measure_percentile(&first->field, sizeof *first, bench->n_rounds, permille))
  printf("%s{\"rules\":%u,\"bpf_ns\":%.0f,\"runs\":%.3f,\"exec_ns\":%.0f,"
         "\"share_percent\":{\"p50\":%.4f,\"p5\":%.4f,\"p95\":%.4f},"
         "\"with_ns\":%.0f,\"without_ns\":%.0f,"
         "\"difference_percent\":{\"p50\":%.3f,\"p25\":%.3f,\"p75\":%.3f}}",
         size ? "," : "", bench->sizes[size], P(bpf_ns, 500), P(n_runs, 500) / 1000,
         P(mean_ns, 500), P(share_ppm, 500) / 1e4, P(share_ppm, 50) / 1e4, P(share_ppm, 950) / 1e4,
         P(with_ns, 500), P(without_ns, 500), P(extra_ppm, 500) / 1e4 - 100,
         P(extra_ppm, 250) / 1e4 - 100, P(extra_ppm, 750) / 1e4 - 100);
#undef P
}

static int usage(void) {
  fprintf(stderr,
          "usage: bench-exec-cost FOLDER SCOPE_CGROUP BACKEND ROUNDS EXECUTIONS RULES...\n");
  return 2;
}

int main(int argc, char **argv) {
  struct bench bench = {0};
  uint64_t value;
  char why[240] = "";
  if (argc < 7 || argc - 6 > (int)SIZES_MAX) return usage();
  if (tlx_u64_parse(argv[4], 10000, &value) != 0 || !value) return usage();
  bench.n_rounds = (unsigned)value;
  if (tlx_u64_parse(argv[5], 100000, &value) != 0 || !value) return usage();
  bench.n_executions = (unsigned)value;
  for (; bench.n_sizes < (unsigned)argc - 6; bench.n_sizes++) {
    if (tlx_u64_parse(argv[6 + bench.n_sizes], TLX_IMAGE_MAX / 2, &value) != 0 || !value)
      return usage();
    bench.sizes[bench.n_sizes] = (unsigned)value;
    bench.images[bench.n_sizes] = make_image((unsigned)value);
    bench.rounds[bench.n_sizes] = calloc(bench.n_rounds, sizeof(struct round));
    tlx_require(bench.rounds[bench.n_sizes]);
  }
  snprintf(bench.folder, sizeof bench.folder, "%s", argv[1]);
  snprintf(bench.pins, sizeof bench.pins, "%s/bpffs/telovix", bench.folder);
  bench.times_ns = calloc(bench.n_executions, sizeof *bench.times_ns);
  tlx_require(bench.times_ns);
  stay_on_one_core();
  prepare(&bench, argv[2]);
  publish(&bench, 0);
  find_backend(&bench, argv[3]);

  for (unsigned i = 0; i < bench.n_rounds; i++)
    measure_whole(&bench, i);
  attach(&bench);
  measure_need(bpf_object_keep(bench.object, why), why);
  int stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
  if (stats_fd < 0) measure_need(-errno, "BPF_ENABLE_STATS");
  for (unsigned i = 0; i < bench.n_rounds; i++)
    measure_runs(&bench, i);
  close(stats_fd);
  measure_need(bpf_object_remove(bench.object), "remove");
  bpf_object_close(bench.object);

  printf("{\"backend\":\"%s\",\"rounds\":%u,\"executions\":%u,\"rules\":[",
         bpf_backend_word(bench.backend), bench.n_rounds, bench.n_executions);
  for (unsigned size = 0; size < bench.n_sizes; size++)
    print_size(&bench, size);
  printf("]}\n");
  free(bench.times_ns);
  for (unsigned size = 0; size < bench.n_sizes; size++)
    free(bench.images[size]), free(bench.rounds[size]);
  return 0;
}
