// SPDX-License-Identifier: GPL-2.0-or-later
#include "net_packet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "sensor/bpf_net_int.h"

void packet_push(struct packet *packet, const void *bytes, size_t n) {
  cr_assert_leq(packet->len + n, sizeof packet->data);
  memmove(packet->data + n, packet->data, packet->len);
  memcpy(packet->data, bytes, n);
  packet->len += n;
}
void packet_push16(struct packet *packet, uint16_t value) {
  const uint16_t raw = htons(value);
  packet_push(packet, &raw, sizeof raw);
}
void packet_ethernet(struct packet *packet, uint16_t type) {
  static const uint8_t addresses[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  packet_push16(packet, type);
  packet_push(packet, addresses, sizeof addresses);
}

static void put_l4(const struct packet_spec *spec, bool in, struct packet *out) {
  uint8_t head[64] = {0};
  size_t len = spec->protocol == 6 ? 20 : 8;
  if (spec->is_icmp) {
    head[0] = spec->type;
    head[1] = spec->code;
    if (spec->family == 6 && spec->type >= 133) len = 24;
    if (spec->target) cr_assert_eq(inet_pton(AF_INET6, spec->target, head + 8), 1);
  } else {
    const uint16_t ports[2] = {htons(in ? spec->remote_port : spec->local_port),
                               htons(in ? spec->local_port : spec->remote_port)};
    memcpy(head, ports, sizeof ports);
  }
  out->len = 0;
  memset(out->data, 0, sizeof out->data);
  out->len = spec->payload;
  packet_push(out, head, len);
}

/* The number of the header that |letter| is. */
static uint8_t header_of(char letter) {
  return letter == 'h'                    ? 0
         : letter == 'd'                  ? 60
         : letter == 'r' || letter == 'R' ? 43
         : letter == 'A'                  ? 51
                                          : 44;
}

static uint8_t put_chain(const struct packet_spec *spec, struct packet *out) {
  const char *chain = spec->chain ? spec->chain : "";
  uint8_t next = spec->protocol;
  for (size_t i = strlen(chain); i--;) {
    uint8_t head[16] = {next, 0};
    size_t len = 8;
    switch (chain[i]) {
    case 'R':
      head[3] = 1;
      break;
    case 'f':
      head[3] = 1; /* more follow */
      break;
    case 'F':
      head[2] = 1; /* offset 256 */
      break;
    case 'A':
      head[1] = 2; /* (2 + 2) * 4 bytes */
      len = 16;
      break;
    default:
      break;
    }
    packet_push(out, head, len);
    next = header_of(chain[i]);
  }
  return next;
}

void packet_make(const struct packet_spec *spec, bool in, struct packet *out) {
  const int family = spec->family == 4 ? AF_INET : AF_INET6;
  const char *remote = spec->remote        ? spec->remote
                       : spec->family == 4 ? PACKET_REMOTE4
                                           : PACKET_REMOTE6;
  const char *local = spec->family == 4 ? PACKET_LOCAL4 : PACKET_LOCAL6;
  const size_t address_len = spec->family == 4 ? 4 : 16;
  uint8_t head[60] = {0};
  size_t head_len;
  put_l4(spec, in, out);
  if (spec->family == 4) {
    head_len = 20 + 4u * spec->options;
    head[0] = spec->version_len ? spec->version_len : (uint8_t)(0x45 + spec->options);
    head[2] = (uint8_t)((head_len + out->len) >> 8);
    head[3] = (uint8_t)(head_len + out->len);
    head[6] = (uint8_t)(spec->fragment >> 8);
    head[7] = (uint8_t)spec->fragment;
    head[8] = spec->hop_limit ? spec->hop_limit : 64;
    head[9] = spec->protocol;
    memset(head + 20, 1, 4u * spec->options); /* no operation */
  } else {
    head_len = 40;
    head[6] = put_chain(spec, out);
    head[0] = spec->version_len ? spec->version_len : 0x60;
    head[4] = (uint8_t)(out->len >> 8);
    head[5] = (uint8_t)out->len;
    head[7] = spec->hop_limit ? spec->hop_limit : 64;
  }
  uint8_t *at = head + (spec->family == 4 ? 12 : 8);
  cr_assert_eq(inet_pton(family, in ? remote : local, at), 1);
  cr_assert_eq(inet_pton(family, in ? local : remote, at + address_len), 1);
  packet_push(out, head, head_len);
  if (spec->cut) out->len = head_len + spec->cut;
}

int packet_passes(struct bpf_net *net, enum bpf_net_prog prog, uint32_t ifindex,
                  const struct packet *packet) {
  struct __sk_buff skb = {.ifindex = ifindex};
  uint8_t data_out[2048];
  LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->data, .data_size_in = (__u32)packet->len,
              .data_out = data_out, .data_size_out = sizeof data_out, .ctx_in = &skb,
              .ctx_size_in = sizeof skb, .repeat = 1);
  if (bpf_prog_test_run_opts(bpf_net_hook_of(net, prog)->prog_fd, &opts) != 0) {
    cr_assert_eq(errno, EINVAL, "%s: %s", bpf_net_prog_word(prog), strerror(errno));
    return -EINVAL;
  }
  if (prog >= BPF_NET_CGROUP_PROGS) {
    cr_assert(opts.retval == 2 || opts.retval == (uint32_t)-1, "%u", opts.retval);
    return opts.retval != 2;
  }
  cr_assert_leq(opts.retval, 1);
  return opts.retval == 1;
}
