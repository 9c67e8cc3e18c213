# SPDX-License-Identifier: GPL-2.0-or-later
"""Re-enrollment as the host's root does it (spec §2.2): the script, a sensor that is revoked, and rules and containment that are in
force all the time."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import pytest

import telovix
from telovix import BUILD, ROOT, SANITIZERS, wait_for
from test_contain_host import contained  # noqa: F401 -- a fixture
from test_trust import Identity, Relay, actions, denied, revoke, token, verify

SCRIPT = ROOT / "packaging/telovix-sensor-reenroll"

# Tries to get out, again and again, and says what became of each way when that changes.
LEAK = """import errno, socket, sys
last = None
while True:
    said = []
    with socket.socket() as s:
        s.setblocking(False)
        said.append(errno.errorcode.get(s.connect_ex(("192.0.2.1", 9)), "0"))
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        try:
            s.sendto(b"x", ("192.0.2.1", 9))
            said.append("0")
        except OSError as e:
            said.append(errno.errorcode.get(e.errno, str(e.errno)))
    if said != last:
        print(*said, flush=True)
        last = said
"""


class Started:
    """Whatever sensor runs with that state folder: the script starts nobody's child. The fleet ends it with the others."""

    def __init__(self, sensor):
        self.state, self.name, self.argv = pathlib.Path(sensor.state), f"started-{sensor.node}", ["", "by the script"]

    def status(self):
        result = subprocess.run([BUILD / "sensor/telovix-sensor", "status", "--state", self.state, "-o", "json"],
                                capture_output=True, text=True, env={**os.environ, **SANITIZERS}, timeout=30)
        return json.loads(result.stdout)

    def output(self):
        log = self.state / "sensor.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def stop(self):
        pid = self.status().get("pid")
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), "it stops")
        assert not telovix.SANITIZER_WORDS.search(self.output()), self.output()


def reenroll(sensor, made, *words, env=None, preexec=None, command=None):
    """Runs the command that the token was shown with, as it stands but for the places of this test. Returns what it said, and
    the sensor that runs then."""
    argv = (command or made["enrollCommand"]).split()
    assert argv[0] == "telovix-sensor-reenroll", argv
    started = Started(sensor)
    sensor.fleet.daemons.append(started)
    result = subprocess.run([SCRIPT, *argv[1:], "--state", sensor.state, "--bpffs", sensor.bpffs, *words], capture_output=True,
                            text=True, timeout=120, preexec_fn=preexec, stdin=subprocess.DEVNULL,
                            env={**os.environ, **SANITIZERS, "TELOVIX_SENSOR": str(BUILD / "sensor/telovix-sensor"), **(env or {})})
    wait_for(lambda: started.status().get("pid"), "a sensor runs, whatever became of it")
    return result, started


@contextlib.contextmanager
def leaks(sensor):
    """Tries to get out of the scope as long as the block runs; yields what was seen."""
    process = subprocess.Popen(["/usr/bin/python3", "-c", LEAK], preexec_fn=sensor.cgroup.join, stdout=subprocess.PIPE, text=True)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(line.strip() for line in process.stdout))
    reader.start()
    try:
        wait_for(lambda: seen, "it tries")
        yield seen
    finally:
        process.kill()
        process.wait()
        reader.join()


@contextlib.contextmanager
def executions(sensor, program):
    """Executes it again and again in the scope; yields how each ended."""
    stop, ended = threading.Event(), []

    def run():
        while not stop.is_set():
            ended.append(sensor.victim_now([str(program)]).wait())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def blocked(contained):  # noqa: F811
    """Contained, and a program that may not run; both in force."""
    fleet = contained
    fleet.program = fleet.folder / "blocked"
    fleet.program.write_bytes(pathlib.Path("/usr/bin/true").read_bytes())
    fleet.program.chmod(0o755)
    fleet.ctl("block", "web-1", fleet.program, "--wait")
    return fleet


def rules(fleet):
    return {r["ruleId"]: (r["name"], r["desiredMode"]) for r in fleet.ctl_json("rules", "list", "--sensor", "web-1")}


