// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_kernel.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/file.h"

/* Of a network adapter on Hyper-V's bus; other devices of it are driven from user space as well. */
#define VMBUS_NETWORK "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"
#define CMDLINE_MAX 65536u

static bool exists(const char *folder, const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return access(path, F_OK) == 0;
}

/* Whether the file |folder|/|name|/|file| begins with |text|; |file| NULL: whether |folder| has
 * an entry |name| that does. */
static bool begins(const char *folder, const char *name, const char *file, const char *text) {
  struct tlx_buf content TLX_CLEANUP(tlx_buf_done) = {0};
  char path[PATH_MAX];
  if (!file) return strncmp(name, text, strlen(text)) == 0;
  if (snprintf(path, sizeof path, "%s/%s/%s", folder, name, file) >= (int)sizeof path) return false;
  return tlx_file_read(path, 4096, &content) == 0 && content.len >= strlen(text) &&
         memcmp(content.data, text, strlen(text)) == 0;
}

/* The first entry of |folder| for which that is so. */
static bool has_entry(const char *folder, const char *file, const char *text, char name[256]) {
  DIR *entries = opendir(folder);
  bool found = false;
  for (struct dirent *entry; entries && !found && (entry = readdir(entries));) {
    if (*entry->d_name == '.' || !begins(folder, entry->d_name, file, text)) continue;
    found = true;
    snprintf(name, 256, "%s", entry->d_name);
  }
  if (entries) closedir(entries);
  return found;
}

/* ---- senders of the kernel ---- */

/* Somebody loaded it, for there is no other use: what it was told to send to cannot be seen
 * everywhere. One that is built in is on hosts that never use it. */
static bool is_loaded(const char *sys, const char *module) {
  char name[64];
  snprintf(name, sizeof name, "module/%s/initstate", module);
  return exists(sys, name);
}

static bool has_netconsole(const char *sys, const char *proc) {
  struct tlx_buf cmdline TLX_CLEANUP(tlx_buf_done) = {0};
  char path[PATH_MAX], name[256];
  if (is_loaded(sys, "netconsole")) return true;
  snprintf(path, sizeof path, "%s/kernel/config/netconsole", sys);
  if (has_entry(path, "enabled", "1", name)) return true;
  if (!exists(sys, "module/netconsole")) return false;
  snprintf(path, sizeof path, "%s/cmdline", proc);
  if (tlx_file_read(path, CMDLINE_MAX, &cmdline) != 0) return false;
  return memmem(cmdline.data, cmdline.len, "netconsole=", strlen("netconsole=")) != NULL;
}

static bool has_pktgen(const char *sys, const char *proc) {
  char path[PATH_MAX];
  if (is_loaded(sys, "pktgen")) return true;
  /* Built in: a file for each device that it shall send through, beside those of its threads. */
  snprintf(path, sizeof path, "%s/thread-self/net/pktgen", proc);
  DIR *entries = opendir(path);
  bool found = false;
  for (struct dirent *entry; entries && !found && (entry = readdir(entries));)
    found = *entry->d_name != '.' && strcmp(entry->d_name, "pgctrl") != 0 &&
            strncmp(entry->d_name, "kpktgend_", strlen("kpktgend_")) != 0;
  if (entries) closedir(entries);
  return found;
}

/* ---- cards that the kernel does not drive ---- */

/* A card (PCI class 02) of a driver that hands it to user space or to another machine. */
static bool has_user_driver(const char *sys, char what[320]) {
  char folder[PATH_MAX], path[PATH_MAX], card[256];
  snprintf(folder, sizeof folder, "%s/bus/pci/drivers", sys);
  DIR *drivers = opendir(folder);
  bool found = false;
  for (struct dirent *driver; drivers && !found && (driver = readdir(drivers));) {
    /* vfio-pci and its variants (mlx5_vfio_pci), uio_pci_generic, igb_uio, Xen's pciback. */
    if (!strstr(driver->d_name, "vfio") && !strstr(driver->d_name, "uio") &&
        !strstr(driver->d_name, "pciback"))
      continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, driver->d_name) >= (int)sizeof path) continue;
    found = has_entry(path, "class", "0x02", card);
    if (found) snprintf(what, 320, "card %.40s of %.200s", card, driver->d_name);
  }
  if (drivers) closedir(drivers);
  if (found) return true;
  snprintf(path, sizeof path, "%s/bus/vmbus/drivers/uio_hv_generic", sys);
  found = has_entry(path, "class_id", VMBUS_NETWORK, card);
  if (found) snprintf(what, 320, "card %.40s of uio_hv_generic", card);
  return found;
}

bool net_kernel_bypasses(const char *sys, const char *proc, char *ret_what, size_t size) {
  char what[320] = "", path[PATH_MAX], device[256];
  if (has_netconsole(sys, proc)) snprintf(what, sizeof what, "netconsole");
  if (!*what && has_pktgen(sys, proc)) snprintf(what, sizeof what, "pktgen");
  /* A device of another network namespace is shown by the second only, which has a file, too. */
  snprintf(path, sizeof path, "%s/class/infiniband", sys);
  bool has_rdma = !*what && has_entry(path, NULL, "", device);
  snprintf(path, sizeof path, "%s/class/infiniband_verbs", sys);
  if (!*what && !has_rdma) has_rdma = has_entry(path, NULL, "uverbs", device);
  if (has_rdma) snprintf(what, sizeof what, "RDMA device %s", device);
  if (!*what && !has_user_driver(sys, what)) return false;
  snprintf(ret_what, size, "%s", what);
  return true;
}
