// SPDX-License-Identifier: GPL-2.0-or-later
/* Tells which sockets have a mark (tlx_own_sock), and takes marks away: root can put one on a
 * socket of its own, and no system call lists the sockets of such a map.
 *
 * - Hook: iterator over a map of socket storage; it runs only while somebody reads it.
 * - Denied: nothing. A socket whose cookie is in tlx_unmark loses its mark, and is not told.
 * - On failure nothing is told, not even the socket that the reader marked to be told of. */
#include "tlx_kernel.bpf.h"
#include "tlx_net_abi.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, TLX_UNMARK_MAX);
  __type(key, __u64);
  __type(value, __u32);
} tlx_unmark SEC(".maps");

SEC("iter/bpf_sk_storage_map")
int tlx_net_own(struct bpf_iter__bpf_sk_storage_map *ctx) {
  struct sock *sk = ctx->sk;
  __u32 *mark = ctx->value;
  if (!sk || !mark || !*mark) return 0;
  struct tlx_net_mark told = {
      .cookie = bpf_get_socket_cookie(sk), .mark = *mark, .is_held = sk->sk_socket ? 1 : 0};
  if (bpf_map_lookup_elem(&tlx_unmark, &told.cookie))
    *mark = 0;
  else
    bpf_seq_write(ctx->meta->seq, &told, sizeof told);
  return 0;
}
