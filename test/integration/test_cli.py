# SPDX-License-Identifier: GPL-2.0-or-later
"""What people see of the three programs: help, one line an error, exit statuses, JSON."""
import json
import os
import subprocess

import pytest

import telovix

PROGRAMS = {"telovix-console": "console", "telovix-sensor": "sensor", "telovixctl": "client"}


def call(program, *words):
    return subprocess.run([telovix.BUILD / PROGRAMS[program] / program, *words], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, env={**os.environ, **telovix.SANITIZERS})


@pytest.mark.parametrize("words", [
    ("telovix-console", "run", "--nonsense"), ("telovix-console", "run", "--listen", "here"), ("telovix-console", "init", "word"),
    ("telovix-console", "nonsense"), ("telovix-console",), ("telovix-console", "init", "--host", "a b"),
    ("telovix-sensor", "run", "--nonsense"), ("telovix-sensor", "enroll", "--console", "nowhere"), ("telovix-sensor", "enroll"),
    ("telovix-sensor", "enroll", "--label", "x"), ("telovix-sensor", "nonsense"), ("telovix-sensor", "status", "-o", "xml"),
    ("telovixctl", "kill", "--nonsense"), ("telovixctl", "kill", "web-1"), ("telovixctl", "sensors"), ("telovixctl", "sensors", "foo"),
    ("telovixctl", "nonsense"), ("telovixctl",), ("telovixctl", "-o", "xml", "whoami"), ("telovixctl", "kill", "web-1", "12", "13")])
def test_wrong_usage_is_one_line_and_status_2(words):
    result = call(*words)
    assert result.returncode == 2 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith(words[0]), result.stderr


@pytest.mark.parametrize("words", [
    ("telovix-console",), ("telovix-console", "init"), ("telovix-console", "run"), ("telovix-console", "verify"), ("telovix-sensor",),
    ("telovix-sensor", "enroll"), ("telovix-sensor", "run"), ("telovix-sensor", "status"), ("telovixctl",), ("telovixctl", "sensors"),
    ("telovixctl", "sensors", "list"), ("telovixctl", "kill"), ("telovixctl", "token"), ("telovixctl", "audit"),
    ("telovixctl", "kills"), ("telovixctl", "block"), ("telovixctl", "rules"), ("telovixctl", "rules", "mode"),
    ("telovixctl", "events"), ("telovixctl", "events", "list")])
def test_help_on_each_level_names_the_exit_statuses(words):
    result = call(*words, "--help")
    assert result.returncode == 0 and result.stderr == ""
    text = " ".join(result.stdout.split())
    assert text.startswith("Usage: ") and "Exit status: 0 success" in text and "2 wrong usage" in text
    assert words[0] == "telovix-console" or "3 outcome unknown" in text


def test_help_alone_is_help():
    assert call("telovixctl", "help").stdout == call("telovixctl", "--help").stdout


def test_errors_in_json_whatever_the_words_are(running):
    for word in (b"\xff\xfe", b"\x1b[31m", "ü".encode()):
        result = running.ctl("-o", "json", "sensors", "get", os.fsdecode(word), check=False)
        error = json.loads(result.stderr)
        assert result.returncode == 1 and result.stdout == "" and error["exitStatus"] == 1
        assert error["code"] in ("NOT_FOUND", "INVALID_ARGUMENT")


def test_no_scope_before_the_sensor_said_it(fleet):
    """It may run in a trial scope: "whole host" would be made up."""
    fleet.start_console()
    fleet.enroll("quiet")
    line = next(l for l in fleet.ctl("sensors", "get", "quiet").stdout.splitlines() if l.startswith("scope"))
    assert line.split() == ["scope", "-"]


def test_the_audit_log_names_roles(fleet):
    fleet.start_console()
    created = fleet.audit("--action", "operator_created")[0]
    assert json.loads(created["detail"])["role"] == "admin"


def test_a_watch_shows_each_sensor_once_until_it_changes(running):
    lines = running.ctl("sensors", "watch", "--timeout", "3s").stdout.splitlines()
    assert lines and lines[0].startswith("web-1"), lines
    assert all(before != after for before, after in zip(lines, lines[1:])), "what is told again has changed"


def test_the_longest_names_can_be_used(fleet):
    """What a program writes into its files it can read again: here names longer than a line of the parser."""
    name, state = "n" * 253, fleet.folder / "state"
    fleet.start_console()
    token = fleet.ctl_json("token", "create")[0]
    made = call("telovix-sensor", "enroll", "--console", fleet.console.address, "--ca-cert-hash", token["caCertHash"], "--token",
                token["token"], "--node-name", name, "--state", state)
    assert made.returncode == 0, made.stderr
    status = call("telovix-sensor", "status", "--state", state)  # no sensor runs, but its files are read
    assert status.stdout.splitlines()[0].split() == ["sensor", fleet.sensor(name)["sensorId"]], status
    assert status.stdout.splitlines()[1].split() == ["node", name]


def test_the_longest_fleet_and_hosts_can_be_used(tmp_path):
    data, hosts = tmp_path / "console", [f"h{i}-{'x' * 60}.{'y' * 60}.{'z' * 60}.example" for i in range(8)]
    made = call("telovix-console", "init", "--data", data, "--fleet", "N" * 200, *(word for host in hosts for word in ("--host", host)))
    assert made.returncode == 0, made.stderr
    # It gets as far as the network: settings and profile were read.
    assert "cannot listen on" in call("telovix-console", "run", "--data", data, "--listen", "192.0.2.1:1").stderr
    failed = call("telovixctl", "--profile", data / "admin", "--console", "127.0.0.1:1", "whoami")
    assert "UNAVAILABLE" in failed.stderr, failed.stderr
