# SPDX-License-Identifier: GPL-2.0-or-later
"""Containment as the host's own root sees and handles it: status, lift, restore."""
import errno
import json
import re
import shutil
import signal
import subprocess
import time

import pytest
import telovix
from telovix import wait_for

# Prints what became of a connection to an address where nobody is.
ASK = """import errno, socket, sys
with socket.socket() as s:
    s.settimeout(1)
    try:
        s.connect(("192.0.2.1", 9))
        print("connected")
    except OSError as e:
        print(errno.errorcode.get(e.errno, "silence"))
"""


def program(sensor, *words, **options):
    """A command of the program beside the running sensor, or without one."""
    argv = [telovix.BUILD / "sensor/telovix-sensor", words[0], "--state", sensor.state, *words[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, **options)


def scoped(sensor, command):
    return program(sensor, command, "--cgroup", sensor.cgroup.path, "--bpffs", sensor.bpffs)


def status(sensor):
    return json.loads(program(sensor, "status", "-o", "json").stdout)


def is_cut(sensor):
    """Whether a process of the scope gets the hook's error."""
    argv = ["sh", "-c", f'echo $$ >"{sensor.cgroup.path}/cgroup.procs" && exec "$@"', "sh", "/usr/bin/python3", "-c", ASK]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.strip() == "EPERM"


@pytest.fixture
def contained(running):
    result = running.ctl("contain", "web-1", "--wait", "--accept-partial", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stdout + result.stderr
    return running


def test_status_shows_containment_coverage_and_proof(contained):
    sensor = contained.node
    assert is_cut(sensor)
    found = status(sensor)
    containment = found["containment"]
    assert containment["wanted"] and containment["inForce"] and containment["provedAt"]
    assert containment["proofLacks"] == "" and containment["hazards"] == []
    attached = {layer["name"]: layer["attached"] for layer in containment["layers"]}
    assert attached == {"cgroup_skb": True, "connect": True, "tc": False, "setsockopt": True, "own_marks": True}
    (rule,) = found["rules"]
    assert rule["state"] == "partial"
    assert {gap["gap"] for gap in rule["gaps"]} == {"trial_scope", "packet_socket"}
    table = program(sensor, "status").stdout
    assert re.search(r"^containment +in force$", table, re.M) and "does not stop (packet_socket)" in table, table


def test_the_proof_is_no_event_and_a_denial_is_one(contained):
    sensor = contained.node
    assert is_cut(sensor)

    def events():
        return [e for e in contained.ctl_json("events", "list", "--sensor", "web-1") if "NETWORK" in e["type"]]

    wait_for(events, "the denial is told")
    assert {event["path"] for event in events()} == {"192.0.2.1:9"}
    assert status(sensor)["containment"]["denied"] >= 1


def test_lift_tells_the_console_and_takes_everything_down(contained):
    sensor = contained.node
    result = scoped(sensor, "lift")
    assert result.returncode == 0 and "the Console knows" in result.stdout, result.stdout + result.stderr
    assert not is_cut(sensor)
    assert status(sensor)["lifted"] is True
    assert [(rule["state"], rule["reason"]) for rule in status(sensor)["rules"]] == [("failed", "lifted")]
    assert contained.sensor("web-1")["healthState"] == "HEALTH_STATE_CRITICAL"
    # Neither a restart nor a restore brings it back: only a new desired state.
    sensor.stop()
    assert scoped(sensor, "restore").returncode == 0
    assert not is_cut(sensor)
    sensor = contained.restart_sensor(sensor)
    wait_for(lambda: [rule["reason"] for rule in status(sensor)["rules"]] == ["lifted"], "it is still lifted")
    assert not is_cut(sensor)
    contained.ctl("allow", "web-1", "set", "out:198.51.100.0/24", "--reason", "again")
    wait_for(lambda: is_cut(sensor), "the new desired state is in force")
    wait_for(lambda: status(sensor)["lifted"] is False, "it is armed again")


def test_lift_without_a_sensor_is_told_later(contained):
    sensor = contained.node
    sensor.kill9()
    assert is_cut(sensor), "it holds without a sensor"
    result = scoped(sensor, "lift")
    assert result.returncode == 0 and "no sensor runs" in result.stdout, result.stdout + result.stderr
    assert not is_cut(sensor)
    contained.restart_sensor(sensor)

    def told():
        return [e for e in contained.ctl_json("events", "list", "--sensor", "web-1") if "LIFTED" in e["type"]]

    wait_for(told, "the Console hears of it")
    assert "uid 0" in told()[0]["detail"]


def empty(bpffs):
    """As a boot leaves it."""
    shutil.rmtree(bpffs / "telovix")


def test_restore_puts_it_in_force_without_console_and_sensor(contained):
    sensor = contained.node
    sensor.stop()
    contained.console.stop()
    empty(sensor.bpffs)
    assert not is_cut(sensor), "as after a boot"
    result = scoped(sensor, "restore")
    assert result.returncode == 0, result.stderr
    assert is_cut(sensor)
    assert "will prove it" in result.stderr


def test_restore_fails_when_it_cannot_hold(contained, tmp_path):
    sensor = contained.node
    sensor.stop()
    argv = ("--cgroup", sensor.cgroup.path, "--bpffs", tmp_path)
    result = program(sensor, "restore", *argv)
    assert result.returncode == 1 and "the containment is not in force" in result.stderr, result.stderr


def test_restore_goes_without_when_the_rule_says_so(running, tmp_path):
    result = running.ctl("contain", "web-1", "--on-lost-console", "release", "--wait", "--accept-partial", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    sensor = running.node
    sensor.stop()
    argv = ("--cgroup", sensor.cgroup.path, "--bpffs", tmp_path)
    result = program(sensor, "restore", *argv)
    assert result.returncode == 0 and "the network comes up" in result.stderr, result.stderr


def test_restore_with_nothing_wanted(running):
    running.node.stop()
    result = scoped(running.node, "restore")
    assert result.returncode == 0, result.stderr


def test_a_hazard_refuses_it_also_at_boot(fleet):
    fleet.start_console()
    sensor = fleet.start_sensor("web-1", env={"TELOVIX_TEST_HAZARDS": "network_root"})
    wait_for(lambda: status(sensor)["containment"]["hazards"], "the hazard is seen")
    # Without force the Console refuses already, once it knows.
    wait_for(lambda: fleet.sensor("web-1").get("hazards") == ["network_root"], "the Console knows")
    result = fleet.ctl("contain", "web-1", check=False)
    assert result.returncode == 1 and "network_root" in result.stderr, result.stdout + result.stderr
    sensor.stop()
    assert scoped(sensor, "restore").returncode == 0
    assert not is_cut(sensor)


def test_a_hazard_that_went_is_no_lost_console(fleet):
    """What refused it is gone at the next start: then it is put up, and not taken for one that released itself."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    result = fleet.ctl("contain", "web-1", check=False)
    assert result.returncode == 0, result.stderr
    hazardous = {"TELOVIX_TEST_HAZARDS": "network_root"}
    sensor = fleet.start_sensor("web-1", sensor.state, sensor.cgroup, bpffs=sensor.bpffs, env=hazardous)
    wait_for(lambda: [rule["reason"] for rule in status(sensor)["rules"]] == ["hazard"], "the hazard refuses it")
    wait_for((sensor.state / "released").exists, "and that is kept for a boot")
    assert not is_cut(sensor)
    sensor.stop()
    sensor = fleet.restart_sensor(sensor)
    wait_for(lambda: [rule["state"] for rule in status(sensor)["rules"]] not in ([], ["pending"]), "it was tried")
    (rule,) = status(sensor)["rules"]
    if rule["reason"] == "no_enforcement":
        pytest.skip(rule["step"])
    assert rule["state"] == "partial", rule
    assert is_cut(sensor)


def test_what_is_out_of_force_comes_back_by_another_contain(fleet):
    """The order is there already, and its host is open: first by a hazard that it found, then by its root."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    assert fleet.ctl("contain", "web-1").returncode == 0
    sensor = fleet.start_sensor("web-1", sensor.state, sensor.cgroup, bpffs=sensor.bpffs,
                                env={"TELOVIX_TEST_HAZARDS": "network_root"})
    wait_for(lambda: fleet.sensor("web-1").get("containmentReason") == "hazard", "the Console knows")
    forced = ("contain", "web-1", "--force", "--wait", "--accept-partial", "--timeout", "30s")
    result = fleet.ctl(*forced, check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0 and "already" not in result.stdout, result.stdout + result.stderr
    assert is_cut(sensor)
    assert scoped(sensor, "lift").returncode == 0 and not is_cut(sensor)
    wait_for(lambda: fleet.sensor("web-1").get("containmentReason") == "enforcement_lifted", "the Console knows")
    result = fleet.ctl(*forced, check=False)
    assert result.returncode == 0 and "already" not in result.stdout, result.stdout + result.stderr
    assert is_cut(sensor) and status(sensor)["lifted"] is False


def test_restore_fails_when_what_is_wanted_was_damaged(contained):
    sensor = contained.node
    sensor.stop()
    contained.console.stop()
    empty(sensor.bpffs)
    wanted = sensor.state / "desired"
    wanted.write_bytes(wanted.read_bytes()[:-3])
    for _ in range(2):  # it is put aside by the first
        result = scoped(sensor, "restore")
        assert result.returncode == 1 and "damaged" in result.stderr, result.stderr
    # The Console tells it again, and a boot is as it was.
    contained.start_console()
    sensor = contained.restart_sensor(sensor)
    wait_for(lambda: is_cut(sensor), "the Console's word is in force")
    wait_for(wanted.exists, "and on disk")
    sensor.stop()
    empty(sensor.bpffs)
    result = scoped(sensor, "restore")
    assert result.returncode == 0 and is_cut(sensor), result.stderr


def move_state(fleet, sensor, options):
    """The state folder of a sensor that does not run, on a small file system of its own."""
    small = fleet.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0700,{options}", "tmpfs", small], check=True)
    fleet.mounts.append(small)
    return shutil.copytree(sensor.state, small / "state", ignore=shutil.ignore_patterns("control.sock"))


def test_a_console_that_asks_seldom_is_not_a_lost_one(fleet):
    """A quiet host with nothing to tell: its Console wants a word every 100 s, and is there all the time. No canary can be
    executed, so that no verification is news."""
    config = fleet.folder / "seldom.ini"
    config.write_text("[console]\nstale_after = 5m\nheartbeat_interval = 100s\n")
    fleet.start_console(extra=["--config", config])
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    sensor = fleet.start_sensor("web-1", move_state(fleet, sensor, "noexec"), sensor.cgroup, bpffs=sensor.bpffs)
    result = fleet.ctl("contain", "web-1", "--on-lost-console", "release", "--wait", "--accept-partial", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stdout + result.stderr
    started, seen = time.monotonic(), set()

    def is_over():
        found = status(sensor)
        assert found["uplink"] == "connected" and found["containment"]["inForce"], found
        seen.add(found["lastHeartbeatAt"])
        return time.monotonic() - started > 72
    wait_for(is_over, "a minute and two verifications", 90)
    assert 3 <= len(seen) <= 8, seen  # each 20 s, and what the beginning had to tell
    assert not status(sensor)["containment"]["releasedByItself"] and fleet.sensor("web-1")["containmentState"].endswith("_PARTIAL")


def test_a_full_disk_makes_it_partial_until_it_is_written(fleet):
    """What a boot would not find is a gap, and not for longer than the disk takes no writes."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    state = move_state(fleet, sensor, "exec")
    sensor = fleet.start_sensor("web-1", state, sensor.cgroup, bpffs=sensor.bpffs)
    wait_for(lambda: status(sensor)["engine"]["state"] != "starting", "it has looked at its host")
    filler, before = state / "filler", (state / "desired").read_bytes()

    def fill():
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def gaps():
        return {gap["gap"] for rule in status(sensor)["rules"] for gap in rule["gaps"]}

    fill()
    result = fleet.ctl("contain", "web-1", "--wait", "--accept-partial", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0 and is_cut(sensor), result.stdout + result.stderr
    assert "not_saved" in gaps() and (state / "desired").read_bytes() == before
    seen = fleet.sensor("web-1")
    assert seen["containmentState"] == "CONTAINMENT_STATE_PARTIAL", seen
    assert "not_saved" in {gap["gap"] for gap in seen["containmentGaps"]}, seen
    filler.unlink()
    wait_for(lambda: "not_saved" not in gaps(), "there is room: it is written by itself, and the gap is gone")
    wait_for(lambda: "not_saved" not in {gap["gap"] for gap in fleet.sensor("web-1")["containmentGaps"]}, "the Console knows")
    sensor.stop()
    empty(sensor.bpffs)
    result = scoped(sensor, "restore")
    assert result.returncode == 0 and is_cut(sensor), result.stderr


def test_a_revoked_sensor_does_not_release_itself(running):
    """Its Console is there and refuses it: no restart forgets that, and no absence of the Console after it."""
    result = running.ctl("contain", "web-1", "--on-lost-console", "release", "--wait", "--accept-partial", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    sensor = running.node
    running.console.stop()
    running.mint("revoke-sensor", sensor.sensor_id)
    running.start_console()
    sensor.process.send_signal(signal.SIGHUP)
    wait_for(lambda: status(sensor)["uplink"] == "refused", "it is refused")
    sensor.kill9()
    running.console.stop()
    sensor = running.restart_sensor(sensor, wait=False)
    started = time.monotonic()
    wait_for(lambda: time.monotonic() - started > 66, "a minute and the reserve", 90)
    assert is_cut(sensor)
    found = status(sensor)
    assert found["containment"]["inForce"] and not found["containment"]["releasedByItself"], found["containment"]
    running.start_console()
    sensor.process.send_signal(signal.SIGHUP)
    wait_for(lambda: status(sensor)["uplink"] == "refused", "it is refused again")
    assert is_cut(sensor)
