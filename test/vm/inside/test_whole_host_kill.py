# SPDX-License-Identifier: GPL-2.0-or-later
"""Kill orders with the whole host as scope (spec §5.1): what no scope protects must protect itself."""
import json
import os
import pathlib
import signal
import subprocess

from telovix import wait_for


def kill(fleet, pid, check):
    result = fleet.ctl("-o", "json", "kill", "guest-1", pid, "--wait", check=False)
    assert result.returncode == check, result.stderr + result.stdout
    order = json.loads(result.stdout or result.stderr)
    return order["state"].removeprefix("KILL_STATE_"), order.get("detail", "")


def stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text.rsplit(")", 1)[1].split()


def kernel_threads():
    """(pid, comm) of every process with PF_KTHREAD."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        if int(stat(folder.name)[6]) & 0x00200000:
            yield int(folder.name), (folder / "comm").read_text().strip()


def test_killed_without_a_scope(whole_host):
    assert "--cgroup" not in pathlib.Path(f"/proc/{whole_host.node.pid}/cmdline").read_text().split("\0")
    victim = whole_host.node.victim()
    # The root cgroup: nothing here was put into a scope.
    assert pathlib.Path(f"/proc/{victim.pid}/cgroup").read_text() == "0::/\n"
    assert kill(whole_host, victim.pid, 0) == ("KILLED", "")
    assert victim.wait(5) == -signal.SIGKILL


def test_a_session_of_its_own_is_killed(whole_host):
    victim = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    whole_host.children.append(victim)
    assert kill(whole_host, victim.pid, 0) == ("KILLED", "")
    assert victim.wait(5) == -signal.SIGKILL


def test_pid_1_is_protected(whole_host):
    """Twice: the Console takes no such order, and a sensor that is given one all the same does not act."""
    assert pathlib.Path("/proc/1/comm").read_text().strip() == "busybox"
    refused = whole_host.ctl("kill", "guest-1", 1, check=False)
    assert refused.returncode != 0 and "PIDs start at 2" in refused.stderr, refused.stderr

    victim = whole_host.node.victim()
    whole_host.node.stop()  # the order waits
    order = json.loads(whole_host.ctl("-o", "json", "kill", "guest-1", victim.pid).stdout)["order"]
    whole_host.console.stop()
    whole_host.mint("aim-order", order["orderId"], 1)
    whole_host.start_console()
    whole_host.node = whole_host.restart_sensor(whole_host.node)
    ended = wait_for(lambda: (o := whole_host.ctl_json("kills", "get", order["orderId"])[0]).get("finishedAt") and o,
                     "the order ends")
    assert (ended["pid"], ended["state"], ended["detail"]) == (1, "KILL_STATE_PROTECTED", "pid_1")
    assert victim.poll() is None


def test_kernel_threads_are_protected(whole_host):
    threads = dict(kernel_threads())
    assert threads.get(2) == "kthreadd"
    # kthreadd itself, and one that a signal could end if anything could.
    other = next(pid for pid, name in threads.items() if name.startswith("kworker"))
    for pid in (2, other):
        assert kill(whole_host, pid, 1) == ("PROTECTED", "kernel_thread")
        assert os.path.exists(f"/proc/{pid}")


def test_the_sensor_itself_is_protected(whole_host):
    assert kill(whole_host, whole_host.node.pid, 1)[0] == "PROTECTED"
    assert whole_host.node.running()
