# SPDX-License-Identifier: GPL-2.0-or-later
"""Network containment at the Console and in telovixctl (spec §5.3, §5.4), with a sensor that the test speaks for: whatever
a host may report is reached, and never is a host called contained that has not proved it just now."""
import json
import os
import threading

import grpc
import pytest

import telovix
from telovix import wait_for
from test_rules import APPLIED, FAILED, PARTIAL, PENDING, READY, REFUSED, REMOVING, UNKNOWN, Host, Reader, come_back, refused

CONTAINMENT = "telovix.v1.ContainmentService/"
POLICY = "telovix.v1.PolicyService/"
FLEET = "telovix.v1.FleetService/"
NONE, S_PENDING, CONTAINED, S_PARTIAL, RELEASE_PENDING, S_FAILED, S_UNKNOWN = range(1, 8)
KEEP, RELEASE = 1, 2
NETWORK_DENIED, NETWORK_WOULD_DENY, LIFTED = 4, 5, 6
ENTRY, OTHER_ENTRY, TEMPLATE_ENTRY = "in:10.0.0.0/8,22/tcp", "out:192.0.2.1/32,53/udp", "out:198.51.100.0/24"


class Contained(Host):
    """A host whose one rule is a containment."""

    @property
    def policy(self):
        return next(p for p in self.rules.values() if p.template == "network-containment")

    def take(self):
        """Takes the desired set over, and says nothing of it yet."""
        self.beat()
        if self.reply.HasField("desired_set"):
            desired = self.reply.desired_set
            self.in_force = {"epoch": desired.epoch, "generation": desired.generation, "digest": desired.digest}
            self.rules = dict(self.wanted)

    def say(self, state=APPLIED, **fields):
        gaps = fields.pop("gaps", ())
        return self.beat(rule_reports=[{
            "rule_id": self.policy.rule_id, "revision": self.policy.revision, "state": state, "backend": "cgroup_skb,tcx",
            "gaps": [{"gap": gap, "detail": f"{gap} is not held"} for gap in gaps], **fields}])


def make(fleet, settings=""):
    fleet.mint("sensors", "2", fleet.folder / "hosts")
    fleet.viewer = fleet.operator("vera", "viewer")
    fleet.operator_profile = fleet.operator("olga", "operator")
    fleet.config = fleet.folder / "extra.ini"
    fleet.config.write_text("[console]\nstale_after = 3s\n" + settings)
    fleet.start_console(extra=["--config", fleet.config])
    fleet.hosts = [Contained(fleet, fleet.folder / "hosts" / str(i)) for i in range(2)]
    fleet.api = telovix.Api(fleet.console.address, fleet.operator_profile)


@pytest.fixture
def hosts(fleet):
    make(fleet)
    yield fleet
    end(fleet)


@pytest.fixture
def templated(fleet):
    make(fleet, f"[containment]\nallow = {TEMPLATE_ENTRY}\non_lost_console = release\n")
    yield fleet
    end(fleet)


def end(fleet):
    fleet.api.close()
    for host in fleet.hosts:
        host.api.close()


def contain(fleet, host, **fields):
    return fleet.api.call(CONTAINMENT + "ContainSensor", sensor=host.id, **fields)


def release(fleet, host, **fields):
    return fleet.api.call(CONTAINMENT + "ReleaseSensor", sensor=host.id, **fields)


def set_allow(fleet, host, *allow, **fields):
    return fleet.api.call(CONTAINMENT + "SetAllowList", sensor=host.id, allow=allow, **fields)


def sensor(fleet, host):
    return fleet.api.call(FLEET + "GetSensor", sensor=host.id)


def expect(fleet, host, is_contained, state, reason=""):
    found = sensor(fleet, host)
    assert (found.is_contained, found.containment_state, found.containment_reason) == (is_contained, state, reason), found
    assert found.HasField("containment_verified_at") == (state in (CONTAINED, S_PARTIAL))
    return found


def actions(fleet, host, kind):
    """Details of the audit records of that kind, oldest first."""
    return [(r["outcome"].endswith("SUCCESS"), json.loads(r["detail"])) for r in reversed(fleet.audit("--sensor", host.id))
            if r["actionType"] == kind]


# ---- the life of a containment ----

