# SPDX-License-Identifier: GPL-2.0-or-later
"""Disable, enable, revoke, delete and fleet health (spec §3, §5.5), with sensors that the test speaks for."""
import json
import os
import pty
import re
import subprocess
import threading

import grpc
import pytest

import telovix
from telovix import wait_for
from test_bad_input import Raw
from test_contain import CONTAINED, CONTAINMENT, FLEET, NONE, POLICY, RELEASE_PENDING, S_UNKNOWN, Contained, contain, release, sensor
from test_rules import APPLIED, EVENT, PARTIAL, REMOVING, UNKNOWN, block, refused, rule_of

HEARTBEAT = "/telovix.v1.SensorService/Heartbeat"
REVOKED, DISABLED, STALE, HEALTHY = range(1, 5)
CRITICAL = 1
KILL = "telovix.v1.ContainmentService/KillProcess"
CANCELLED, RESULT_UNKNOWN = 10, 11
N_HOSTS = 3


@pytest.fixture
def hosts(fleet):
    """A Console, three sensors of ours, and its admin."""
    fleet.mint("sensors", str(N_HOSTS), fleet.folder / "hosts")
    fleet.viewer = fleet.operator("vera", "viewer")
    fleet.config = fleet.folder / "extra.ini"
    fleet.config.write_text("[console]\nstale_after = 3s\n")
    fleet.start_console(extra=["--config", fleet.config])
    fleet.hosts = [Contained(fleet, fleet.folder / "hosts" / str(i)) for i in range(N_HOSTS)]
    fleet.api = telovix.Api(fleet.console.address, fleet.profile)
    for host in fleet.hosts:
        host.beat()
        host.node = sensor(fleet, host).node_name
    yield fleet
    fleet.api.close()
    for host in fleet.hosts:
        host.api.close()


def control(fleet, verb, host, **fields):
    if verb in ("Revoke", "Delete"):
        fields.setdefault("confirm_node_name", host.node)
    return fleet.api.call(f"{FLEET}{verb}Sensor", sensor=host.id, **fields)


def health(fleet):
    return fleet.api.call(FLEET + "GetFleetHealth")


class Stream:
    """A stream of the Console, read in a thread: messages, and how it ended."""

    def __init__(self, api, name, **fields):
        request, method = api.method(name)
        self.call, self.messages, self.error, self.over = method(request(**fields)), [], None, threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for message in self.call:
                self.messages.append(message)
        except grpc.RpcError as error:
            self.error = error
        self.over.set()

    def end(self, code, reason):
        assert self.over.wait(telovix.LIMIT), "the stream ends"
        assert self.error and self.error.code() == code and telovix.details(self.error)[0] == reason, self.error
        return self.error.details()


def actions(fleet, host, kind):
    """Details of the audit records of that kind, oldest first; of a sensor that may be gone."""
    return [(r["outcome"].endswith("SUCCESS"), json.loads(r["detail"])) for r in reversed(fleet.audit("--action", kind))
            if r["sensorId"] == host.id]


