// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/hazards.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "sensor/net_addresses.h"

static const struct {
  const char *line;
  bool is_root, is_network;
  const char *device;
} mounts[] = {
    {"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", true, false, "8:1"},
    {"22 1 0:35 / / rw - btrfs /dev/sda1 rw,subvol=/\n", true, false, ""},
    {"22 1 0:40 / / rw - nfs4 server:/export rw,vers=4.2\n", true, true, ""},
    {"22 1 0:40 / / rw - nfs server:/export rw\n", true, true, ""},
    {"22 1 0:40 / / rw - cifs //server/share rw\n", true, true, ""},
    {"22 1 0:40 / / rw - ceph 10.0.0.1:/ rw\n", true, true, ""},
    {"22 1 0:40 / / rw - fuse.glusterfs server:vol rw\n", true, true, ""},
    {"22 1 0:40 / / rw - 9p host ro,trans=virtio\n", true, false, ""},
    {"22 1 0:40 / / rw - 9p host rw,trans=tcp,port=564\n", true, true, ""},
    {"23 22 0:41 / /srv rw - nfs4 server:/export rw\n", false, false, ""},
    {"23 22 8:2 / /boot/efi rw - vfat /dev/sda2 rw\n", false, false, ""},
    {"garbage\n", false, false, ""},
    {"", false, false, ""},
};

Test(hazards, the_root_file_system) {
  for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
    bool is_network = false;
    char device[32] = "";
    cr_expect_eq(hazards_root_parse(mounts[i].line, &is_network, device, sizeof device),
                 mounts[i].is_root, "%s", mounts[i].line);
    cr_expect_eq(is_network, mounts[i].is_network, "%s", mounts[i].line);
    cr_expect_str_eq(device, mounts[i].device, "%s", mounts[i].line);
  }
}

Test(hazards, disks_over_the_network) {
  static const char *const network[] = {
      "/sys/devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sda/sda1",
      "/sys/devices/virtual/block/nbd0", "/sys/devices/virtual/block/nbd0/nbd0p1",
      "/sys/devices/rbd/0/block/rbd0", "/sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1"};
  static const char *const local[] = {
      "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1",
      "/sys/devices/virtual/block/dm-0", "/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda"};
  for (size_t i = 0; i < sizeof network / sizeof *network; i++)
    cr_expect(hazards_block_is_network(network[i]), "%s", network[i]);
  for (size_t i = 0; i < sizeof local / sizeof *local; i++)
    cr_expect_not(hazards_block_is_network(local[i]), "%s", local[i]);
}

/* ---- a host of files ---- */

struct world {
  struct folder folder;
  char proc[128], sys[128];
  struct net_link links[8];
  struct hazards_options options;
};
static uint32_t routed_through;
static bool wrapped;

static uint32_t route(const uint8_t address[16]) {
  return routed_through;
}
static bool is_wrapped(const uint8_t address[16]) {
  return wrapped;
}

static void put(const struct world *world, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", world->folder.path, name);
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    (void)mkdir(path, 0700);
    *slash = '/';
  }
  FILE *file = fopen(path, "w");
  cr_assert(file, "%s", path);
  fputs(text, file);
  fclose(file);
}

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  folder_init(&world->folder);
  snprintf(world->proc, sizeof world->proc, "%s/proc", world->folder.path);
  snprintf(world->sys, sizeof world->sys, "%s/sys", world->folder.path);
  put(world, "proc/1/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
  put(world, "proc/1/comm", "systemd\n");
  put(world, "sys/dev/block/8:1/size", "1\n");
  world->links[0] = (struct net_link){.index = 2, .name = "eth0"};
  world->links[1] = (struct net_link){.index = 3, .name = "wg0", .kind = "wireguard"};
  static const uint8_t console[1][16] = {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 7}};
  routed_through = 2;
  wrapped = false;
  world->options = (struct hazards_options){.proc = world->proc,
                                            .sys = world->sys,
                                            .console = console,
                                            .n_console = 1,
                                            .links = world->links,
                                            .n_links = 2,
                                            .route = route,
                                            .is_wrapped = is_wrapped};
}

Test(hazards, a_host_without_any) {
  struct world world;
  world_init(&world);
  cr_expect_eq(hazards_find(&world.options), 0);
  put(&world, "proc/77/comm", "telovix-sensor\n");
  put(&world, "proc/78/comm", "telovix-consol\n");
  cr_expect_eq(hazards_find(&world.options), 0);
  folder_done(&world.folder);
}

Test(hazards, the_console_is_here) {
  struct world world;
  world_init(&world);
  struct tlx_net_addr local;
  memcpy(local.bytes, world.options.console[0], 16);
  world.options.local = &local;
  world.options.n_local = 1;
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST);
  world.options.n_local = 0;
  cr_expect_eq(hazards_find(&world.options), 0);
  folder_done(&world.folder);
}

