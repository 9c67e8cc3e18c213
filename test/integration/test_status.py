# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host says of its own sensor, and which controls the help names."""
import json
import re
import stat
import subprocess

import telovix
from telovix import wait_for


def status(sensor, *words):
    return subprocess.run([telovix.BUILD / "sensor/telovix-sensor", "status", "--state", sensor.state, *words],
                          capture_output=True, text=True, timeout=30)


def test_status_of_a_running_sensor(running):
    sensor = running.node
    victim = sensor.victim()
    running.ctl("kill", "web-1", victim.pid, "--wait")
    victim.wait(5)

    def acknowledged():
        found = json.loads(status(sensor, "-o", "json").stdout)
        return found["unacknowledgedResults"] == 0 and found

    found = wait_for(acknowledged, "the result is acknowledged")
    assert (found["running"], found["sensorId"], found["nodeName"]) == (True, sensor.sensor_id, "web-1")
    assert (found["uplink"], found["canKill"], found["kills"]) == ("connected", True, 1)
    assert found["scope"].endswith(sensor.cgroup.path.name)
    assert stat.S_IMODE((sensor.state / "control.sock").stat().st_mode) == 0o600
    # The same for people.
    table = status(sensor)
    assert table.returncode == 0 and re.search(rf"^sensor +{sensor.sensor_id}$", table.stdout, re.M), table.stdout


def test_status_without_a_sensor(running):
    running.node.stop()
    result = status(running.node, "-o", "json")
    assert result.returncode == 1 and "no sensor runs" in result.stderr
    assert json.loads(result.stdout)["running"] is False
    assert not (running.node.state / "control.sock").exists()


def test_help_names_only_what_there_is(fleet):
    fleet.start_console()
    text = fleet.ctl("help", "choose").stdout
    verbs = set(re.findall(r"telovixctl ((?:[a-z]+ ?)+)", text))
    assert verbs
    for control in ("kill", "block", "contain", "disable", "revoke", "delete"):  # what the reference recommends
        assert re.search(rf"^.*\S  +telovixctl {control} SENSOR", text, re.MULTILINE), control
    for verb in verbs:
        assert fleet.ctl(*verb.split(), "--help").stdout.startswith(f"Usage: telovixctl {verb.strip()}")
