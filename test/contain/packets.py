# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as the bed's captures hold them: what they are, whose flow they belong to, and which of them a contained host may
send (spec §5.3)."""
import dataclasses
import ipaddress
import re
import socket
import struct

from agent import FIRST_PORT

EXTENSION = {0, 43, 60, 135, 139, 140}  # headers of IPv6 that only lead to the next
FRAGMENT = 44
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite", 253: "raw253"}
# Neighbour discovery and router advertisements; multicast listeners.
NDP, MLD = range(133, 138), (130, 131, 132, 143)
SOLICIT, ADVERT, ND_LENGTH = 135, 136, 32  # of both: head, target, one option with an Ethernet address
LINK = (ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("ff02::/16"))
# Sockets of the tests have ports from here on: 20000 listens, 30000 connects, 40000 is bound for a test of its own.
TEST_PORTS = range(FIRST_PORT, 50000)


@dataclasses.dataclass
class Packet:
    """One frame that passed. `flow` is its number when it carries one."""
    when: float
    where: str  # the capture: "peer0", "peer2", "q"
    data: bytes = dataclasses.field(repr=False)
    kind: int = 0  # EtherType
    src: str = ""
    dst: str = ""
    protocol: int = -1
    hop_limit: int = 0
    sport: int = 0
    dport: int = 0
    icmp: tuple = ()  # (type, code)
    rest: bytes = dataclasses.field(default=b"", repr=False)  # from the header of the protocol to the end of the frame
    offset: int = 0  # of a fragment
    headers: tuple = ()  # of IPv6 before the protocol
    tcp_flags: int = 0
    flow: int = None

    @property
    def name(self):
        return NAMES.get(self.protocol, str(self.protocol))

    def __str__(self):
        ports = f" {self.sport}→{self.dport}" if self.sport or self.dport else f" type {self.icmp}" if self.icmp else ""
        flags = f" flags {self.tcp_flags:#x}" if self.protocol == 6 else ""
        return f"{self.where}: {self.name} {self.src} → {self.dst}{ports}{flags}" + (f" flow {self.flow}" if self.flow is not None else "")


def number(port):
    """The flow whose port this is."""
    if FIRST_PORT <= port < FIRST_PORT + 10000:
        return port - FIRST_PORT
    if FIRST_PORT + 10000 <= port < FIRST_PORT + 20000:
        return port - FIRST_PORT - 10000
    return None


def parse(when, where, data):
    # Behind tags of VLANs, of which 0 is none.
    tagged = data
    while data[12:14] in (b"\x81\x00", b"\x88\xa8") and len(data) >= 18:
        data = data[:12] + data[16:]
    packet = Packet(when, where, tagged, struct.unpack("!H", data[12:14])[0])
    if packet.kind == 0x0800 and len(data) >= 34:
        head = (data[14] & 15) * 4
        packet.hop_limit, packet.protocol = data[22], data[23]
        packet.src, packet.dst = socket.inet_ntop(socket.AF_INET, data[26:30]), socket.inet_ntop(socket.AF_INET, data[30:34])
        packet.offset = (struct.unpack("!H", data[20:22])[0] & 0x1FFF) * 8
        body = data[14 + head:14 + struct.unpack("!H", data[16:18])[0]]
    elif packet.kind == 0x86DD and len(data) >= 54:
        packet.hop_limit, packet.protocol = data[21], data[20]
        packet.src, packet.dst = socket.inet_ntop(socket.AF_INET6, data[22:38]), socket.inet_ntop(socket.AF_INET6, data[38:54])
        body = data[54:54 + struct.unpack("!H", data[18:20])[0]]
        while (packet.protocol in EXTENSION or packet.protocol == FRAGMENT) and len(body) >= 8:
            packet.headers += (packet.protocol,)
            if packet.protocol == FRAGMENT:
                packet.offset = struct.unpack("!H", body[2:4])[0] & 0xFFF8
            length = 8 if packet.protocol == FRAGMENT else 8 + body[1] * 8
            packet.protocol, body = body[0], body[length:]
    else:
        return packet
    if packet.kind == 0x86DD:
        packet.rest = body + data[54 + struct.unpack("!H", data[18:20])[0]:]
    if not packet.offset:
        if packet.protocol in (6, 17, 132, 136) and len(body) >= 8:
            packet.sport, packet.dport = struct.unpack("!HH", body[:4])
            found = [n for n in (number(packet.dport), number(packet.sport)) if n is not None]
            packet.flow = found[0] if found else None
            if packet.protocol == 6 and len(body) >= 14:
                packet.tcp_flags = body[13] & 0x3F
        elif packet.protocol in (1, 58) and len(body) >= 8:
            packet.icmp = (body[0], body[1])
            if body[0] in (0, 8, 128, 129):
                packet.flow = number(struct.unpack("!H", body[4:6])[0])
    marked = re.search(rb"tlx:(\d+):", body)
    if marked and packet.flow is None:
        packet.flow = int(marked.group(1))
    return packet


def is_of_the_link(packet):
    """ICMPv6 that keeps the link alive, written apart from the product's own reading of it (doc/kernels.md, what always
    passes)."""
    if {FRAGMENT, 43} & set(packet.headers):
        return False
    if packet.icmp[0] in MLD:
        return packet.hop_limit == 1
    if packet.icmp[0] not in NDP or packet.icmp[1] or packet.hop_limit != 255:
        return False
    target = ipaddress.ip_address(packet.dst)
    if any(target in net for net in LINK):
        return True
    if packet.headers or len(packet.rest) > ND_LENGTH:
        return False
    return packet.icmp[0] == ADVERT or packet.icmp[0] == SOLICIT and packet.rest[8:24] == target.packed


def is_let_through(packet, console_ports=(), sources=()):
    """What a contained host may send: everything else that is seen is a leak. `console_ports`: (address, port) of the
    Console, to which the sensor may speak from `sources`, and no socket of a test. DHCP is none of a bed."""
    if packet.kind not in (0x0800, 0x86DD):
        return True
    if packet.kind == 0x86DD and packet.protocol == 58 and packet.icmp:
        return is_of_the_link(packet)
    return (packet.protocol == 6 and packet.src in sources and (packet.dst, packet.dport) in console_ports
            and packet.sport not in TEST_PORTS)
