# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator sees of rules and events, with a real Console and a sensor that says what the test wants."""
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import types

import pytest

import telovix
from telovix import wait_for

APPLIED, PARTIAL, REFUSED, FAILED, PENDING = 2, 3, 4, 5, 1
EXEC_BLOCKED, READY = 1, 3


class VirtualSensor:
    """Speaks for an enrolled sensor that does not run: it gets its rules and reports of them what it is told."""

    def __init__(self, fleet, name):
        self.fleet, self.name = fleet, name
        _, state = fleet.enroll(name)
        self.sensor_id = re.search(r"sensor_[a-z0-9]{16}", (state / "sensor.ini").read_text()).group(0)
        self.identity = types.SimpleNamespace(state=state)
        self.boot_id, self.stream, self.seq = os.urandom(16), os.urandom(16), 0
        self.scope, self.in_force, self.rules = "", None, {}
        self.connect()

    def connect(self):
        self.api = telovix.Api(self.fleet.console.address, channel_credentials=telovix.sensor_credentials(self.identity))

    def beat(self, **fields):
        """One heartbeat; takes the desired set when there is one."""
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        beat = telovix.Api.message("telovix.v1.EngineBeat")(state=READY, verified_boot_ns=boot_ns)
        if self.in_force is not None:
            fields.setdefault("in_force", self.in_force)
        reply = self.api.call("telovix.v1.SensorService/Heartbeat", boot_id=self.boot_id, boot_ns=boot_ns, engine_beat=beat,
                              sensor_version="test", scope_cgroup=self.scope, **fields)
        if reply.HasField("desired_set"):
            policy = telovix.Api.message("telovix.v1.EnforcementPolicy")
            self.rules = {found.rule_id: found for found in map(policy.FromString, reply.desired_set.enforcement_policies)}
            self.in_force = telovix.Api.message("telovix.v1.DesiredName")(
                epoch=reply.desired_set.epoch, generation=reply.desired_set.generation, digest=reply.desired_set.digest)
        return reply

    def take_rule(self, known=()):
        """Heartbeats until there is a rule with a revision that is not in |known|; returns it."""
        def fresh():
            self.beat()
            return next((rule for rule in self.rules.values() if rule.revision not in known), None)
        return wait_for(fresh, f"{self.name} is given a rule")

    def report(self, rule, state, gaps=(), **fields):
        gap = telovix.Api.message("telovix.v1.RuleGap")
        self.beat(rule_reports=[telovix.Api.message("telovix.v1.RuleReport")(
            rule_id=rule.rule_id, revision=rule.revision, state=state,
            gaps=[gap(gap=name, detail=f"{name} is not stopped") for name in gaps], **fields)])

    def event(self, **fields):
        self.seq += 1
        self.beat(event_stream=self.stream, events=[telovix.Api.message("telovix.v1.EnforcementEvent")(
            seq=self.seq, boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), type=EXEC_BLOCKED, count=1, **fields)])

    def close(self):
        self.api.close()


@pytest.fixture
def host(fleet):
    fleet.start_console()
    sensor = VirtualSensor(fleet, "web-1")
    sensor.beat()
    yield sensor
    sensor.close()


