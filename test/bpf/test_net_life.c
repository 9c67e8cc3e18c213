// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_net.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net_bed.h"
#include "sensor/bpf_net_int.h"
#include "sensor/net_own.h"

/* Whose links and configuration are in force, across processes, crashes and hands that meddle. */

static struct net_bed bed;

static void begin(void) {
  net_bed_begin(&bed);
  net_bed_peer(&bed);
}
static void end(void) {
  net_bed_end(&bed);
}
TestSuite(net_life, .init = begin, .fini = end, .timeout = 180);

static bool is_held(void) {
  return net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0) == -EPERM &&
         net_sendto(AF_INET6, NET_PEER6, NET_PORT) == -EPERM;
}
static bool is_open(void) {
  return net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0) == 0 &&
         net_talk(&bed, AF_INET6, SOCK_DGRAM, NET_PEER6, NET_PORT, 0) == 0;
}
static const char *pin(const char *name) {
  static char paths[4][192];
  static unsigned at;
  char *path = paths[at++ % 4];
  snprintf(path, sizeof paths[0], "%s/net-%d/%s", bed.bed.pins, TLX_NET_ABI_VERSION, name);
  return path;
}
static void forget(void) {
  bpf_net_close(bed.net);
  bed.net = NULL;
}
static void attach(void) {
  char why[240] = "";
  cr_assert_eq(bpf_net_attach(bed.net, why), 0, "%s", why);
}
static uint32_t pinned_link(const char *name) {
  uint32_t id = 0;
  int fd = bpf_obj_get(pin(name));
  cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
  cr_assert_eq(bpf_pin_id(fd, BPF_PIN_LINK, &id), 0);
  close(fd);
  return id;
}

/* ---- life ---- */

Test(net_life, pins_outlive_their_maker_and_end_with_remove) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  cr_expect(is_held());
  bool adopted = false;
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect(adopted);
  cr_expect(is_held());
  cr_expect_eq(bpf_net_remove(bed.net), 0);
  cr_expect(is_open());
  cr_expect_neq(access(bed.bed.pins, F_OK), 0);
  /* Afterwards every call says so, and it can be closed. */
  char why[240];
  struct bpf_tampers tampers = {0};
  struct tlx_net_cfg cfg = {.mode = TLX_NET_ENFORCE};
  struct tlx_net_stats stats;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  cr_expect_eq(bpf_net_attach(bed.net, why), -EBADF);
  cr_expect_eq(bpf_net_publish(bed.net, &cfg, NULL, 0), -EBADF);
  cr_expect_eq(bpf_net_config(bed.net, &cfg), -EBADF);
  cr_expect_eq(bpf_net_set_local(bed.net, NULL, 0), -EBADF);
  cr_expect_eq(bpf_net_stats(bed.net, &stats), -EBADF);
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), -EBADF);
  cr_expect_eq(bpf_net_link_add(bed.net, 50, why), -EOPNOTSUPP);
  cr_expect_eq(bpf_net_mark(bed.bed.pins, fd, TLX_SOCK_OWN), -ENOENT);
  close(fd);
}

Test(net_life, a_successor_keeps_the_links_and_the_configuration) {
  struct tlx_net_cfg cfg = {0};
  struct bpf_tampers tampers = {0};
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7002/tcp", NULL);
  const uint32_t out = pinned_link("skb_out"), connect6 = pinned_link("connect6");
  /* The own connection lives through it. */
  int fd = net_connect(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, TLX_SOCK_OWN, 10000);
  cr_assert_geq(fd, 0);
  forget();
  bool adopted = false;
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect(adopted);
  cr_assert_eq(bpf_net_config(bed.net, &cfg), 0);
  cr_expect(cfg.mode == TLX_NET_ENFORCE && cfg.host_netns_cookie == bed.cookie &&
            cfg.user_timeout_ms == 1000 && cfg.slot == 7);
  attach();
  cr_expect_eq(pinned_link("skb_out"), out);
  cr_expect_eq(pinned_link("connect6"), connect6);
  cr_expect(is_held());
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT + 1, 0), 0);
  cr_expect_eq(net_echo(fd, 10000), 0);
  close(fd);
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 0, "%s %s", tampers.list[0].what, tampers.list[0].how);
}