/* A process 77 whose program stands at |name|, as its exe says |link|. */
static void put_process(struct world *world, const char *name, const char *link, mode_t mode) {
  char path[256], at[256];
  put(world, name, "program");
  snprintf(path, sizeof path, "%s/%s", world->folder.path, name);
  cr_assert_eq(chmod(path, mode), 0);
  put(world, "proc/77/comm", "telovix-console\n");
  put(world, "proc/77/status", "Name:\ttelovix-console\nUid:\t65534\t65534\t65534\t65534\n");
  snprintf(path, sizeof path, "%s/%s", world->folder.path, link);
  snprintf(at, sizeof at, "%s/proc/77/exe", world->folder.path);
  (void)unlink(at);
  cr_assert_eq(symlink(path, at), 0);
}

Test(hazards, the_console_of_root_runs_here) {
  struct world world;
  char path[256];
  world_init(&world);
  put_process(&world, "bin/telovix-console", "bin/telovix-console", 0755);
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST);
  put_process(&world, "bin/telovix-console", "bin/telovix-console", 0757);
  cr_expect_eq(hazards_find(&world.options), 0, "anybody may write it");
  put(&world, "proc/77/status", "Name:\ttelovix-console\nUid:\t0\t0\t0\t0\n");
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST, "but root runs it");
  put_process(&world, "tmp/telovix-console", "tmp/telovix-console", 0755);
  snprintf(path, sizeof path, "%s/tmp", world.folder.path);
  cr_assert_eq(chmod(path, 01777), 0);
  cr_expect_eq(hazards_find(&world.options), 0, "anybody may have linked it there");
  put_process(&world, "bin/sleep", "bin/sleep", 0755);
  cr_expect_eq(hazards_find(&world.options), 0, "a name is nothing");
  folder_done(&world.folder);
}

Test(hazards, nobody_but_root_is_the_console) {
  struct world world;
  char path[256];
  if (geteuid() != 0) cr_skip_test("only root can give files away");
  world_init(&world);
  put_process(&world, "bin/telovix-console", "bin/telovix-console", 0755);
  snprintf(path, sizeof path, "%s/bin/telovix-console", world.folder.path);
  cr_assert_eq(chown(path, 65534, 65534), 0);
  cr_expect_eq(hazards_find(&world.options), 0);
  cr_assert_eq(chown(path, 0, 0), 0);
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST);
  snprintf(path, sizeof path, "%s/bin", world.folder.path);
  cr_assert_eq(chown(path, 65534, 65534), 0);
  cr_expect_eq(hazards_find(&world.options), 0);
  folder_done(&world.folder);
}

/* A real process, whose program is replaced while it runs. */
Test(hazards, the_console_was_upgraded) {
  struct world world;
  char path[256], at[256], real[64];
  world_init(&world);
  put(&world, "bin/telovix-console", "");
  snprintf(path, sizeof path, "cp /bin/sleep %s/bin/telovix-console", world.folder.path);
  cr_assert_eq(system(path), 0);
  snprintf(path, sizeof path, "%s/bin/telovix-console", world.folder.path);
  cr_assert_eq(chmod(path, 0755), 0);
  int ready[2];
  cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
  pid_t pid = fork();
  if (pid == 0) {
    execl(path, path, "60", NULL);
    _exit(127);
  }
  close(ready[1]);
  /* Closed by the execution. */
  cr_assert_eq(read(ready[0], real, 1), 0);
  close(ready[0]);
  snprintf(real, sizeof real, "/proc/%d", pid);
  snprintf(at, sizeof at, "%s/proc/77", world.folder.path);
  cr_assert_eq(symlink(real, at), 0);
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST);
  cr_assert_eq(unlink(path), 0);
  cr_expect_eq(hazards_find(&world.options), 0, "nothing stands there");
  put(&world, "bin/telovix-console", "another");
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_CONSOLE_HOST);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  folder_done(&world.folder);
}

Test(hazards, the_root_is_far_also_below_other_layers) {
  struct world world;
  char target[256], at[256];
  world_init(&world);
  put(&world, "proc/1/mountinfo", "22 1 0:40 / / rw - nfs4 s:/ rw\n");
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_NETWORK_ROOT);
  put(&world, "proc/1/mountinfo", "22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n");
  put(&world, "sys/devices/session1/block/sda/size", "1\n");
  put(&world, "sys/dev/block/253:0/slaves/x", "");
  snprintf(target, sizeof target, "%s/sys/devices/session1/block/sda", world.folder.path);
  snprintf(at, sizeof at, "%s/sys/dev/block/253:0/slaves/sda", world.folder.path);
  cr_expect_eq(hazards_find(&world.options), 0);
  cr_assert_eq(symlink(target, at), 0);
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_NETWORK_ROOT);
  folder_done(&world.folder);
}

