// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What is really so about a rule on this host, in words that are the same on every screen. */

/* Reasons: stable word, state that goes with it (number of telovix.v1.RuleState: 1 pending, 2
 * applied, 4 refused, 5 failed, 6 unknown), sentence. */
#define RULE_REASON_MAP(X)                                                                         \
  X(NO_FILE_YET, "no_file_yet", 2,                                                                 \
    "there is no file of this name yet; it is blocked as soon as there is one")                    \
  X(NO_DIRECTORY, "no_directory", 1, "the directory does not exist: the rule waits for it")        \
  X(OWN_BINARY, "own_binary", 4, "this is the sensor's own program")                               \
  X(INIT_BINARY, "init_binary", 4,                                                                 \
    "this is the program of PID 1: without it the host cannot live")                               \
  X(DYNAMIC_LOADER, "dynamic_loader", 4,                                                           \
    "this is the dynamic loader: nearly every program needs it")                                   \
  X(KERNEL_HELPER, "kernel_helper", 4, "the kernel itself runs this helper")                       \
  X(NEEDS_FORCE, "needs_force", 4,                                                                 \
    "this is a shell or a way to log in: block it with force if that is meant")                    \
  X(NOT_A_FILE, "not_a_file", 4, "this is not a regular file")                                     \
  X(BAD_PATH, "bad_path", 4, "the path does not have the form of an absolute path")                \
  X(SCRIPT, "script", 4, "this is a script, and on this kernel only its interpreter can be seen")  \
  X(UNKNOWN_TEMPLATE, "unknown_template", 4,                                                       \
    "this sensor does not know this kind of rule: upgrade it")                                     \
  X(NAMES_UNREADABLE, "names_unreadable", 4,                                                       \
    "this kernel lets no program read names, and there is no file yet")                            \
  X(NO_ENFORCEMENT, "no_enforcement", 4, "this host allows no enforcement")                        \
  X(ENGINE_DOWN, "engine_down", 5, "what was in force is not proved any more")                     \
  X(STEP_FAILED, "step_failed", 5, "a step failed")                                                \
  X(STEP_REPEATED, "step_repeated", 6,                                                             \
    "a step failed and is tried again; what was in force is left as it is")                        \
  X(LIFTED, "lifted", 5, "root on the host took all enforcement down")                             \
  X(BAD_ALLOW, "bad_allow", 4, "an entry of the allow list cannot be read")                        \
  X(ONE_CONTAINMENT, "one_containment", 4, "another containment of this host comes first")         \
  X(HAZARD, "hazard", 4, "a containment would hurt this host: use force if that is meant")         \
  X(CONSOLE_SILENT, "console_silent", 1,                                                           \
    "everything is held; the proof waits for an answer of the Console")                            \
  X(UNPROVED, "unproved", 1, "it is put in force at boot; the running sensor proves it")           \
  X(NOT_PROVED, "not_proved", 5, "the proof failed")                                               \
  X(DRIFT, "drift", 6, "what was in force was altered, and is being repaired")                     \
  X(LOST_CONSOLE, "lost_console", 5, "released by itself: there was no Console for a minute")
enum rule_reason {
  RULE_REASON_NONE,
#define X(name, word, state, text) RULE_REASON_##name,
  RULE_REASON_MAP(X)
#undef X
      RULE_REASON_COUNT
};

