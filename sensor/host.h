// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Facts about this host and about ourselves, read once at the start. */
struct host {
  uint8_t boot_id[16];
  char kernel_release[128], architecture[32], os_name[128];
  /* False in a container: the PIDs of an order would name other processes here (kernel: the initial
   * namespaces have fixed inode numbers, include/linux/proc_ns.h). */
  bool in_initial_namespaces;
  pid_t self_pid;
  long clk_tck;
  char hostname[256];
};

/* Reads all of it; -ENOTSUP without a clock tick rate, else 0 or a negative error; |ret_host| is
 * untouched on failure. */
int host_read(struct host *ret_host);
/* PRETTY_NAME of os-release text (os-release(5)); "Linux" when there is none. |out| of |size|. */
void host_os_name_parse(const char *text, char *out, size_t size);
/* 36 characters of /proc/sys/kernel/random/boot_id. 0 or TLX_E_MALFORMED. */
int host_boot_id_parse(const char *text, uint8_t ret_boot_id[16]);
/* Our own use of the host: resident memory, CPU time since our start. Zero where unreadable. */
void host_usage(uint64_t *ret_rss_bytes, uint64_t *ret_cpu_ms);
/* Path of |folder| below its cgroup2 mount ("/a/b"). |out| of 256. 0; -ENOENT, -ENOTDIR, -EINVAL
 * when it is not a folder of a cgroup2 file system. */
int host_cgroup_path(const char *folder, char *out);
/* Folder where the root of the cgroup2 hierarchy is mounted: only there every socket of the host is
 * seen. |out| of |size|. 0; -ENOENT (cgroup2 is not mounted), -EXDEV (only a part of it is: a
 * container). */
int host_cgroup_root(char *out, size_t size);
/* Id of the cgroup |folder| and its depth below the cgroup2 root (which has 0), as BPF programs
 * compare them. 0; the errors of host_cgroup_path; -EXDEV when the mount does not show the real
 * root (a cgroup namespace). */
int host_cgroup_id(const char *folder, uint64_t *ret_id, uint32_t *ret_level);