def test_life_of_a_containment(hosts):
    host = hosts.hosts[0]
    assert not host.beat().contained
    expect(hosts, host, False, NONE)
    reply = contain(hosts, host, allow=[ENTRY], reason="seen in the incident")
    rule = reply.rule
    assert reply.notice == f"containment of {rule.node_name} takes effect on the next heartbeat, within 30 seconds"
    assert reply.unchanged == ""
    assert (rule.template, rule.name, rule.hook, rule.action, rule.path) == (
        "network-containment", "telovix-network-containment", "cgroup_skb", "Deny", "")
    assert list(rule.allow) == [ENTRY] and rule.on_lost_console == KEEP and rule.observed_state == PENDING
    expect(hosts, host, True, S_PENDING)
    host.take()
    assert host.reply.contained
    policy = host.policy
    assert policy.mode == 1 and list(policy.network_containment.allow) == [ENTRY]
    assert policy.network_containment.on_lost_console == KEEP and not policy.network_containment.force
    assert not policy.HasField("block_binary") and len(policy.revision) == 16
    # In force is not proved.
    expect(hosts, host, True, S_PENDING)
    host.say(PENDING, reason="attaching", detail="the programs are being attached")
    found = expect(hosts, host, True, S_PENDING, "attaching")
    assert found.containment_detail == "the programs are being attached"
    host.say(APPLIED)
    found = expect(hosts, host, True, CONTAINED)
    assert found.containment_rule_id == rule.rule_id and found.rules == 1
    assert actions(hosts, host, "sensor_contained") == [(True, {
        "allow": [ENTRY], "generation": 1, "node_name": rule.node_name, "on_lost_console": "keep", "rule_id": rule.rule_id,
        "sensor": host.id})]
    assert actions(hosts, host, "containment_verified") == [(True, {
        "backend": "cgroup_skb,tcx", "gaps": [], "node_name": rule.node_name, "rule_id": rule.rule_id, "state": "contained"})]
    host.say(APPLIED, hits=3)
    assert len(actions(hosts, host, "containment_verified")) == 1, "only the first proof"

    reply = release(hosts, host)
    assert reply.notice == f"release of {rule.node_name} takes effect on the next heartbeat, within 30 seconds"
    assert reply.rule.observed_state == REMOVING and reply.unchanged == ""
    expect(hosts, host, False, RELEASE_PENDING)
    host.take()
    assert not host.reply.contained and host.rules == {}
    expect(hosts, host, False, RELEASE_PENDING)
    host.beat()
    expect(hosts, host, False, NONE)
    assert actions(hosts, host, "sensor_released") == [(True, {
        "generation": 2, "node_name": rule.node_name, "rule_id": rule.rule_id, "sensor": host.id})]


def test_nothing_to_change(hosts):
    host = hosts.hosts[0]
    host.beat()
    reply = release(hosts, host)
    assert (reply.notice, reply.unchanged, reply.HasField("rule")) == ("sensor is not in containment", "not_contained", False)
    rule = contain(hosts, host, allow=[ENTRY, OTHER_ENTRY]).rule
    for fields in ({"allow": [OTHER_ENTRY, ENTRY]}, {"allow": [ENTRY, OTHER_ENTRY, ENTRY], "on_lost_console": KEEP}):
        reply = contain(hosts, host, **fields)
        assert (reply.notice, reply.unchanged) == ("sensor is already in containment", "already_contained")
        assert reply.rule.rule_id == rule.rule_id and list(reply.rule.allow) == [ENTRY, OTHER_ENTRY]
    # No entry asks for the template's alone, here none: who asks for nothing is not told that nothing gets through.
    for allow in ([ENTRY], []):
        sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "other_allow_list",
                              lambda allow=allow: contain(hosts, host, allow=allow))
        assert f"allow {rule.node_name} set" in sentence
    refused(grpc.StatusCode.FAILED_PRECONDITION, "other_on_lost_console",
            lambda: contain(hosts, host, allow=[ENTRY, OTHER_ENTRY], on_lost_console=RELEASE))
    assert sensor(hosts, host).desired.generation == 1
    release(hosts, host)
    reply = release(hosts, host)
    assert reply.unchanged == "release_pending" and reply.rule.rule_id == rule.rule_id, "what is waited for is named"
    assert reply.notice == f"the release of {rule.node_name} was ordered before and its host has not confirmed it yet"
    assert reply.rule.observed_state == REMOVING
    assert sensor(hosts, host).desired.generation == 2
    # Contained again before the host confirmed the release: another rule, which counts.
    again = contain(hosts, host).rule
    assert again.rule_id != rule.rule_id
    expect(hosts, host, True, S_PENDING)
    assert [ok for ok, _ in actions(hosts, host, "sensor_contained")] == [True, False, False, False, True]


