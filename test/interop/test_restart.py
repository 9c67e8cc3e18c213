# SPDX-License-Identifier: GPL-2.0-or-later
"""A Console that stops, dies and comes back, and long silence, seen by all peers at once."""
import pytest

import telovix
from peer import node_major

# Each with the name that it gives to the end of a connection by GOAWAY ENHANCE_YOUR_CALM.
PEERS = {"python-generated": "UNAVAILABLE", "node-files": "RESOURCE_EXHAUSTED", "connect": "INTERNAL"}
if node_major() < 20:
    del PEERS["connect"]


class Guest:
    """One peer with a channel, a watch of the fleet and one of health."""

    def __init__(self, peer, fleet, **options):
        self.peer, self.address = peer, fleet.console.address
        self.channel = peer.open(self.address, fleet.profile, **options)
        self.watch()

    def watch(self):
        self.fleet = self.channel.call("FleetService/WatchFleet")
        self.health = self.channel.call("grpc.health.v1.Health/Watch")
        assert self.health.message() == {"status": "SERVING"}
        self.fleet.next("head")


    def close(self):
        # Some clients let calls run on when their channel is closed.
        for call in (self.fleet, self.health):
            if call.code is None:
                call.cancel()
                call.end()
        self.channel.close()


@pytest.fixture
def guests(peers, fleet):
    fleet.start_console()
    # Four watches an operator: one each is room enough for three.
    guests = [Guest(peers(name), fleet) for name in PEERS]
    yield guests
    for guest in guests:
        guest.close()


def test_drain(guests, fleet):
    """SIGTERM: health says it, streams end with a reason, and the same channels work with the next Console."""
    fleet.console.process.terminate()
    hasty = [guest.channel.call("OperatorService/WhoAmI") for guest in guests for _ in range(20)]
    for guest in guests:
        assert guest.health.message() == {"status": "NOT_SERVING"}
        assert guest.fleet.failed() == ("UNAVAILABLE", "console_stopping")
        assert guest.fleet.text == "the Console is stopping: try again soon"
    for guest in guests:
        # A stream that only its caller ends gets the grace time.
        assert guest.health.failed() == ("UNAVAILABLE", "console_stopping")
    # Calls of the last moment are answered, or safe to be made again.
    for call in hasty:
        call.end()
        # Connect has a name of its own for it.
        again = call.peer.name == "connect" and call.text == "Stream closed with error code NGHTTP2_REFUSED_STREAM"
        assert call.code in ("OK", "UNAVAILABLE") or again, (call.peer.name, call.code, call.text)
    # Another SIGTERM, perhaps in the last moment, changes nothing: it ends with status 0.
    fleet.console.stop()
    fleet.start_console()
    for guest in guests:
        assert guest.channel.call("OperatorService/WhoAmI", wait_for_ready=True, timeout=20).ok()["name"] == "admin"
        guest.watch()


def test_kill_9(guests, fleet):
    fleet.console.kill9()
    for guest in guests:
        guest.fleet.end()
        # Connect passes on what its HTTP/2 library saw first, a closed stream or a reset connection.
        codes = ("CANCELLED", "ABORTED") if guest.peer.name == "connect" else ("UNAVAILABLE",)
        assert guest.fleet.code in codes, guest.fleet.text
    fleet.start_console()
    for guest in guests:
        assert guest.channel.call("OperatorService/WhoAmI", wait_for_ready=True, timeout=20).ok()["name"] == "admin"
        guest.watch()


def pinging(peers, fleet, interval_ms):
    fleet.start_console()
    return [Guest(peers(name), fleet, **{
        "grpc.keepalive_time_ms": interval_ms, "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0}) for name in PEERS]


def test_pings_too_fast(peers, fleet):
    """Told so, the clients go on with new connections."""
    guests = pinging(peers, fleet, 300)
    before = [guest.peer.connections(fleet.console.port) for guest in guests]
    for guest in guests:
        guest.health.end()
        assert guest.health.code == PEERS[guest.peer.name], guest.health.text
    for guest, ports in zip(guests, before):
        assert guest.channel.call("OperatorService/WhoAmI", wait_for_ready=True, timeout=20).ok()["name"] == "admin"
        assert guest.peer.connections(fleet.console.port).isdisjoint(ports)
        guest.channel.close()


@pytest.mark.skipif(not telovix.LONG, reason="40 s of silence: TELOVIX_LONG=1")
def test_permitted_pings(peers, fleet):
    """Pings at the fastest permitted pace, on streams that say nothing: more of them than strikes are forgiven."""
    guests = pinging(peers, fleet, 10500)
    before = [guest.peer.connections(fleet.console.port) for guest in guests]
    guests[0].health.silent(45)
    for guest in guests:
        guest.health.silent(0.01)
    assert [guest.peer.connections(fleet.console.port) for guest in guests] == before
    for guest in guests:
        assert guest.channel.call("OperatorService/WhoAmI").ok()["name"] == "admin"
        guest.close()
