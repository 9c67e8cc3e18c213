#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a Debian kernel in qemu (software emulation) on top of this machine's own root and runs one command in it.

    result = Guest(kernel="6.12", lsm=["lockdown", "yama"]).run(["bpftool", "prog"])
    result.rc, result.console_text, result.out_folder

    guest.py --kernel 6.1 --hide-btf -- /usr/bin/python3 -m pytest test/vm/inside

Needs root, the packages of `packaging/install-packages vm` and the kernels of `test/vm/fetch-kernels`. README.md beside this
file tells how a guest is built."""
import argparse
import dataclasses
import math
import os
import pathlib
import re
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNELS = ROOT / "build/vm/kernels"
# What stands between the initramfs and the host's root; everything else is loaded from there.
EARLY_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# Loaded before the command, so that no kernel of its own accord starts /sbin/modprobe in the middle of a test.
MODULES = ("veth", "bridge", "dummy", "sctp", "tcp_diag", "udp_diag", "cls_bpf", "sch_ingress")
# Of the caller's environment, what a test inside must see too.
PASSED_ON = ("TELOVIX_BUILD", "TELOVIX_LONG")
CONSOLE_LIMIT = 8 << 20  # bytes of console that are kept; a guest that prints for ever ends by its time-out
TAIL = 6000  # characters of console in an error


class GuestError(Exception):
    """The guest gave no result; the message carries the end of its console."""

    def __init__(self, why, console_text):
        super().__init__(f"{why}; the end of its console:\n{console_text[-TAIL:]}")
        self.console_text = console_text


class GuestTimeout(GuestError):
    """The guest did not end in time and was killed."""


@dataclasses.dataclass
class Result:
    rc: int  # of the command; above 128: ended by that signal
    console_text: str
    out_folder: pathlib.Path  # what the command left in $TELOVIX_GUEST_OUT; lives as long as this object
    seconds: float  # wall time from the start of qemu to its end
    ready_seconds: float  # from the kernel's start to the command's, by the guest's clock
    _folder: tempfile.TemporaryDirectory = dataclasses.field(repr=False, default=None)


def modules_of(kernel, names):
    """The files that `names` need, in the order of loading."""
    folder = KERNELS / kernel
    release = (folder / "release").read_text().strip()
    found = []
    for name in names:
        shown = subprocess.run(["/sbin/modprobe", "-d", folder, "-S", release, "-D", name], check=True, capture_output=True,
                               text=True).stdout
        for line in shown.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in found:
                found.append(words[1])
    return [pathlib.Path(path) for path in found]


def make_initramfs(kernel, folder):
    """busybox, four modules with what they need, and the first stage of init."""
    tree = folder / "initramfs"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    shutil.copy(HERE / "initramfs-init", tree / "init")
    (tree / "init").chmod(0o755)
    modules = modules_of(kernel, EARLY_MODULES)
    for path in modules:
        shutil.copy(path, tree / "modules")
    (tree / "modules/order").write_text("".join(f"{path.name}\n" for path in modules))
    names = "".join(f"{path.relative_to(tree)}\0" for path in sorted(tree.rglob("*")))
    archive = folder / "initramfs.cpio"
    # Not compressed: emulated, gunzip costs more than the copy.
    with open(archive, "wb") as out:
        subprocess.run(["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"], input=names.encode(),
                       stdout=out, cwd=tree, check=True)
    shutil.rmtree(tree)
    return archive


class Guest:
    """What a machine is made of; each run() boots a new one, any number at the same time.

    kernel     "6.1" or "6.12"
    append     further words of the kernel's command line
    memory     MiB
    cpus       1 is as fast as 2 under emulation; 2 only where a race needs them
    timeout    seconds for boot and command together; then the guest is killed
    hide_btf   /sys/kernel/btf is empty, as on a kernel built without it
    bpffs      False: /sys/fs/bpf is not mounted
    lsm        list for the kernel's lsm=, in its order; None = the kernel's own
    lockdown   "integrity" or "confidentiality"
    modules    loaded before the command
    disks      image files, in order /dev/vda, /dev/vdb, ...; a second run() finds what the first wrote
    link       link.Link: eth0 of the guest, whose other end is in this process
    systemd    a folder of units, as /etc/systemd/system: systemd is PID 1 and starts them beside the command"""

    def __init__(self, kernel="6.1", append=(), memory=512, cpus=1, timeout=180, hide_btf=False, bpffs=True, lsm=None,
                 lockdown=None, modules=MODULES, disks=(), link=None, systemd=None):
        if not (KERNELS / kernel / "package").exists():
            raise RuntimeError(f"no kernel {kernel} below {KERNELS}: test/vm/fetch-kernels")
        if os.geteuid() != 0:
            raise RuntimeError("a guest reads the whole root of this machine: needs root")
        self.kernel, self.memory, self.cpus, self.timeout = kernel, memory, cpus, timeout
        self.disks, self.link, self.systemd = [pathlib.Path(disk) for disk in disks], link, systemd
        modules = [*modules, *(["virtio_blk"] if self.disks else []), *(["virtio_net"] if link else [])]
        self.settings = {"BPFFS": "1" if bpffs else "", "HIDE_BTF": "1" if hide_btf else "",
                         "TREE": str(ROOT), "KERNEL": str(KERNELS / kernel), "MODULES": " ".join(modules), "HOSTNAME": "guest"}
        self.append = ["console=ttyS0", "quiet", "panic=-1", f"telovix.tree={ROOT}",
                       *([f"lsm={','.join(lsm)}"] if lsm is not None else []),
                       *([f"lockdown={lockdown}"] if lockdown else []), *append]

    def command_line(self, folder, initramfs):
        def share(tag, path, options):
            return ["-fsdev", f"local,id={tag},path={path},security_model=none{options}",
                    "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        words = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", str(self.memory), "-smp",
                 str(self.cpus), "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
                 "-serial", "stdio", "-kernel", str(KERNELS / self.kernel / "vmlinux"), "-initrd", str(initramfs),
                 "-append", " ".join(self.append), *share("host", "/", ",readonly=on,multidevs=remap"),
                 *share("share", folder / "share", "")]
        for disk in self.disks:
            words += ["-drive", f"file={disk},format=raw,if=virtio,cache=writeback"]
        if self.link:
            words += self.link.qemu_words()
        # Should this process be killed or stopped, qemu still ends: by its parent's death, or by a bound of its own.
        return ["setpriv", "--pdeathsig", "TERM", "timeout", "--kill-after=5", str(self.timeout + 10), *words]

    def run(self, argv, env=None, cwd=ROOT, echo=None):
        """Boots, runs `argv` in `cwd` as root with `env` beside the guest's own environment, and powers off. The console
        goes to the binary file `echo` too, as it comes. Raises GuestError or GuestTimeout when there is no result."""
        env = {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, **(env or {})}
        if "TELOVIX_HOST_SCOPE" in env:
            raise ValueError("only the guest's own init sets TELOVIX_HOST_SCOPE")
        holder = tempfile.TemporaryDirectory(prefix="telovix-vm-")
        folder = pathlib.Path(holder.name)
        (folder / "share/out").mkdir(parents=True)
        # The command itself may print RESULT=0 and the guest die after it: only this word counts.
        word = f"RESULT-{secrets.token_hex(4)}"
        self.write_share(folder / "share", word, argv, env, cwd)
        started = time.monotonic()
        process = subprocess.Popen(self.command_line(folder, make_initramfs(self.kernel, folder)), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            text, in_time = self.read_console(process, started + self.timeout, echo)
        finally:
            end(process)
        seconds = time.monotonic() - started
        text = text.decode(errors="replace").replace("\r", "")
        found = re.search(rf"^{word}=(\d+)$", text, re.M)
        text = text.replace(word, "RESULT")
        if not in_time:
            raise GuestTimeout(f"guest {self.kernel} did not end within {self.timeout} s", text)
        if not found:
            raise GuestError(f"guest {self.kernel} ended without a RESULT line (qemu: {process.returncode})", text)
        # A very long console has lost its beginning.
        ready = re.search(r"^guest: \S+ ready after ([\d.]+) s$", text, re.M)
        ready_seconds = float(ready.group(1)) if ready else math.nan
        return Result(int(found.group(1)), text, folder / "share/out", seconds, ready_seconds, holder)

    def run_pytest(self, name, *words):
        """Runs the test files `words` inside; its report comes out as build/test-logs/vm-NAME.xml. Returns the number of
        tests that passed. Raises AssertionError when one failed, was skipped, or none ran."""
        report = ROOT / f"build/test-logs/vm-{name}.xml"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        result = self.run(["/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                           "--junitxml=/guest/out/junit.xml", *words])
        inside = result.out_folder / "junit.xml"
        assert inside.exists(), f"pytest in the guest left no report:\n{result.console_text[-TAIL:]}"
        shutil.copy(inside, report)
        suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
        tests, *others = [int(suite.get(word)) for word in ("tests", "failures", "errors", "skipped")]
        assert result.rc == 0 and tests and not any(others), result.console_text
        return tests

    def write_share(self, share, word, argv, env, cwd):
        settings = {**self.settings, "RESULT": word}
        if self.systemd:
            shutil.copytree(self.systemd, share / "systemd", symlinks=True)
        (share / "settings").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()))
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in env.items()]
        lines += [f"cd {shlex.quote(str(cwd))} || exit 127", f"exec {shlex.join(str(word) for word in argv)}"]
        (share / "command").write_text("\n".join(lines) + "\n")

    @staticmethod
    def read_console(process, until, echo):
        """All that qemu prints; (bytes, whether it ended before `until`)."""
        text = bytearray()
        source = process.stdout.fileno()
        while True:
            left = until - time.monotonic()
            if left <= 0 or not select.select([source], [], [], left)[0]:
                return bytes(text), False
            piece = os.read(source, 65536)
            if not piece:
                break
            if echo:
                echo.write(piece.replace(b"\r", b""))
                echo.flush()
            text += piece
            del text[:-CONSOLE_LIMIT]
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return bytes(text), False
        return bytes(text), True


def end(process):
    """No qemu outlives its run: it and `timeout` are one process group of their own."""
    # Not reaped yet, so the group's number is still theirs, even when only qemu is left of it.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def main():
    parser = argparse.ArgumentParser(description="Runs one command in a guest; exits with the command's status, 125 without one.")
    parser.add_argument("--kernel", choices=("6.1", "6.12"), default="6.1")
    parser.add_argument("--lsm", type=lambda text: text.split(","), help="comma-separated list for the kernel's lsm=")
    parser.add_argument("--lockdown", choices=("integrity", "confidentiality"))
    parser.add_argument("--hide-btf", action="store_true", help="no /sys/kernel/btf")
    parser.add_argument("--no-bpffs", action="store_true", help="/sys/fs/bpf is not mounted")
    parser.add_argument("--append", action="append", default=[], help="a further word of the kernel's command line")
    parser.add_argument("--memory", type=int, default=512, help="MiB")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=180, help="seconds for boot and command")
    parser.add_argument("--disk", action="append", default=[], help="image file: /dev/vda, then /dev/vdb, ...")
    parser.add_argument("--module", action="append", default=[], help="loaded beside the usual ones")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", help="copy what the command left in $TELOVIX_GUEST_OUT to this folder")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        guest = Guest(options.kernel, options.append, options.memory, options.cpus, options.timeout, options.hide_btf,
                      not options.no_bpffs, options.lsm, options.lockdown, [*MODULES, *options.module], options.disk)
        result = guest.run(options.command, dict(pair.split("=", 1) for pair in options.env), echo=sys.stdout.buffer)
    except (RuntimeError, GuestError) as error:
        # The console was printed as it came.
        print(f"guest.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 125
    if options.out:
        shutil.copytree(result.out_folder, options.out, dirs_exist_ok=True)
    print(f"guest.py: exit status {result.rc}, command after {result.ready_seconds} s, {result.seconds:.1f} s in all",
          file=sys.stderr)
    return result.rc


if __name__ == "__main__":
    sys.exit(main())