/* A second attach of the same process is a repair like any other. */
Test(net_life, attaching_again_changes_nothing) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  const uint32_t out = pinned_link("skb_out");
  attach();
  cr_expect_eq(pinned_link("skb_out"), out);
  cr_expect(is_held());
}

/* ---- publication ---- */

Test(net_life, a_failed_publication_leaves_the_former_one) {
  struct tlx_net_cfg cfg = {.mode = TLX_NET_OFF}, now;
  struct tlx_allow_entry many[TLX_ALLOW_MAX + 1] = {{0}};
  for (unsigned i = 0; i <= TLX_ALLOW_MAX; i++)
    many[i] = (struct tlx_allow_entry){
        .family = 4, .prefix_len = 32, .addr = {10, 0, 0, (uint8_t)i}, .port_last = 65535};
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(bpf_net_publish(bed.net, &cfg, many, TLX_ALLOW_MAX + 1), -E2BIG);
  many[0].family = 5;
  cr_expect_eq(bpf_net_publish(bed.net, &cfg, many, 1), -EINVAL);
  many[0] = (struct tlx_allow_entry){.family = 4, .prefix_len = 33};
  cr_expect_eq(bpf_net_publish(bed.net, &cfg, many, 1), -EINVAL);
  cr_expect(is_held());
  cr_assert_eq(bpf_net_config(bed.net, &now), 0);
  cr_expect_eq(now.mode, TLX_NET_ENFORCE);
  /* As many as there may be. */
  many[0] = many[TLX_ALLOW_MAX];
  cfg.mode = TLX_NET_ENFORCE;
  cr_expect_eq(bpf_net_publish(bed.net, &cfg, many, TLX_ALLOW_MAX), 0);
}

Test(net_life, nothing_published_is_none) {
  struct tlx_net_cfg cfg = {.slot = 77};
  cr_expect_eq(bpf_net_config(bed.net, &cfg), -ENOENT);
  cr_expect_eq(cfg.slot, 77);
  cr_expect(is_open());
}

/* The set at a prefix, as it stands in the bank in force. */
static struct tlx_allow_set set_at(const uint8_t addr[4], uint32_t prefix_len) {
  struct tlx_allow4_key key = {.prefix_len = prefix_len};
  struct tlx_allow_set set = {0};
  memcpy(key.addr, addr, 4);
  cr_assert_eq(bpf_map_lookup_elem(bed.net->bank_fds[0], &key, &set), 0);
  return set;
}

Test(net_life, each_prefix_has_every_entry_that_covers_it) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:10.0.0.0/8,1-2/tcp", "in:10.1.0.0/16,3/udp",
                  "out:10.1.2.0/24", "in:10.1.2.0/24,4", "out:10.1.128.0/17,5", "out:11.0.0.0/8,6",
                  "out:fd00::/8,7", NULL);
  const uint8_t a[4] = {10, 9, 9, 9}, b[4] = {10, 1, 9, 9}, c[4] = {10, 1, 2, 9},
                d[4] = {10, 1, 200, 9};
  cr_expect_eq(set_at(a, 32).n, 1);
  cr_expect_eq(set_at(b, 32).n, 2);
  cr_expect_eq(set_at(c, 32).n, 4);
  cr_expect_eq(set_at(d, 32).n, 3);
  struct tlx_allow_set set = set_at(b, 32);
  cr_expect(set.list[0].port_first == 1 && set.list[0].port_last == 2 &&
            set.list[0].protocol == IPPROTO_TCP && set.list[0].direction == TLX_ALLOW_OUT);
  cr_expect(set.list[1].port_first == 3 && set.list[1].protocol == IPPROTO_UDP &&
            set.list[1].direction == TLX_ALLOW_IN);
  /* Frozen: whoever opens it cannot add to it. */
  struct tlx_allow4_key key = {.prefix_len = 8, .addr = {12}};
  cr_expect_neq(bpf_map_update_elem(bed.net->bank_fds[0], &key, &set, BPF_ANY), 0);
  cr_expect_eq(errno, EPERM);
  const uint32_t zero = 0;
  const struct tlx_net_cfg off = {.mode = TLX_NET_OFF};
  cr_expect_neq(bpf_map_update_elem(bed.net->cfg_fd, &zero, &off, BPF_ANY), 0);
  cr_expect_eq(errno, EPERM);
}

