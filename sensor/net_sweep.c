// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/net_addresses.h"
#include "sensor/net_own.h"
#include "sensor/net_spaces.h"
#include "sensor/netlink.h"

/* Sessions, not listeners; what waits for its last timer has no owner any more. */
#define TCP_SESSIONS                                                                               \
  (~(1u << TCP_LISTEN | 1u << TCP_CLOSE | 1u << TCP_TIME_WAIT | 1u << 12 /* NEW_SYN_RECV */) &     \
   0xfffu)
#define UDP_SESSIONS (1u << TCP_ESTABLISHED)
#define SCOPE_MAX 4096u
/* Sessions of one family and protocol in one namespace; further ones are left to their own
 * time-outs. */
#define VICTIMS_MAX (64u << 10)

struct sweep {
  const struct net_sweep_options *options;
  struct net_sweep_result *result;
  struct tlx_net_addr *local;
  size_t n_local;
  uint64_t *scope;
  size_t n_scope;
  uint8_t protocol;
  struct tlx_buf victims; /* of struct inet_diag_req_v2 */
};

static void note(struct net_sweep_result *result, int err) {
  if (err == -ENOENT || err == -EOPNOTSUPP)
    result->lacks_diag = true;
  else if (err && !result->err)
    result->err = err;
}

/* ---- which ---- */

bool net_sweep_wants(const struct net_session *session, const struct rule_contain *rule,
                     const struct tlx_net_addr *local, size_t n_local, const uint64_t *scope,
                     size_t n_scope) {
  if (session->remote_port == 0 || net_own_has(session->cookie)) return false;
  if (net_address_is_local(session->remote, local, n_local)) return false;
  bool in_scope = !scope;
  for (size_t i = 0; i < n_scope && !in_scope; i++)
    in_scope = scope[i] == session->cgroup_id;
  return in_scope && !rule_contain_allows(rule, session->remote, session->protocol,
                                          session->local_port, session->remote_port);
}

static void copy_address(uint8_t family, const __be32 from[4], uint8_t to[16]) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  uint16_t port;
  memcpy(&v4.sin_addr, from, 4);
  if (family == AF_INET)
    (void)net_address_of((const struct sockaddr *)&v4, to, &port);
  else
    memcpy(to, from, 16);
}

static int on_session(void *arg, const struct nlmsghdr *message) {
  struct sweep *sweep = arg;
  const struct inet_diag_msg *told = NLMSG_DATA(message);
  if (message->nlmsg_len < NLMSG_LENGTH(sizeof *told)) return 0;
  struct net_session session = {.protocol = sweep->protocol,
                                .local_port = ntohs(told->id.idiag_sport),
                                .remote_port = ntohs(told->id.idiag_dport),
                                .cookie = told->id.idiag_cookie[0] |
                                          (uint64_t)told->id.idiag_cookie[1] << 32};
  copy_address(told->idiag_family, told->id.idiag_src, session.local);
  copy_address(told->idiag_family, told->id.idiag_dst, session.remote);
  size_t found_len = 0;
  const void *cgroup = netlink_find((const char *)told + NLMSG_ALIGN(sizeof *told),
                                    message->nlmsg_len - NLMSG_LENGTH(sizeof *told),
                                    INET_DIAG_CGROUP_ID, &found_len);
  if (cgroup && found_len == sizeof session.cgroup_id)
    memcpy(&session.cgroup_id, cgroup, sizeof session.cgroup_id);
  if (!net_sweep_wants(&session, sweep->options->rule, sweep->local, sweep->n_local, sweep->scope,
                       sweep->n_scope))
    return 0;
  struct inet_diag_req_v2 victim = {
      .sdiag_family = told->idiag_family, .sdiag_protocol = sweep->protocol, .id = told->id};
  tlx_buf_add(&sweep->victims, &victim, sizeof victim);
  return sweep->victims.err;
}

/* ---- one namespace ---- */

