// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_caps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "sensor/bpf_load.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

const char *bpf_backend_word(enum bpf_backend backend) {
  static const char *const words[BPF_BACKEND_COUNT] = {
#define X(name, word, text) [BPF_BACKEND_##name] = word,
      BPF_BACKEND_MAP(X)
#undef X
  };
  return backend > BPF_BACKEND_NONE && backend < BPF_BACKEND_COUNT ? words[backend] : "";
}

const char *bpf_cap_word(enum bpf_cap cap) {
  static const char *const words[BPF_CAP_COUNT] = {
#define X(name, word) [BPF_CAP_##name] = word,
      BPF_CAP_MAP(X)
#undef X
  };
  return cap < BPF_CAP_COUNT ? words[cap] : "";
}

void bpf_caps_note(struct bpf_caps *caps, enum bpf_cap cap, bool available, int err,
                   const char *format, ...) {
  struct bpf_cap_finding *finding = &caps->findings[cap];
  *finding = (struct bpf_cap_finding){.tried = true, .available = available, .err = err};
  if (!format) return;
  va_list args;
  va_start(args, format);
  vsnprintf(finding->detail, sizeof finding->detail, format, args);
  va_end(args);
}

/* ---- privileges ---- */

static bool effective(uint32_t *ret_low, uint32_t *ret_high) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
  if (syscall(SYS_capget, &head, data) != 0) return false;
  *ret_low = data[0].effective;
  *ret_high = data[1].effective;
  return true;
}

bool bpf_caps_privileged(void) {
  uint32_t low = 0, high = 0;
  if (!effective(&low, &high)) return false;
  bool admin = low & CAP_TO_MASK(CAP_SYS_ADMIN);
  return admin || ((high & CAP_TO_MASK(CAP_BPF)) && (high & CAP_TO_MASK(CAP_PERFMON)));
}

static void probe_privileges(struct bpf_caps *caps) {
  uint32_t low = 0, high = 0;
  if (bpf_caps_privileged()) {
    bpf_caps_note(caps, BPF_CAP_CAPABILITIES, true, 0, NULL);
    return;
  }
  effective(&low, &high);
  bpf_caps_note(caps, BPF_CAP_CAPABILITIES, false, -EPERM, "missing:%s%s",
                high & CAP_TO_MASK(CAP_BPF) ? "" : " CAP_BPF",
                high & CAP_TO_MASK(CAP_PERFMON) ? "" : " CAP_PERFMON");
}

/* ---- files ---- */

static void probe_btf(const char *path, struct bpf_caps *caps) {
  TLX_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
  int err = fd < 0 ? -errno : 0;
  if (err)
    bpf_caps_note(caps, BPF_CAP_BTF, false, err,
                  "%.100s: %s: this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)",
                  path, tlx_err_text(err));
  else
    bpf_caps_note(caps, BPF_CAP_BTF, true, 0, NULL);
}

static void probe_bpffs(const char *path, struct bpf_caps *caps) {
  struct statfs fs;
  int err = statfs(path, &fs) == 0 ? 0 : -errno;
  bool available = !err && (unsigned long)fs.f_type == BPF_FS_MAGIC;
  if (available)
    bpf_caps_note(caps, BPF_CAP_BPFFS, true, 0, "%.200s", path);
  else
    bpf_caps_note(caps, BPF_CAP_BPFFS, false, err,
                  "no BPF file system on %.80s: mount -t bpf bpf %.80s", path, path);
}

static void probe_cgroup2(struct bpf_caps *caps) {
  TLX_AUTOFCLOSE FILE *file = fopen("/proc/self/mountinfo", "re");
  TLX_AUTOFREE char *line = NULL;
  size_t size = 0;
  if (!file) {
    bpf_caps_note(caps, BPF_CAP_CGROUP2, false, -errno, "/proc/self/mountinfo cannot be read");
    return;
  }
  while (getline(&line, &size, file) >= 0) {
    char mount_point[200];
    /* Documentation/filesystems/proc.rst: the fifth field, and the type behind the dash. */
    if (!strstr(line, " - cgroup2 ") || sscanf(line, "%*s %*s %*s %*s %199s", mount_point) != 1)
      continue;
    bpf_caps_note(caps, BPF_CAP_CGROUP2, true, 0, "%s", mount_point);
    return;
  }
  bpf_caps_note(caps, BPF_CAP_CGROUP2, false, -ENOENT, "the cgroup2 hierarchy is not mounted");
}

