// SPDX-License-Identifier: GPL-2.0-or-later
/* TLS over memory (rpc/tls.h). Kind 0: a server or a client is fed arbitrary records. Kind 1: two
 * honest ends talk, and the input is what happens to their bytes on the way: changes, cuts,
 * repetitions. Nobody ever reads what the other end did not write, an error is final and has words,
 * and without a change on the way everything arrives. */
#include <errno.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/text.h"
#include "fuzz.h"
#include "pki/cert.h"
#include "rpc/tls.h"

#define DAY_MS 86400000ull
#define FLEET "spiffe://fleet-aaaaaaaaaaaaaaaa"

static struct tlx_tls_ctx *server_ctx, *client_ctx;

static void end(void) {
  tlx_tls_ctx_unref(server_ctx);
  tlx_tls_ctx_unref(client_ctx);
}

static void issue(enum tlx_cert_profile profile, const char *cn, const char *uri,
                  const struct tlx_key *key, const struct tlx_key *issuer,
                  struct tlx_buf *ret_der) {
  uint64_t now_wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_cert_template template = {.profile = profile,
                                       .subject_cn = cn,
                                       .issuer_cn = "CA",
                                       .not_before_wall_ms = now_wall_ms - DAY_MS,
                                       .not_after_wall_ms = now_wall_ms + 300 * DAY_MS,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = tlx_key_spki(issuer),
                                       .uri = uri};
  must(tlx_serial_make(template.serial) == 0);
  must(tlx_cert_issue(&template, issuer, ret_der) == 0);
}

static struct tlx_tls_ctx *make_ctx(bool server, const struct tlx_key *ca_key,
                                    const struct tlx_ca_bundle *ca) {
  struct tlx_key *key;
  struct tlx_buf der = {0};
  struct tlx_tls_ctx *ctx;
  must(tlx_key_new(&key) == 0);
  issue(server ? TLX_CERT_SERVER : TLX_CERT_CLIENT, "leaf",
        server ? FLEET "/console" : FLEET "/operator/bob", key, ca_key, &der);
  struct tlx_bytes chain = {der.data, der.len};
  struct tlx_tls_options options = {.server = server,
                                    .chain = &chain,
                                    .n_chain = 1,
                                    .key = key,
                                    .ca = ca,
                                    .server_uri = server ? NULL : FLEET "/console"};
  must(tlx_tls_ctx_new(&options, &ctx) == 0);
  tlx_buf_done(&der);
  tlx_key_free(key);
  return ctx;
}

static void begin(void) {
  struct tlx_key *key;
  struct tlx_ca_bundle *ca;
  struct tlx_buf der = {0}, pem = {0};
  must(tlx_key_new(&key) == 0);
  issue(TLX_CERT_CA, "CA", NULL, key, key, &der);
  must(tlx_cert_format_pem((struct tlx_bytes){der.data, der.len}, &pem) == 0);
  must(tlx_ca_bundle_parse_pem(pem.data, pem.len, &ca) == 0);
  server_ctx = make_ctx(true, key, ca);
  client_ctx = make_ctx(false, key, ca);
  tlx_ca_bundle_free(ca);
  tlx_key_free(key);
  tlx_buf_done(&der);
  tlx_buf_done(&pem);
  atexit(end);
}

/* ---- one end ---- */

struct side {
  struct tlx_tls *tls;
  int shaken; /* -EAGAIN until the handshake ends */
  bool failed, closed;
  struct tlx_buf read;
};

static void look_at_error(const struct side *side, int err) {
  const char *words = tlx_tls_error(side->tls);
  must(err < 0 && *words && tlx_text_utf8_valid(words, strlen(words)));
}

/* Takes what came in as far as it goes. */
static void go_on(struct side *side) {
  uint8_t plain[512];
  ssize_t n;
  if (side->failed || side->closed) return;
  if (side->shaken == -EAGAIN) side->shaken = tlx_tls_handshake(side->tls);
  if (side->shaken == -EAGAIN) return;
  if (side->shaken) {
    side->failed = true;
    look_at_error(side, side->shaken);
    return;
  }
  while ((n = tlx_tls_read(side->tls, plain, sizeof plain)) > 0)
    tlx_buf_add(&side->read, plain, (size_t)n);
  if (n == 0) side->closed = true;
  if (n < 0 && n != -EAGAIN) {
    side->failed = true;
    look_at_error(side, (int)n);
  }
}

/* ---- arbitrary records ---- */