def verify(fleet):
    """The store, told whole by the Console's own check, with the Console stopped."""
    fleet.console.stop()
    result = subprocess.run([telovix.BUILD / "console/telovix-console", "verify", "--data", fleet.data], capture_output=True,
                            text=True, env={**os.environ, **telovix.SANITIZERS}, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


# ---- disable, enable ----

def test_disabled_is_out_of_the_summary_and_in_everything_else(hosts):
    host = hosts.hosts[0]
    before = health(hosts)
    assert (before.sensors, before.disabled, before.revoked) == (N_HOSTS, 0, 0) and before.fleet_name == "Test Fleet"
    reply = control(hosts, "Disable", host, reason="at the workshop")
    assert (reply.sensor_id, reply.node_name) == (host.id, host.node)
    assert reply.notice == f"{host.node} is disabled: it is left out of fleet health; its heartbeats, orders and rules go on"
    assert control(hosts, "Disable", host).notice == f"{host.node} is disabled already"
    assert sensor(hosts, host).status == DISABLED
    after = health(hosts)
    assert (after.sensors, after.disabled) == (N_HOSTS - 1, 1)
    # Heartbeats, orders and rules go on.
    order = hosts.api.call(KILL, sensor=host.id, pid=4711).order
    rule = block(hosts, host).rule
    host.apply()
    assert rule_of(hosts, rule.rule_id).observed_state == APPLIED
    assert [kill.order_id for kill in host.beat().pending_kill_pids] == [order.order_id]
    # Whatever becomes of it, the fleet is as healthy as the others are.
    wait_for(lambda: sensor(hosts, host).health_reasons, "the disabled one falls silent")
    for other in hosts.hosts[1:]:
        other.beat()
    assert not any(host.node in reason.node_names for reason in health(hosts).reasons)
    assert control(hosts, "Enable", host).notice == f"{host.node} is enabled: it counts in fleet health again"
    assert control(hosts, "Enable", host).notice == f"{host.node} is not disabled"
    assert health(hosts).sensors == N_HOSTS and sensor(hosts, host).status != DISABLED
    assert [ok for ok, _ in actions(hosts, host, "sensor_disabled")] == [True]
    assert [ok for ok, _ in actions(hosts, host, "sensor_enabled")] == [True]


def test_the_summary_counts_no_containment_of_who_is_out_of_it(hosts):
    for host in hosts.hosts:
        contain(hosts, host)
    assert health(hosts).contained == N_HOSTS
    control(hosts, "Disable", hosts.hosts[0])
    control(hosts, "Revoke", hosts.hosts[1])
    assert (health(hosts).sensors, health(hosts).contained) == (N_HOSTS - 2, N_HOSTS - 2)
    control(hosts, "Enable", hosts.hosts[0])
    assert health(hosts).contained == N_HOSTS - 1


def test_a_request_id_answers_the_first_time_again(hosts):
    host = hosts.hosts[0]
    first = control(hosts, "Disable", host, request_id="once")
    assert control(hosts, "Disable", host, request_id="once") == first, "not `already`"
    refused(grpc.StatusCode.ALREADY_EXISTS, "request_id_reused", hosts.api.call, name=FLEET + "EnableSensor", sensor=host.id,
            request_id="once")
    deleted = control(hosts, "Delete", host, request_id="gone")
    assert control(hosts, "Delete", host, request_id="gone") == deleted, "also when there is no such sensor any more"
    refused(grpc.StatusCode.NOT_FOUND, "unknown_sensor", control, fleet=hosts, verb="Delete", host=host, request_id="other")


@pytest.mark.parametrize("verb", ["Revoke", "Delete"])
def test_the_confirmation_is_checked_by_the_console(hosts, verb):
    host, other = hosts.hosts[:2]
    action = {"Revoke": "sensor_revoked", "Delete": "sensor_deleted"}[verb]
    for said in ("", other.node, host.id, host.node + "x"):
        refused(grpc.StatusCode.FAILED_PRECONDITION, "wrong_confirmation", control, fleet=hosts, verb=verb, host=host, confirm_node_name=said)
    assert [(ok, detail["reason"]) for ok, detail in actions(hosts, host, action)] == [(False, "wrong_confirmation")] * 4
    host.beat()  # nothing was done
    control(hosts, verb, host, confirm_node_name=host.node.upper())


@pytest.mark.parametrize("verb", ["Disable", "Enable", "Revoke", "Delete"])
def test_arguments_are_checked_first_and_the_attempt_is_on_record(hosts, verb):
    _, fields = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", lambda: hosts.api.call(
        f"{FLEET}{verb}Sensor", sensor="", reason="x" * 501, request_id="with space"))
    assert set(fields) == {"sensor", "reason", "request_id"}
    action = f"sensor_{verb.lower()}d"
    wait_for(lambda: any(r["actionType"] == action for r in hosts.audit("--outcome", "failure")), "the attempt is on record")
    refused(grpc.StatusCode.NOT_FOUND, "unknown_sensor", hosts.api.call, name=f"{FLEET}{verb}Sensor", sensor="nobody")


# ---- revoke ----

