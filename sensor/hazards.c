// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/hazards.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "sensor/net_addresses.h"

#define CONSOLE_NAME "telovix-console"
#define DELETED " (deleted)"
#define LAYERS_MAX 8 /* of disks or of devices, one above the other */

static const struct {
  const char *word, *text;
} hazards[HAZARD_COUNT] = {
#define X(name, word, text) [HAZARD_##name] = {word, text},
    HAZARD_MAP(X)
#undef X
};

const char *hazard_word(enum hazard hazard) {
  return hazards[hazard].word;
}

const char *hazard_text(enum hazard hazard) {
  return hazards[hazard].text;
}

/* ---- the root file system ---- */

static bool is_network_type(const char *type, const char *options) {
  static const char *const types[] = {"nfs", "nfs4",           "cifs",       "smb3", "ceph",
                                      "afs", "fuse.glusterfs", "fuse.sshfs", NULL};
  for (const char *const *at = types; *at; at++)
    if (strcmp(type, *at) == 0) return true;
  /* 9p over virtio is a folder of the machine below; over TCP it is the network. */
  return strcmp(type, "9p") == 0 && (strstr(options, "trans=tcp") || strstr(options, "trans=rdma"));
}

bool hazards_root_parse(const char *line, bool *ret_is_network, char *device, size_t size) {
  char number[32], mount[8], type[64], options[1024] = "";
  const char *rest = strstr(line, " - ");
  if (!rest || sscanf(line, "%*s %*s %31s %*s %7s", number, mount) != 2 ||
      strcmp(mount, "/") != 0 || sscanf(rest, " - %63s %*s %1023s", type, options) < 1)
    return false;
  *ret_is_network = is_network_type(type, options);
  snprintf(device, size, "%s", strncmp(number, "0:", 2) == 0 ? "" : number);
  return true;
}

bool hazards_block_is_network(const char *path) {
  static const char *const parts[] = {"/session",       "/block/nbd", "/block/rbd", "/block/etherd",
                                      "/nvme-fabrics/", "/drbd",      NULL};
  for (const char *const *at = parts; *at; at++)
    if (strstr(path, *at)) return true;
  return false;
}

static bool block_is_network(const char *folder, unsigned layers) {
  char path[PATH_MAX], slaves[PATH_MAX];
  if (!realpath(folder, path)) return false;
  if (hazards_block_is_network(path)) return true;
  if (!layers || snprintf(slaves, sizeof slaves, "%s/slaves", path) >= (int)sizeof slaves)
    return false;
  DIR *entries = opendir(slaves);
  bool is_network = false;
  for (struct dirent *entry; entries && !is_network && (entry = readdir(entries));) {
    char *below TLX_AUTOFREE = NULL;
    if (*entry->d_name != '.' && asprintf(&below, "%s/%s", slaves, entry->d_name) > 0)
      is_network = block_is_network(below, layers - 1);
  }
  if (entries) closedir(entries);
  return is_network;
}

static bool has_network_root(const struct hazards_options *options) {
  char path[PATH_MAX], device[32] = "", *line TLX_AUTOFREE = NULL;
  bool is_network = false;
  size_t size = 0;
  snprintf(path, sizeof path, "%s/1/mountinfo", options->proc);
  FILE *mounts TLX_AUTOFCLOSE = fopen(path, "re");
  while (mounts && getline(&line, &size, mounts) > 0)
    (void)hazards_root_parse(line, &is_network, device, sizeof device);
  if (is_network || !*device) return is_network;
  snprintf(path, sizeof path, "%s/dev/block/%s", options->sys, device);
  return block_is_network(path, LAYERS_MAX);
}

/* ---- the Console ---- */

static bool is_roots(const struct stat *st) {
  return st->st_uid == geteuid() && !(st->st_mode & S_IWOTH); /* which the sensor is */
}

/* Whether all its user ids are root's; of a user namespace, root is somebody else here. */
static bool runs_as_root(const char *process) {
  struct tlx_buf status TLX_CLEANUP(tlx_buf_done) = {0};
  char path[PATH_MAX];
  static const char line[] = "\nUid:\t0\t0\t0\t0\n";
  snprintf(path, sizeof path, "%s/status", process);
  return tlx_file_read(path, 65536, &status) == 0 &&
         memmem(status.data, status.len, line, strlen(line));
}

/* A name alone anybody can take. Its program stands where it says on this host, and it or the
 * process is root's: neither another user nor a container makes that up. */