class Running:
    """telovixctl in the background."""

    def __init__(self, fleet, *words):
        self.process = subprocess.Popen(
            [telovix.BUILD / "client/telovixctl", "--profile", fleet.profile, "--console", fleet.console.address, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **telovix.SANITIZERS},
            # A shell that runs the tests in the background hands an ignored interrupt down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        fleet.children.append(self.process)

    def end(self, timeout=60):
        out, err = self.process.communicate(timeout=timeout)
        assert not telovix.SANITIZER_WORDS.search(err), err
        return types.SimpleNamespace(returncode=self.process.returncode, stdout=out, stderr=err)


def blocked(host, state, path="/opt/x", words=(), **report):
    """`block --wait` on a host that answers with this state."""
    ctl = Running(host.fleet, "block", "web-1", path, "--wait", "--timeout", "60s", *words)
    host.report(host.take_rule(), state, **report)
    return ctl.end()


# ---- every end of a change ----

@pytest.mark.parametrize("state, status, last", [
    (APPLIED, 0, r"applied: /opt/x on web-1 is blocked, \d+ ms after the change$"),
    (PARTIAL, 1, r"partial: /opt/x on web-1 is blocked only in part: why, \d+ ms after the command; not covered: copy, script$"),
    (REFUSED, 1, r"refused: /opt/x on web-1 is not blocked: the host refuses: why, \d+ ms after the command$"),
    (FAILED, 1, r"failed: /opt/x on web-1 could not be blocked: why \(Operation not permitted\), \d+ ms after the command$")])
def test_every_end_of_a_block(host, state, status, last):
    extra = {} if state == APPLIED else {"reason": "word", "detail": "why"}
    if state == PARTIAL:
        extra["gaps"] = ("copy", "script")
    if state == FAILED:
        extra["error_number"] = 1
    result = blocked(host, state, backend="lsm", **extra)
    assert result.returncode == status, result.stderr + result.stdout
    assert re.match(last, result.stdout.splitlines()[-1]), result.stdout
    assert result.stderr == "", "progress is for terminals"
    for gap in extra.get("gaps", ()):
        assert re.search(rf"^  gap +{gap}: {gap} is not stopped$", result.stdout, re.M), result.stdout


def test_progress_is_for_terminals(host):
    ours, theirs = pty.openpty()
    ctl = subprocess.Popen(
        [telovix.BUILD / "client/telovixctl", "--profile", host.fleet.profile, "--console", host.fleet.console.address, "block",
         "web-1", "/opt/x", "--wait"], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env={**os.environ, **telovix.SANITIZERS, "NO_COLOR": "1"})
    host.fleet.children.append(ctl)
    os.close(theirs)
    text = ""

    def read(word):
        nonlocal text
        while word not in text:
            assert select.select([ours], [], [], telovix.LIMIT)[0], text
            text += os.read(ours, 65536).decode()
    read("pending: /opt/x on web-1 is not confirmed to be blocked yet")
    host.report(host.take_rule(), APPLIED)
    read("\r\napplied: /opt/x on web-1 is blocked")
    assert ctl.wait(30) == 0
    os.close(ours)
    assert re.match(r"rule_[a-z0-9]{16}: ", text), "the notice comes first"


def test_an_end_in_json(host):
    result = blocked(host, PARTIAL, words=("-o", "json"), gaps=("copy",))
    rule = json.loads(result.stdout)
    assert result.returncode == 1 and len(result.stdout.splitlines()) == 1
    assert (rule["desiredMode"], rule["observedState"]) == ("RULE_MODE_ENFORCE", "RULE_STATE_PARTIAL")
    assert [gap["gap"] for gap in rule["gaps"]] == ["copy"]


def test_no_directory_is_still_waiting(host):
    """It may come: no end. The time-out says what it waits for."""
    ctl = Running(host.fleet, "block", "web-1", "/opt/x", "--wait", "--timeout", "3s", "--request-id", "my-id")
    rule = host.take_rule()
    host.report(rule, PENDING, reason="no_directory", detail="/opt is not there")
    result = ctl.end()
    assert result.returncode == 3 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert re.search(r"\(pending \S+, no_directory: /opt is not there\)", result.stderr), result.stderr
    assert f"telovixctl rules get {rule.rule_id}" in result.stderr and "--request-id my-id" in result.stderr
    # The same command once more is the same change, and follows it on.
    ctl = Running(host.fleet, "block", "web-1", "/opt/x", "--wait", "--request-id", "my-id")
    host.report(rule, APPLIED, reason="no_file_yet", detail="there is no file yet")
    again = ctl.end()
    assert again.returncode == 0 and rule.rule_id in again.stdout, again.stderr


def test_the_console_restarts_during_the_wait(host):
    ctl = Running(host.fleet, "block", "web-1", "/opt/x", "--wait", "--timeout", "60s")
    rule = host.take_rule()
    # The host sees a rule as soon as it is stored; a later answer to an operator says that the command has its own.
    host.fleet.ctl("whoami")
    host.fleet.console.kill9()
    host.fleet.start_console()
    wait_for(lambda: host.fleet.ctl("whoami", check=False).returncode == 0, "the Console is back")
    host.close()
    host.connect()
    host.report(rule, APPLIED)
    assert ctl.end().returncode == 0


def test_every_end_of_a_mode_and_a_removal(host):
    assert blocked(host, APPLIED).returncode == 0
    rule = next(iter(host.rules.values()))
    ctl = Running(host.fleet, "rules", "mode", rule.rule_id, "observe", "--wait")
    changed = host.take_rule(known={rule.revision})
    assert changed.rule_id == rule.rule_id and changed.mode == 2
    host.report(changed, APPLIED)
    result = ctl.end()
    assert result.returncode == 0 and "applied: /opt/x on web-1 is observed, not blocked" in result.stdout

    ctl = Running(host.fleet, "rules", "delete", rule.rule_id, "--wait")
    wait_for(lambda: host.beat() and not host.rules, "the rule is out of the desired set")
    host.beat()
    result = ctl.end()
    assert result.returncode == 0, result.stderr
    assert re.match(r"removed: the rule on /opt/x on web-1 is out of force, \d+ ms after the command$",
                    result.stdout.splitlines()[-1]), result.stdout
    gone = host.fleet.ctl("rules", "get", rule.rule_id, check=False)
    assert gone.returncode == 1 and "unknown_rule" in gone.stderr


def test_a_removal_that_nobody_confirms(host):
    blocked(host, APPLIED)
    rule = next(iter(host.rules))
    result = host.fleet.ctl("rules", "delete", rule, "--wait", "--timeout", "2s", check=False)
    assert result.returncode == 3 and "(removing" in result.stderr, result.stderr
    shown = host.fleet.ctl("rules", "get", rule).stdout
    assert "observed removing" in shown and "may still be held to the rule" in shown.splitlines()[-1]


def test_overtaken_by_somebody_else(host):
    ctl = Running(host.fleet, "block", "web-1", "/opt/x", "--wait", "--timeout", "60s")
    rule = host.take_rule()
    host.fleet.ctl("rules", "delete", rule.rule_id)
    result = ctl.end()
    assert result.returncode == 1 and "rule_overtaken" in result.stderr, result.stderr


def test_without_wait_it_is_said_to_be_stored(host):
    result = host.fleet.ctl("block", "web-1", "/opt/x", "--reason", "why")
    rule = re.search(r"rule_[a-z0-9]{16}", result.stdout).group(0)
    assert f"telovixctl rules get {rule}" in result.stdout and "stored" in result.stdout
    again = host.fleet.ctl("-o", "json", "block", "web-1", "/opt/x", check=False)
    error = json.loads(again.stderr)
    assert (again.returncode, error["reason"], error["exitStatus"]) == (1, "rule_exists", 1) and rule in again.stderr


@pytest.mark.parametrize("path", ["opt/x", "/opt//x", "/opt/./x", "/opt/../x", "/opt/", "/" + "x" * 4095])
def test_bad_paths_name_the_field(host, path):
    result = host.fleet.ctl("block", "web-1", path, check=False)
    assert result.returncode == 1 and "INVALID_ARGUMENT" in result.stderr and "path" in result.stderr
    assert host.fleet.ctl_json("rules", "list") == []


# ---- what is shown ----

def heads(result):
    return re.split(r"  +", result.stdout.splitlines()[0])


def row(result):
    return dict(zip(heads(result), re.split(r"  +", result.stdout.splitlines()[1])))


def test_columns(host):
    assert heads(host.fleet.ctl("rules", "list")) == [
        "RULE", "NODE", "PATH", "DESIRED", "OBSERVED", "SCOPE", "REASON", "GAPS", "HITS"]
    assert heads(host.fleet.ctl("-o", "wide", "rules", "list")) == [
        "RULE", "NODE", "PATH", "DESIRED", "OBSERVED", "SCOPE", "REASON", "GAPS", "HITS", "WOULD HIT", "BACKEND", "FILE",
        "FORCE", "CHANGED", "VERIFIED", "ACTOR"]
    assert heads(host.fleet.ctl("events", "list")) == [
        "HAPPENED", "NODE", "EVENT", "PATH", "PID", "PARENT", "UID", "COMM", "COUNT", "DETAIL"]
    assert heads(host.fleet.ctl("-o", "wide", "sensors", "list")) == [
        "NODE", "SENSOR", "STATUS", "HEALTH", "CONTAIN DESIRED | OBSERVED", "LAST SEEN", "REASONS", "TRUST", "ORDERS", "RULES",
        "ENGINE", "DESIRED", "IN FORCE", "VERIFIED", "SCOPE", "VERSION", "LABELS"]
    for what in ("rules", "events"):
        for form in ("json", "name"):
            assert host.fleet.ctl("-o", form, what, "list").stdout == "", "an empty list is no lines"


def test_desired_and_observed_side_by_side(host):
    fleet = host.fleet
    rule_id = fleet.ctl("-o", "name", "block", "web-1", "/opt/x").stdout.strip()
    waiting = row(fleet.ctl("rules", "list"))
    assert (waiting["DESIRED"], waiting["GAPS"], waiting["SCOPE"]) == ("enforce", "-", "-")
    assert re.fullmatch(r"pending \d+m?s", waiting["OBSERVED"])
    host.scope = "/test/a"  # told with a start, as its facts are
    host.beat(facts=telovix.Api.message("telovix.v1.HostFacts")(sensor_version="test"))
    rule = host.take_rule()
    host.report(rule, APPLIED, gaps=("copy", "loader"), backend="lsm", file="/opt/y", hits=3, reason="no_file_yet")
    found = row(fleet.ctl("-o", "wide", "rules", "list", "--sensor", "web-1"))
    assert (found["OBSERVED"], found["SCOPE"], found["GAPS"], found["HITS"]) == ("applied", "/test/a", "2", "3")
    assert (found["BACKEND"], found["FILE"], found["REASON"], found["ACTOR"]) == ("lsm", "/opt/y", "no_file_yet", "admin")
    shown = fleet.ctl("rules", "get", rule_id).stdout
    assert re.search(r"^state +desired enforce \| observed applied$", shown, re.M), shown
    assert len(re.findall(r"^  gap +(copy|loader): ", shown, re.M)) == 2
    assert "[trial scope /test/a]" in shown.splitlines()[-1]
    assert [r["ruleId"] for r in fleet.ctl_json("rules", "list")] == [rule_id]
    assert fleet.ctl("-o", "name", "rules", "list").stdout == rule_id + "\n"


def test_what_was_said_before_a_restart_is_marked(host):
    blocked(host, APPLIED)
    rule_id = next(iter(host.rules))
    host.fleet.console.stop()
    host.fleet.start_console()
    assert row(host.fleet.ctl("rules", "list"))["OBSERVED"] == "applied (unconfirmed since restart)"
    assert "[unconfirmed since restart]" in host.fleet.ctl("rules", "get", rule_id).stdout.splitlines()[-1]
    host.close()
    host.connect()
    host.beat()
    assert row(host.fleet.ctl("rules", "list"))["OBSERVED"] == "applied"


def test_the_engine_of_a_sensor(host):
    message = telovix.Api.message
    Capability, Gap = message("telovix.v1.Capability"), message("telovix.v1.RuleGap")
    shown = host.fleet.ctl("sensors", "get", "web-1").stdout
    assert re.search(r"^engine +not known", shown, re.M) and re.search(r"^generation .* in force not known$", shown, re.M), shown
    host.beat(engine=message("telovix.v1.EngineReport")(
        state=READY, backend="fmod_ret", gaps=[Gap(gap="loader", detail="by hand")],
        capabilities=[Capability(name="btf", available=True), Capability(name="lsm", detail="not in lsm=\x1b")]))
    host.fleet.ctl("block", "web-1", "/opt/x")
    shown = host.fleet.ctl("sensors", "get", "web-1").stdout
    for pattern in (r"engine +ready \(fmod_ret\)", r"  capability +btf: yes", r"  capability +lsm: no, not in lsm=\\x1B",
                    r"  gap +loader: by hand", r"verified +\S+Z \(\d+s ago\)", r"rules +1"):
        assert re.search(rf"^{pattern}$", shown, re.M), f"{pattern}\n{shown}"
    assert re.search(r"^generation +desired 1 \| in force 0, differs$", shown, re.M), shown
    host.take_rule()
    host.beat()
    shown = host.fleet.ctl("sensors", "get", "web-1").stdout
    number = re.search(r"^generation +desired (\d+) \| in force \1, same$", shown, re.M)
    assert number, shown
    found = row(host.fleet.ctl("-o", "wide", "sensors", "list"))
    assert (found["ENGINE"], found["DESIRED"], found["IN FORCE"]) == ("ready (fmod_ret)", number.group(1), number.group(1))


# ---- events ----

def test_events(host):
    blocked(host, APPLIED)
    rule = next(iter(host.rules))
    host.event(rule_id=rule, path="/opt/x", pid=42, parent_pid=41, uid=1000, comm="ba\x1bsh")
    host.event(rule_id=rule, path="/opt/x", pid=43, parent_pid=41, uid=1000, comm="sh")
    events = host.fleet.ctl_json("events", "list", "--sensor", "web-1")
    assert [event["pid"] for event in events] == [43, 42], "newest first"
    assert [event["pid"] for event in host.fleet.ctl_json("events", "list", "--limit", "1")] == [43]
    found = host.fleet.ctl("events", "list")
    assert "\x1b" not in found.stdout and "ba\\x1Bsh" in found.stdout
    assert row(found)["EVENT"] == "exec_blocked" and row(found)["UID"] == "1000"


def test_events_followed_until_sigint(host):
    blocked(host, APPLIED)
    host.event(path="/opt/old", pid=1)
    ctl = Running(host.fleet, "-o", "json", "events", "list", "--follow", "--sensor", "web-1")
    os.set_blocking(ctl.process.stdout.fileno(), False)
    text = b""

    def heard():
        # The watch tells of what comes after it was opened, and nothing says when that is.
        nonlocal text
        host.event(path="/opt/x", pid=42)
        with contextlib.suppress(BlockingIOError):
            text += os.read(ctl.process.stdout.fileno(), 65536)
        return b"\n" in text
    wait_for(heard, "an event is followed")
    assert json.loads(text.splitlines()[0])["path"] == "/opt/x", "old events are not new"
    assert ctl.process.poll() is None
    ctl.process.send_signal(signal.SIGINT)
    assert ctl.process.wait(30) in (0, -signal.SIGINT)