def test_revoked(hosts):
    host, other = hosts.hosts[:2]
    rule = block(hosts, host).rule
    host.apply()
    delivered = hosts.api.call(KILL, sensor=host.id, pid=4711).order.order_id
    host.beat()
    queued = hosts.api.call(KILL, sensor=host.id, pid=4712).order.order_id
    watch = Stream(hosts.api, "telovix.v1.ContainmentService/WatchKill", order_id=queued)
    wait_for(lambda: watch.messages, "the order is watched")
    wake = Stream(host.api, "telovix.v1.SensorService/Wake")
    wait_for(lambda: sensor(hosts, host).connected, "the host is connected")
    reply = control(hosts, "Revoke", host, reason="it was the incident")
    assert (reply.cancelled_orders, reply.unknown_orders) == (1, 1)
    assert "token create --reenroll" in reply.notice
    # Nobody waits for what will not come.
    wake.end(grpc.StatusCode.UNAUTHENTICATED, "invalid_sensor_trust")
    assert watch.over.wait(telovix.LIMIT) and not watch.error and watch.messages[-1].state == CANCELLED
    assert hosts.api.call("telovix.v1.ContainmentService/GetKill", order_id=delivered).state == RESULT_UNKNOWN
    for _ in range(3):
        refused(grpc.StatusCode.UNAUTHENTICATED, "invalid_sensor_trust", host.beat)
    host.api.close()
    host.connect()
    refused(grpc.StatusCode.UNAUTHENTICATED, "invalid_sensor_trust", host.beat)
    raw = Raw(hosts.console.address, host.folder)
    head = raw.ask(HEARTBEAT)
    assert (head[":status"], head["grpc-status"]) == ("401", "16")
    raw.close()
    found = sensor(hosts, host)
    assert (found.status, found.health_state, found.trust_health, found.trust_state) == (REVOKED, CRITICAL, 5, 4)
    assert [(r.reason, r.value, r.limit) for r in found.health_reasons][0] == ("trust_revoked", "revoked", "trusted")
    assert found.open_orders == 0
    # What its host enforces nobody hears any more; it can be loosened at its re-enrollment, and not tightened before.
    known = rule_of(hosts, rule.rule_id)
    assert (known.observed_state, known.observed_reason) == (UNKNOWN, "sensor_revoked")
    for call in (lambda: contain(hosts, host), lambda: block(hosts, host, path="/usr/bin/other")):
        refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_revoked", call)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "sensor_revoked", hosts.api.call, name=KILL, sensor=host.id, pid=4711)
    assert "re-enrolled" in hosts.api.call(POLICY + "DeleteEnforcementRule", rule_id=rule.rule_id).notice
    assert rule_of(hosts, rule.rule_id).observed_state == REMOVING
    # On record, each end for itself.
    record = actions(hosts, host, "sensor_revoked")
    assert [ok for ok, _ in record] == [True]
    assert record[0][1] == {"cancelled_orders": 1, "node_name": host.node, "sensor": host.id, "unknown_orders": 1}
    assert [d["order_id"] for _, d in actions(hosts, host, "process_kill_cancelled")] == [queued]
    assert [(ok, d["order_id"], d["state"]) for ok, d in actions(hosts, host, "process_kill_finished")] == [
        (False, delivered, "result_unknown")]
    wait_for(lambda: actions(hosts, host, "sensor_rejected"), "the refusal is on record")
    assert actions(hosts, host, "sensor_rejected")[0][1]["reason"] == "invalid_sensor_trust"
    # Lists leave it out unless asked, and nobody else was touched.
    listed = lambda **fields: [s.sensor_id for s in hosts.api.call(FLEET + "ListSensors", **fields).sensors]
    assert host.id not in listed() and host.id in listed(include_revoked=True) and listed(status=REVOKED) == [host.id]
    assert health(hosts).revoked == 1 and health(hosts).sensors == N_HOSTS - 1
    other.beat()
    assert control(hosts, "Revoke", host).notice == f"{host.node} is revoked already"
    verify(hosts)


