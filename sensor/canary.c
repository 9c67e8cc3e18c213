// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/canary.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "sensor/child.h"

#define WAIT_MS 2000

/* ---- the program ---- */

/* An ELF file of one segment: header, program header, and code that exits with CANARY_RAN. No
 * loader, no library: what is executed is this file alone. */
#if defined(__x86_64__)
#define MACHINE EM_X86_64
/* mov edi, 42; mov eax, 231 (exit_group); syscall */
static const uint8_t code[] = {0xbf, CANARY_RAN, 0, 0, 0, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05};
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
/* mov x0, #42; mov x8, #94 (exit_group); svc #0 */
static const uint8_t code[] = {0x40, 0x05, 0x80, 0xd2, 0xc8, 0x0b,
                               0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};
#else
#error "the canary has no code for this machine"
#endif

#define LOAD_ADDRESS 0x400000u
struct image {
  Elf64_Ehdr head;
  Elf64_Phdr segment;
  uint8_t code[sizeof code];
};

static void make_image(struct image *image) {
  memset(image, 0, sizeof *image);
  memcpy(image->head.e_ident, ELFMAG, SELFMAG);
  image->head.e_ident[EI_CLASS] = ELFCLASS64;
  image->head.e_ident[EI_DATA] = ELFDATA2LSB;
  image->head.e_ident[EI_VERSION] = EV_CURRENT;
  image->head.e_type = ET_EXEC;
  image->head.e_machine = MACHINE;
  image->head.e_version = EV_CURRENT;
  image->head.e_entry = LOAD_ADDRESS + offsetof(struct image, code);
  image->head.e_phoff = offsetof(struct image, segment);
  image->head.e_ehsize = sizeof image->head;
  image->head.e_phentsize = sizeof image->segment;
  image->head.e_phnum = 1;
  image->segment.p_type = PT_LOAD;
  image->segment.p_flags = PF_R | PF_X;
  image->segment.p_vaddr = image->segment.p_paddr = LOAD_ADDRESS;
  image->segment.p_filesz = image->segment.p_memsz = sizeof *image;
  image->segment.p_align = 0x1000;
  memcpy(image->code, code, sizeof code);
}

static bool is_there(const char *path, const struct image *image) {
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf buf;
  struct stat st;
  tlx_buf_init(&buf, 0);
  if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 07777) != 0700 ||
      st.st_uid != geteuid())
    return false;
  return tlx_file_read(path, sizeof *image, &buf) == 0 && buf.len == sizeof *image &&
         memcmp(buf.data, image, sizeof *image) == 0;
}

int canary_write(const char *path) {
  struct image image;
  make_image(&image);
  return is_there(path, &image) ? 0 : tlx_file_write_atomic(path, &image, sizeof image, 0700);
}

/* ---- the run ---- */

/* In the child: only system calls, as another thread of the parent may have held any lock. */
static _Noreturn void be_canary(const char *path, int report_fd) {
  char *const argv[] = {(char *)path, NULL};
  char *const envp[] = {NULL};
  execve(path, argv, envp);
  int err = errno;
  ssize_t n = write(report_fd, &err, sizeof err);
  _exit(n == sizeof err ? 0 : 1);
}

enum canary_result canary_run(const char *path, const char *cgroup, int *ret_err) {
  int pipe_fds[2], pidfd = -1, status = 0, exec_err = 0;
  TLX_AUTOCLOSE int cgroup_fd = cgroup ? open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if ((cgroup && cgroup_fd < 0) || pipe2(pipe_fds, O_CLOEXEC) != 0) {
    *ret_err = -errno;
    return CANARY_UNKNOWN;
  }
  pid_t pid = child_clone(cgroup_fd, &pidfd);
  if (pid == 0) be_canary(path, pipe_fds[1]);
  int err = pid < 0 ? -errno : 0;
  close(pipe_fds[1]);
  if (!err) {
    err = child_wait(pid, pidfd, WAIT_MS, &status);
    close(pidfd);
  }
  /* Empty unless execve came back. */
  if (!err && read(pipe_fds[0], &exec_err, sizeof exec_err) == sizeof exec_err) err = -exec_err;
  close(pipe_fds[0]);
  if (err == -EPERM) return CANARY_DENIED;
  if (!err && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return CANARY_KILLED;
  if (!err && WIFEXITED(status) && WEXITSTATUS(status) == CANARY_RAN) return CANARY_ALIVE;
  *ret_err = err ? err : -EPROTO;
  return CANARY_UNKNOWN;
}
