// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "fuzz.h"

/* What an HTTP/2 end may send, read by the rules of RFC 9113 §4 and §6 alone. */

#define FRAMES_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define FRAME_SIZE_MAX 16384u /* until the peer allows more */

/* Whole frames, none too long, of known types; a client's preface in front; SETTINGS first. */
static inline void frames_look_at(const uint8_t *data, size_t len, bool client) {
  static const size_t preface_len = sizeof FRAMES_PREFACE - 1;
  bool first = true;
  if (client) {
    must(len >= preface_len && memcmp(data, FRAMES_PREFACE, preface_len) == 0);
    data += preface_len;
    len -= preface_len;
  }
  while (len) {
    must(len >= 9);
    size_t payload = (size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2];
    must(payload <= FRAME_SIZE_MAX && payload <= len - 9 && data[3] <= 9);
    must(!first || data[3] == 4);
    must(!(data[5] & 0x80));
    first = false;
    data += 9 + payload;
    len -= 9 + payload;
  }
}