def test_releasing_a_revoked_sensor_takes_effect_at_its_re_enrollment(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    host.take()
    host.say(APPLIED)
    assert sensor(hosts, host).containment_state == CONTAINED
    control(hosts, "Revoke", host)
    found = sensor(hosts, host)
    assert (found.is_contained, found.containment_state, found.containment_reason) == (True, S_UNKNOWN, "sensor_revoked")
    notice = release(hosts, host).notice
    assert notice == f"{host.node} is revoked, so its release takes effect at re-enrollment; on the host: telovix-sensor lift"
    found = sensor(hosts, host)
    assert (found.is_contained, found.containment_state) == (False, RELEASE_PENDING)


# ---- delete ----

def test_deleted(hosts):
    host, other = hosts.hosts[:2]
    rule = block(hosts, host).rule
    host.apply()
    host.beat(event_stream=host.stream, events=[host.event(), host.event()])
    order = hosts.api.call(KILL, sensor=host.id, pid=4711).order.order_id
    kept = block(hosts, other).rule
    rule_watch = Stream(hosts.api, POLICY + "WatchEnforcementRule", rule_id=rule.rule_id)
    order_watch = Stream(hosts.api, "telovix.v1.ContainmentService/WatchKill", order_id=order)
    event_watch = Stream(hosts.api, EVENT + "WatchEvents", sensor=host.id)
    fleet_watch = Stream(hosts.api, FLEET + "WatchFleet")
    wake = Stream(host.api, "telovix.v1.SensorService/Wake")
    wait_for(lambda: rule_watch.messages and order_watch.messages and len(fleet_watch.messages) >= N_HOSTS, "all are watched")
    wait_for(lambda: sensor(hosts, host).connected, "the host is connected")
    reply = control(hosts, "Delete", host)
    assert (reply.rules, reply.orders, reply.events) == (1, 1, 2)
    assert "telovix-sensor lift" in reply.notice
    wake.end(grpc.StatusCode.UNAUTHENTICATED, "sensor_deleted")
    # Who followed something of it is not told that the host did it.
    assert "was deleted" in rule_watch.end(grpc.StatusCode.NOT_FOUND, "unknown_sensor")
    assert "the order is cancelled" in order_watch.end(grpc.StatusCode.NOT_FOUND, "unknown_order"), "it was never handed out"
    event_watch.end(grpc.StatusCode.NOT_FOUND, "unknown_sensor")
    wait_for(lambda: any(m.removed for m in fleet_watch.messages), "the fleet's watcher is told")
    gone = [m for m in fleet_watch.messages if m.removed]
    assert [(m.sensor.sensor_id, m.sensor.node_name) for m in gone] == [(host.id, host.node)]
    fleet_watch.call.cancel()
    # The old certificate is told apart, also on a new connection.
    refused(grpc.StatusCode.UNAUTHENTICATED, "sensor_deleted", host.beat)
    raw = Raw(hosts.console.address, host.folder)
    head = raw.ask(HEARTBEAT)
    assert (head[":status"], head["grpc-status"]) == ("401", "16")
    raw.close()
    wait_for(lambda: any(d["reason"] == "sensor_deleted" for _, d in actions(hosts, host, "sensor_rejected")), "that is on record")
    assert "reason=sensor_deleted" in hosts.console.output()
    # Nothing is left but tombstones and the log.
    for name, fields in (("GetSensor", {"sensor": host.id}), ("GetSensor", {"sensor": host.node})):
        refused(grpc.StatusCode.NOT_FOUND, "unknown_sensor", hosts.api.call, name=FLEET + name, **fields)
    refused(grpc.StatusCode.NOT_FOUND, "unknown_rule", rule_of, fleet=hosts, rule_id=rule.rule_id)
    refused(grpc.StatusCode.NOT_FOUND, "unknown_order", hosts.api.call, name="telovix.v1.ContainmentService/GetKill", order_id=order)
    assert [e.sensor_id for e in hosts.api.call(EVENT + "ListEvents").events] == []
    assert [r.rule_id for r in hosts.api.call(POLICY + "ListEnforcementRules").rules] == [kept.rule_id]
    assert actions(hosts, host, "sensor_deleted") == [(True, {
        "cancelled_orders": 1, "events": 2, "node_name": host.node, "orders": 1, "rules": 1, "sensor": host.id, "tokens": 0,
        "unknown_orders": 0})]
    assert actions(hosts, host, "enforcement_rule_created"), "the log stays"
    assert "sensor_deleted" in [r["actionType"] for r in hosts.audit("--sensor", host.id)], "and is found by the id"
    other.beat()
    verify(hosts)


def test_what_becomes_of_a_delivered_order_nobody_will_know(hosts):
    host = hosts.hosts[0]
    order = hosts.api.call(KILL, sensor=host.id, pid=4711).order.order_id
    host.beat()
    watch = Stream(hosts.api, "telovix.v1.ContainmentService/WatchKill", order_id=order)
    wait_for(lambda: watch.messages, "the order is watched")
    control(hosts, "Delete", host)
    assert "nobody will know" in watch.end(grpc.StatusCode.NOT_FOUND, "unknown_order")


def test_the_same_node_name_is_another_sensor(hosts):
    host = hosts.hosts[0]
    control(hosts, "Disable", host)
    control(hosts, "Delete", host)
    result, state = hosts.enroll(host.node)
    assert result.returncode == 0
    found = hosts.sensor(host.node)
    assert found["sensorId"] != host.id and found["status"] == "SENSOR_STATUS_HEALTHY" and found["rules"] == 0
    refused(grpc.StatusCode.UNAUTHENTICATED, "sensor_deleted", host.beat)
    # The token that enrolled it leads to nobody once it is deleted, and is used all the same.
    hosts.ctl("delete", host.node, "--yes")
    assert [t["status"] for t in hosts.ctl_json("token", "list")] == ["TOKEN_STATUS_USED"]
    assert [t["usedBySensorId"] for t in hosts.ctl_json("token", "list")] == [""]
    verify(hosts)


def test_only_a_host_observed_released_is_deleted_without_force(hosts):
    host = hosts.hosts[0]
    contain(hosts, host)
    for prepare in (lambda: None, host.take, lambda: host.say(APPLIED), lambda: release(hosts, host)):
        prepare()
        refused(grpc.StatusCode.FAILED_PRECONDITION, "not_released", control, fleet=hosts, verb="Delete", host=host)
    host.take()
    host.beat()  # the set without it is in force: confirmed
    assert sensor(hosts, host).containment_state == NONE
    control(hosts, "Delete", host)
    other = hosts.hosts[1]
    contain(hosts, other)
    other.take()
    control(hosts, "Revoke", other)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "not_released", control, fleet=hosts, verb="Delete", host=other)
    reply = control(hosts, "Delete", other, force=True)
    assert reply.rules == 1
    assert actions(hosts, other, "sensor_deleted")[-1][1]["force"] is True
    verify(hosts)