static void sweep_protocol(struct sweep *sweep, int fd, uint8_t family, uint8_t protocol) {
  struct netlink_request request;
  struct inet_diag_req_v2 question = {.sdiag_family = family,
                                      .sdiag_protocol = protocol,
                                      .idiag_states =
                                          protocol == IPPROTO_TCP ? TCP_SESSIONS : UDP_SESSIONS};
  sweep->protocol = protocol;
  tlx_buf_init(&sweep->victims, VICTIMS_MAX * sizeof question);
  netlink_begin(&request, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &question, sizeof question);
  note(sweep->result, netlink_ask(fd, &request, on_session, sweep));
  /* Not while the dump runs: it walks the very tables that this changes. */
  for (size_t at = 0; at < sweep->victims.len; at += sizeof question) {
    netlink_begin(&request, SOCK_DESTROY, NLM_F_ACK, sweep->victims.data + at, sizeof question);
    int err = netlink_ask(fd, &request, NULL, NULL);
    if (!err) sweep->result->n_destroyed++;
    if (err == -ENOENT) err = 0; /* it ended by itself */
    note(sweep->result, err);
  }
  tlx_buf_done(&sweep->victims);
}

/* The network namespace of this thread. */
static void sweep_here(struct sweep *sweep) {
  static const uint8_t families[] = {AF_INET, AF_INET6}, protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
  int fd TLX_AUTOCLOSE = netlink_open(NETLINK_SOCK_DIAG);
  int err = fd < 0 ? fd : net_addresses_read(&sweep->local, &sweep->n_local);
  sweep->result->n_spaces++;
  note(sweep->result, err == -EPROTONOSUPPORT ? -ENOENT : err);
  for (size_t f = 0; f < sizeof families && !err; f++)
    for (size_t p = 0; p < sizeof protocols; p++)
      sweep_protocol(sweep, fd, families[f], protocols[p]);
  free(sweep->local);
  sweep->local = NULL;
  sweep->n_local = 0;
}

/* ---- all of them ---- */

/* In a thread of its own, so that no other thread ever stands in another namespace. */
static void sweep_others(void *arg) {
  struct sweep *sweep = arg;
  struct net_spaces spaces = {0};
  int err = net_spaces_find(sweep->options->proc, &spaces);
  if (err) {
    note(sweep->result, err == -ENOENT ? -ESRCH : err);
    sweep->result->n_skipped++;
  }
  sweep->result->n_skipped += spaces.is_cut;
  for (size_t i = 0; i < spaces.n; i++) {
    if (spaces.list[i].fd >= 0 && setns(spaces.list[i].fd, CLONE_NEWNET) == 0)
      sweep_here(sweep);
    else
      sweep->result->n_skipped++;
  }
  net_spaces_done(&spaces);
}

/* Id of the cgroup at |folder| and of all below: inode numbers (kernel: kernfs). */
static void list_scope(struct sweep *sweep, const char *folder) {
  struct stat st;
  DIR *entries = sweep->n_scope < SCOPE_MAX ? opendir(folder) : NULL;
  if (!entries) return;
  if (fstat(dirfd(entries), &st) == 0) sweep->scope[sweep->n_scope++] = st.st_ino;
  for (struct dirent *entry; (entry = readdir(entries));) {
    char *path TLX_AUTOFREE = NULL;
    if (entry->d_type != DT_DIR || *entry->d_name == '.') continue;
    if (asprintf(&path, "%s/%s", folder, entry->d_name) > 0) list_scope(sweep, path);
  }
  closedir(entries);
}

void net_sweep(const struct net_sweep_options *options, struct net_sweep_result *ret_result) {
  struct sweep sweep = {.options = options, .result = ret_result};
  uv_thread_t thread;
  *ret_result = (struct net_sweep_result){0};
  if (options->scope_folder) {
    sweep.scope = calloc(SCOPE_MAX, sizeof *sweep.scope);
    if (!sweep.scope) {
      ret_result->err = -ENOMEM;
      return;
    }
    list_scope(&sweep, options->scope_folder);
  }
  sweep_here(&sweep);
  free(sweep.scope);
  sweep.scope = NULL;
  if (options->scope_folder) return;
  int err = uv_thread_create(&thread, sweep_others, &sweep);
  if (!err) err = uv_thread_join(&thread);
  if (!err) return;
  note(ret_result, err);
  ret_result->n_skipped++;
}
