// SPDX-License-Identifier: GPL-2.0-or-later
/* gRPC's message framing (rpc/grpc.h): where a peer cuts its DATA frames changes nothing, no
 * message passes its limit, and what was read is exactly what had been written. Input: flags, limit
 * (2 bytes), how to cut (2 bytes), then the stream. */
#include "fuzz.h"
#include "rpc/grpc.h"

struct result {
  struct tlx_buf messages; /* each with the head it must have had */
  unsigned n;
  size_t eaten;
  bool failed, at_boundary;
  struct tlx_status status;
};

struct setup {
  size_t max;
  bool identity;
};

static void run(const struct setup *setup, struct tlx_bytes stream, size_t (*piece)(uint32_t *),
                uint32_t seed, struct result *ret) {
  struct tlx_frame_parser parser;
  *ret = (struct result){0};
  tlx_frame_parser_init(&parser, setup->max, setup->identity);
  must(tlx_frame_at_boundary(&parser));
  while (stream.len && !ret->failed) {
    size_t n = piece ? piece(&seed) : stream.len, left = n < stream.len ? n : stream.len;
    uint8_t *copy = exact_copy((struct tlx_bytes){stream.data, left});
    const uint8_t *at = copy;
    n = left;
    while (left && !ret->failed) {
      struct tlx_bytes message = {NULL, SIZE_MAX};
      size_t before = left;
      switch (tlx_frame_feed(&parser, &at, &left, &message, &ret->status)) {
      case TLX_FRAME_NEED_MORE:
        must(left == 0);
        break;
      case TLX_FRAME_MESSAGE: {
        uint8_t head[5];
        must(message.len <= setup->max && left < before);
        must(tlx_frame_at_boundary(&parser));
        tlx_frame_head(head, (uint32_t)message.len);
        tlx_buf_add(&ret->messages, head, sizeof head);
        if (message.len) tlx_buf_add(&ret->messages, message.data, message.len);
        ret->n++;
        break;
      }
      case TLX_FRAME_ERROR:
        ret->failed = true;
        must(ret->status.code != TLX_GRPC_OK && *ret->status.reason && *ret->status.message);
        break;
      }
    }
    ret->eaten += n - left;
    must(at == copy + (n - left));
    stream.data += n;
    stream.len -= n;
    free(copy);
  }
  ret->at_boundary = tlx_frame_at_boundary(&parser);
  tlx_frame_parser_done(&parser);
  must(!ret->messages.err);
}

static void compare(const struct result *a, const struct result *b) {
  must(a->n == b->n && a->failed == b->failed && a->eaten == b->eaten);
  must(a->at_boundary == b->at_boundary);
  must(bytes_equal((struct tlx_bytes){a->messages.data, a->messages.len},
                   (struct tlx_bytes){b->messages.data, b->messages.len}));
  if (!a->failed) return;
  must(a->status.code == b->status.code);
  must(strcmp(a->status.reason, b->status.reason) == 0);
  must(strcmp(a->status.message, b->status.message) == 0);
}

static size_t one_byte(uint32_t *seed) {
  return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  struct setup setup = {.identity = input_u8(&input) & 1};
  struct result whole, pieces, bytes;
  setup.max = input_u16(&input);
  uint32_t seed = input_u16(&input);
  struct tlx_bytes stream = {input.at, input.left};
  run(&setup, stream, NULL, 0, &whole);
  run(&setup, stream, next_piece, seed, &pieces);
  run(&setup, stream, one_byte, 0, &bytes);
  compare(&whole, &pieces);
  compare(&whole, &bytes);
  /* The messages with their heads are the stream, up to where it failed or stopped. */
  must(whole.messages.len <= stream.len);
  must(!whole.messages.len || memcmp(whole.messages.data, stream.data, whole.messages.len) == 0);
  if (!whole.failed) must(whole.at_boundary == (whole.messages.len == stream.len));
  if (whole.failed) must(whole.eaten == whole.messages.len + 5);
  tlx_buf_done(&whole.messages);
  tlx_buf_done(&pieces.messages);
  tlx_buf_done(&bytes.messages);
  return 0;
}