def test_a_host_with_a_set_of_another_console_may_be_contained(hosts):
    host = hosts.hosts[0]
    host.beat(engine_beat={"state": host.engine_state, "verified_boot_ns": host.boot_ns, "desired_rollback": True})
    assert sensor(hosts, host).containment_state == S_UNKNOWN
    refused(grpc.StatusCode.FAILED_PRECONDITION, "not_released", control, fleet=hosts, verb="Delete", host=host)
    control(hosts, "Delete", host, force=True)


# ---- watching ----

def test_a_watch_tells_who_leaves_it(hosts):
    host, other = hosts.hosts[:2]
    with_revoked, without = (Stream(hosts.api, FLEET + "WatchFleet", include_revoked=flag) for flag in (True, False))
    wait_for(lambda: all(len(w.messages) >= N_HOSTS for w in (with_revoked, without)), "both have the first picture")
    of_host = lambda watch: [m for m in watch.messages if m.sensor.sensor_id == host.id]
    control(hosts, "Disable", other)
    wait_for(lambda: all(any(m.sensor.status == DISABLED for m in w.messages) for w in (with_revoked, without)), "a disable is told")
    control(hosts, "Revoke", host)
    wait_for(lambda: all(of_host(w)[-1].sensor.status == REVOKED for w in (with_revoked, without)), "a revocation is told")
    assert of_host(without)[-1].removed and not any(m.removed for m in with_revoked.messages)
    control(hosts, "Delete", host)
    wait_for(lambda: of_host(with_revoked)[-1].removed, "a deletion is told")
    for watch in (with_revoked, without):
        watch.call.cancel()
    # A new watch does not begin with what has left.
    late = Stream(hosts.api, FLEET + "WatchFleet")
    wait_for(lambda: len(late.messages) >= N_HOSTS - 1, "the first picture")
    assert host.id not in [m.sensor.sensor_id for m in late.messages]
    late.call.cancel()


# ---- lists ----

