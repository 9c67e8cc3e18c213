# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests themselves, then what needs a machine of its own (inside/)."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest

import guest
import telovix
from guest import Guest, GuestError, GuestTimeout
from link import Link

KERNELS = ("6.1", "6.12")
# Printed by a Python of the host's inside the guest, into the folder that comes out.
FACTS = """
import json, os, pathlib
def text(path):
    return pathlib.Path(path).read_text().strip() if os.path.exists(path) else None
json.dump({"release": os.uname().release, "hostname": os.uname().nodename, "cwd": os.getcwd(),
           "scope": os.environ.get("TELOVIX_HOST_SCOPE"), "word": os.environ.get("WORD"),
           "lsm": text("/sys/kernel/security/lsm"), "lockdown": text("/sys/kernel/security/lockdown"),
           "btf": os.path.exists("/sys/kernel/btf/vmlinux"), "pid_1": os.readlink("/proc/1/exe"),
           "mounts": {line.split()[1]: line.split()[2] for line in open("/proc/mounts")},
           "cgroup": text("/proc/self/cgroup"), "cgroup_root": os.stat("/sys/fs/cgroup").st_ino,
           "modules": [line.split()[0] for line in open("/proc/modules")]},
          open(os.environ["TELOVIX_GUEST_OUT"] + "/facts.json", "w"))
raise SystemExit(7)
"""


def facts_of(machine, env=None):
    result = machine.run(["/usr/bin/python3", "-c", FACTS], env=env)
    assert result.rc == 7, result.console_text
    return {**json.loads((result.out_folder / "facts.json").read_text()), "result": result}


@pytest.fixture(scope="module")
def facts():
    """Of both kernels, started at the same time: they must not be in each other's way."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started = {kernel: pool.submit(facts_of, Guest(kernel), {"WORD": f"it's {kernel}"}) for kernel in KERNELS}
        return {kernel: future.result() for kernel, future in started.items()}


def qemu_of(folder):
    """Process ids of the qemu that uses this folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"qemu-system" in words and str(folder).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_runs_the_kernel_asked_for(facts, kernel):
    # "6.1.0-56-amd64" is 6.1; "6.12..." is not.
    assert facts[kernel]["release"].split(".")[:2] == kernel.split(".")
    assert facts[kernel]["release"] == (guest.KERNELS / kernel / "release").read_text().strip()
    assert facts[kernel]["result"].rc == 7
    assert facts[kernel]["word"] == f"it's {kernel}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_is_a_whole_machine(facts, kernel):
    found = facts[kernel]
    assert found["scope"] == "1" and "TELOVIX_HOST_SCOPE" not in os.environ
    assert found["hostname"] == "guest" and found["cwd"] == str(guest.ROOT) and found["pid_1"] == "/usr/bin/busybox"
    kinds = {"/": "overlay", "/guest": "9p", "/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/sys/fs/cgroup": "cgroup2",
             "/sys/fs/bpf": "bpf", "/sys/kernel/security": "securityfs", "/sys/kernel/tracing": "tracefs", "/tmp": "tmpfs",
             "/run": "tmpfs"}
    assert {path: found["mounts"].get(path) for path in kinds} == kinds
    # The real root of the one hierarchy.
    assert (found["cgroup"], found["cgroup_root"]) == ("0::/", 1) and "cgroup" not in found["mounts"].values()
    assert found["btf"] and "bpf" in found["lsm"].split(",") and "[none]" in found["lockdown"]
    assert set(guest.MODULES) <= set(found["modules"])


def test_every_wish_at_once():
    """What a kernel or host may lack, without being in each other's way."""
    found = facts_of(Guest("6.12", lsm=["lockdown", "capability", "yama"], lockdown="confidentiality", hide_btf=True,
                           bpffs=False, append=["nosmt"], modules=["btrfs"]))
    # 6.12 adds ima and evm to any list.
    assert found["lsm"].split(",")[:3] == ["lockdown", "capability", "yama"] and "bpf" not in found["lsm"]
    assert "[confidentiality]" in found["lockdown"]
    assert not found["btf"] and "/sys/fs/bpf" not in found["mounts"]
    assert "btrfs" in found["modules"] and "veth" not in found["modules"]


def test_the_host_is_read_only():
    # Not below /tmp, which is a fresh tmpfs inside.
    with tempfile.TemporaryDirectory(dir=guest.KERNELS.parent) as folder:
        mark = pathlib.Path(folder) / "mark"
        mark.write_text("host\n")
        result = Guest().run(["sh", "-c", f"cat {mark}; echo guest >{mark}; cat {mark}; echo made >{folder}/new"])
        assert result.rc == 0 and "host\nguest\n" in result.console_text, result.console_text
        assert mark.read_text() == "host\n" and os.listdir(folder) == ["mark"]


def test_a_timeout_is_told_and_nothing_stays(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(GuestTimeout, match="did not end within 5 s; the end of its console"):
        Guest(timeout=5).run(["sleep", "1000"])
    telovix.wait_for(lambda: not qemu_of(tmp_path), "qemu is gone")
    assert not list(tmp_path.iterdir())


def test_a_killed_harness_leaves_no_qemu(tmp_path):
    code = "import guest; guest.Guest().run(['sleep', '1000'])"
    harness = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)},
                               cwd=pathlib.Path(guest.__file__).parent)
    try:
        telovix.wait_for(lambda: qemu_of(tmp_path), "qemu runs")
    finally:
        harness.kill()
        harness.wait()
    telovix.wait_for(lambda: not qemu_of(tmp_path), "qemu is gone")


