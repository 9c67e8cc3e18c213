# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules and events at the Console (spec §5.2, §5.4), with sensors that the test speaks for: each edge of what a host may
report is reached, and the digest is computed here once more."""
import hashlib
import json
import os
import struct
import subprocess
import threading

import grpc
import pytest

import telovix
from telovix import wait_for

POLICY = "telovix.v1.PolicyService/"
EVENT = "telovix.v1.EventService/"
BLOCK = "telovix.v1.ContainmentService/BlockBinary"
PENDING, APPLIED, PARTIAL, REFUSED, FAILED, UNKNOWN, REMOVING = range(1, 8)
ENFORCE, OBSERVE = 1, 2
READY, DOWN = 3, 5
BLOCKED, WOULD_BLOCK, TAMPERED = 1, 2, 3


def digest_of(policies):
    """Written from the specification: "telovix-set-v1", NUL, then for each policy its length and its bytes."""
    text = b"telovix-set-v1\0"
    for policy in policies:
        text += struct.pack(">I", len(policy)) + policy
    return hashlib.sha256(text).digest()


class Host:
    """A sensor as the protocol knows it: what it has in force and what it says of it."""

    def __init__(self, fleet, folder):
        self.fleet, self.folder = fleet, folder
        self.id = (folder / "id").read_text().strip()
        self.boot_id, self.boot_ns = os.urandom(16), 1_000_000_000_000
        self.stream, self.seq = os.urandom(16), 0
        self.in_force, self.rules, self.reply = None, {}, None
        self.engine_state = READY
        self.connect()

    def connect(self):
        credentials = grpc.ssl_channel_credentials((self.folder.parent / "ca.crt").read_bytes(),
                                                   (self.folder / "client.key").read_bytes(),
                                                   (self.folder / "client.crt").read_bytes())
        self.api = telovix.Api(self.fleet.console.address, channel_credentials=credentials)

    def beat(self, **fields):
        self.boot_ns += 1_000_000
        if self.in_force:
            fields.setdefault("in_force", self.in_force)
        fields.setdefault("engine_beat", {"state": self.engine_state, "verified_boot_ns": self.boot_ns})
        self.reply = self.api.call("telovix.v1.SensorService/Heartbeat", boot_id=self.boot_id, boot_ns=self.boot_ns,
                                   sensor_version="1", **fields)
        if self.reply.HasField("desired_set"):
            self.check_set(self.reply.desired_set)
        return self.reply

    def check_set(self, desired):
        policies = list(desired.enforcement_policies)
        assert desired.digest == digest_of(policies)
        assert (desired.epoch, desired.generation, desired.digest) == (
            self.reply.desired.epoch, self.reply.desired.generation, self.reply.desired.digest)
        kind = telovix.Api.message("telovix.v1.EnforcementPolicy")
        unpacked = [kind.FromString(policy) for policy in policies]
        ids = [policy.rule_id for policy in unpacked]
        assert ids == sorted(ids) and len(ids) == len(set(ids))
        self.wanted = {policy.rule_id: policy for policy in unpacked}

    def apply(self):
        """Takes the desired set over and says that all of it is applied."""
        self.beat()
        if self.reply.HasField("desired_set"):
            desired = self.reply.desired_set
            self.in_force = {"epoch": desired.epoch, "generation": desired.generation, "digest": desired.digest}
            self.rules = dict(self.wanted)
        return self.beat(rule_reports=[self.report(policy) for policy in self.rules.values()])

    @staticmethod
    def report(policy, state=APPLIED, **fields):
        return {"rule_id": policy.rule_id, "revision": policy.revision, "state": state, "backend": "lsm",
                "file": policy.block_binary.path, **fields}

    def event(self, kind=BLOCKED, **fields):
        self.seq += 1
        return {"seq": self.seq, "boot_ns": self.boot_ns, "type": kind, "path": "/bin/x", "pid": 77, "parent_pid": 70,
                "uid": 1000, "comm": "sh", "count": 1, **fields}


@pytest.fixture
def hosts(fleet):
    """A Console that knows two sensors of ours, and three operators."""
    fleet.mint("sensors", "2", fleet.folder / "hosts")
    fleet.viewer = fleet.operator("vera", "viewer")
    fleet.operator_profile = fleet.operator("olga", "operator")
    fleet.config = fleet.folder / "extra.ini"
    fleet.config.write_text("[console]\nstale_after = 3s\n")
    fleet.start_console(extra=["--config", fleet.config])
    fleet.hosts = [Host(fleet, fleet.folder / "hosts" / str(i)) for i in range(2)]
    fleet.api = telovix.Api(fleet.console.address, fleet.operator_profile)
    yield fleet
    fleet.api.close()
    for host in fleet.hosts:
        host.api.close()


def come_back(fleet):
    """Starts the Console again; everybody connects afresh."""
    fleet.start_console(extra=["--config", fleet.config])
    fleet.api.close()
    fleet.api = telovix.Api(fleet.console.address, fleet.operator_profile)
    for host in fleet.hosts:
        host.api.close()
        host.connect()


def refused(code, reason, call, **fields):
    """The call fails so; returns its sentence and field violations."""
    with pytest.raises(grpc.RpcError) as failed:
        call(**fields)
    error = failed.value
    said, violations = telovix.details(error)
    assert error.code() == code and said == reason, (error.code(), error.details(), said)
    return error.details(), violations


def block(fleet, host, path="/usr/bin/nc", **fields):
    return fleet.api.call(BLOCK, sensor=host.id, path=path, **fields)


def rule_of(fleet, rule_id):
    return fleet.api.call(POLICY + "GetEnforcementRule", rule_id=rule_id)


# ---- the life of a rule ----

def test_life_of_a_rule(hosts):
    host = hosts.hosts[0]
    host.beat()
    reply = block(hosts, host, reason="seen in the incident")
    rule = reply.rule
    assert rule.observed_state == PENDING and rule.desired_mode == ENFORCE
    assert (rule.name, rule.template, rule.hook, rule.action, rule.path) == (
        "telovix-block-binary-usr-bin-nc", "block-binary", "sys_execve", "Sigkill", "/usr/bin/nc")
    assert rule.actor == "olga" and rule.reason == "seen in the incident" and rule.sensor_id == host.id
    assert reply.notice == (f"/usr/bin/nc is blocked on {rule.node_name} from the moment this rule is reported applied; "
                            "a same-named file in a container's own file system is another file")
    host.beat()
    policy = host.wanted[rule.rule_id]
    assert policy.mode == ENFORCE and policy.block_binary.path == "/usr/bin/nc" and not policy.block_binary.force
    assert len(policy.revision) == 16 and policy.name == rule.name
    # Until the host says so it is pending, whatever it has in force.
    assert rule_of(hosts, rule.rule_id).observed_state == PENDING
    host.apply()
    rule = rule_of(hosts, rule.rule_id)
    assert rule.observed_state == APPLIED and rule.backend == "lsm" and rule.file == "/usr/bin/nc"
    assert rule.HasField("applied_at") and rule.HasField("verified_at")
    assert not host.beat().HasField("desired_set"), "the three names are equal"
    sensor = hosts.sensor(host.id)
    assert sensor["rules"] == 1 and sensor["inForce"] == sensor["desired"] and sensor["desired"]["generation"] == "1"

    reply = hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    assert reply.rule.observed_state == REMOVING and "removing" in reply.notice
    host.beat()
    assert host.wanted == {} and rule_of(hosts, rule.rule_id).observed_state == REMOVING
    again = hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    assert again.rule.observed_state == REMOVING, "a second time changes nothing"
    host.apply()
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", lambda: rule_of(hosts, rule.rule_id))
    actions = [(r["actionType"], json.loads(r["detail"]).get("rule_id")) for r in hosts.audit("--sensor", host.id)]
    assert actions.count(("enforcement_rule_created", rule.rule_id)) == 1
    assert actions.count(("enforcement_rule_deleted", rule.rule_id)) == 1


def test_a_rule_that_is_there(hosts):
    host, other = hosts.hosts
    first = block(hosts, host).rule
    sentence, _ = refused(grpc.StatusCode.ALREADY_EXISTS, "rule_exists", lambda: block(hosts, host))
    assert first.rule_id in sentence
    assert block(hosts, other).rule.rule_id != first.rule_id, "another host has rules of its own"
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=first.rule_id)
    assert block(hosts, host).rule.rule_id != first.rule_id, "a path on its way out is free"


@pytest.mark.parametrize("path,fault", [
    ("", "missing"), ("usr/bin/nc", "absolute"), ("/", "no file"), ("//", "empty"), ("/usr//nc", "empty"),
    ("/usr/bin/", "no file"), ("/usr/./nc", '"."'), ("/.", '"."'), ("/usr/../nc", '".."'), ("/..", '".."'),
    ("/" + "a" * 4095, "4095")])
def test_bad_paths(hosts, path, fault):
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument",
                            lambda: block(hosts, hosts.hosts[0], path))
    assert list(violations) == ["path"] and fault in violations["path"], violations


def test_good_paths(hosts):
    for path in ("/a", "/.hidden", "/..x", "/x..", "/usr/bin/...", "/" + "b" * 4094, "/päth/ü"):
        assert block(hosts, hosts.hosts[0], path).rule.path == path


def test_other_bad_arguments(hosts):
    host = hosts.hosts[0]
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: block(
        hosts, host, "x", mode=7, reason="x" * 501, request_id="no spaces"))
    assert set(violations) == {"path", "mode", "reason", "request_id"}
    refused(grpc.StatusCode.NOT_FOUND, "unknown_sensor", lambda: hosts.api.call(BLOCK, sensor="nobody", path="/x"))
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: hosts.api.call(
        POLICY + "SetEnforcementRuleMode", rule_id="rule_1"))
    assert set(violations) == {"rule_id", "mode"}
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", lambda: hosts.api.call(
        POLICY + "SetEnforcementRuleMode", rule_id="rule_0123456789abcdef", mode=OBSERVE))
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", lambda: hosts.api.call(
        POLICY + "DeleteEnforcementRule", rule_id="rule_0123456789abcdef"))


def test_modes(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host, mode=OBSERVE, force=True).rule
    assert rule.desired_mode == OBSERVE and rule.forced
    host.apply()
    assert host.wanted[rule.rule_id].mode == OBSERVE and host.wanted[rule.rule_id].block_binary.force
    observed = host.wanted[rule.rule_id]
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED
    reply = hosts.api.call(POLICY + "SetEnforcementRuleMode", rule_id=rule.rule_id, mode=ENFORCE)
    assert reply.rule.desired_mode == ENFORCE and reply.rule.observed_state == PENDING
    assert not reply.rule.HasField("applied_at"), "that was another revision"
    # What the host says of the former revision is no word on this one.
    host.beat(rule_reports=[host.report(observed)])
    assert rule_of(hosts, rule.rule_id).observed_state == PENDING
    host.apply()
    enforced = host.wanted[rule.rule_id]
    assert enforced.mode == ENFORCE and enforced.revision != observed.revision
    assert enforced.block_binary.force, "which files may be hit stays as the rule was made"
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED
    before = hosts.sensor(host.id)["desired"]
    reply = hosts.api.call(POLICY + "SetEnforcementRuleMode", rule_id=rule.rule_id, mode=ENFORCE)
    assert "already" in reply.notice and hosts.sensor(host.id)["desired"] == before
    modes = [r for r in hosts.audit("--sensor", host.id) if r["actionType"] == "rule_mode_changed"]
    assert len(modes) == 1 and json.loads(modes[0]["detail"])["from"] == "observe"
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "rule_removing", lambda: hosts.api.call(
        POLICY + "SetEnforcementRuleMode", rule_id=rule.rule_id, mode=OBSERVE))


def test_a_retry_gets_the_first_answer(hosts):
    host = hosts.hosts[0]
    first = block(hosts, host, request_id="once")
    again = block(hosts, host, request_id="once")
    assert again == first
    refused(grpc.StatusCode.ALREADY_EXISTS, "request_id_reused",
            lambda: block(hosts, host, "/usr/bin/other", request_id="once"))
    assert len(hosts.api.call(POLICY + "ListEnforcementRules").rules) == 1
    deleted = hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=first.rule.rule_id, request_id="away")
    host.apply()
    again = hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=first.rule.rule_id, request_id="away")
    assert again == deleted, "also when the rule is gone"


# ---- who may ----

def test_roles(hosts):
    host = hosts.hosts[0]
    rule_id = block(hosts, host).rule.rule_id
    viewer = telovix.Api(hosts.console.address, hosts.viewer)
    assert viewer.call(POLICY + "GetEnforcementRule", rule_id=rule_id).rule_id == rule_id
    assert len(viewer.call(POLICY + "ListEnforcementRules").rules) == 1
    assert len(viewer.call(EVENT + "ListEvents").events) == 0
    for name, fields in ((BLOCK, {"sensor": host.id, "path": "/x"}),
                         (POLICY + "SetEnforcementRuleMode", {"rule_id": rule_id, "mode": OBSERVE}),
                         (POLICY + "DeleteEnforcementRule", {"rule_id": rule_id})):
        refused(grpc.StatusCode.PERMISSION_DENIED, "role_too_low", lambda: viewer.call(name, **fields))
        refused(grpc.StatusCode.PERMISSION_DENIED, "wrong_principal", lambda: host.api.call(name, **fields))
    viewer.close()


# ---- the gate ----

def test_gate_of_critical_health(hosts):
    host = hosts.hosts[0]
    host.beat()
    rule = block(hosts, host).rule
    observing = block(hosts, host, "/usr/bin/curl", mode=OBSERVE).rule
    host.apply()
    host.engine_state = DOWN
    host.beat(engine={"state": DOWN, "reason": "canary_ran", "detail": "the hook is dead: the canary ran"})
    sensor = hosts.sensor(host.id)
    assert sensor["healthState"] == "HEALTH_STATE_CRITICAL"
    reasons = {r["reason"]: r for r in sensor["healthReasons"]}
    assert reasons["engine_down"]["value"] == "canary_ran" and reasons["engine_down"]["limit"] == "ready"
    for call in (lambda: block(hosts, host, "/usr/bin/wget"),
                 lambda: hosts.api.call(POLICY + "SetEnforcementRuleMode", rule_id=observing.rule_id, mode=ENFORCE)):
        sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_critical", call)
        assert "engine_down" in sentence and "force" in sentence
    # Stepping back is always allowed.
    hosts.api.call(POLICY + "SetEnforcementRuleMode", rule_id=rule.rule_id, mode=OBSERVE)
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    forced = block(hosts, host, "/usr/bin/wget", force=True).rule
    hosts.api.call(POLICY + "SetEnforcementRuleMode", rule_id=observing.rule_id, mode=ENFORCE, force=True)
    host.beat()
    assert host.wanted[forced.rule_id].block_binary.force
    assert not host.wanted[observing.rule_id].block_binary.force, "forced past health, not onto shells"
    details = [(r["actionType"], r["outcome"], json.loads(r["detail"])) for r in hosts.audit("--sensor", host.id)]
    created = [d for action, outcome, d in details
               if action == "enforcement_rule_created" and outcome == "AUDIT_OUTCOME_SUCCESS" and d["path"] == "/usr/bin/wget"]
    assert created[0]["force"] is True and created[0]["health"] == "engine_down"
    failures = [d for action, outcome, d in details
                if action == "enforcement_rule_created" and outcome == "AUDIT_OUTCOME_FAILURE"]
    assert failures[0]["reason"] == "sensor_critical"


def test_gate_of_a_revoked_sensor(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    hosts.console.stop()
    hosts.mint("revoke-sensor", host.id)
    come_back(hosts)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_revoked", lambda: block(hosts, host, "/x", force=True))
    reply = hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    assert reply.rule.observed_state == REMOVING and "re-enrolled" in reply.notice


# ---- what may be said of a host ----

def test_silence_makes_unknown(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    host.apply()
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED
    wait_for(lambda: rule_of(hosts, rule.rule_id).observed_state == UNKNOWN, "silence makes it unknown")
    silent = rule_of(hosts, rule.rule_id)
    assert silent.observed_reason == "sensor_silent" and not silent.backend and not silent.HasField("verified_at")
    reply = block(hosts, host, "/usr/bin/wget")
    assert "silent" in reply.notice and "waits" in reply.notice and reply.rule.observed_state == PENDING
    host.beat()
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED, "the same boot and the same revision"


def test_a_new_boot_makes_unknown(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    host.apply()
    host.boot_id, host.boot_ns = os.urandom(16), 5_000_000_000
    host.api.call("telovix.v1.SensorService/Heartbeat", boot_id=host.boot_id, boot_ns=host.boot_ns,
                  in_force=host.in_force)
    booted = rule_of(hosts, rule.rule_id)
    assert booted.observed_state == UNKNOWN and booted.observed_reason == "new_boot"
    host.beat(rule_reports=[host.report(host.rules[rule.rule_id], PARTIAL, gaps=[
        {"gap": "script", "detail": "only its interpreter can be seen", "by_kernel": True}])])
    partial = rule_of(hosts, rule.rule_id)
    assert partial.observed_state == PARTIAL and partial.gaps[0].gap == "script" and partial.gaps[0].by_kernel


def test_what_is_missing_is_asked_for(hosts):
    host = hosts.hosts[0]
    assert host.beat().report_all, "nothing is known of its engine"
    assert not host.beat().report_all, "not again at once: the answer comes at once"
    host.beat(engine={"state": READY, "backend": "lsm", "capabilities": [{"name": "btf", "available": True}]})
    sensor = hosts.sensor(host.id)
    assert sensor["engine"]["backend"] == "lsm" and sensor["engine"]["capabilities"][0]["name"] == "btf"
    assert "enforcementVerifiedAt" in sensor
    hosts.console.stop()
    come_back(hosts)
    assert host.beat().report_all, "after a start of the Console everything is asked for"
    assert "engine" not in hosts.sensor(host.id), "what was known before the start is not shown as known"


def test_failed_and_refused(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    host.apply()
    policy = host.rules[rule.rule_id]
    host.beat(rule_reports=[host.report(policy, FAILED, reason="step_failed", detail="bpf(2) failed", error_number=12)])
    failed = rule_of(hosts, rule.rule_id)
    assert (failed.observed_state, failed.observed_reason, failed.error_number) == (FAILED, "step_failed", 12)
    assert "rule_failed" in [r["reason"] for r in hosts.sensor(host.id)["healthReasons"]]
    host.beat(rule_reports=[host.report(policy, REFUSED, reason="needs_force")])
    assert rule_of(hosts, rule.rule_id).observed_state == REFUSED
    assert "rule_failed" not in [r["reason"] for r in hosts.sensor(host.id)["healthReasons"]]
    host.beat(rule_reports=[host.report(policy, APPLIED, hits=5, would_hits=6)])
    assert rule_of(hosts, rule.rule_id).hits == 5 and rule_of(hosts, rule.rule_id).would_hits == 6


def test_another_hosts_rule(hosts):
    host, other = hosts.hosts
    rule = block(hosts, host).rule
    host.apply()
    other.beat(rule_reports=[other.report(host.rules[rule.rule_id], FAILED)])
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED
    rejected = [r for r in hosts.audit("--sensor", other.id) if r["actionType"] == "sensor_rejected"]
    assert "foreign_rule" in rejected[0]["detail"]


def test_a_set_of_another_history_removes_nothing(hosts):
    """A host that is ahead of this Console, or of another epoch, says nothing about our deletions."""
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    host.apply()
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    good = dict(host.in_force)
    for wrong in ({"generation": 9}, {"generation": 2, "digest": bytes(32)},
                  {"generation": 2, "epoch": bytes(16), "digest": digest_of([])}):
        host.beat(in_force={**good, **wrong}, engine_beat={"state": READY, "desired_rollback": True})
        assert rule_of(hosts, rule.rule_id).observed_state == REMOVING, wrong
    reasons = {r["reason"]: r for r in hosts.sensor(host.id)["healthReasons"]}
    assert reasons["desired_rollback"]["value"] == "wanted 2", reasons
    host.beat(in_force={**good, "generation": 2, "digest": digest_of([])})
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", lambda: rule_of(hosts, rule.rule_id))


# ---- limits and pages ----

def test_limit_of_rules(hosts):
    host = hosts.hosts[0]
    for number in range(256):
        block(hosts, host, f"/opt/{number}")
    sentence, _ = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_rules", lambda: block(hosts, host, "/opt/more"))
    assert "256" in sentence
    host.apply()
    assert len(host.rules) == 256
    # Pages, over both hosts.
    block(hosts, hosts.hosts[1])
    seen, token = [], ""
    while True:
        page = hosts.api.call(POLICY + "ListEnforcementRules", page_size=100, page_token=token)
        seen += [(r.sensor_id, r.rule_id) for r in page.rules]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == 257 and seen == sorted(seen)
    assert len(hosts.api.call(POLICY + "ListEnforcementRules", sensor=hosts.hosts[1].id).rules) == 1
    first = hosts.api.call(POLICY + "ListEnforcementRules", page_size=1)
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: hosts.api.call(
        POLICY + "ListEnforcementRules", page_token=first.next_page_token, sensor=host.id))
    assert list(violations) == ["page_token"]


def test_limit_of_bytes(hosts):
    host = hosts.hosts[0]
    n = 0
    with pytest.raises(grpc.RpcError) as failed:
        while n < 256:
            block(hosts, host, f"/{n:04}" + "x" * 4000)
            n += 1
    assert telovix.details(failed.value)[0] == "too_many_rules" and "512 KiB" in failed.value.details()
    host.apply()
    assert len(host.rules) == n and n > 120, "the largest set fits into one reply"


# ---- what no honest host reports ----

@pytest.mark.parametrize("fields,field", [
    ({"rule_reports": [{"rule_id": "rule_x", "revision": bytes(16), "state": APPLIED}]}, "rule_reports[0].rule_id"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": b"x", "state": APPLIED}]},
     "rule_reports[0].revision"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": 0}]}, "rule_reports[0].state"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": REMOVING}]},
     "rule_reports[0].state"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": APPLIED, "file": "x" * 4096}]},
     "rule_reports[0].file"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": APPLIED,
                        "reason": "Not a word"}]}, "rule_reports[0].reason"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": APPLIED,
                        "gaps": [{"gap": "copy"}] * 33}]}, "rule_reports[0].gaps"),
    ({"rule_reports": [{"rule_id": "rule_0123456789abcdef", "revision": bytes(16), "state": APPLIED}] * 257},
     "rule_reports"),
    ({"in_force": {"epoch": b"x", "generation": 1, "digest": bytes(32)}}, "in_force.epoch"),
    ({"in_force": {"epoch": bytes(16), "generation": 1, "digest": b""}}, "in_force.digest"),
    ({"engine_beat": {"state": 9}}, "engine_beat.state"),
    ({"engine": {"state": READY, "detail": "x" * 512}}, "engine.detail"),
    ({"engine": {"state": READY, "capabilities": [{"name": "x" * 48}]}}, "engine.capabilities[0].name"),
    ({"event_stream": b"x"}, "event_stream"),
    ({"events": [{"seq": 1, "type": BLOCKED}]}, "event_stream"),
    ({"event_stream": bytes(16), "events": [{"seq": 0, "type": BLOCKED}]}, "events[0].seq"),
    ({"event_stream": bytes(16), "events": [{"seq": 2, "type": BLOCKED}, {"seq": 2, "type": BLOCKED}]}, "events[1].seq"),
    ({"event_stream": bytes(16), "events": [{"seq": 1, "type": 9}]}, "events[0].type"),
    ({"event_stream": bytes(16), "events": [{"seq": 1, "type": BLOCKED, "rule_id": "x"}]}, "events[0].rule_id"),
    ({"event_stream": bytes(16), "events": [{"seq": 1, "type": BLOCKED, "comm": "x" * 64}]}, "events[0].comm"),
])
def test_bad_reports(hosts, fields, field):
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: hosts.hosts[0].beat(**fields))
    assert field in violations, violations


# ---- events ----

def test_events_are_stored_once(hosts):
    host, other = hosts.hosts
    rule = block(hosts, host).rule
    host.apply()
    events = [host.event(rule_id=rule.rule_id, comm=f"c{i}") for i in range(3)]
    assert host.beat(event_stream=host.stream, events=events).acknowledged_event_seq == 3
    # The acknowledgement was lost: the same again, with one more.
    events.append(host.event(WOULD_BLOCK, count=40))
    assert host.beat(event_stream=host.stream, events=events).acknowledged_event_seq == 4
    assert host.beat(event_stream=host.stream).acknowledged_event_seq == 4
    assert host.beat().acknowledged_event_seq == 0, "no stream, nothing to acknowledge"
    other.beat(event_stream=other.stream, events=[other.event()])
    listed = hosts.api.call(EVENT + "ListEvents").events
    assert [(e.sensor_id == host.id, e.comm, e.count) for e in listed] == [
        (False, "sh", 1), (True, "sh", 40), (True, "c2", 1), (True, "c1", 1), (True, "c0", 1)]
    assert listed[-1].rule_id == rule.rule_id and listed[-1].pid == 77 and listed[-1].uid == 1000
    assert listed[-1].event_id.startswith("event_") and len({e.event_id for e in listed}) == 5
    assert listed[-1].HasField("happened_at") and listed[-1].HasField("received_at")
    page = hosts.api.call(EVENT + "ListEvents", sensor=host.id, page_size=3)
    assert len(page.events) == 3 and page.next_page_token
    page = hosts.api.call(EVENT + "ListEvents", sensor=host.id, page_size=3, page_token=page.next_page_token)
    assert [e.comm for e in page.events] == ["c0"] and not page.next_page_token
    # A new stream counts from 1 again.
    host.stream, host.seq = os.urandom(16), 0
    assert host.beat(event_stream=host.stream, events=[host.event()]).acknowledged_event_seq == 1
    assert len(hosts.api.call(EVENT + "ListEvents", sensor=host.id).events) == 5


def test_more_events_than_one_heartbeat_takes(hosts):
    host = hosts.hosts[0]
    events = [host.event() for _ in range(300)]
    acknowledged = host.beat(event_stream=host.stream, events=events).acknowledged_event_seq
    assert 0 < acknowledged < 300
    assert host.beat(event_stream=host.stream, events=events[acknowledged:]).acknowledged_event_seq == 300
    assert len(hosts.api.call(EVENT + "ListEvents", page_size=1000).events) == 300


def test_tampering(hosts):
    host = hosts.hosts[0]
    host.beat(event_stream=host.stream, events=[host.event(TAMPERED, path="link tlx_exec", detail="attached again", pid=0)],
              engine_beat={"state": READY, "repaired_boot_ns": host.boot_ns})
    tampered = [r for r in hosts.audit("--sensor", host.id) if r["actionType"] == "enforcement_tampered"]
    assert len(tampered) == 1 and json.loads(tampered[0]["detail"])["object"] == "link tlx_exec"
    sensor = hosts.sensor(host.id)
    reasons = {r["reason"]: r for r in sensor["healthReasons"]}
    assert sensor["healthState"] == "HEALTH_STATE_CRITICAL" and reasons["enforcement_tampered"]["limit"] == "none in 15 min"
    # An hour later on the host it is over.
    host.boot_ns += 3600 * 1_000_000_000
    host.beat(engine_beat={"state": READY, "repaired_boot_ns": host.boot_ns - 3600 * 1_000_000_000})
    assert "enforcement_tampered" not in [r["reason"] for r in hosts.sensor(host.id)["healthReasons"]]
    # A host in other hands cannot fill the log.
    host.beat(event_stream=host.stream, events=[host.event(TAMPERED) for _ in range(200)])
    host.beat(event_stream=host.stream, events=[host.event(TAMPERED) for _ in range(200)])
    tampered = [r for r in hosts.audit("--sensor", host.id) if r["actionType"] == "enforcement_tampered"]
    assert len(tampered) <= 32, "16 a minute, and the minute may have changed once"
    assert len(hosts.api.call(EVENT + "ListEvents", page_size=1000).events) == 401


def test_losses_and_coverage(hosts):
    host = hosts.hosts[0]
    host.beat(counters={"events_lost": 7})
    assert "event_loss" not in [r["reason"] for r in hosts.sensor(host.id)["healthReasons"]], "those may be days old"
    host.beat(counters={"events_lost": 10}, engine_beat={"state": READY, "coverage_partial": True})
    reasons = {r["reason"]: r for r in hosts.sensor(host.id)["healthReasons"]}
    assert reasons["event_loss"]["value"] == "3 lost" and "coverage_partial" in reasons


# ---- streams ----

class Reader:
    """Collects what a stream says, on a thread."""

    def __init__(self, stream):
        self.stream, self.messages, self.code = stream, [], None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            for message in self.stream:
                self.messages.append(message)
            self.code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.code = error.code()

    def end(self):
        self.stream.cancel()
        self.thread.join(10)


def test_watch_a_rule(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    reader = Reader(hosts.api.call(POLICY + "WatchEnforcementRule", timeout=60, rule_id=rule.rule_id))
    wait_for(lambda: reader.messages, "the state at the start")
    host.apply()
    wait_for(lambda: reader.messages[-1].observed_state == APPLIED, "applied")
    host.beat(rule_reports=[host.report(host.rules[rule.rule_id], hits=1)])
    wait_for(lambda: reader.messages[-1].hits == 1, "a hit")
    wait_for(lambda: reader.messages[-1].observed_state == UNKNOWN, "silence is a change too")
    host.beat()
    wait_for(lambda: reader.messages[-1].observed_state == APPLIED, "heard again")
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    wait_for(lambda: reader.messages[-1].observed_state == REMOVING, "removing")
    host.apply()
    wait_for(lambda: reader.code is not None, "the stream ends with the rule")
    assert reader.code == grpc.StatusCode.OK
    states = [m.observed_state for m in reader.messages]
    assert states == [PENDING, APPLIED, APPLIED, UNKNOWN, APPLIED, REMOVING], states
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", lambda: list(
        hosts.api.call(POLICY + "WatchEnforcementRule", rule_id=rule.rule_id)))


def test_watch_events(hosts):
    host, other = hosts.hosts
    host.beat(event_stream=host.stream, events=[host.event(comm="before")])
    everything = Reader(hosts.api.call(EVENT + "WatchEvents", timeout=60))
    one = Reader(hosts.api.call(EVENT + "WatchEvents", timeout=60, sensor=other.id))

    def both_stand():
        host.beat(event_stream=host.stream, events=[host.event(comm="go")])
        other.beat(event_stream=other.stream, events=[other.event(comm="go")])
        return everything.messages and one.messages

    wait_for(both_stand, "both streams tell events")
    host.beat(event_stream=host.stream, events=[host.event(comm=f"e{i}") for i in range(250)])
    other.beat(event_stream=other.stream, events=[other.event(comm="mine")])
    wait_for(lambda: everything.messages[-1].comm == "mine", "all events")
    wait_for(lambda: one.messages[-1].comm == "mine", "events of one host")
    assert [m.comm for m in everything.messages if m.comm.startswith("e")] == [f"e{i}" for i in range(250)]
    assert "before" not in [m.comm for m in everything.messages], "from now on"
    assert {m.sensor_id for m in one.messages} == {other.id}
    everything.end()
    one.end()


def test_watches_are_counted(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    readers = [Reader(hosts.api.call("telovix.v1.FleetService/WatchFleet", timeout=60))]
    readers += [Reader(hosts.api.call(EVENT + "WatchEvents", timeout=60)) for _ in range(3)]

    def fifth_is_refused():
        stream = hosts.api.call(EVENT + "WatchEvents", timeout=1)
        try:
            next(iter(stream))
        except grpc.RpcError as error:
            return telovix.details(error)[0] == "too_many_watches"

    wait_for(fifth_is_refused, "the fifth is refused")
    # Waiting for a rule does not count.
    stream = hosts.api.call(POLICY + "WatchEnforcementRule", timeout=10, rule_id=rule.rule_id)
    assert next(iter(stream)).rule_id == rule.rule_id
    stream.cancel()
    for reader in readers:
        reader.end()


def test_the_fleet_is_told(hosts):
    host = hosts.hosts[0]
    host.beat()
    reader = Reader(hosts.api.call("telovix.v1.FleetService/WatchFleet", timeout=60))
    of_host = lambda: [m.sensor for m in reader.messages if m.sensor.sensor_id == host.id]
    wait_for(of_host, "the first picture")
    block(hosts, host)
    wait_for(lambda: of_host()[-1].rules == 1 and of_host()[-1].desired.generation == 1, "a rule is wanted")
    host.apply()
    wait_for(lambda: of_host()[-1].in_force.generation == 1, "it is in force")
    reader.end()


# ---- crash ----

@pytest.mark.parametrize("when", ["ordered", "handed out", "in force"])
def test_kill_9_loses_nothing(hosts, when):
    host = hosts.hosts[0]
    host.beat()
    rule = block(hosts, host, request_id="r-1").rule
    event = host.event(rule_id=rule.rule_id)
    if when != "ordered":
        host.beat()
    if when == "in force":
        host.apply()
        assert host.beat(event_stream=host.stream, events=[event]).acknowledged_event_seq == 1
    hosts.console.kill9()
    come_back(hosts)
    again = block(hosts, host, request_id="r-1")
    assert again.rule.rule_id == rule.rule_id, "a retry is no second rule"
    stored = rule_of(hosts, rule.rule_id)
    assert stored.observed_state == (APPLIED if when == "in force" else PENDING)
    assert stored.unconfirmed_since_restart
    host.apply()
    assert host.beat(event_stream=host.stream, events=[event]).acknowledged_event_seq == 1
    assert len(hosts.api.call(EVENT + "ListEvents").events) == 1
    stored = rule_of(hosts, rule.rule_id)
    assert stored.observed_state == APPLIED and not stored.unconfirmed_since_restart
    hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id)
    hosts.console.kill9()
    come_back(hosts)
    host.apply()
    assert not hosts.api.call(POLICY + "ListEnforcementRules").rules
    hosts.console.stop()
    result = subprocess.run([telovix.BUILD / "console/telovix-console", "verify", "--data", hosts.data],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