def test_the_template(templated):
    host = templated.hosts[0]
    template = templated.api.call(POLICY + "GetTemplate", template="network-containment")
    assert list(template.allow) == [TEMPLATE_ENTRY] and template.on_lost_console == RELEASE and template.description
    refused(grpc.StatusCode.NOT_FOUND, "unknown_template",
            lambda: templated.api.call(POLICY + "GetTemplate", template="block-binary"))
    reply = contain(templated, host, allow=[ENTRY])
    assert list(reply.rule.allow) == [TEMPLATE_ENTRY, ENTRY] and reply.rule.on_lost_console == RELEASE
    assert contain(templated, host, allow=[ENTRY, TEMPLATE_ENTRY]).unchanged == "already_contained"
    host.take()
    assert list(host.policy.network_containment.allow) == [TEMPLATE_ENTRY, ENTRY]
    assert host.policy.network_containment.on_lost_console == RELEASE
    other = contain(templated, templated.hosts[1], on_lost_console=KEEP).rule
    assert list(other.allow) == [TEMPLATE_ENTRY] and other.on_lost_console == KEEP
    # The whole list is replaced, the template's entry too.
    assert list(set_allow(templated, host, ENTRY).rule.allow) == [ENTRY]
    many = [f"in:10.0.{i}.0/24" for i in range(64)]
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument",
                            lambda: contain(templated, host, allow=many))
    assert list(violations) == ["allow"] and "64" in violations["allow"]
    assert len(set_allow(templated, host, *many).rule.allow) == 64


@pytest.mark.parametrize("line,part", [
    ("allow = in:10.0.0.0/8 out:0.0.0.0/0", ':2: [containment] allow: "out:0.0.0.0/0" is a /0'),
    ("on_lost_console = stay", ":2: [containment] on_lost_console: want keep or release"),
    ("allowed = in:10.0.0.0/8", ":2: [containment] allowed: is not a setting")])
def test_bad_settings(fleet, line, part):
    config = fleet.folder / "bad.ini"
    config.write_text(f"[containment]\n{line}\n")
    result = telovix.subprocess.run([telovix.BUILD / "console/telovix-console", "run", "--data", fleet.data, "--config", config],
                                    capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and part in result.stderr, result.stderr


# ---- arguments, roles, gates ----

def test_bad_arguments(hosts):
    host = hosts.hosts[0]
    for entry, part in (("10.0.0.0/8", "is not in:CIDR or out:CIDR"), ("in:0.0.0.0/0", "/0"), ("out:::/0", "/0"),
                        ("in:10.0.0.1/8", "host bits"), ("in:10.0.0.0/8,0", "port"), ("in:10.0.0.0/8,1/sctp", "protocol")):
        for call in (lambda: contain(hosts, host, allow=[ENTRY, entry]), lambda: set_allow(hosts, host, ENTRY, entry)):
            _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", call)
            assert list(violations) == ["allow[1]"] and part in violations["allow[1]"], violations
    _, violations = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: hosts.api.call(
        CONTAINMENT + "ContainSensor", on_lost_console=7, reason="x" * 501, request_id="no spaces"))
    assert set(violations) == {"sensor", "on_lost_console", "reason", "request_id"}
    for method, fields in (("ContainSensor", {}), ("ReleaseSensor", {}), ("SetAllowList", {}), ("GetAllowList", {})):
        refused(grpc.StatusCode.NOT_FOUND, "unknown_sensor",
                lambda: hosts.api.call(CONTAINMENT + method, sensor="nobody", **fields))
    expect(hosts, host, False, NONE)


def test_roles(hosts):
    host = hosts.hosts[0]
    contain(hosts, host, allow=[ENTRY])
    viewer = telovix.Api(hosts.console.address, hosts.viewer)
    assert list(viewer.call(CONTAINMENT + "GetAllowList", sensor=host.id).allow) == [ENTRY]
    assert viewer.call(POLICY + "GetTemplate", template="network-containment").on_lost_console == KEEP
    for method in ("ContainSensor", "ReleaseSensor", "SetAllowList"):
        refused(grpc.StatusCode.PERMISSION_DENIED, "role_too_low", lambda: viewer.call(CONTAINMENT + method, sensor=host.id))
    for method in ("ContainSensor", "ReleaseSensor", "SetAllowList", "GetAllowList"):
        refused(grpc.StatusCode.PERMISSION_DENIED, "wrong_principal",
                lambda: host.api.call(CONTAINMENT + method, sensor=host.id))
    viewer.close()