static void feed(struct tlx_tls_ctx *ctx, struct tlx_bytes records, uint32_t seed, bool in_pieces,
                 struct side *ret) {
  *ret = (struct side){.shaken = -EAGAIN};
  must(tlx_tls_new(ctx, &ret->tls) == 0);
  go_on(ret);
  while (records.len && !ret->failed) {
    size_t n = in_pieces ? next_piece(&seed) : records.len;
    if (n > records.len) n = records.len;
    uint8_t *copy = exact_copy((struct tlx_bytes){records.data, n});
    must(tlx_tls_feed(ret->tls, copy, n) == 0);
    free(copy);
    go_on(ret);
    records.data += n;
    records.len -= n;
  }
  /* Nobody who does not hold a key gets through. */
  must(ret->shaken != 0 && ret->read.len == 0);
  must(tlx_tls_pending(ret->tls).len < 16384);
}

static void arbitrary(struct input *input) {
  struct tlx_tls_ctx *ctx = input_u8(input) & 1 ? client_ctx : server_ctx;
  uint32_t seed = input_u8(input);
  struct tlx_bytes records = {input->at, input->left};
  struct side whole, pieces;
  feed(ctx, records, 0, false, &whole);
  feed(ctx, records, seed, true, &pieces);
  must(whole.failed == pieces.failed && whole.shaken == pieces.shaken);
  tlx_tls_free(whole.tls);
  tlx_tls_free(pieces.tls);
}

/* ---- a bad line between two honest ends ---- */

struct line {
  struct input changes; /* distance (2 bytes), what, how much */
  size_t until_next;
  bool changed;
};

static void aim(struct line *line) {
  line->until_next = line->changes.left ? input_u16(&line->changes) % 4096u : SIZE_MAX;
}

/* Moves what |from| has to say, as far as the line lets it. */
static size_t carry(struct line *line, struct side *from, struct side *to) {
  struct tlx_bytes pending = tlx_tls_pending(from->tls);
  size_t len = pending.len;
  if (len == 0) return 0;
  uint8_t *bytes = exact_copy(pending);
  tlx_tls_sent(from->tls, len);
  size_t n = len, again = 0;
  if (line->until_next < len) {
    size_t at = line->until_next;
    uint8_t what = input_u8(&line->changes), mask = input_u8(&line->changes);
    line->changed = true;
    if (what % 3 == 0)
      bytes[at] ^= mask ? mask : 1;
    else if (what % 3 == 1)
      n = at; /* the rest is lost */
    else
      again = len - at; /* comes twice */
    aim(line);
  } else if (line->until_next != SIZE_MAX) {
    line->until_next -= len;
  }
  must(tlx_tls_feed(to->tls, bytes, n) == 0);
  if (again) must(tlx_tls_feed(to->tls, bytes + (len - again), again) == 0);
  free(bytes);
  return len;
}

static void run(struct line *line, struct side *client, struct side *server) {
  for (int i = 0; i < 50; i++) {
    go_on(client);
    size_t n = carry(line, client, server);
    go_on(server);
    n += carry(line, server, client);
    if (n == 0) return;
  }
}

/* Returns how much was said. */
static size_t say(struct side *side, const char *text) {
  if (side->shaken != 0 || side->failed || side->closed) return 0;
  return tlx_tls_write(side->tls, text, strlen(text)) == 0 ? strlen(text) : 0;
}

/* |side| has read |text|, or a beginning of it when the line was bad. */
static void look_at_read(const struct side *side, const char *text, bool is_whole) {
  must(side->read.len <= strlen(text));
  must(side->read.len == 0 || memcmp(side->read.data, text, side->read.len) == 0);
  if (is_whole) must(side->read.len == strlen(text) && !side->failed);
}

static void bad_line(struct input *input) {
  static const char ask[] = "a question that is long enough for a record of its own",
                    answer[] = "an answer";
  struct line line = {.changes = *input};
  struct side client = {.shaken = -EAGAIN}, server = {.shaken = -EAGAIN};
  must(tlx_tls_new(client_ctx, &client.tls) == 0 && tlx_tls_new(server_ctx, &server.tls) == 0);
  aim(&line);
  run(&line, &client, &server);
  if (!line.changed) must(client.shaken == 0 && server.shaken == 0);
  size_t said = say(&client, ask);
  say(&server, answer);
  run(&line, &client, &server);
  tlx_tls_close_notify(client.tls);
  run(&line, &client, &server);
  look_at_read(&server, ask, !line.changed);
  look_at_read(&client, answer, !line.changed);
  /* A clean end cannot be made up or moved forward: it comes behind everything that was said. */
  if (server.closed) must(server.read.len == said);
  tlx_tls_free(client.tls);
  tlx_tls_free(server.tls);
  tlx_buf_done(&client.read);
  tlx_buf_done(&server.read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  if (!server_ctx) begin();
  if (input_u8(&input) & 1)
    bad_line(&input);
  else
    arbitrary(&input);
  return 0;
}
