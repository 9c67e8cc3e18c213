// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_addresses.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void of_text(const char *text, uint8_t out[16]) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(7)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
  uint16_t port = 0;
  bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
  cr_assert(is_v4 || inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
  cr_assert(net_address_of(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, out, &port));
  cr_assert_eq(port, 7);
}

Test(net_addresses, what_is_this_host) {
  struct tlx_net_addr list[2];
  uint8_t address[16];
  of_text("10.0.0.7", list[0].bytes);
  of_text("2001:db8::7", list[1].bytes);
  static const char *const local[] = {"127.0.0.1",   "127.255.0.9",     "::1",
                                      "::",          "0.0.0.0",         "10.0.0.7",
                                      "2001:db8::7", "::ffff:127.0.0.1"};
  static const char *const remote[] = {"10.0.0.8", "2001:db8::8", "128.0.0.1", "::2", "126.0.0.1"};
  for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
    of_text(local[i], address);
    cr_expect(net_address_is_local(address, list, 2), "%s", local[i]);
  }
  for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
    of_text(remote[i], address);
    cr_expect_not(net_address_is_local(address, list, 2), "%s", remote[i]);
    cr_expect_not(net_address_is_local(address, NULL, 0), "%s", remote[i]);
  }
}

Test(net_addresses, there_and_back) {
  static const char *const texts[] = {"192.0.2.1", "2001:db8::1"};
  for (size_t i = 0; i < 2; i++) {
    struct sockaddr_storage to;
    socklen_t len = 0;
    uint8_t address[16], back[16];
    uint16_t port = 0;
    char text[46];
    of_text(texts[i], address);
    net_address_to(address, 443, &to, &len);
    cr_expect_eq(len, i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    cr_assert(net_address_of((struct sockaddr *)&to, back, &port));
    cr_expect_eq(port, 443);
    cr_expect_eq(memcmp(address, back, 16), 0);
    cr_expect_str_eq(net_address_text(address, text), texts[i]);
    cr_expect_eq(net_address_is_v4(address), i == 0);
  }
  struct sockaddr local = {.sa_family = AF_UNIX};
  uint8_t address[16];
  uint16_t port;
  cr_expect_not(net_address_of(&local, address, &port));
}

Test(net_addresses, those_of_this_machine_are_sorted_and_each_once) {
  struct tlx_net_addr *list = NULL;
  size_t n = 0;
  cr_assert_eq(net_addresses_read(&list, &n), 0);
  for (size_t i = 1; i < n; i++)
    cr_expect_lt(memcmp(&list[i - 1], &list[i], sizeof *list), 0);
  free(list);
}
