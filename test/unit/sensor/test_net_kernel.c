// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_kernel.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../../harness/folder.h"

#define VMBUS "sys/bus/vmbus/drivers/uio_hv_generic/"
#define PCI "sys/bus/pci/drivers/"

static const struct {
  const char *name, *text;
  const char *and_name, *and_text; /* NULL = that is all */
  const char *what;                /* NULL = nothing sends past us */
} hosts[] = {
    /* An ordinary host. */
    {"sys/module/virtio_net/initstate", "live\n", PCI "virtio-pci/0000:00:03.0/class", "0x020000\n",
     NULL},
    {"sys/class/infiniband_verbs/abi_version", "6\n", NULL, NULL, NULL},
    /* Loaded: nobody can tell whom it was told to send to. */
    {"sys/module/netconsole/initstate", "live\n", NULL, NULL, "netconsole"},
    {"sys/module/pktgen/initstate", "live\n", NULL, NULL, "pktgen"},
    /* Built in. */
    {"sys/module/netconsole/parameters/oops_only", "N\n", "proc/cmdline", "ro quiet\n", NULL},
    {"sys/module/netconsole/parameters/oops_only", "N\n", "proc/cmdline",
     "ro netconsole=@10.0.0.1/eth0,@10.0.0.2/ quiet\n", "netconsole"},
    {"sys/module/netconsole/parameters/oops_only", "N\n",
     "sys/kernel/config/netconsole/target1/enabled", "0\n", NULL},
    {"sys/module/netconsole/parameters/oops_only", "N\n",
     "sys/kernel/config/netconsole/target1/enabled", "1\n", "netconsole"},
    {"sys/module/pktgen/version", "2.75\n", "proc/thread-self/net/pktgen/kpktgend_0", "", NULL},
    {"proc/thread-self/net/pktgen/pgctrl", "", NULL, NULL, NULL},
    {"proc/thread-self/net/pktgen/pgctrl", "", "proc/thread-self/net/pktgen/eth0@0", "", "pktgen"},
    /* The kernel's command line names it, and it is not there. */
    {"sys/module/virtio_net/initstate", "live\n", "proc/cmdline", "netconsole=@/,@10.0.0.2/\n",
     NULL},
    {"sys/class/infiniband/mlx5_0/node_type", "1: CA\n", NULL, NULL, "RDMA device mlx5_0"},
    {"sys/class/infiniband_verbs/uverbs0/dev", "231:192\n", NULL, NULL, "RDMA device uverbs0"},
    /* A card, and a disk, that user space drives. */
    {PCI "vfio-pci/0000:01:00.0/class", "0x020000\n", NULL, NULL, "card 0000:01:00.0 of vfio-pci"},
    {PCI "mlx5_vfio_pci/0000:01:00.0/class", "0x020700\n", NULL, NULL,
     "card 0000:01:00.0 of mlx5_vfio_pci"},
    {PCI "uio_pci_generic/0000:01:00.0/class", "0x028000\n", NULL, NULL,
     "card 0000:01:00.0 of uio_pci_generic"},
    {PCI "igb_uio/0000:01:00.0/class", "0x020000\n", NULL, NULL, "card 0000:01:00.0 of igb_uio"},
    {PCI "pciback/0000:01:00.0/class", "0x020000\n", NULL, NULL, "card 0000:01:00.0 of pciback"},
    {PCI "vfio-pci/0000:01:00.0/class", "0x030000\n", PCI "vfio-pci/new_id", "", NULL},
    {VMBUS "f8b3781a/class_id", "{f8615163-df3e-46c5-913f-f2d2f965ed0e}\n", NULL, NULL,
     "card f8b3781a of uio_hv_generic"},
    {VMBUS "eb765408/class_id", "{34d14be3-dee4-41c8-9ae7-6b174977c192}\n", VMBUS "new_id", "",
     NULL},
};

static void put(struct folder *folder, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s", folder_join(folder, name));
  for (char *slash = strchr(path + strlen(folder->path) + 1, '/'); slash;
       slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    (void)mkdir(path, 0700);
    *slash = '/';
  }
  folder_write(folder, name, text, strlen(text), 0600);
}

Test(net_kernel, what_sends_past_us) {
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    FOLDER folder;
    char what[64] = "untouched";
    folder_init(&folder);
    put(&folder, hosts[i].name, hosts[i].text);
    if (hosts[i].and_name) put(&folder, hosts[i].and_name, hosts[i].and_text);
    cr_expect_eq(net_kernel_bypasses(folder_join(&folder, "sys"), folder_join(&folder, "proc"),
                                     what, sizeof what),
                 hosts[i].what != NULL, "%zu: %s", i, hosts[i].name);
    cr_expect_str_eq(what, hosts[i].what ? hosts[i].what : "untouched", "%zu", i);
  }
}

Test(net_kernel, a_host_without_those_folders) {
  char what[64];
  cr_expect_not(net_kernel_bypasses("/nowhere", "/nowhere", what, sizeof what));
}
