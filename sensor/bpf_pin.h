// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Pins: kernel objects as files of a BPF file system (Documentation/filesystems, bpf(2)
 * BPF_OBJ_PIN). What is pinned lives without any process; what is not goes with its last
 * descriptor. Any thread, one at a time per folder. */

enum bpf_pin_kind {
  BPF_PIN_MAP,
  BPF_PIN_PROG,
  BPF_PIN_LINK,
};
#define BPF_PIN_PATH_MAX 512
#define BPF_PIN_NAME_MAX 48

/* Makes |pin_folder| and in it the folder of our ABI version, both 0700, and gives the path of the
 * latter. -ENOENT: no BPF file system there; -EPERM: the folder is somebody else's; -ENAMETOOLONG;
 * another negative errno. Words in |why|. */
int bpf_pin_folder_make(const char *pin_folder, char why[240], char ret_folder[BPF_PIN_PATH_MAX]);
/* The same with a folder |name| in it, at most 15 characters. */
int bpf_pin_folder_make_named(const char *pin_folder, const char *name, char why[240],
                              char ret_folder[BPF_PIN_PATH_MAX]);

/* Makes |pin_folder| and holds it against other processes: two that enforce by the same pins would
 * undo each other's rules. |*lock_fd|, -1 at first, is the caller's; called again it does nothing
 * while the folder is the one that is held. TLX_E_LOCKED: another process has it; else as
 * bpf_pin_folder_make. */
int bpf_pin_lock(const char *pin_folder, char why[240], int *lock_fd);
/* Whether another process holds |pin_folder|. False in a process that has held it itself, and
 * when it cannot be asked. */
bool bpf_pin_is_held_elsewhere(const char *pin_folder);
/* Whether user space can never write the map |fd| again. */
bool bpf_pin_is_frozen(int fd);

/* Kind and id of an open object. 0; -EBADF (not a BPF object); -EPROTO (another kind). */
int bpf_pin_id(int fd, enum bpf_pin_kind kind, uint32_t *ret_id);
/* Opens the pin |name|, if it is of |kind| and made by this user. -ENOENT; -EPROTO (another kind,
 * or no pin); -EPERM (another user's). The descriptor is the caller's. */
int bpf_pin_open(const char *folder, const char *name, enum bpf_pin_kind kind, int *ret_fd,
                 uint32_t *ret_id);
/* Pins |fd| as |name|, in place of whatever is there, without a moment in which nothing is: under a
 * second name first, which is then renamed. */
int bpf_pin_put(const char *folder, const char *name, int fd);
/* The two halves of it, for whoever has something to do in between. The second name is |name| +
 * "_new". */
int bpf_pin_prepare(const char *folder, const char *name, int fd);
int bpf_pin_commit(const char *folder, const char *name);
/* Removes every pin of the folder but those in |keep|. The first error; goes on behind it. */
int bpf_pin_sweep(const char *folder, const char *const *keep, unsigned n_keep);
/* Removes folders of other ABI versions beside ours, with their pins. The first error. */
int bpf_pin_sweep_versions(const char *pin_folder);
/* Whether a folder |prefix| + number holds a pin, but for number |but| (-1 = of any version). */
bool bpf_pin_has_numbered(const char *pin_folder, const char *prefix, int but);
/* Removes folders |prefix| + number, but for number |keep|, with their pins. The first error. */
int bpf_pin_sweep_numbered(const char *pin_folder, const char *prefix, int keep);
