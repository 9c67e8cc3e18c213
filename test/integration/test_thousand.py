# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold with 1,000 other sensors connected (spec §3, §5.5): a revocation hits one of them alone and at once, and a
restart of the Console blames nobody. The others are virtual, in one process: each with its own identity and connection."""
import pathlib
import re
import threading
import time

import grpc
import h2.events

import telovix
from telovix import wait_for
from test_bad_input import Raw
from test_contain import FLEET
from test_rules import Host, refused

HEARTBEAT, WAKE = "/telovix.v1.SensorService/Heartbeat", "/telovix.v1.SensorService/Wake"
N = 1000
READY_LIMIT = 120.0
REVOKED, DISABLED, STALE, HEALTHY = range(1, 5)
OFFLINE, DEGRADED = 2, 3


class Virtual(telovix.Daemon):
    """The others; `totals` after their end."""

    def __init__(self, fleet, interval_ms):
        super().__init__("fleet", [telovix.BUILD / "test/bench/bench-fleet", fleet.console.address, fleet.folder / "hosts", str(N),
                                   str(interval_ms)], fleet.folder)

    def totals(self):
        self.stop()
        return dict(zip(("heartbeats", "failed", "wakes_ended"),
                        map(int, re.search(r"heartbeats (\d+) failed (\d+) wakes_ended (\d+)", self.output()).groups())))


def start(fleet, n_own, stale_after, interval_ms):
    fleet.mint("sensors", str(N + n_own), fleet.folder / "hosts")
    fleet.config = fleet.folder / "extra.ini"
    fleet.config.write_text(f"[console]\nstale_after = {stale_after}s\n")
    fleet.start_console(extra=["--config", fleet.config])
    fleet.api = telovix.Api(fleet.console.address, fleet.profile)
    fleet.own = [Host(fleet, fleet.folder / "hosts" / str(N + i)) for i in range(n_own)]
    fleet.virtual = Virtual(fleet, interval_ms)
    fleet.daemons.append(fleet.virtual)
    fleet.virtual.wait_output(rf"ready {N}", READY_LIMIT)


def all_sensors(fleet, **fields):
    token, found = "", []
    while True:
        reply = fleet.api.call(FLEET + "ListSensors", timeout=30, page_size=1000, page_token=token, **fields)
        found += reply.sensors
        token = reply.next_page_token
        if not token:
            return found


def connections(pid, port):
    """Local ports of the established connections of the process to the port, from what the kernel says."""
    inodes = set()
    for link in (pathlib.Path("/proc") / str(pid) / "fd").iterdir():
        try:
            target = link.readlink().name
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, state, inode = (line.split()[i] for i in (1, 2, 3, 9))
        if state == "01" and inode in inodes and int(remote.split(":")[1], 16) == port:
            found.add(int(local.split(":")[1], 16))
    return found


class Target(Raw):
    """A sensor with a wake stream open and a heartbeat in flight, whose body has not come yet."""

    def __init__(self, fleet, host):
        super().__init__(fleet.console.address, host.folder)
        self.wake = self.request(WAKE)
        self.fields, self.over = {self.wake: {}}, threading.Event()
        self.collect(lambda: self.fields[self.wake].get(":status"))  # the stream stands
        self.flight = self.request(HEARTBEAT, body=None)
        self.fields[self.flight] = {}
        self.ended_at, self.goaway, self.answered = {}, None, False
        self.h2.ping(b"in order")
        self.flush()
        self.collect(lambda: self.answered)  # what was sent before has arrived
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def collect(self, enough):
        while not enough():
            for event in self.pump():
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    self.fields[event.stream_id].update(event.headers)
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended_at[event.stream_id] = time.monotonic()
                elif isinstance(event, h2.events.PingAckReceived):
                    self.answered = True
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.goaway = event.error_code

    def read(self):
        try:
            self.collect(lambda: False)
        except (EOFError, OSError):
            pass
        self.closed_at = time.monotonic()
        self.over.set()


def beats(host, until):
    """Heartbeats as fast as they are answered, until one is refused."""
    while not until.is_set():
        try:
            host.beat()
        except grpc.RpcError as error:
            host.refusal = error
            return


def test_a_revocation_hits_one_alone_and_at_once(fleet):
    start(fleet, 3, 90, 5000)
    before = connections(fleet.virtual.pid, fleet.console.port)
    assert len(before) == N
    for number, host in enumerate(fleet.own):
        host.beat()
        node = fleet.api.call(FLEET + "GetSensor", sensor=host.id).node_name
        target, until, thread = Target(fleet, host), threading.Event(), None
        if number == 1:  # in the midst of its heartbeats
            thread = threading.Thread(target=beats, args=(host, until), daemon=True)
            thread.start()
            boot_ns = host.boot_ns
            wait_for(lambda: host.boot_ns > boot_ns + 20_000_000, "it beats")
        elif number == 2:  # while an order is on its way to it
            fleet.api.call("telovix.v1.ContainmentService/KillProcess", sensor=host.id, pid=4711)
        fleet.api.call(FLEET + "RevokeSensor", sensor=host.id, confirm_node_name=node)
        revoked_at = time.monotonic()
        assert target.over.wait(telovix.LIMIT), "its connection ends"
        for stream in (target.wake, target.flight):
            assert target.fields[stream].get("grpc-status") == "16", target.fields
            assert target.ended_at[stream] - revoked_at <= 3 * 1.0
        assert target.fields[target.flight][":status"] == "401" and target.fields[target.wake][":status"] == "200"
        assert target.goaway == 0 and target.closed_at - revoked_at <= 3 * 1.0
        target.close()
        if thread:
            thread.join(telovix.LIMIT)
            assert host.refusal.code() == grpc.StatusCode.UNAUTHENTICATED
            assert telovix.details(host.refusal)[0] == "invalid_sensor_trust"
            until.set()
        # The next request, and reconnecting does not help.
        refused(grpc.StatusCode.UNAUTHENTICATED, "invalid_sensor_trust", host.beat)
        for _ in range(3):
            raw = Raw(fleet.console.address, host.folder)
            for path in (HEARTBEAT, WAKE):
                head = raw.ask(path)
                assert (head[":status"], head["grpc-status"]) == ("401", "16")
            raw.close()
        host.api.close()
    # The others notice nothing: the same connections, the same streams, no answer that was not OK.
    others = all_sensors(fleet)
    assert len(others) == N and all(s.connected and s.status == HEALTHY for s in others)
    assert connections(fleet.virtual.pid, fleet.console.port) == before
    totals = fleet.virtual.totals()
    assert totals["heartbeats"] >= N and totals["failed"] == 0 and totals["wakes_ended"] == 0, totals
    fleet.api.close()


def test_a_restart_of_the_console_blames_nobody(fleet):
    stale_s = 30
    start(fleet, 1, stale_s, 2000)
    dead = fleet.own[0]
    dead.beat()
    dead.api.close()
    assert fleet.api.call(FLEET + "GetFleetHealth").unconfirmed_since_restart == 0
    fleet.console.stop()
    fleet.mint("age-seen", str(3600 * 1000))  # an hour off: every stored heartbeat is old
    fleet.start_console(extra=["--config", fleet.config])
    started_at = time.monotonic()
    fleet.api.close()
    fleet.api = telovix.Api(fleet.console.address, fleet.profile)
    seen_unconfirmed, looks = 0, 0
    while time.monotonic() - started_at < stale_s - 1:
        found = all_sensors(fleet)
        asked_at = time.monotonic()
        assert len(found) == N + 1
        for sensor in found:
            if asked_at - started_at < stale_s:
                assert sensor.status == HEALTHY and sensor.health_state not in (OFFLINE, DEGRADED), sensor
            # Healthy without the mark is only who was heard since.
            assert sensor.unconfirmed_since_restart or sensor.last_seen_age.seconds < stale_s, sensor
        mine = next(s for s in found if s.sensor_id == dead.id)
        assert mine.unconfirmed_since_restart and mine.last_seen_age.seconds >= 3600
        seen_unconfirmed = max(seen_unconfirmed, sum(s.unconfirmed_since_restart for s in found))
        looks += 1
    assert seen_unconfirmed > 1 and looks > 3, "the test saw the Console before the fleet came back"
    wait_for(lambda: fleet.api.call(FLEET + "GetFleetHealth").unconfirmed_since_restart == 1, "all but one are back", READY_LIMIT)

    def mine():
        return fleet.api.call(FLEET + "GetSensor", sensor=dead.id)
    wait_for(lambda: mine().status == STALE, "who did not come back is told", stale_s + telovix.LIMIT)
    assert mine().unconfirmed_since_restart and mine().health_state == OFFLINE
    health = fleet.api.call(FLEET + "GetFleetHealth")
    assert (health.sensors, health.stale, health.unconfirmed_since_restart, health.healthy) == (N + 1, 1, 1, N), health
    assert [(r.reason, r.sensors) for r in health.reasons] == [("heartbeat_offline", 1)]
    fleet.api.close()