def test_filters_and_pages(hosts):
    names = sorted((host.node for host in hosts.hosts), key=str.lower)
    control(hosts, "Revoke", hosts.hosts[0])
    control(hosts, "Disable", hosts.hosts[1])

    def pages(**fields):
        token, found = "", []
        while True:
            reply = hosts.api.call(FLEET + "ListSensors", page_size=1, page_token=token, **fields)
            assert len(reply.sensors) <= 1
            found += [s.node_name for s in reply.sensors]
            token = reply.next_page_token
            if not token:
                return found
    of = lambda *which: sorted((hosts.hosts[i].node for i in which), key=str.lower)
    assert pages(include_revoked=True) == names
    assert pages() == of(1, 2)
    assert pages(status=DISABLED) == of(1) and pages(status=REVOKED) == of(0)
    assert pages(health_state=CRITICAL, include_revoked=True) == of(0) and pages(health_state=CRITICAL) == []
    # A page belongs to its filter.
    token = hosts.api.call(FLEET + "ListSensors", page_size=1).next_page_token
    refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", hosts.api.call, name=FLEET + "ListSensors", page_token=token,
            include_revoked=True)
    listed = lambda *words: sorted(s["nodeName"] for s in hosts.ctl_json("sensors", "list", *words))
    assert listed() == sorted(of(1, 2)) and listed("--all") == sorted(names)
    assert listed("--status", "revoked") == of(0) and listed("--status", "disabled") == of(1)
    assert listed("--health", "critical", "--all") == of(0) and listed("--label", "no=where") == []


# ---- command line ----

