# SPDX-License-Identifier: GPL-2.0-or-later
"""What the other tests take for a leak: as narrow as what the programs let through."""
import socket
import struct

import pytest

from agent import frame, ip_packet
from packets import is_let_through, parse
from shapes import with_hop_limit

HOST, PEER, GROUP = "fd99::2", "fd99::1", "ff02::1:ff00:1"


def icmp6(type_, dst=PEER, hops=255, code=0, body=b"", before=None):
    """`before`: the number of an extension header of eight bytes."""
    data = struct.pack("!BBHI", type_, code, 0, 0) + body
    if before is not None:
        data = struct.pack("!BBBBI", 58, 0, 0 if before == 44 else 1, 0 if before == 44 else 4, 0) + data
    return with_hop_limit(ip_packet(HOST, dst, 58 if before is None else before, data), hops)


def neighbour(type_, dst=PEER, target=PEER, more=8, **words):
    return icmp6(type_, dst, body=socket.inet_pton(socket.AF_INET6, target) + bytes(more), **words)


def v4(protocol, body):
    return ip_packet("10.99.0.2", "10.99.0.1", protocol, body)


FINE = {
    "solicitation to a group": neighbour(135, GROUP),
    "solicitation to whom it asks for": neighbour(135),
    "advertisement": neighbour(136),
    "advertisement to the link, of any size": neighbour(136, "fe80::1", more=500),
    "router solicitation": icmp6(133, "ff02::2"),
    "report of listeners": icmp6(143, "ff02::16", hops=1, body=bytes(20), before=0),
}
LEAKS = {
    "packet too big": icmp6(2, hops=64),
    "solicitation to another": neighbour(135, target="fd99::7"),
    "long solicitation": neighbour(135, more=16),
    "long advertisement": neighbour(136, more=16),
    "advertisement behind options": neighbour(136, before=60),
    "advertisement in a fragment": neighbour(136, GROUP, before=44),
    "advertisement that was routed": neighbour(136, GROUP, hops=64),
    "advertisement with a code": neighbour(136, GROUP, code=1),
    "router solicitation beyond the link": icmp6(133),
    "redirect beyond the link": icmp6(137, body=bytes(32)),
    "report of listeners with another hop limit": icmp6(143, "ff02::16", hops=64, body=bytes(20)),
    "echo request": icmp6(128),
    "IGMP": v4(2, bytes(8)),
    "fragmentation needed": v4(1, struct.pack("!BBHI", 3, 4, 0, 0)),
}


@pytest.mark.parametrize("what", [*FINE, *LEAKS])
def test_what_is_a_leak(what):
    packet = parse(0.0, "peer0", frame("02:00:00:00:00:02", "02:00:00:00:00:01", {**FINE, **LEAKS}[what]))
    assert is_let_through(packet) == (what in FINE), str(packet)


def test_content_behind_the_packet_is_seen():
    packet = frame("02:00:00:00:00:02", "02:00:00:00:00:01", neighbour(136)) + b"tlx"
    assert not is_let_through(parse(0.0, "peer0", packet))