/* Index 2 leads out, 3 is the tunnel, 4 and 5 stand above. */
static const struct {
  const char *what;
  struct net_link upper, other;
  bool is_tunnel;
} above[] = {
    {"a VLAN of a card", {.kind = "vlan", .lower = 2}, {.index = 5}, false},
    {"a VLAN of a tunnel", {.kind = "vlan", .lower = 3}, {.index = 5}, true},
    {"a VLAN of itself", {.kind = "vlan", .lower = 4}, {.index = 5}, false},
    {"a bridge without members", {.kind = "bridge"}, {.index = 5}, false},
    {"a bridge over a vxlan", {.kind = "bridge"}, {.index = 5, .kind = "vxlan", .master = 4}, true},
    {"a bridge of a tap",
     {.kind = "bridge"},
     {.index = 5, .kind = "tun", .is_ethernet = true, .master = 4},
     true},
    {"a bridge of a card", {.kind = "bridge"}, {.index = 5, .master = 4}, false},
    {"a VRF of a VLAN of a tunnel",
     {.kind = "vrf"},
     {.index = 5, .kind = "vlan", .lower = 3, .master = 4},
     true},
    {"a pair, whose other end is none below", {.kind = "veth", .lower = 3}, {.index = 5}, false},
    {"PPP over what nobody knows", {.kind = "ppp", .is_ppp = true}, {.index = 5}, true},
};

Test(hazards, the_way_is_a_tunnel_below_another_device) {
  for (size_t i = 0; i < sizeof above / sizeof *above; i++) {
    struct world world;
    world_init(&world);
    world.links[2] = above[i].upper;
    world.links[2].index = 4;
    world.links[3] = above[i].other;
    world.options.n_links = 4;
    routed_through = 4;
    cr_expect_eq(hazards_find(&world.options), above[i].is_tunnel ? 1u << HAZARD_UPLINK_TUNNEL : 0,
                 "%s", above[i].what);
    folder_done(&world.folder);
  }
}

/* A port of a virtual machine beside the card makes no tunnel of the bridge. */
Test(hazards, a_bridge_with_a_card_and_a_tap_leads_out) {
  struct world world;
  world_init(&world);
  world.links[0].master = 4;
  world.links[2] = (struct net_link){.index = 4, .kind = "bridge"};
  world.links[3] = (struct net_link){.index = 5, .kind = "tun", .is_ethernet = true, .master = 4};
  world.options.n_links = 4;
  routed_through = 4;
  cr_expect_eq(hazards_find(&world.options), 0);
  folder_done(&world.folder);
}

Test(hazards, ppp_over_ethernet_is_none) {
  struct world world;
  world_init(&world);
  world.links[2] = (struct net_link){.index = 4, .kind = "ppp", .is_ppp = true};
  world.options.n_links = 3;
  routed_through = 4;
  put(&world, "proc/net/pppoe", "Id       Address              Device\n");
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_UPLINK_TUNNEL);
  put(&world, "proc/net/pppoe",
      "Id       Address              Device\n0400     52:54:00:12:34:56     eth0\n");
  cr_expect_eq(hazards_find(&world.options), 0);
  /* One of the two is something else. */
  world.links[3] = (struct net_link){.index = 5, .kind = "ppp", .is_ppp = true};
  world.options.n_links = 4;
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_UPLINK_TUNNEL);
  folder_done(&world.folder);
}

Test(hazards, a_policy_wraps_what_goes_to_the_console) {
  struct world world;
  world_init(&world);
  wrapped = true;
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_UPLINK_TUNNEL);
  folder_done(&world.folder);
}

Test(hazards, the_way_to_the_console_is_a_tunnel) {
  struct world world;
  world_init(&world);
  routed_through = 3;
  cr_expect_eq(hazards_find(&world.options), 1u << HAZARD_UPLINK_TUNNEL);
  routed_through = 0;
  cr_expect_eq(hazards_find(&world.options), 0);
  folder_done(&world.folder);
}

Test(hazards, words_and_sentences) {
  cr_expect_str_eq(hazard_word(HAZARD_CONSOLE_HOST), "console_host");
  cr_expect_str_eq(hazard_word(HAZARD_NETWORK_ROOT), "network_root");
  cr_expect_str_eq(hazard_word(HAZARD_UPLINK_TUNNEL), "uplink_tunnel");
  for (unsigned i = 0; i < HAZARD_COUNT; i++)
    cr_expect(*hazard_text(i));
}