/* Sends on every socket it can, until it is told to end; counts what got through. */
struct hammer {
  volatile bool end;
  volatile unsigned n_tries, n_through, n_allowed;
};
static void hammer(struct hammer *shared) {
  while (!shared->end) {
    shared->n_through += net_sendto(AF_INET, NET_PEER4, NET_PORT) == 0;
    shared->n_through += net_sendto(AF_INET6, NET_PEER6, NET_PORT) == 0;
    shared->n_allowed += net_sendto(AF_INET, NET_PEER4, NET_PORT + 1) == 0;
    shared->n_tries++;
  }
  _exit(0);
}

Test(net_life, a_thousand_publications_have_no_open_window) {
  struct hammer *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(shared, MAP_FAILED);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7002/udp", NULL);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) hammer(shared);
  for (unsigned i = 0; i < 1000; i++) {
    if (i % 2)
      net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7002/udp", NULL);
    else
      net_bed_publish(&bed, TLX_NET_ENFORCE, "in:198.51.100.0/24", "out:10.77.0.0/24,7002-7010",
                      NULL);
  }
  const unsigned n = shared->n_tries;
  shared->end = true;
  int status = 0;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert_eq(status, 0);
  cr_expect_gt(n, 1000);
  cr_expect_eq(shared->n_through, 0, "%u of %u got through", shared->n_through, n);
  /* Nor did what both lists allow ever fail. */
  cr_expect_eq(shared->n_allowed, shared->n_tries);
  munmap(shared, sizeof *shared);
}

/* ---- two processes ---- */

/* A sensor that enforces by these pins cannot tell the socket of another one from an intruder's. */
Test(net_life, a_process_beside_the_sensor_gets_no_mark) {
  int ready[2], done[2];
  char byte;
  cr_assert(pipe(ready) == 0 && pipe(done) == 0);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  pid_t pid = fork();
  if (pid == 0) {
    char why[240];
    int lock_fd = -1;
    close(done[1]);
    byte =
        bpf_pin_lock(bed.bed.pins, why, &lock_fd) == 0 && !bpf_pin_is_held_elsewhere(bed.bed.pins);
    _exit(write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 0 ? 0 : 1);
  }
  cr_assert(read(ready[0], &byte, 1) == 1 && byte);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(NET_PORT)};
  inet_pton(AF_INET, NET_PEER4, &to.sin_addr);
  cr_expect(bpf_pin_is_held_elsewhere(bed.bed.pins));
  net_own_mark(bed.bed.pins, fd);
  cr_expect(connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno == EPERM);
  close(done[1]);
  int status = 1;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_expect_eq(status, 0);
  cr_expect_not(bpf_pin_is_held_elsewhere(bed.bed.pins));
  net_own_mark(bed.bed.pins, fd);
  cr_expect_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0, "%s", strerror(errno));
  cr_expect_eq(net_echo(fd, 5000), 0);
  close(fd), close(ready[0]), close(ready[1]), close(done[0]);
}

/* ---- verification ---- */

static void expect_repaired(const char *what, const char *how) {
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0, "%s", what);
  cr_assert_geq(tampers.n, 1, "%s", what);
  cr_expect_str_eq(tampers.list[0].what, what);
  cr_expect(strstr(tampers.list[0].how, how), "%s: %s", what, tampers.list[0].how);
  cr_expect(tampers.list[0].repaired);
  cr_expect(is_held(), "%s", what);
  tampers.n = 0;
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 0, "again: %s %s", tampers.list[0].what, tampers.list[0].how);
}

