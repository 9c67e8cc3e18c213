// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "bpf-progs/tlx_abi.h"

/* Identity of an open file as the exec hooks see it, asked of the kernel by a task_file iterator:
 * stat(2) tells other numbers on btrfs and overlayfs. Worker thread. */
struct bpf_file;

/* |btf_path| NULL = the kernel's. 0; -EPERM (a capability is missing); another negative errno, with
 * words in |why|. */
int bpf_file_open(const char *btf_path, char why[240], struct bpf_file **ret_file);
/* NULL is fine. */
void bpf_file_close(struct bpf_file *file);
/* |fd| is open for reading in this process (with O_PATH an overlay file has no real file). 0;
 * -ENOENT when the iterator did not see it; another negative errno. */
int bpf_file_identify(struct bpf_file *file, int fd, struct tlx_file_id *ret_id);