def test_a_revoked_sensor_comes_back_without_a_moment_of_leak(blocked):
    fleet, sensor = blocked, blocked.node
    old = Identity.of(fleet, sensor)
    before, had, desired = fleet.sensor("web-1"), rules(fleet), (sensor.state / "desired").read_bytes()
    revoke(fleet, sensor)
    wait_for(lambda: sensor.status()["uplink"] == "refused", "the sensor is refused")
    denied("invalid_sensor_trust", old.beat)
    made = token(fleet, "--reenroll", "web-1", "--reason", "the disk was imaged")
    assert made["record"]["kind"] == "TOKEN_KIND_REENROLLMENT" and made["record"]["sensorId"] == sensor.sensor_id
    assert made["record"]["nodeName"] == "web-1" and made["caCertHash"].startswith("sha256:")
    with leaks(sensor) as seen, executions(sensor, fleet.program) as ended:
        n = len(ended)
        # In the scope itself: its own way to the Console is let through.
        result, started = reenroll(sensor, made, preexec=sensor.cgroup.join)
        assert result.returncode == 0, result.stderr + result.stdout
        wait_for(lambda: len(ended) > n + 20, "many tries")
        fleet.wait_seen(sensor.sensor_id)
        wait_for(lambda: fleet.sensor("web-1")["containmentState"] == "CONTAINMENT_STATE_PARTIAL", "it is proved again")
    assert set(seen) == {"EPERM EPERM"}, seen
    assert set(ended) == {-signal.SIGKILL}, "the program never ran"
    assert "the sensor runs and is connected" in result.stderr and "enrolled again: " + sensor.sensor_id in result.stdout
    found = fleet.sensor("web-1")
    assert (found["sensorId"], found["labels"], found["enrolledAt"]) == (before["sensorId"], before["labels"], before["enrolledAt"])
    assert found["trustState"] == "TRUST_STATE_ROTATED" and found["trustHealth"] == "TRUST_HEALTH_HEALTHY"
    assert found["isContained"] and found["desired"] == before["desired"] and rules(fleet) == had
    assert (sensor.state / "desired").read_bytes() == desired
    (record,) = actions(fleet, "sensor_reenrolled", "--sensor", sensor.sensor_id)
    assert record[0] and record[1]["token_id"] == made["record"]["tokenId"]
    denied("invalid_sensor_trust", old.beat)
    # Once more with the same token: refused, and the sensor goes on.
    result, started = reenroll(sensor, made)
    assert result.returncode == 1 and "token_used" in result.stderr and "nothing was replaced" in result.stderr, result.stderr
    wait_for(lambda: started.status().get("uplink") == "connected", "it goes on")
    started.stop()
    fleet.console.stop()
    verify(fleet)


def test_a_good_sensor_gets_a_new_identity(running):
    fleet, sensor = running, running.node
    old = Identity.of(fleet, sensor)
    made = token(fleet, "--reenroll", sensor.sensor_id)
    result, _ = reenroll(sensor, made)
    assert result.returncode == 0, result.stderr
    fleet.wait_seen(sensor.sensor_id)
    # A copy of the former one is told, and from now on it is the sign of one.
    denied("certificate_superseded", old.beat)
    wait_for(lambda: fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_DEGRADED", "it is suspected")
    made = token(fleet, "--reenroll", "web-1")
    assert reenroll(sensor, made)[0].returncode == 0
    fleet.wait_seen(sensor.sensor_id)
    assert fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_HEALTHY", "another enrollment ends the suspicion"


def test_who_may_bring_back_a_revoked_sensor(running):
    fleet, sensor = running, running.node
    fleet.console.stop()
    olga = fleet.operator("olga", "operator")
    fleet.start_console()
    assert token(fleet, "--reenroll", "web-1", profile=olga)["token"]
    revoke(fleet, sensor)
    result = fleet.ctl("token", "create", "--reenroll", "web-1", profile=olga, check=False)
    assert result.returncode == 1 and "role_too_low" in result.stderr and "revoked sensor" in result.stderr, result.stderr
    assert [ok for ok, d in actions(fleet, "enrollment_token_created")][-1] is False


def test_of_another_node(running):
    fleet, sensor = running, running.node
    _, other = fleet.enroll("web-2")
    made = token(fleet, "--reenroll", "web-2")
    result, started = reenroll(sensor, made)
    assert result.returncode == 1 and "token_wrong_" in result.stderr, result.stderr
    wait_for(lambda: started.status().get("uplink") == "connected", "it goes on as it was")
    # A new disk: nothing is known of the sensor, but the name of the node.
    empty = fleet.folder / "empty"
    result, _ = fleet.enroll("web-2", made, state=empty)
    assert re.search(r"enrolled: sensor_", result.stdout)
    assert (empty / "sensor.ini").read_text().count(fleet.sensor("web-2")["sensorId"]) == 1


def test_the_script_says_what_is_wrong(running, tmp_path):
    sensor = running.node
    good = ["--console", "127.0.0.1:1", "--ca-cert-hash", "sha256:" + "0" * 64, "--token", "tse_x"]

    def run(*words, env=None, user=None):
        argv = [SCRIPT, *words]
        if user:
            argv = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *argv]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd="/",
                              env={**os.environ, **SANITIZERS, "TELOVIX_SENSOR": str(BUILD / "sensor/telovix-sensor"), **(env or {})})
    for words, status, part in [
            (["--help"], 0, ""), ([], 2, "--console is missing"), (good[:4], 2, "--token is missing"),
            (["--console"], 2, "needs a value"), (["hello"], 2, "unknown"), ([*good, "--stat=x"], 2, "--stat: unknown"),
            ([*good, "--state", "/nowhere/at/all"], 1, "no such folder")]:
        result = run(*words)
        assert result.returncode == status and part in result.stderr, (words, result)
    assert "Exit status" in run("--help").stdout
    script = tmp_path / "script"
    script.write_bytes(SCRIPT.read_bytes())
    result = run(*good, "--state", sensor.state, env={"TELOVIX_SENSOR": "/nowhere/telovix-sensor"})
    assert result.returncode == 1 and "is not installed" in result.stderr, result
    os.chmod(tmp_path, 0o755)
    result = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-s", "--", *good],
                            input=SCRIPT.read_text(), capture_output=True, text=True, timeout=60, cwd="/")
    assert result.returncode == 1 and "run it as root" in result.stderr, result
    # No Console there, and where one answered before it is not that of the hash: the sensor is started again as it was.
    result, started = reenroll(sensor, None, command="telovix-sensor-reenroll " + " ".join(good))
    assert result.returncode == 1 and "nothing was sent" in result.stderr and "started again as it was" in result.stderr, result
    wait_for(lambda: started.status().get("uplink") == "connected", "it goes on")