Test(net_life, detached_links_are_attached_again) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < BPF_NET_CGROUP_PROGS; i++) {
    char what[64];
    int fd = bpf_obj_get(pin(bpf_net_prog_word(i)));
    cr_assert_geq(fd, 0);
    cr_assert_eq(bpf_link_detach(fd), 0);
    close(fd);
    snprintf(what, sizeof what, "link %s", bpf_net_prog_word(i));
    expect_repaired(what, "detached");
    /* What is pinned now is what holds. */
    cr_expect_eq(pinned_link(bpf_net_prog_word(i)), bed.net->hooks[i].link_id);
  }
}

Test(net_life, another_program_in_a_link) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  /* Programs on maps of their own, without a configuration. */
  int map_fds[BPF_NET_MAP_COUNT], prog_fds[BPF_NET_PROG_COUNT];
  char why[240] = "";
  cr_assert_eq(bpf_net_load_maps(NULL, why, map_fds), 0, "%s", why);
  cr_assert_eq(bpf_net_load_progs(BPF_NET_PROG_SKB_OUT, BPF_NET_CGROUP_PROGS - 1, map_fds, NULL,
                                  why, prog_fds),
               0, "%s", why);
  for (unsigned i = 0; i < BPF_NET_CGROUP_PROGS; i++) {
    char what[64];
    cr_assert_eq(bpf_link_update(bed.net->hooks[i].link_fd, prog_fds[i], NULL), 0);
    snprintf(what, sizeof what, "link %s", bpf_net_prog_word(i));
    expect_repaired(what, "another program");
    close(prog_fds[i]);
  }
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++)
    close(map_fds[i]);
}

Test(net_life, pins_that_are_gone_or_something_else) {
  static const char *const names[] = {"cfgs",     "allow4",   "allow6",   "local",      "own_sock",
                                      "stats",    "events",   "skb_out",  "skb_in",     "connect4",
                                      "connect6", "sendmsg4", "sendmsg6", "setsockopt", "cfg"};
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  int other = bpf_map_create(BPF_MAP_TYPE_ARRAY, "other", 4, 8, 1, NULL);
  cr_assert_geq(other, 0);
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
    char what[64];
    const bool is_link = i >= 7 && i < 14;
    snprintf(what, sizeof what, "%s %s", is_link ? "link" : "map", names[i]);
    cr_assert_eq(unlink(pin(names[i])), 0, "%s", names[i]);
    expect_repaired(what, "missing");
    cr_assert_eq(unlink(pin(names[i])), 0);
    cr_assert_eq(bpf_obj_pin(other, pin(names[i])), 0);
    expect_repaired(what, is_link ? "something else" : "another map");
    cr_assert_eq(access(pin(names[i]), F_OK), 0);
  }
  close(other);
  /* All of it at once. */
  cr_assert(bed_command("rm -rf %s", bed.bed.pins));
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 15);
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 15);
  forget();
  cr_expect(is_held());
}

Test(net_life, the_configuration_and_the_allow_list_are_put_back) {
  const uint32_t zero = 0;
  const struct tlx_net_cfg off = {.mode = TLX_NET_OFF};
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:198.51.100.0/24", NULL);
  cr_assert_eq(bpf_map_delete_elem(bed.net->maps[BPF_NET_MAP_CFGS].fd, &zero), 0);
  cr_expect(is_open());
  expect_repaired("map cfgs", "emptied");

  int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "foreign", 4, sizeof off, 1, NULL);
  cr_assert_eq(bpf_map_update_elem(fd, &zero, &off, BPF_ANY), 0);
  cr_assert_eq(bpf_map_update_elem(bed.net->maps[BPF_NET_MAP_CFGS].fd, &zero, &fd, BPF_ANY), 0);
  close(fd);
  cr_expect(is_open());
  expect_repaired("map cfgs", "another configuration");

  /* A bank that lets the peer through. */
  LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
  struct tlx_allow4_key key = {.prefix_len = 8, .addr = {10}};
  struct tlx_allow_set set = {.n = 1, .list = {{.port_last = 65535, .direction = TLX_ALLOW_OUT}}};
  fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "foreign", sizeof key, sizeof set, TLX_ALLOW_MAX,
                      &opts);
  cr_assert_geq(fd, 0);
  cr_assert_eq(bpf_map_update_elem(fd, &key, &set, BPF_ANY), 0);
  cr_assert_eq(
      bpf_map_update_elem(bed.net->maps[BPF_NET_MAP_ALLOW4].fd, &bed.net->cfg.bank, &fd, BPF_ANY),
      0);
  close(fd);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), 0);
  expect_repaired("allow list", "altered");
}