def test_hazards(hosts):
    host = hosts.hosts[0]
    host.beat(hazards={"hazards": ["console_host", "uplink_tunnel"]})
    assert list(sensor(hosts, host).hazards) == ["console_host", "uplink_tunnel"]
    sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "hazard", lambda: contain(hosts, host))
    assert "console_host" in sentence and "uplink_tunnel" in sentence and "force" in sentence
    # Heartbeats that do not speak of them change nothing; they outlive a restart and the host's silence.
    host.beat()
    hosts.console.kill9()
    come_back(hosts)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "hazard", lambda: contain(hosts, host))
    assert contain(hosts, host, force=True).rule.forced
    host.take()
    assert host.policy.network_containment.force
    ok, detail = actions(hosts, host, "sensor_contained")[-1]
    assert ok and detail["force"] is True and detail["hazards"] == ["console_host", "uplink_tunnel"]
    # A new allow list keeps what was forced.
    set_allow(hosts, host, ENTRY)
    host.take()
    assert host.policy.network_containment.force and list(host.policy.network_containment.allow) == [ENTRY]
    host.beat(hazards={})
    assert not sensor(hosts, host).hazards
    other = hosts.hosts[1]
    other.beat(hazards={"hazards": ["of_a_newer_sensor"]})
    refused(grpc.StatusCode.FAILED_PRECONDITION, "hazard", lambda: contain(hosts, other))
    with pytest.raises(grpc.RpcError) as failed:
        other.beat(hazards={"hazards": ["No Word"]})
    assert list(telovix.details(failed.value)[1]) == ["hazards.hazards[0]"]


def test_a_force_is_not_dropped(hosts):
    host = hosts.hosts[0]
    rule = contain(hosts, host, allow=[ENTRY]).rule
    host.take()
    former = host.policy
    host.beat(hazards={"hazards": ["console_host"]})
    host.say(REFUSED, reason="hazard", detail="console_host")
    expect(hosts, host, True, S_FAILED, "hazard")
    # The host is open: that it is contained already would not be true, and the gate is that of the first time.
    refused(grpc.StatusCode.FAILED_PRECONDITION, "hazard", lambda: contain(hosts, host, allow=[ENTRY]))
    reply = contain(hosts, host, allow=[ENTRY], force=True)
    assert reply.unchanged == "" and reply.notice.startswith(f"containment of {rule.node_name} takes effect"), reply
    assert (reply.rule.rule_id, reply.rule.forced, reply.rule.observed_state) == (rule.rule_id, True, PENDING)
    expect(hosts, host, True, S_PENDING)
    host.take()
    assert host.policy.network_containment.force and host.policy.revision != former.revision
    assert list(host.policy.network_containment.allow) == [ENTRY]
    ok, detail = actions(hosts, host, "sensor_contained")[-1]
    assert ok and (detail["force"], detail["again"], detail["generation"]) == (True, True, 2)
    host.say()
    expect(hosts, host, True, CONTAINED)
    assert contain(hosts, host, allow=[ENTRY], force=True).unchanged == "already_contained"
    assert contain(hosts, host, allow=[ENTRY]).unchanged == "already_contained"
    assert sensor(hosts, host).desired.generation == 2


def test_what_is_out_of_force_is_ordered_again(hosts):
    host = hosts.hosts[0]
    contain(hosts, host, on_lost_console=RELEASE)
    host.take()
    host.say(FAILED, reason="lost_console", detail="no Console for 60 s")
    expect(hosts, host, True, S_FAILED, "lost_console")
    reply = contain(hosts, host)
    assert reply.unchanged == "" and reply.rule.observed_state == PENDING and not reply.rule.forced
    host.take()
    assert host.policy.network_containment.on_lost_console == RELEASE, "what was not asked for stays as it was"
    host.say()
    expect(hosts, host, True, CONTAINED)
    for state, fields in ((PARTIAL, {"gaps": ["packet_socket"]}), (UNKNOWN, {"reason": "drift"})):
        host.say(state, **fields)
        assert contain(hosts, host).unchanged == "already_contained"
    host.say()
    host.beat(event_stream=host.stream, events=[host.event(LIFTED, path="", pid=0, comm="", detail="uid 0")])
    expect(hosts, host, True, S_FAILED, "enforcement_lifted")
    # Critical health is a gate here as it is for the first time.
    sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_critical", lambda: contain(hosts, host))
    assert "enforcement_lifted" in sentence
    assert contain(hosts, host, force=True).unchanged == ""
    host.take()
    host.say()
    found = expect(hosts, host, True, CONTAINED)
    assert "enforcement_lifted" not in [r.reason for r in found.health_reasons]


