// SPDX-License-Identifier: GPL-2.0-or-later
/* A static program whose first instructions make the file that is its first argument: if that file
 * is not there, not one system call of it was reached. It then exits with 42. */
#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "  mov 16(%rsp), %rdi\n" /* argv[1] */
        "  mov $0x41, %esi\n"    /* O_WRONLY | O_CREAT */
        "  mov $0600, %edx\n"
        "  mov $2, %eax\n" /* open */
        "  syscall\n"
        "  mov $42, %edi\n"
        "  mov $231, %eax\n" /* exit_group */
        "  syscall\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
        "_start:\n"
        "  mov x0, #-100\n"     /* AT_FDCWD */
        "  ldr x1, [sp, #16]\n" /* argv[1] */
        "  mov x2, #0x41\n"     /* O_WRONLY | O_CREAT */
        "  mov x3, #0600\n"
        "  mov x8, #56\n" /* openat */
        "  svc #0\n"
        "  mov x0, #42\n"
        "  mov x8, #94\n" /* exit_group */
        "  svc #0\n");
#else
#error "the tests have no such program for this machine"
#endif