/* Gaps: stable word, whether another kernel would close it, sentence. */
#define RULE_GAP_MAP(X)                                                                            \
  X(COPY, "copy", false, "a copy under another name, or in memory, is another file")               \
  X(SCRIPT_ARGUMENT, "script_argument", false,                                                     \
    "an interpreter that is given the file as an argument reads it")                               \
  X(LOADER, "loader", true, "the dynamic loader run by hand with this file as its argument")       \
  X(GLOBAL_INIT, "global_init", true, "PID 1 itself cannot be killed")                             \
  X(SCRIPT_FILE, "script_file", true, "a script: on this kernel only its interpreter can be seen") \
  X(SYMLINK, "symlink", false, "a symbolic link that is pointed elsewhere is followed within 5 s") \
  X(DIRECTORY_MOVED, "directory_moved", false,                                                     \
    "a directory above that is replaced, or a mount over it, is followed within 5 s")              \
  X(OVERLAY_COPY, "overlay_copy", false, "a file that an overlay copied up is another file")       \
  X(BTRFS, "btrfs", false,                                                                         \
    "on btrfs the file is known by directory and name only: hard links elsewhere run")             \
  X(NAMES, "names", true, "a file that replaces this one is found within 5 s, not at once")        \
  X(OVERLAY, "overlay", true,                                                                      \
    "of an overlay's file and the file behind it only the one at the path is known")               \
  X(FORMER_FILES, "former_files", false,                                                           \
    "more files stood here than are remembered: the oldest runs again")                            \
  X(AFTER_BOOT, "after_boot", false,                                                               \
    "after a boot only the file at the path is known, not one moved away before")                  \
  X(TRIAL_SCOPE, "trial_scope", false, "only sockets of the trial scope are held")                 \
  X(NOT_SAVED, "not_saved", false,                                                                 \
    "it is not on the disk, which takes no writes: a restart of the host may find it open")        \
  X(PACKET_SOCKET, "packet_socket", true,                                                          \
    "raw frames of packet sockets, which pass below the hooks of sockets")                         \
  X(FORWARDED, "forwarded", true, "traffic that this host forwards for others")                    \
  X(V6_RESET, "v6_reset", true,                                                                    \
    "IPv6 resets in answer to a scan: they carry nothing, but show the host")                      \
  X(XDP, "xdp", false, "an XDP program or socket passes by the kernel's own way")                  \
  X(KERNEL_BYPASS, "kernel_bypass", false,                                                         \
    "netconsole, pktgen, RDMA or a driver in user space sends past all programs, or may")          \
  X(PACKET_BYPASS, "packet_bypass", false,                                                         \
    "a packet socket sends past the programs on devices, or may")                                  \
  X(PACKET_LISTEN, "packet_listen", false,                                                         \
    "a packet socket hears what comes, before it is stopped")                                      \
  X(DEVICE_ELSEWHERE, "device_elsewhere", false,                                                   \
    "a device that leads out stands in another network namespace, without our programs")           \
  X(OWN_MARKS, "own_marks", true,                                                                  \
    "a socket that root marked as the sensor's own: this kernel does not tell of it")              \
  X(SLOW_ERRORS, "slow_errors", true,                                                              \
    "callers wait for their own time-out: this kernel gives them no error at once")                \
  X(NO_TCP_DIAG, "no_tcp_diag", true,                                                              \
    "open sessions are cut, but their owners are not told: this kernel cannot end them")           \
  X(NAMESPACE_NOT_ENTERED, "namespace_not_entered", false,                                         \
    "open sessions of a network namespace are cut, but their owners are not told")
enum rule_gap {
#define X(name, word, by_kernel, text) RULE_GAP_##name,
  RULE_GAP_MAP(X)
#undef X
      RULE_GAP_COUNT
};

/* Numbers of telovix.v1.RuleState. */
enum rule_state {
  RULE_PENDING = 1,
  RULE_APPLIED = 2,
  RULE_PARTIAL = 3,
  RULE_REFUSED = 4,
  RULE_FAILED = 5,
  RULE_UNKNOWN = 6,
};

struct rule_result {
  enum rule_state state;
  enum rule_reason reason;
  int err;         /* negative errno of the step; 0 = none */
  char step[240];  /* what failed, beside the reason's own sentence; empty = nothing to add */
  uint32_t gaps;   /* bit n = enum rule_gap n */
  char file[4096]; /* resolved; empty = none */
};

/* Static storage. */
const char *rule_reason_word(enum rule_reason reason);
const char *rule_reason_text(enum rule_reason reason);
const char *rule_gap_word(enum rule_gap gap);
const char *rule_gap_text(enum rule_gap gap);
bool rule_gap_by_kernel(enum rule_gap gap);
/* Sets state and reason from the list. */
void rule_result_set(struct rule_result *result, enum rule_reason reason);
/* Whether anything of two results differs that an operator would see (hits are kept apart). */
bool rule_result_equal(const struct rule_result *a, const struct rule_result *b);