def test_a_lost_answer_may_have_replaced_the_identity(running):
    """And then the former one is refused: the same command again brings the sensor back."""
    fleet, sensor = running, running.node
    made = token(fleet, "--reenroll", "web-1")
    relay = Relay(fleet.console.address)
    result, started = reenroll(sensor, made, "--console", relay.address)
    relay.close()
    assert result.returncode == 3 and "may have been replaced" in result.stderr, (result, relay.swallowed)
    assert "run the same command again" in result.stderr and "nothing was replaced" not in result.stderr, result
    assert all(ok for ok, _ in actions(fleet, "sensor_reenrolled")) and actions(fleet, "sensor_reenrolled"), "it was replaced"
    result, started = reenroll(sensor, made)
    assert result.returncode == 0 and "the sensor runs and is connected" in result.stderr, result
    fleet.wait_seen(sensor.sensor_id)


def script(sensor, console, **env):
    """The script, in a session of its own."""
    started = Started(sensor)
    sensor.fleet.daemons.append(started)
    return started, subprocess.Popen(
        [SCRIPT, "--console", console, "--ca-cert-hash", "sha256:" + "0" * 64, "--token", "tse_x", "--state", sensor.state,
         "--bpffs", sensor.bpffs], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, **SANITIZERS, "TELOVIX_SENSOR": str(BUILD / "sensor/telovix-sensor"), **env},
        # A shell in the background lets its children ignore an interrupt, nohup a hangup, and a script cannot trap what it ignores.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)])


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_starts_the_sensor_again(running, number):
    """As by a terminal that is closed: everything that it started gets the signal too."""
    sensor = running.node
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started, process = script(sensor, f"127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(telovix.LIMIT)
        with silent.accept()[0]:  # the enrollment has begun, so the sensor is stopped
            os.killpg(process.pid, number)
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out
    wait_for(lambda: started.status().get("uplink") == "connected", "it runs again")


def waiting(sensor):
    """A shell that is to start the sensor again; not one that has become the sensor."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0] == b"sh" and str(sensor.state).encode() in words and os.getsid(int(process.name)) != os.getsid(0):
                return (process / "exe").exists()
    return False


def test_no_sensor_is_started_beside_one_that_still_stops(running, tmp_path):
    sensor = running.node
    # Held as soon as the script has asked for it: it cannot stop before it is let go.
    held = tmp_path / "sensor"
    held.write_text(f'''#!/bin/sh
"{BUILD}/sensor/telovix-sensor" "$@"
result=$?
kill -STOP {sensor.pid}
until grep -q "^State:.T" /proc/{sensor.pid}/status; do sleep 0.01; done
exit $result
''')
    held.chmod(0o755)
    started, process = script(sensor, "127.0.0.1:1", TELOVIX_SENSOR=str(held))
    pending = 1 << (signal.SIGTERM - 1)
    status = pathlib.Path(f"/proc/{sensor.pid}/status")
    try:
        wait_for(lambda: int(re.search(r"ShdPnd:\s*(\w+)", status.read_text()).group(1), 16) & pending, "it is told to stop")
        process.terminate()  # the wait is over before the sensor is
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 143, out
        told = "a sensor runs there already"
        wait_for(lambda: told in started.output() or waiting(sensor), "somebody waits for the sensor to stop")
        assert sensor.running() and told not in started.output(), out
    finally:
        os.kill(sensor.pid, signal.SIGCONT)
    sensor.process.wait(telovix.LIMIT)
    found = wait_for(lambda: started.status().get("pid"), "the next one runs")
    assert found != sensor.pid
    wait_for(lambda: started.status().get("uplink") == "connected", "and is connected")
    assert told not in started.output()


def test_the_script_is_posix():
    for shell in (["dash", "-n"], ["shellcheck", "--shell=sh"]):
        result = subprocess.run([*shell, SCRIPT], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
