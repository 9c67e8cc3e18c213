// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "bpf-progs/tlx_net_abi.h"

/* Addresses of this network namespace, and small questions about addresses. An IPv4 address stands
 * as
 * ::ffff:a.b.c.d, network byte order. */

#define NET_ADDRESSES_MAX 4096u

/* All addresses of all devices (rtnetlink(7) RTM_GETADDR), sorted, each once; of the network
 * namespace of this thread. |*ret_list| is heap, for the caller to free. 0; TLX_E_LIMIT, -ENOMEM or
 * a negative errno. */
int net_addresses_read(struct tlx_net_addr **ret_list, size_t *ret_n);
/* Whether |address| is among the |n| of |list| (sorted), or is loopback (127/8, ::1) or
 * unspecified, which means this host. Pure. */
bool net_address_is_local(const uint8_t address[16], const struct tlx_net_addr *list, size_t n);
/* Whether it is 127/8 or ::1. Pure. */
bool net_address_is_loopback(const uint8_t address[16]);
bool net_address_is_v4(const uint8_t address[16]);
/* From a socket address of either family, with the port in host byte order; false for others. Pure.
 */
bool net_address_of(const struct sockaddr *from, uint8_t ret_address[16], uint16_t *ret_port);
/* The other way. Pure. */
void net_address_to(const uint8_t address[16], uint16_t port, struct sockaddr_storage *ret_to,
                    socklen_t *ret_len);
/* "192.0.2.1" or "2001:db8::1". |out| of INET6_ADDRSTRLEN. */
const char *net_address_text(const uint8_t address[16], char out[46]);