static bool is_console(const char *process) {
  char link[PATH_MAX], path[PATH_MAX];
  struct stat runs, file, folder;
  snprintf(link, sizeof link, "%s/exe", process);
  ssize_t len = readlink(link, path, sizeof path - 1);
  if (len <= 0) return false;
  path[len] = '\0';
  /* After an upgrade another one stands there. */
  char *deleted = strstr(path, CONSOLE_NAME DELETED);
  if (deleted && !deleted[sizeof CONSOLE_NAME DELETED - 1])
    deleted[sizeof CONSOLE_NAME - 1] = '\0';
  else
    deleted = NULL;
  char *slash = strrchr(path, '/');
  if (!slash || strcmp(slash + 1, CONSOLE_NAME) != 0 || stat(link, &runs) != 0 ||
      lstat(path, &file) != 0 || !S_ISREG(file.st_mode))
    return false;
  if (deleted ? runs.st_nlink != 0 : runs.st_dev != file.st_dev || runs.st_ino != file.st_ino)
    return false;
  if (runs_as_root(process)) return true;
  slash[slash == path] = '\0';
  /* The folder, for where hard links to files of others are allowed. */
  return is_roots(&runs) && is_roots(&file) && stat(path, &folder) == 0 && is_roots(&folder);
}

static bool console_runs(const char *proc) {
  DIR *entries = opendir(proc);
  bool runs = false;
  for (struct dirent *entry; entries && !runs && (entry = readdir(entries));) {
    char path[PATH_MAX];
    if (!isdigit((unsigned char)*entry->d_name)) continue;
    snprintf(path, sizeof path, "%s/%.16s", proc, entry->d_name);
    runs = is_console(path);
  }
  if (entries) closedir(entries);
  return runs;
}

static bool console_is_local(const struct hazards_options *options) {
  for (size_t i = 0; i < options->n_console; i++)
    if (net_address_is_local(options->console[i], options->local, options->n_local)) return true;
  return false;
}

/* PPP is a tunnel but over Ethernet itself, whose sessions stand in a table; which of several
 * devices is whose is not told. */
static bool ppp_is_tunnel(const struct hazards_options *options) {
  char path[PATH_MAX], *line TLX_AUTOFREE = NULL;
  size_t size = 0, n_sessions = 0, n_devices = 0;
  snprintf(path, sizeof path, "%s/net/pppoe", options->proc);
  FILE *table TLX_AUTOFCLOSE = fopen(path, "re");
  while (table && getline(&line, &size, table) > 0)
    n_sessions += isxdigit((unsigned char)*line) != 0; /* the first line is a heading: Id … */
  for (size_t i = 0; i < options->n_links; i++)
    n_devices += options->links[i].is_ppp;
  return n_sessions < n_devices;
}

/* Whether what goes out by |index| ends in a tunnel: the device itself, the one below, or, of a
 * bridge, bond or VRF, its members, if none of them leads out by itself. */
static bool is_tunnel(const struct hazards_options *options, uint32_t index, unsigned depth) {
  const struct net_link *link = net_links_find(options->links, options->n_links, index);
  bool any = false, all = true;
  if (!link || !depth) return false;
  if (net_link_is_tunnel(link)) return true;
  if (link->is_ppp) return ppp_is_tunnel(options);
  if (link->lower && strcmp(link->kind, "veth") != 0 && is_tunnel(options, link->lower, depth - 1))
    return true;
  for (size_t i = 0; i < options->n_links; i++) {
    if (options->links[i].master != index) continue;
    bool member = is_tunnel(options, options->links[i].index, depth - 1);
    any |= member;
    all &= member || !net_link_is_uplink(&options->links[i]);
  }
  return any && all;
}

static bool uplink_is_tunnel(const struct hazards_options *options) {
  for (size_t i = 0; i < options->n_console; i++) {
    if (is_tunnel(options, options->route(options->console[i]), LAYERS_MAX)) return true;
    if (options->is_wrapped(options->console[i])) return true;
  }
  return false;
}

uint32_t hazards_find(const struct hazards_options *options) {
  uint32_t found = 0;
  if (console_is_local(options) || console_runs(options->proc)) found |= 1u << HAZARD_CONSOLE_HOST;
  if (has_network_root(options)) found |= 1u << HAZARD_NETWORK_ROOT;
  if (uplink_is_tunnel(options)) found |= 1u << HAZARD_UPLINK_TUNNEL;
  return found;
}