def test_gate_of_critical_health(hosts):
    host = hosts.hosts[0]
    host.engine_state = 5
    host.beat(engine={"state": 5, "reason": "canary_ran", "detail": "x"})
    # A sensor without rules has no engine that could be down.
    sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_critical", lambda: contain(hosts, host))
    assert "engine_down" in sentence
    contain(hosts, host, force=True)
    assert contain(hosts, host).unchanged == "already_contained", "nothing is tightened"
    set_allow(hosts, host, ENTRY)
    release(hosts, host)


def test_revoked(hosts):
    host = hosts.hosts[0]
    host.beat()
    contain(hosts, host)
    hosts.console.stop()
    hosts.mint("revoke-sensor", host.id)
    come_back(hosts)
    reply = set_allow(hosts, host, ENTRY)
    assert reply.notice == f"{reply.rule.node_name} is revoked, so the new allow list takes effect at re-enrollment"
    refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_revoked",
            lambda: contain(hosts, host, allow=[ENTRY], force=True))
    for unchanged in ("", "release_pending"):
        reply = release(hosts, host)
        assert reply.notice == (f"{reply.rule.node_name} is revoked, so its release takes effect at re-enrollment; on the "
                                "host: telovix-sensor lift")
        assert (reply.unchanged, reply.rule.observed_state) == (unchanged, REMOVING)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_revoked", lambda: contain(hosts, host, force=True))


def test_the_side_door_is_shut(hosts):
    host = hosts.hosts[0]
    rule = contain(hosts, host).rule
    for name, fields in (("SetEnforcementRuleMode", {"mode": 2}), ("SetEnforcementRuleMode", {"mode": 1}),
                         ("DeleteEnforcementRule", {})):
        sentence, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "containment_rule",
                              lambda: hosts.api.call(POLICY + name, rule_id=rule.rule_id, **fields))
        assert f"telovixctl release {rule.node_name}" in sentence
    expect(hosts, host, True, S_PENDING)
    assert hosts.api.call(POLICY + "GetEnforcementRule", rule_id=rule.rule_id).template == "network-containment"
    assert [r.rule_id for r in hosts.api.call(POLICY + "ListEnforcementRules").rules] == [rule.rule_id]


def test_a_retry_gets_the_first_answer(hosts):
    host = hosts.hosts[0]
    host.beat()
    first = contain(hosts, host, request_id="once", allow=[ENTRY])
    assert contain(hosts, host, request_id="once", allow=[ENTRY]) == first
    refused(grpc.StatusCode.ALREADY_EXISTS, "request_id_reused", lambda: contain(hosts, host, request_id="once"))
    changed = set_allow(hosts, host, OTHER_ENTRY, request_id="list")
    released = release(hosts, host, request_id="away")
    assert set_allow(hosts, host, OTHER_ENTRY, request_id="list") == changed, "although it is released since"
    assert release(hosts, host, request_id="away") == released
    assert sensor(hosts, host).desired.generation == 3


# ---- the allow list ----

def test_allow_list(hosts):
    host = hosts.hosts[0]
    host.beat()
    for call in (lambda: set_allow(hosts, host, ENTRY), lambda: hosts.api.call(CONTAINMENT + "GetAllowList", sensor=host.id)):
        refused(grpc.StatusCode.FAILED_PRECONDITION, "not_contained", call)
    rule = contain(hosts, host).rule
    host.take()
    host.say()
    former = host.policy
    reply = set_allow(hosts, host, "out:2001:DB8::/32", ENTRY, ENTRY)
    assert list(reply.rule.allow) == ["out:2001:db8::/32", ENTRY] and reply.rule.rule_id == rule.rule_id
    assert reply.rule.observed_state == PENDING and not reply.rule.HasField("applied_at")
    # Contained with the former list is not contained with this one.
    expect(hosts, host, True, S_PENDING)
    host.say()
    expect(hosts, host, True, S_PENDING)
    host.take()
    assert host.policy.revision != former.revision
    host.say()
    expect(hosts, host, True, CONTAINED)
    assert list(hosts.api.call(CONTAINMENT + "GetAllowList", sensor=host.id).allow) == ["out:2001:db8::/32", ENTRY]
    again = set_allow(hosts, host, ENTRY, "out:2001:db8::/32")
    assert again.unchanged == "same_allow_list" and again.rule.observed_state == APPLIED
    assert list(set_allow(hosts, host).rule.allow) == []
    details = [detail for ok, detail in actions(hosts, host, "containment_allow_changed") if ok]
    assert [(d["from"], d["allow"]) for d in details] == [
        ([], ["out:2001:db8::/32", ENTRY]), (["out:2001:db8::/32", ENTRY], [])]
    assert len(actions(hosts, host, "containment_verified")) == 2, "each list is proved"


