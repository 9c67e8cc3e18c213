// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "sensor/bpf_file.h"
#include "sensor/bpf_maps.h"
#include "sensor/bpf_object.h"

/* The ground that every test of the programs stands on: a folder, a BPF file system and a cgroup of
 * its own. Mounts live in a mount namespace of the test's process and go with it, however it ends;
 * a guardian removes folder and cgroup.
 *
 * Programs are armed for that cgroup alone, never for the host, unless a guest's init says that the
 * machine is the test's (TELOVIX_HOST_SCOPE=1). TELOVIX_BPF_BACKEND asks for one backend; else the
 * best that lives is taken. */
struct bed {
  char folder[64];          /* for files; on whatever /tmp is */
  char bpffs[96], pins[96]; /* mount point; pins = bpffs/telovix */
  char cgroup[192];
  uint64_t cgroup_id;
  uint32_t cgroup_level;
  char canary[96], program[96],
      trace[96]; /* program: writes |trace| with its first instructions, exits with BED_RAN */
  int guard_fd;
  bool whole_host; /* in guests only; set between bed_begin and bed_engine */
  enum bpf_backend backend;
  struct bpf_object *object;
  struct bpf_file *file;
  struct bpf_image_entry entries[64];
  size_t n_entries;
};
#define BED_RAN 42

/* Makes the ground; the test is skipped, with the reason, where it cannot stand. */
void bed_begin(struct bed *bed);
/* Opens the object, publishes the canary's rule, arms, attaches the backend, proves and keeps it.
 * Skips where the kernel refuses. */
void bed_engine(struct bed *bed);
void bed_end(struct bed *bed);
/* A second object on the same pins, as another process would open it. */
struct bpf_object *bed_open(struct bed *bed, bool *ret_adopted);
/* Path of |name| in the folder; static storage, a few at a time. */
const char *bed_path(const struct bed *bed, const char *name);
/* Copies the program there. */
void bed_copy_program(const struct bed *bed, const char *path);
/* What bed_engine does with a new object, for another one: publishes the entries, arms, attaches
 * |backend|. Negative errno. */
int bed_attach(struct bed *bed, struct bpf_object *object, enum bpf_backend backend);

/* Adds a rule without publishing it. |slot| > 0. */
void bed_rule_file(struct bed *bed, const char *path, uint32_t slot, uint32_t mode);
void bed_rule_name(struct bed *bed, const char *folder, const char *name, uint32_t slot,
                   uint32_t mode);
void bed_publish(struct bed *bed);
struct tlx_count bed_count(struct bed *bed, uint32_t slot);

enum bed_outcome {
  BED_ALIVE,   /* exited with BED_RAN, or another status: it ran */
  BED_DENIED,  /* execve returned EPERM */
  BED_KILLED,  /* SIGKILL */
  BED_STRANGE, /* anything else; |err| in bed_error */
};
extern int bed_error;
extern int bed_status; /* exit status after BED_ALIVE */
/* Runs |act|, which executes something, in a child inside the cgroup (|inside|) or outside of it.
 * |act| returns only when execve failed, with errno set. */
enum bed_outcome bed_run(const struct bed *bed, bool inside,
                         void (*act)(const struct bed *bed, const char *arg), const char *arg);
/* Executes |path| with the trace file as argument. */
enum bed_outcome bed_exec(const struct bed *bed, const char *path);
/* Removes the trace; whether it was there. */
bool bed_trace(const struct bed *bed);
/* What the backend makes of a stopped execution. */
enum bed_outcome bed_stopped(const struct bed *bed);
/* Executes |path| over and over inside the cgroup, from another process, until bed_hammer_end. */
struct bed_hammer {
  volatile unsigned n_tries, n_alive;
  volatile bool end;
  int pid;
};
struct bed_hammer *bed_hammer_begin(const struct bed *bed, const char *path);
/* Waits until |n| more executions were tried. */
void bed_hammer_wait(struct bed_hammer *hammer, unsigned n);
/* How many of them ran. */
unsigned bed_hammer_end(struct bed_hammer *hammer);
/* True when a command of the host ended well. printf text. */
bool bed_command(const char *format, ...) __attribute__((format(printf, 1, 2)));
