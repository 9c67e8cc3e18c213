# SPDX-License-Identifier: GPL-2.0-or-later
"""A host whose sensor is revoked or deleted keeps what it enforces (spec §4, §5.5): a real sensor in a test cgroup, with a blocked
binary and a containment in force."""
import re
import shutil
import signal
import subprocess

import pytest

from telovix import wait_for
from test_contain_host import is_cut, scoped, status

REFUSED = r"error uplink .*the Console refuses this sensor, which keeps what it enforces"


def run_blocked(sensor, path):
    """Exit status of the blocked binary, run inside the scope."""
    return subprocess.run([path], preexec_fn=sensor.cgroup.join, timeout=30, stdin=subprocess.DEVNULL).returncode


def is_stopped(sensor, path):
    try:
        return run_blocked(sensor, path) == -signal.SIGKILL
    except PermissionError:
        return True


@pytest.fixture
def guarded(running, tmp_path):
    """Blocked and contained, both seen with our own eyes."""
    running.blocked = tmp_path / "tool"
    shutil.copy("/bin/true", running.blocked)
    for words in (("block", "web-1", running.blocked, "--wait"), ("contain", "web-1", "--wait", "--accept-partial")):
        result = running.ctl(*words, check=False)
        if result.returncode and "no_enforcement" in result.stdout + result.stderr:
            pytest.skip(result.stderr)
        assert result.returncode == 0, result.stdout + result.stderr
    assert holds(running)
    return running


def holds(fleet):
    return is_cut(fleet.node) and is_stopped(fleet.node, fleet.blocked)


def told_401(fleet):
    """The sensor says so once, and goes on."""
    fleet.node.wait_output(REFUSED)
    wait_for(lambda: status(fleet.node)["uplink"] == "refused", "its own status says it")
    assert fleet.node.running() and len(re.findall(REFUSED, fleet.node.output())) == 1


def still_holds(fleet):
    """Now, after the sensor's restart, and without it; only the host's own root takes it down."""
    assert holds(fleet)
    fleet.node.stop()
    assert holds(fleet), "it holds without a sensor"
    fleet.node = fleet.restart_sensor(fleet.node, wait=False)
    told_401(fleet)
    assert holds(fleet)
    result = scoped(fleet.node, "lift")
    assert result.returncode == 0, result.stdout + result.stderr
    assert not is_cut(fleet.node) and run_blocked(fleet.node, fleet.blocked) == 0


def test_a_revoked_host_keeps_what_it_enforces(guarded):
    guarded.ctl("revoke", "web-1", "--yes")
    told_401(guarded)
    still_holds(guarded)


def test_a_deleted_host_keeps_what_it_enforces(guarded):
    result = guarded.ctl("delete", "web-1", "--yes", check=False)
    assert result.returncode == 1 and "not_released" in result.stderr
    assert guarded.node.running() and holds(guarded)
    guarded.ctl("delete", "web-1", "--yes", "--force")
    told_401(guarded)
    still_holds(guarded)


def test_contain_first_leaves_no_moment_open(running):
    result = running.ctl("revoke", "web-1", "--contain-first", "--accept-partial", "--yes", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stdout + result.stderr
    assert is_cut(running.node)
    running.node.wait_output(REFUSED)
    assert is_cut(running.node)