# ---- what may be said ----

def test_partial_and_failed(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say(PARTIAL, gaps=["packet_socket", "forwarded"])
    found = expect(hosts, host, True, S_PARTIAL)
    assert [g.gap for g in found.containment_gaps] == ["packet_socket", "forwarded"]
    assert "coverage_partial" in [r.reason for r in found.health_reasons]
    host.say(APPLIED)
    assert not expect(hosts, host, True, CONTAINED).containment_gaps
    for state, reason in ((REFUSED, "hazard"), (FAILED, "attach")):
        host.say(state, reason=reason, detail="because")
        assert expect(hosts, host, True, S_FAILED, reason).containment_detail == "because"
    assert [d["state"] for _, d in actions(hosts, host, "containment_verified")] == ["partial", "contained"]


def test_drift(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say()
    expect(hosts, host, True, CONTAINED)
    host.say(UNKNOWN, reason="drift", detail="a link was detached")
    assert expect(hosts, host, True, S_UNKNOWN, "drift").containment_detail == "a link was detached"
    host.say()
    expect(hosts, host, True, CONTAINED)
    # Of a blocked file no honest sensor reports it.
    blocked = hosts.api.call(CONTAINMENT + "BlockBinary", sensor=host.id, path="/usr/bin/nc").rule
    host.take()
    policy = host.rules[blocked.rule_id]
    host.beat(rule_reports=[host.report(policy, UNKNOWN)])
    assert hosts.api.call(POLICY + "GetEnforcementRule", rule_id=blocked.rule_id).observed_state == PENDING
    rejected = [r for r in hosts.audit() if r["actionType"] == "sensor_rejected"]
    assert rejected and "impossible_state" in rejected[0]["detail"]
    expect(hosts, host, True, CONTAINED)


def test_offline_is_pending_never_contained(hosts):
    host = hosts.hosts[0]
    never = hosts.hosts[1]
    reply = contain(hosts, never)
    assert "is silent: it waits until it is heard again" in reply.notice
    host.beat()
    wait_for(lambda: any(r.reason == "heartbeat_stale" for r in sensor(hosts, host).health_reasons), "silent")
    reply = contain(hosts, host)
    assert "is silent: it waits until it is heard again" in reply.notice
    expect(hosts, host, True, S_PENDING, "sensor_silent")
    host.take()
    host.say()
    expect(hosts, host, True, CONTAINED)
    # Silence makes what was proved unknown.
    wait_for(lambda: sensor(hosts, host).containment_state == S_UNKNOWN, "silence is no proof")
    expect(hosts, host, True, S_UNKNOWN, "sensor_silent")
    release(hosts, host)
    expect(hosts, host, False, RELEASE_PENDING, "sensor_silent")
    expect(hosts, never, True, S_PENDING, "sensor_silent")


def test_another_boot(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say()
    expect(hosts, host, True, CONTAINED)
    host.boot_id, host.boot_ns = os.urandom(16), 1_000_000_000
    host.beat()
    expect(hosts, host, True, S_UNKNOWN, "new_boot")
    host.say()
    expect(hosts, host, True, CONTAINED)


def test_a_proof_has_an_age(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say()
    verified = host.boot_ns
    expect(hosts, host, True, CONTAINED)
    # The host goes on speaking, and verifies nothing any more: three seconds, and the slack of fifteen.
    host.boot_ns = verified + 17_000_000_000
    host.beat(engine_beat={"state": READY, "verified_boot_ns": verified})
    expect(hosts, host, True, CONTAINED)
    host.boot_ns = verified + 18_500_000_000
    host.beat(engine_beat={"state": READY, "verified_boot_ns": verified})
    expect(hosts, host, True, S_UNKNOWN, "verification_stale")
    host.beat(engine_beat={"state": READY})
    expect(hosts, host, True, S_UNKNOWN, "not_verified")
    host.beat()
    expect(hosts, host, True, CONTAINED)


def test_a_restart_of_the_console_proves_nothing(hosts):
    host = hosts.hosts[0]
    contain(hosts, host, request_id="r-1")
    host.take()
    host.say()
    hosts.console.kill9()
    come_back(hosts)
    expect(hosts, host, True, S_UNKNOWN, "unconfirmed_since_restart")
    assert contain(hosts, host, request_id="r-1").unchanged == "", "the retry of what was answered"
    assert host.beat().contained
    expect(hosts, host, True, CONTAINED)
    assert not host.reply.HasField("desired_set")
    # A proof that comes with a report counts from when the report is stored, and not without it.
    hosts.console.kill9()
    come_back(hosts)
    host.say(PARTIAL, gaps=["packet_socket"])
    expect(hosts, host, True, S_PARTIAL)


def test_lift(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say()
    expect(hosts, host, True, CONTAINED)
    event = host.event(LIFTED, path="", pid=0, comm="", detail="uid 0, tty pts/1")
    host.beat(event_stream=host.stream, events=[event])
    found = expect(hosts, host, True, S_FAILED, "enforcement_lifted")
    assert found.health_state == 1 and "enforcement_lifted" in [r.reason for r in found.health_reasons]
    assert actions(hosts, host, "enforcement_lifted")[-1][1]["detail"] == "uid 0, tty pts/1"
    # Whatever the host says of the rules that were lifted, until a new desired state is in force there.
    host.say()
    expect(hosts, host, True, S_FAILED, "enforcement_lifted")
    hosts.console.kill9()
    come_back(hosts)
    host.beat()
    found = expect(hosts, host, True, S_FAILED, "enforcement_lifted")
    assert found.health_state == 1
    set_allow(hosts, host, ENTRY)
    expect(hosts, host, True, S_PENDING)
    host.take()
    host.say()
    found = expect(hosts, host, True, CONTAINED)
    assert "enforcement_lifted" not in [r.reason for r in found.health_reasons]
    assert len(actions(hosts, host, "enforcement_lifted")) == 1


def test_a_host_that_is_ahead(hosts):
    """A Console that lost its newest state does not know what the host keeps."""
    host = hosts.hosts[0]
    host.beat()
    host.beat(engine_beat={"state": READY, "verified_boot_ns": host.boot_ns, "desired_rollback": True})
    expect(hosts, host, False, S_UNKNOWN, "desired_rollback")
    host.beat()
    expect(hosts, host, False, NONE)


def test_network_events(hosts):
    host = hosts.hosts[0]
    rule = contain(hosts, host).rule
    host.take()
    events = [host.event(NETWORK_DENIED, rule_id=rule.rule_id, path="out 192.0.2.1:443/tcp"),
              host.event(NETWORK_WOULD_DENY, rule_id=rule.rule_id, path="in 192.0.2.1:22/tcp", count=40)]
    host.beat(event_stream=host.stream, events=events)
    listed = hosts.api.call("telovix.v1.EventService/ListEvents").events
    assert [(e.type, e.path, e.count) for e in listed] == [
        (NETWORK_WOULD_DENY, "in 192.0.2.1:22/tcp", 40), (NETWORK_DENIED, "out 192.0.2.1:443/tcp", 1)]
    shown = hosts.ctl("events", "list").stdout
    assert "network_denied" in shown and "network_would_deny" in shown


def test_kill_and_block_work_while_contained(hosts):
    host = hosts.hosts[0]
    host.beat()
    contain(hosts, host)
    host.take()
    host.say()
    order = hosts.api.call(CONTAINMENT + "KillProcess", sensor=host.id, pid=4711).order
    assert [k.order_id for k in host.beat().pending_kill_pids] == [order.order_id]
    hosts.api.call(CONTAINMENT + "BlockBinary", sensor=host.id, path="/usr/bin/nc")
    host.take()
    assert len(host.rules) == 2 and host.reply.contained
    expect(hosts, host, True, CONTAINED)


def test_the_fleet_is_told(hosts):
    host = hosts.hosts[0]
    host.beat()
    reader = Reader(hosts.api.call(FLEET + "WatchFleet", timeout=60))
    last = lambda: [m.sensor for m in reader.messages if m.sensor.sensor_id == host.id][-1]
    wait_for(lambda: any(m.sensor.sensor_id == host.id for m in reader.messages), "the first picture")
    contain(hosts, host)
    wait_for(lambda: last().is_contained and last().containment_state == S_PENDING, "wanted")
    host.take()
    host.say()
    wait_for(lambda: last().containment_state == CONTAINED, "proved")
    wait_for(lambda: last().containment_state == S_UNKNOWN, "silence is a change too")
    reader.end()


# ---- telovixctl ----

class Beating(threading.Thread):
    """Keeps a host speaking while a command waits: takes what is wanted, and says `state` of it."""

    def __init__(self, host, state, **fields):
        super().__init__()
        self.host, self.state, self.fields, self.stop_now = host, state, fields, threading.Event()
        self.start()

    def run(self):
        while not self.stop_now.wait(0.05):
            self.host.take()
            if any(p.template == "network-containment" for p in self.host.rules.values()):
                self.host.say(self.state, **self.fields)
            else:
                self.host.beat()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_now.set()
        self.join()


def test_cli_waits_for_the_end(hosts):
    host = hosts.hosts[0]
    host.beat(scope_cgroup="/trial", facts={"kernel_release": "6.1"})
    node = hosts.sensor(host.id)["nodeName"]
    ctl = lambda *words, **more: hosts.ctl(*words, profile=hosts.operator_profile, **more)
    last = lambda result: result.stdout.splitlines()[-1]
    with Beating(host, APPLIED):
        result = ctl("contain", node, "--allow", ENTRY, "--wait", "--timeout", "20s")
        assert last(result).startswith(f"contained: {node} is cut off from the network, proved by the host, "), result.stdout
        assert " ms after the " in last(result) and last(result).endswith("[trial scope /trial]")
        assert f"\nLet through: {ENTRY}\n" in "\n" + result.stdout
        result = ctl("contain", node, "--wait", check=False)
        assert result.returncode == 1 and "other_allow_list" in result.stderr and result.stdout == ""
        assert "sensor is already in containment" in ctl("contain", node, "--allow", ENTRY).stdout
        assert ctl("allow", node, "list").stdout == ENTRY + "\n"
        shown = ctl("sensors", "get", node).stdout
        assert "\ncontainment    desired yes | observed contained [trial scope /trial]\n" in shown, shown
        row = next(line for line in ctl("sensors", "list").stdout.splitlines() if node in line)
        assert "yes | contained [trial scope /trial]" in row
        assert f"  {node}  network-containment  enforce  applied  " in ctl("rules", "list").stdout
        result = ctl("contain", node, "--allow", OTHER_ENTRY, check=False)
        assert result.returncode == 1 and "other_allow_list" in result.stderr and f"allow {node} set" in result.stderr
        assert f"Let through: {OTHER_ENTRY}" in ctl("allow", node, "set", OTHER_ENTRY).stdout
        result = ctl("release", node, "--wait", "--timeout", "20s")
        assert last(result).startswith(f"released: {node} is out of containment, ") and "ms after the command" in last(result)
        assert ctl("release", node, "--wait").stdout == "sensor is not in containment\n"
    with Beating(host, PARTIAL, gaps=["packet_socket"]):
        result = ctl("contain", node, "--wait", "--timeout", "20s", check=False)
        assert result.returncode == 1 and last(result).startswith(f"partial: {node} is cut off from the network only in part")
        assert "not covered: packet_socket" in last(result)
        result = ctl("contain", node, "--wait", "--accept-partial", "--timeout", "20s")
        assert last(result).startswith("partial: ")
    with Beating(host, FAILED, reason="attach", detail="the cgroup root is not there"):
        ctl("allow", node, "set", ENTRY)
        result = ctl("contain", node, "--allow", ENTRY, "--wait", "--accept-partial", "--timeout", "20s", check=False)
        assert result.returncode == 1 and "the cgroup root is not there" in last(result)
    with Beating(host, UNKNOWN, reason="drift", detail="a link was detached"):
        ctl("allow", node, "set", OTHER_ENTRY)
        result = ctl("contain", node, "--allow", OTHER_ENTRY, "--wait", "--timeout", "1s", check=False)
        assert result.returncode == 3 and "unknown, drift" in result.stderr, result.stderr


def test_cli_an_offline_host_ends_in_the_time_out(hosts):
    host = hosts.hosts[0]
    result = hosts.ctl("contain", host.id, "--wait", "--timeout", "1s", check=False)
    assert result.returncode == 3 and "wait_timeout" in result.stderr and "pending" in result.stderr
    assert hosts.sensor(host.id)["isContained"] is True
    assert hosts.sensor(host.id)["containmentState"] == "CONTAINMENT_STATE_PENDING"
