// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_caps.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

static struct bed bed;
static struct bpf_caps caps;

static void begin(void) {
  bed_begin(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(caps, .init = begin, .fini = end);

static const struct bpf_cap_finding *found(enum bpf_cap cap) {
  cr_expect(caps.findings[cap].tried, "%s", bpf_cap_word(cap));
  return &caps.findings[cap];
}
static void probe(const char *btf, const char *securityfs, const char *bpffs) {
  struct bpf_caps_paths paths = {btf, securityfs, bpffs};
  bpf_caps_probe(&paths, &caps);
}
static void expect_not_enough(const char *reason, const char *word) {
  const char *found_reason = "";
  char detail[240] = "";
  cr_expect_not(bpf_caps_enough(&caps, &found_reason, detail, sizeof detail));
  cr_expect_str_eq(found_reason, reason);
  cr_expect(strstr(detail, word), "%s: %s", reason, detail);
}

Test(caps, what_is_there_is_found) {
  const char *reason;
  char detail[240];
  probe("/sys/kernel/btf/vmlinux", "/sys/kernel/security", bed.bpffs);
  cr_expect(found(BPF_CAP_BTF)->available);
  cr_expect(found(BPF_CAP_BPFFS)->available);
  cr_expect(found(BPF_CAP_CGROUP2)->available);
  cr_expect_eq(found(BPF_CAP_CGROUP2)->detail[0], '/');
  cr_expect(found(BPF_CAP_CAPABILITIES)->available);
  found(BPF_CAP_LOCKDOWN), found(BPF_CAP_LSM_LIST), found(BPF_CAP_READ_NAME);
  cr_expect_not(caps.findings[BPF_CAP_LSM].tried);
  cr_expect(bpf_caps_enough(&caps, &reason, detail, sizeof detail), "%s", detail);
}

Test(caps, what_is_missing_has_words) {
  const char *plain = bed.folder, *none = bed_path(&bed, "none");
  probe(none, none, bed.bpffs);
  cr_expect_eq(found(BPF_CAP_BTF)->err, -ENOENT);
  expect_not_enough("no_btf", "CONFIG_DEBUG_INFO_BTF");
  probe("/sys/kernel/btf/vmlinux", none, plain);
  expect_not_enough("no_bpffs", "mount -t bpf");
  probe("/sys/kernel/btf/vmlinux", none, none);
  expect_not_enough("no_bpffs", "mount -t bpf");
}

Test(caps, an_absent_file_is_unknown_and_not_no) {
  probe("/sys/kernel/btf/vmlinux", bed_path(&bed, "none"), bed.bpffs);
  cr_expect(found(BPF_CAP_LOCKDOWN)->available);
  cr_expect(strstr(found(BPF_CAP_LOCKDOWN)->detail, "unknown"));
  cr_expect(found(BPF_CAP_LSM_LIST)->available);
  cr_expect(strstr(found(BPF_CAP_LSM_LIST)->detail, "unknown"));
}

Test(caps, security_files_are_read) {
  const struct {
    const char *lsm, *lockdown;
    bool has_bpf, is_open;
  } rows[] = {
      {"lockdown,capability,bpf", "none [integrity] confidentiality", true, true},
      {"bpf,landlock", "[none] integrity confidentiality", true, true},
      {"lockdown,nobpf,bpfx", "none integrity [confidentiality]", false, false},
      {"", "", false, true},
  };
  const char *folder = bed_path(&bed, "security");
  cr_assert_eq(mkdir(folder, 0755), 0);
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    cr_assert(bed_command("printf '%s' >%s/lsm && printf '%s\\n' >%s/lockdown", rows[i].lsm, folder,
                          rows[i].lockdown, folder));
    probe("/sys/kernel/btf/vmlinux", folder, bed.bpffs);
    cr_expect_eq(found(BPF_CAP_LSM_LIST)->available, rows[i].has_bpf, "row %u", i);
    cr_expect_eq(found(BPF_CAP_LOCKDOWN)->available, rows[i].is_open, "row %u", i);
  }
}

Test(caps, missing_capabilities_are_named) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  int status = 0;
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    struct __user_cap_data_struct data[2] = {{0}};
    data[1].effective = data[1].permitted = CAP_TO_MASK(CAP_BPF);
    if (syscall(SYS_capset, &head, data) != 0) _exit(1);
    probe("/sys/kernel/btf/vmlinux", "/none", bed.bpffs);
    const struct bpf_cap_finding *finding = &caps.findings[BPF_CAP_CAPABILITIES];
    if (finding->available || bpf_caps_privileged()) _exit(2);
    if (strcmp(finding->detail, "missing: CAP_PERFMON") != 0) _exit(3);
    if (caps.findings[BPF_CAP_READ_NAME].available) _exit(4);
    data[1].effective = 0;
    if (syscall(SYS_capset, &head, data) != 0) _exit(5);
    probe("/sys/kernel/btf/vmlinux", "/none", bed.bpffs);
    _exit(strcmp(finding->detail, "missing: CAP_BPF CAP_PERFMON") == 0 ? 0 : 6);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_expect_eq(status, 0, "%d", WEXITSTATUS(status));
}

Test(caps, notes_of_other_parts) {
  memset(&caps, 0, sizeof caps);
  bpf_caps_note(&caps, BPF_CAP_FMOD_RET, false, -EPERM, "refused: %d", 7);
  cr_expect_not(found(BPF_CAP_FMOD_RET)->available);
  cr_expect_eq(found(BPF_CAP_FMOD_RET)->err, -EPERM);
  cr_expect_str_eq(found(BPF_CAP_FMOD_RET)->detail, "refused: 7");
  bpf_caps_note(&caps, BPF_CAP_FMOD_RET, true, 0, NULL);
  cr_expect(found(BPF_CAP_FMOD_RET)->available);
  cr_expect_str_empty(found(BPF_CAP_FMOD_RET)->detail);
}

Test(caps, words) {
  cr_expect_str_eq(bpf_backend_word(BPF_BACKEND_LSM), "lsm");
  cr_expect_str_eq(bpf_backend_word(BPF_BACKEND_NONE), "");
  cr_expect_str_eq(bpf_backend_word(BPF_BACKEND_COUNT), "");
  cr_expect_str_eq(bpf_cap_word(BPF_CAP_BTF), "btf");
  cr_expect_str_eq(bpf_cap_word(BPF_CAP_COUNT), "");
}