def asked(fleet, *words, answer, meanwhile=lambda: None):
    """Runs telovixctl with a terminal to ask on; `meanwhile` happens between the question and the answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [telovix.BUILD / "client/telovixctl", "--profile", fleet.profile, "--console", fleet.console.address, *words],
        stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, env={**os.environ, **telovix.SANITIZERS})
    os.close(theirs)
    shown = b""
    while b"to go on: " not in shown:
        shown += os.read(ours, 4096)
    meanwhile()
    os.write(ours, answer.encode() + b"\n")
    out, _ = process.communicate(timeout=60)
    os.set_blocking(ours, False)
    try:
        shown += os.read(ours, 65536)
    except OSError:
        pass
    os.close(ours)
    return process.returncode, out, shown.decode().replace("\r\n", "\n")


def test_what_cannot_be_taken_back_is_asked_for(hosts):
    host, other = hosts.hosts[:2]
    for verb in ("revoke", "delete"):
        result = hosts.ctl(verb, host.node, check=False)
        assert result.returncode == 2 and "--yes" in result.stderr and len(result.stderr.splitlines()) == 1
        status, out, shown = asked(hosts, verb, host.id, answer=other.node)
        assert status == 1 and out == "" and "nothing was done" in shown
        assert "Fleet Test Fleet" in shown and host.node in shown and host.id in shown
        assert "Revocation and deletion are not reversible." in shown and "Use disable or containment first" in shown
    host.beat()
    status, out, shown = asked(hosts, "revoke", host.id, answer=host.node)
    assert status == 0 and out.startswith(f"{host.node} is revoked: "), out + shown
    status, out, shown = asked(hosts, "delete", host.node, answer=host.node.upper())
    assert status == 0 and out.startswith(f"{host.node} is deleted"), out + shown


@pytest.mark.parametrize("verb", ["revoke", "delete"])
def test_the_sensor_that_was_confirmed_is_meant(hosts, verb):
    """And not the one that has its node name by the time of the answer."""
    host = hosts.hosts[0]

    def replace():
        control(hosts, "Delete", host)
        hosts.enroll(host.node)
    status, out, shown = asked(hosts, verb, host.node, answer=host.node, meanwhile=replace)
    assert status == 1 and out == "" and "unknown_sensor" in shown, out + shown
    found = hosts.sensor(host.node)
    assert found["sensorId"] != host.id and found["status"] != "SENSOR_STATUS_REVOKED"


def test_a_repetition_is_the_same_request(hosts):
    """However the node name is typed; and when its sensor is gone, nobody is told that the request did nothing."""
    host, other = hosts.hosts[:2]
    status, first, shown = asked(hosts, "revoke", host.node, "--request-id", "r-1", answer=host.node.upper())
    assert status == 0 and first.startswith(f"{host.node} is revoked: "), first + shown
    for word, answer in ((host.node, host.node), (host.id, host.node), (host.node.upper(), host.node.lower())):
        status, again, shown = asked(hosts, "revoke", word, "--request-id", "r-1", answer=answer)
        assert (status, again) == (0, first), again + shown
    for word in (host.id, other.id):
        hosts.ctl("delete", word, "--yes", "--request-id", f"d-{word}")
        result = hosts.ctl("delete", word, "--yes", "--request-id", f"d-{word}", check=False)
        assert result.returncode == 3 and len(result.stderr.splitlines()) == 1, result
        assert f"whether request d-{word} was carried out: telovixctl audit list --action sensor_deleted" in result.stderr, result
    done = hosts.audit("--action", "sensor_deleted", "--outcome", "success")
    assert {r["requestId"] for r in done} == {f"d-{host.id}", f"d-{other.id}"}, "where it says that the answer is found"
    # A request that nobody named cannot have been carried out before.
    result = hosts.ctl("delete", host.id, "--yes", check=False)
    assert result.returncode == 1 and "unknown_sensor" in result.stderr, result


def test_controls_on_the_command_line(hosts):
    host = hosts.hosts[0]
    assert "is disabled: " in hosts.ctl("disable", host.node, "--reason", "moved").stdout
    assert "already" in hosts.ctl("disable", host.node).stdout
    assert hosts.ctl("-o", "name", "enable", host.node).stdout == host.id + "\n"
    hosts.api.call(KILL, sensor=host.id, pid=4711)
    reply = hosts.ctl_json("revoke", host.id, "--yes")
    assert len(reply) == 1 and reply[0]["cancelledOrders"] == 1 and reply[0]["nodeName"] == host.node
    result = hosts.ctl("delete", host.node, "--yes", "--request-id", "r-1")
    assert "Removed with it: 0 rules, 1 kill orders, 0 events, 0 tokens." in result.stdout
    assert hosts.ctl("delete", host.node, "--yes", "--request-id", "r-1").stdout == result.stdout, "a retry is safe"
    error = hosts.ctl("delete", host.node, "--yes", check=False)
    assert error.returncode == 1 and "unknown_sensor" in error.stderr


def test_fleet_health_on_the_command_line(hosts):
    control(hosts, "Disable", hosts.hosts[0])
    hosts.hosts[1].beat(engine_beat={"state": 5, "verified_boot_ns": hosts.hosts[1].boot_ns})
    for form in ((), ("-o", "wide")):
        text = hosts.ctl(*form, "fleet", "health").stdout
        lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
        assert lines["fleet"] == ["Test", "Fleet"] and lines["health"] == ["critical"] and lines["sensors"] == [str(N_HOSTS - 1)]
        assert lines["critical"] == ["1"] and lines["disabled"] == ["1"] and lines["revoked"] == ["0"]
        assert lines["engine_down"] == ["critical", "1", hosts.hosts[1].node]
    found = hosts.ctl_json("fleet", "health")
    assert len(found) == 1 and found[0]["state"] == "HEALTH_STATE_CRITICAL" and found[0]["disabled"] == 1
    assert hosts.ctl("-o", "name", "fleet", "health", profile=hosts.viewer).stdout == "critical\n"


def answering(host, state, *gaps, until):
    """Speaks for the host in a thread: what is wanted is reported as `state`."""
    def speak():
        while not until.is_set():
            try:
                host.take()
                if any(p.template == "network-containment" for p in host.rules.values()):
                    host.say(state, gaps=gaps)
            except grpc.RpcError:
                return
            until.wait(0.1)
    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("state, words, status", [
    (APPLIED, ("--contain-first",), 0), (PARTIAL, ("--contain-first",), 1), (PARTIAL, ("--contain-first", "--accept-partial"), 0)])
def test_contain_first(hosts, state, words, status):
    host, until = hosts.hosts[0], threading.Event()
    thread = answering(host, state, *(["packet_sockets"] if state == PARTIAL else []), until=until)
    result = hosts.ctl("revoke", host.node, *words, "--yes", "--timeout", "20s", check=False)
    until.set()
    thread.join()
    assert result.returncode == status, result.stdout + result.stderr
    found = sensor(hosts, host)
    assert found.is_contained and (found.status == REVOKED) == (status == 0)
    if status == 0:
        assert "is revoked: " in result.stdout.splitlines()[-1]
        kinds = [r["actionType"] for r in hosts.audit("--sensor", host.id)]
        assert kinds.index("sensor_revoked") < kinds.index("containment_verified") < kinds.index("sensor_contained"), "newest first"
    else:
        assert "nothing was revoked" in result.stderr and len(result.stderr.splitlines()) == 1


def test_contain_first_with_a_host_that_does_not_answer(hosts):
    host = hosts.hosts[0]
    result = hosts.ctl("revoke", host.node, "--contain-first", "--yes", "--timeout", "2s", check=False)
    assert result.returncode == 3 and "nothing was revoked" in result.stderr, result.stderr
    found = sensor(hosts, host)
    assert found.is_contained and found.status != REVOKED
    host.beat()


def test_release_first(hosts):
    host, other, until = *hosts.hosts[:2], threading.Event()
    contain(hosts, host)
    host.take()
    host.say(APPLIED)
    thread = answering(host, APPLIED, until=until)
    result = hosts.ctl("revoke", host.node, "--release-first", "--yes", "--timeout", "20s")
    until.set()
    thread.join()
    found = sensor(hosts, host)
    assert (found.status, found.is_contained, found.containment_state) == (REVOKED, False, NONE)
    assert "is revoked: " in result.stdout.splitlines()[-1]
    # Nothing to release is released.
    hosts.ctl("revoke", other.node, "--release-first", "--yes")
    assert sensor(hosts, other).status == REVOKED
    # Unless it keeps a set that this Console does not know.
    third = hosts.hosts[2]
    third.beat(engine_beat={"state": third.engine_state, "verified_boot_ns": third.boot_ns, "desired_rollback": True})
    result = hosts.ctl("revoke", third.node, "--release-first", "--yes", check=False)
    assert result.returncode == 1 and "nothing was revoked" in result.stderr
    assert sensor(hosts, third).status != REVOKED


@pytest.mark.parametrize("words", [("--contain-first", "--release-first"), ("--accept-partial",), ("--release-first", "--accept-partial"),
                                   ("--contain-first", "--request-id", "x" * 60)])
def test_words_that_do_not_go_together(hosts, words):
    result = hosts.ctl("revoke", hosts.hosts[0].node, "--yes", *words, check=False)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1 and result.stdout == ""


def test_a_wait_for_a_rule_does_not_take_a_deletion_for_a_confirmation(hosts):
    host = hosts.hosts[0]
    rule = block(hosts, host).rule
    host.apply()
    process = subprocess.Popen(
        [telovix.BUILD / "client/telovixctl", "--profile", hosts.profile, "--console", hosts.console.address, "-o", "json", "rules",
         "delete", rule.rule_id, "--wait", "--timeout", "30s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **telovix.SANITIZERS})
    wait_for(lambda: rule_of(hosts, rule.rule_id).observed_state == REMOVING, "the rule is being removed")
    control(hosts, "Delete", host)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and out == "", out + errors
    assert json.loads(errors)["reason"] in ("unknown_sensor", "unknown_rule"), errors


def test_contain_first_means_one_sensor_and_one_request(hosts):
    """Both steps name the sensor by its id, and the id that makes a retry safe is that of the whole."""
    host, until = hosts.hosts[0], threading.Event()
    words = ("revoke", host.node, "--contain-first", "--yes", "--reason", "found out")
    result = hosts.ctl(*words, "--request-id", "whole", "--timeout", "700ms", check=False)
    assert result.returncode == 3 and "nothing was revoked" in result.stderr, result
    named = re.search(r"--request-id (\S+),", result.stderr).group(1)
    assert named == "whole"
    error = hosts.ctl("-o", "json", *words, "--request-id", "whole", "--timeout", "700ms", check=False)
    assert json.loads(error.stderr.splitlines()[-1])["requestId"] == "whole"
    thread = answering(host, APPLIED, until=until)
    result = hosts.ctl(*words, "--request-id", named, "--timeout", "20s", check=False)
    until.set()
    thread.join()
    assert result.returncode == 0 and "is revoked: " in result.stdout.splitlines()[-1], result
    for kind, request_id in (("sensor_contained", "whole.contain"), ("sensor_revoked", "whole")):
        assert [detail["sensor"] for _, detail in actions(hosts, host, kind)] == [host.id]
        assert [r["requestId"] for r in hosts.audit("--action", kind)] == [request_id]
