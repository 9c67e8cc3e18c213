// SPDX-License-Identifier: GPL-2.0-or-later
/* /proc/PID/stat and cgroup (sensor/proc.h). A process names itself: whatever it chooses, the
 * state, flags and start time behind its name are those that the kernel wrote. The first byte
 * picks: the text as it is, a stat line with a chosen name, a cgroup text, a cgroup text with a
 * known path. */
#include "common/err.h"
#include "fuzz.h"
#include "sensor/proc.h"

#define NAME_MAX_LEN 64u /* the kernel shows up to this for its own threads */

static void stat_text(struct tlx_bytes bytes) {
  struct proc_stat stat, before;
  char *copy = exact_copy(bytes);
  memset(&stat, 0x5a, sizeof stat);
  before = stat;
  int err = proc_stat_parse(copy, bytes.len, &stat);
  if (err) {
    must(err == TLX_E_MALFORMED && memcmp(&stat, &before, sizeof stat) == 0);
  } else {
    must(memchr(stat.comm, '\0', sizeof stat.comm) && stat.state);
    /* Everything behind the name is needed: cut before the start time it is refused. */
    const char *last = memrchr(copy, ')', bytes.len);
    must(last && proc_stat_parse(copy, (size_t)(last - copy) + 1, &before) == TLX_E_MALFORMED);
  }
  free(copy);
}

/* The line as fs/proc/array.c writes it: newline and backslash of a name are escaped. */
static void stat_line(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  static const char states[] = "RSDTtXZPI";
  char name[2 * NAME_MAX_LEN + 1], text[1024];
  size_t n = 0;
  uint32_t flags = (uint32_t)input_u64(&input);
  uint64_t start = input_u64(&input);
  char state = states[input_u8(&input) % (sizeof states - 1)];
  long tty = (int16_t)input_u16(&input), priority = (int16_t)input_u16(&input);
  struct tlx_bytes chosen = input_bytes(&input, NAME_MAX_LEN);
  for (size_t i = 0; i < chosen.len && chosen.data[i]; i++) {
    if (chosen.data[i] == '\n' || chosen.data[i] == '\\') name[n++] = '\\';
    name[n++] = (char)(chosen.data[i] == '\n' ? 'n' : chosen.data[i]);
  }
  name[n] = '\0';
  int len = snprintf(text, sizeof text,
                     "4711 (%s) %c 1 4711 4711 %ld -1 %u 120 0 0 0 7 3 0 0 %ld 0 1 0 %llu 9003008 "
                     "812 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0\n",
                     name, state, tty, flags, priority, (unsigned long long)start);
  struct proc_stat stat;
  char *copy = exact_copy((struct tlx_bytes){(const uint8_t *)text, (size_t)len});
  must(proc_stat_parse(copy, (size_t)len, &stat) == 0);
  must(stat.state == state && stat.flags == flags && stat.start_ticks == start);
  must(strncmp(stat.comm, name, sizeof stat.comm - 1) == 0);
  free(copy);
}

static void cgroup_text(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  size_t size = input_u8(&input) + 1u;
  struct tlx_bytes text = {input.at, input.left};
  char *copy = exact_copy(text), *out = malloc(size);
  must(out);
  memset(out, 'x', size);
  int err = proc_cgroup_parse(copy, text.len, out, size);
  if (err) {
    must(err == TLX_E_MALFORMED && out[0] == 'x');
  } else {
    must(memchr(out, '\0', size) && *out && !strchr(out, '\n'));
    char wanted[300];
    int len = snprintf(wanted, sizeof wanted, "0::%s", out);
    must(memmem(copy, text.len, wanted, (size_t)len));
  }
  free(out);
  free(copy);
}

/* Other hierarchies come first, and a process chooses the names of its cgroups. */
static void cgroup_line(struct tlx_bytes bytes) {
  struct input input = {bytes.data, bytes.len};
  char *other = exact_text(input_piece(&input)), *path = exact_text(input_piece(&input));
  char text[2048], out[300];
  for (char *c = other; *c; c++)
    if (*c == '\n') *c = '_';
  for (char *c = path; *c; c++)
    if (*c == '\n') *c = '_';
  int len = snprintf(text, sizeof text, "12:devices:/%s\n1:name=systemd:/%s\n0::/%s\n", other,
                     other, path);
  must(proc_cgroup_parse(text, (size_t)len, out, sizeof out) == 0);
  must(out[0] == '/' && strcmp(out + 1, path) == 0);
  free(path);
  free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const kinds[])(struct tlx_bytes) = {stat_text, stat_line, cgroup_text, cgroup_line};
  struct input input = {data, size};
  uint8_t kind = input_u8(&input);
  kinds[kind % (sizeof kinds / sizeof *kinds)]((struct tlx_bytes){input.at, input.left});
  return 0;
}