Test(net_life, local_addresses_are_put_back) {
  struct tlx_net_addr local[2] = {{{0xfd, 0x77, [15] = 1}}, {{0xfd, 0x77, [15] = 9}}},
                      foreign = {{[10] = 0xff, 0xff, 10, 77, 0, 2}};
  const uint32_t one = 1;
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_assert_eq(bpf_net_set_local(bed.net, local, 2), 0);
  cr_assert_eq(bpf_map_update_elem(bed.net->maps[BPF_NET_MAP_LOCAL].fd, &foreign, &one, BPF_ANY),
               0);
  cr_assert_eq(bpf_map_delete_elem(bed.net->maps[BPF_NET_MAP_LOCAL].fd, &local[1]), 0);
  /* No call is refused then; the packets are. */
  cr_expect_eq(net_sendto(AF_INET, NET_PEER4, NET_PORT), -EPERM);
  expect_repaired("map local", "2 addresses");
  struct tlx_net_addr *many = calloc(TLX_LOCAL_MAX + 1, sizeof *many);
  cr_assert(many);
  for (unsigned i = 0; i <= TLX_LOCAL_MAX; i++)
    many[i] = (struct tlx_net_addr){{0xfd, 0x99, [14] = (uint8_t)(i >> 8), (uint8_t)i}};
  cr_expect_eq(bpf_net_set_local(bed.net, many, TLX_LOCAL_MAX + 1), -E2BIG);
  cr_expect_eq(bpf_net_set_local(bed.net, many, TLX_LOCAL_MAX - 2), 0);
  cr_expect_eq(bpf_net_set_local(bed.net, local, 1), 0);
  struct tlx_net_addr key;
  unsigned n = 0;
  for (void *at = NULL; bpf_map_get_next_key(bed.net->maps[BPF_NET_MAP_LOCAL].fd, at, &key) == 0;
       at = &key)
    n++;
  cr_expect_eq(n, 1);
  free(many);
}

/* ---- what cannot be adopted ---- */

/* Old links go on until new ones hold the configuration. */
static void expect_succession(void) {
  bool adopted = true;
  const uint32_t before = pinned_link("skb_out");
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect_not(adopted);
  attach();
  cr_expect(is_held());
  cr_expect_eq(pinned_link("skb_out"), before);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7002/tcp", NULL);
  cr_expect_neq(pinned_link("skb_out"), before);
  cr_expect(is_held());
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT + 1, 0), 0);
  forget();
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect(adopted);
  cr_expect(is_held());
}

Test(net_life, maps_of_another_layout) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  int other = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "other", 4, 8, 1, NULL);
  cr_assert_eq(unlink(pin("stats")), 0);
  cr_assert_eq(bpf_obj_pin(other, pin("stats")), 0);
  close(other);
  expect_succession();
}

Test(net_life, maps_that_are_gone) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  cr_assert_eq(unlink(pin("cfgs")), 0);
  expect_succession();
}

/* Of the right form, and not those that the links work on. */
Test(net_life, maps_of_somebody_else) {
  int map_fds[BPF_NET_MAP_COUNT];
  char why[240] = "";
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  cr_assert_eq(bpf_net_load_maps(NULL, why, map_fds), 0, "%s", why);
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++) {
    cr_assert_eq(unlink(pin(bpf_net_map_word(i))), 0);
    cr_assert_eq(bpf_obj_pin(map_fds[i], pin(bpf_net_map_word(i))), 0);
    close(map_fds[i]);
  }
  expect_succession();
}

Test(net_life, a_map_that_somebody_froze) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  int fd = bpf_obj_get(pin("cfgs"));
  cr_assert_geq(fd, 0);
  cr_assert_eq(bpf_map_freeze(fd), 0);
  close(fd);
  expect_succession();
}

