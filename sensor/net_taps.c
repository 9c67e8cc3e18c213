// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_taps.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

/* More packet sockets than a host has; of further ones nobody is asked. */
#define TAPS_MAX 256u

struct tap {
  uint64_t inode;
  bool is_clear; /* its owner said that it goes by the queue */
  bool is_there;
};
struct taps {
  struct tap list[TAPS_MAX];
  size_t n, n_clear;
  unsigned n_listening, n_unlisted;
};

/* ---- the kernel's tables ---- */

/* What no IP packet comes as: ARP, RARP, 802.1X and its first steps, LACP, LLDP, PTP. */
static bool is_deaf(unsigned protocol) {
  static const unsigned deaf[] = {0, 0x0806, 0x8035, 0x888e, 0x88c7, 0x8809, 0x88cc, 0x88f7};
  for (size_t i = 0; i < sizeof deaf / sizeof *deaf; i++)
    if (deaf[i] == protocol) return true;
  return false;
}

bool net_taps_packet_parse(const char *line, bool *ret_listens, uint64_t *ret_inode) {
  unsigned protocol, is_running;
  unsigned long long inode;
  /* sk RefCnt Type Proto Iface R Rmem User Inode */
  if (sscanf(line, "%*s %*d %*d %x %*d %u %*u %*u %llu", &protocol, &is_running, &inode) != 3)
    return false;
  *ret_listens = is_running && !is_deaf(protocol);
  *ret_inode = inode;
  return true;
}

bool net_taps_has_xdp(const char *line) {
  long n = 0;
  /* protocol size sockets … */
  return sscanf(line, "XDP %*d %ld", &n) == 1 && n != 0;
}

static struct tap *find(struct taps *taps, uint64_t inode) {
  for (size_t i = 0; i < taps->n; i++)
    if (taps->list[i].inode == inode) return &taps->list[i];
  return NULL;
}

static FILE *open_table(const char *proc, const char *name) {
  char path[PATH_MAX];
  /* That of this thread: the first one's namespace may be another. */
  snprintf(path, sizeof path, "%s/thread-self/net/%s", proc, name);
  return fopen(path, "re");
}

/* The packet sockets that are there now; those that were known stay what they are known to be. */
static int read_packets(const char *proc, struct taps *taps) {
  char *line TLX_AUTOFREE = NULL;
  size_t size = 0;
  FILE *table TLX_AUTOFCLOSE = open_table(proc, "packet");
  if (!table) return errno == ENOENT ? 0 : -errno; /* a kernel without them */
  taps->n_listening = taps->n_unlisted = 0;
  for (size_t i = 0; i < taps->n; i++)
    taps->list[i].is_there = false;
  while (getline(&line, &size, table) > 0) {
    bool listens;
    uint64_t inode;
    if (!net_taps_packet_parse(line, &listens, &inode)) continue;
    taps->n_listening += listens;
    struct tap *tap = find(taps, inode);
    if (!tap && taps->n < TAPS_MAX) {
      tap = &taps->list[taps->n++];
      *tap = (struct tap){.inode = inode};
    }
    if (tap)
      tap->is_there = true;
    else
      taps->n_unlisted++;
  }
  return 0;
}

static bool may_have_xdp(const char *proc) {
  char *line TLX_AUTOFREE = NULL;
  size_t size = 0;
  FILE *table TLX_AUTOFCLOSE = open_table(proc, "protocols");
  bool has = !table;
  while (table && !has && getline(&line, &size, table) > 0)
    has = net_taps_has_xdp(line);
  return has;
}

/* ---- their owners ---- */

/* Whether descriptor |fd| of process |pid| is the socket |inode| and goes by the queue. */
static bool goes_by_queue(int pid, int fd, uint64_t inode) {
  struct stat st;
  int bypass = 1;
  socklen_t len = sizeof bypass;
  int pid_fd TLX_AUTOCLOSE = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pid_fd < 0) return false;
  int copy_fd TLX_AUTOCLOSE = (int)syscall(SYS_pidfd_getfd, pid_fd, fd, 0);
  if (copy_fd < 0 || fstat(copy_fd, &st) != 0 || st.st_ino != inode) return false;
  return getsockopt(copy_fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, &len) == 0 && !bypass;
}

static void ask_process(const char *proc, int pid, struct taps *taps) {
  char path[PATH_MAX], target[64];
  snprintf(path, sizeof path, "%s/%d/fd", proc, pid);
  DIR *folder = opendir(path);
  if (!folder) return;
  for (struct dirent *entry; taps->n_clear < taps->n && (entry = readdir(folder));) {
    unsigned long long inode;
    ssize_t len = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
    if (len <= 0) continue;
    target[len] = '\0';
    if (sscanf(target, "socket:[%llu]", &inode) != 1) continue;
    struct tap *tap = find(taps, inode);
    if (!tap || tap->is_clear || !goes_by_queue(pid, atoi(entry->d_name), inode)) continue;
    tap->is_clear = true;
    taps->n_clear++;
  }
  closedir(folder);
}

static void ask_owners(const char *proc, struct taps *taps) {
  DIR *folder = opendir(proc);
  if (!folder) return;
  for (struct dirent *entry; taps->n_clear < taps->n && (entry = readdir(folder));)
    if (isdigit((unsigned char)*entry->d_name)) ask_process(proc, atoi(entry->d_name), taps);
  closedir(folder);
}

int net_taps_look(const char *proc, struct net_taps *ret_taps) {
  struct taps *taps TLX_AUTOFREE = calloc(1, sizeof *taps);
  if (!taps) return -ENOMEM;
  int err = read_packets(proc, taps);
  if (!err && taps->n) {
    ask_owners(proc, taps);
    /* One that ended meanwhile has nobody to be asked, and does nothing any more. */
    err = read_packets(proc, taps);
  }
  if (err) return err;
  unsigned n_bypassing = taps->n_unlisted;
  for (size_t i = 0; i < taps->n; i++)
    n_bypassing += taps->list[i].is_there && !taps->list[i].is_clear;
  *ret_taps = (struct net_taps){
      .n_listening = taps->n_listening, .n_bypassing = n_bypassing, .may_xdp = may_have_xdp(proc)};
  return 0;
}