def test_a_crash_is_no_result():
    """Whatever the command printed before."""
    with pytest.raises(GuestError, match=r"without a RESULT line(.|\n)*last words(.|\n)*sysrq") as caught:
        Guest().run(["sh", "-c", "echo last words; echo RESULT=0; echo c >/proc/sysrq-trigger"])
    assert not isinstance(caught.value, GuestTimeout)


def test_a_missing_module_is_no_result():
    with pytest.raises(GuestError, match=r"no module no_such_thing"):
        Guest(modules=["no_such_thing"]).run(["true"])


def test_only_the_guest_sets_the_scope():
    with pytest.raises(ValueError):
        Guest().run(["true"], env={"TELOVIX_HOST_SCOPE": "1"})
    # And the harness starts no sensor without a scope here.
    with pytest.raises(RuntimeError, match="only in a guest"):
        telovix.Fleet.start_sensor(None, "host", whole_host=True)
    refused = subprocess.run([sys.executable, "-m", "pytest", "-q", pathlib.Path(__file__).parent / "inside"],
                             capture_output=True, text=True)
    assert refused.returncode != 0 and "passed" not in refused.stdout, refused.stdout


def test_a_disk_survives_a_reboot(tmp_path):
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    machine = Guest(disks=[disk])
    first = machine.run(["sh", "-ec", "mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt;"
                         "cat /proc/sys/kernel/random/boot_id >/mnt/boot"])
    assert first.rc == 0, first.console_text
    second = machine.run(["sh", "-ec", "mount /dev/vda /mnt; cp /mnt/boot $TELOVIX_GUEST_OUT/first;"
                          "cat /proc/sys/kernel/random/boot_id >$TELOVIX_GUEST_OUT/second"])
    assert second.rc == 0, second.console_text
    boots = {(second.out_folder / name).read_text() for name in ("first", "second")}
    assert len(boots) == 2 and all(len(boot) == 37 for boot in boots)


def test_a_peer_outside_the_guest(tmp_path):
    """Real sockets at the other end, and each packet that leaves is seen from outside."""
    with Link() as link:
        link.peer("10.99.0.1/24", "fd99::1/64")
        # A server in the peer's namespace: the guest's own words come back.
        (tmp_path / "page").write_text("from the peer\n")
        server = subprocess.Popen(["ip", "netns", "exec", link.netns, sys.executable, "-m", "http.server", "--bind", "::", "80"],
                                  cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            result = Guest(link=link).run(["sh", "-ec", """
                ip address add 10.99.0.2/24 dev eth0; ip address add fd99::2/64 dev eth0 nodad; ip link set eth0 up
                /usr/bin/python3 -c '
import urllib.request
for host in ("10.99.0.1", "[fd99::1]"):
    print(urllib.request.urlopen(f"http://{host}/page", timeout=20).read().decode())'"""])
        finally:
            server.terminate()
            server.wait()
        assert result.rc == 0 and result.console_text.count("from the peer") == 2, result.console_text
        kinds = {struct.unpack("!H", frame[12:14])[0] for _, frame in link.sent}
        assert {0x0800, 0x0806, 0x86DD} <= kinds and link.n_unseen == 0
        # To the peer's port 80 over IPv4, SYN first.
        syn = next(frame for _, frame in link.sent if frame[12:14] == b"\x08\x00" and frame[23] == 6)
        assert syn[30:34] == bytes([10, 99, 0, 1]) and struct.unpack("!H", syn[36:38])[0] == 80 and syn[47] & 0x3F == 2


def test_kernels_without_a_network(tmp_path):
    """The script in another tree, and a network that refuses."""
    script = tmp_path / "test/vm/fetch-kernels"
    script.parent.mkdir(parents=True)
    shutil.copy(pathlib.Path(guest.__file__).parent / "fetch-kernels", script)
    (tmp_path / "apt.conf").write_text('Acquire::Retries "0";\n')
    result = subprocess.run([script], capture_output=True, text=True, timeout=120, env={
        **os.environ, "APT_CONFIG": str(tmp_path / "apt.conf"), "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9"})
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("fetch-kernels: "), result.stderr
    assert "network" in result.stderr.splitlines()[-1]
    assert not list(tmp_path.rglob("vmlinux"))


def test_kernels_are_fetched_once():
    files = [guest.KERNELS / kernel / "vmlinux" for kernel in KERNELS]
    before = [path.stat() for path in files]
    subprocess.run([pathlib.Path(guest.__file__).parent / "fetch-kernels"], check=True)
    assert [path.stat() for path in files] == before


@pytest.fixture(scope="module")
def inside():
    """Both kernels at the same time; an exception stands for its kernel."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started = {kernel: pool.submit(Guest(kernel, timeout=300).run_pytest, f"inside-{kernel}", "test/vm/inside")
                   for kernel in KERNELS}
    return started


@pytest.mark.parametrize("kernel", KERNELS)
def test_inside(inside, kernel):
    """The tests of inside/, on a machine that is theirs; their own report is build/test-logs/vm-inside-KERNEL.xml."""
    assert inside[kernel].result() >= 5