/* Ours attach beside them and let everything through until they have a configuration. */
Test(net_life, links_of_another_version) {
  char ours[192], others[192];
  bool adopted = true;
  snprintf(ours, sizeof ours, "%s/net-%d", bed.bed.pins, TLX_NET_ABI_VERSION);
  snprintf(others, sizeof others, "%s/net-99", bed.bed.pins);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  cr_assert_eq(rename(ours, others), 0, "%s", strerror(errno));
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect_not(adopted);
  attach();
  cr_expect_eq(access(others, F_OK), 0, "they are all that holds");
  cr_expect(is_held());
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_neq(access(others, F_OK), 0);
  cr_expect(is_held());
}

/* ---- kill -9 ---- */

/* A process that attaches and publishes over and over is killed somewhere; what held before holds,
 * and a successor can go on from whatever it left. */
Test(net_life, killed_anywhere) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  for (unsigned round = 0; round < 40; round++) {
    int started[2];
    char byte;
    bool adopted;
    cr_assert_eq(pipe2(started, O_CLOEXEC), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
      if (write(started[1], "s", 1) != 1) _exit(1);
      for (;;) {
        bed.net = net_bed_open(&bed, false, &adopted);
        attach();
        net_bed_publish(&bed, TLX_NET_ENFORCE, "out:198.51.100.0/24", NULL);
        forget();
      }
    }
    cr_assert_eq(read(started[0], &byte, 1), 1);
    close(started[0]), close(started[1]);
    /* Another moment each time: a whole turn takes some 200 ms. */
    poll(NULL, 0, (int)(round * 11));
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert(is_held(), "round %u", round);
  }
  bool adopted = false;
  struct bpf_tampers tampers = {0};
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect(adopted);
  attach();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 0);
  cr_expect(is_held());
}

/* Killed between its new links and their configuration: the old ones never stopped. */
Test(net_life, killed_while_it_succeeds) {
  bool adopted = true;
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  for (unsigned i = 0; i < 3; i++) {
    cr_assert_eq(unlink(pin("cfgs")), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
      bed.net = net_bed_open(&bed, false, &adopted);
      attach();
      /* Half of what bpf_net_succeed does. */
      if (i == 1 && bpf_pin_put(bed.net->folder, "cfgs", bed.net->maps[BPF_NET_MAP_CFGS].fd) != 0)
        _exit(1);
      if (i == 2) net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
      raise(SIGKILL);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert(is_held(), "%u", i);
    if (i == 0) {
      /* For the next one: a pin that can be removed. */
      int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "other", 4, 8, 1, NULL);
      cr_assert_eq(bpf_obj_pin(fd, pin("cfgs")), 0);
      close(fd);
    }
  }
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_expect(adopted);
  attach();
  cr_expect(is_held());
}

/* ---- another scope ---- */

Test(net_life, another_cgroup) {
  char path[256];
  bool adopted = true;
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  forget();
  snprintf(path, sizeof path, "%s/inner", bed.bed.cgroup);
  cr_assert_eq(mkdir(path, 0755), 0);
  struct bpf_net_options options = {.pin_folder = bed.bed.pins, .cgroup_folder = path};
  char why[240] = "";
  cr_assert_eq(bpf_net_open(&options, why, &adopted, &bed.net), 0, "%s", why);
  cr_expect_not(adopted, "they hold another cgroup");
  attach();
  /* This process is in the outer one, which is held no longer. */
  cr_expect(is_open());
  cr_expect_eq(bpf_net_remove(bed.net), 0);
  cr_assert_eq(rmdir(path), 0);
}

Test(net_life, a_cgroup_that_is_not_there) {
  char why[240] = "";
  bool adopted = true;
  struct bpf_net *net = NULL;
  struct bpf_net_options options = {.pin_folder = bed.bed.pins, .cgroup_folder = "/nowhere"};
  cr_expect_eq(bpf_net_open(&options, why, &adopted, &net), -ENOENT);
  cr_expect(strstr(why, "/nowhere"), "%s", why);
  cr_expect_null(net);
}