/* Reads SECURITYFS/|name|. */
static int read_security(const char *securityfs, const char *name, struct tlx_buf *buf) {
  TLX_AUTOFREE char *path = tlx_path_join(securityfs, name);
  if (!path) return -ENOMEM;
  int err = tlx_file_read(path, 4096, buf);
  if (!err) tlx_buf_add_u8(buf, 0);
  return err ? err : buf->err;
}

static void probe_lockdown(const char *securityfs, struct bpf_caps *caps) {
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf buf;
  tlx_buf_init(&buf, 0);
  int err = read_security(securityfs, "lockdown", &buf);
  const char *text = (const char *)buf.data;
  if (err == -ENOENT)
    bpf_caps_note(caps, BPF_CAP_LOCKDOWN, true, 0, "unknown: there is no %.100s/lockdown",
                  securityfs);
  else if (err)
    bpf_caps_note(caps, BPF_CAP_LOCKDOWN, true, err, "unknown: %s", tlx_err_text(err));
  else if (strstr(text, "[confidentiality]"))
    bpf_caps_note(caps, BPF_CAP_LOCKDOWN, false, 0,
                  "confidentiality: programs may not read kernel memory by helper");
  else
    bpf_caps_note(caps, BPF_CAP_LOCKDOWN, true, 0, "%s",
                  strstr(text, "[integrity]") ? "integrity" : "none");
}

static bool list_has(const char *list, const char *word) {
  size_t len = strlen(word);
  for (const char *at = list; (at = strstr(at, word)); at += len)
    if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ',' || at[len] == '\n'))
      return true;
  return false;
}

static void probe_lsm_list(const char *securityfs, struct bpf_caps *caps) {
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf buf;
  tlx_buf_init(&buf, 0);
  int err = read_security(securityfs, "lsm", &buf);
  /* Unknown is not "no": only the canary decides, and it is asked. */
  if (err)
    bpf_caps_note(caps, BPF_CAP_LSM_LIST, true, err == -ENOENT ? 0 : err, "unknown: %.100s/lsm: %s",
                  securityfs, tlx_err_text(err));
  else if (list_has((const char *)buf.data, "bpf"))
    bpf_caps_note(caps, BPF_CAP_LSM_LIST, true, 0, "%.200s", (const char *)buf.data);
  else
    bpf_caps_note(caps, BPF_CAP_LSM_LIST, false, 0, "bpf is not in lsm=%.180s",
                  (const char *)buf.data);
}

/* ---- helpers ---- */

/* Loads five instructions that call the helper: its name in the verifier's answer differs between
 * kernels, whether it loads does not. */
static void probe_read_name(struct bpf_caps *caps) {
  const struct bpf_insn program[] = {
      /* r1 = r10 - 8; r2 = 8; r3 = 0; call probe_read_kernel_str; r0 = 0; exit */
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 10},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = -8},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 8},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel_str},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT},
  };
  int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "tlx_probe", "GPL", program,
                         sizeof program / sizeof *program, NULL);
  int err = fd < 0 ? -errno : 0;
  if (fd >= 0) close(fd);
  if (err)
    bpf_caps_note(caps, BPF_CAP_READ_NAME, false, err, "no program may read kernel text: %s",
                  tlx_err_text(err));
  else
    bpf_caps_note(caps, BPF_CAP_READ_NAME, true, 0, NULL);
}

/* ---- all of it ---- */

void bpf_caps_probe(const struct bpf_caps_paths *paths, struct bpf_caps *ret_caps) {
  memset(ret_caps, 0, sizeof *ret_caps);
  bpf_load_log();
  probe_btf(paths->btf, ret_caps);
  probe_bpffs(paths->bpffs, ret_caps);
  probe_cgroup2(ret_caps);
  probe_privileges(ret_caps);
  probe_lockdown(paths->securityfs, ret_caps);
  probe_lsm_list(paths->securityfs, ret_caps);
  probe_read_name(ret_caps);
}

bool bpf_caps_enough(const struct bpf_caps *caps, const char **ret_reason, char *detail,
                     size_t size) {
  static const struct {
    enum bpf_cap cap;
    const char *reason;
  } needed[] = {
      {BPF_CAP_BTF, "no_btf"},
      {BPF_CAP_BPFFS, "no_bpffs"},
      {BPF_CAP_CGROUP2, "no_cgroup2"},
      {BPF_CAP_CAPABILITIES, "no_capability"},
  };
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    const struct bpf_cap_finding *finding = &caps->findings[needed[i].cap];
    if (finding->available) continue;
    *ret_reason = needed[i].reason;
    snprintf(detail, size, "%s", finding->detail);
    return false;
  }
  return true;
}
