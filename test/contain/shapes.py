# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that are no plain flow: fragments, answers to a scan, handshakes without a session, headers of IPv6. Each is made by
one call and known again by one look at what passed."""
import base64
import dataclasses
import socket
import struct

from agent import FIRST_PORT, checksum, frame, ip_packet, pseudo, udp_packet
from bed import address, peer_of

SYN, RST, ACK = 0x02, 0x04, 0x10
ICMP = {4: 1, 6: 58}
FIRST = 9000  # flow numbers of the shapes: apart from those of the matrix


def tcp_packet(src, dst, sport, dport, flags, payload=b""):
    head = struct.pack("!HHIIBBHHH", sport, dport, 1000, 2000 if flags & ACK else 0, 5 << 4, flags, 64000, 0, 0)
    total = checksum(pseudo(src, dst, 6, 20 + len(payload)) + head + payload)
    return ip_packet(src, dst, 6, head[:16] + struct.pack("!H", total) + head[18:] + payload)


def echo_body(family, src, dst, ident, payload):
    head = struct.pack("!BBHHH", 128 if family == 6 else 8, 0, 0, ident, 1)
    total = checksum((pseudo(src, dst, 58, len(head) + len(payload)) if family == 6 else b"") + head + payload)
    return head[:2] + struct.pack("!H", total) + head[4:] + payload


def with_hop_limit(packet, hops):
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([hops]) + packet[8:]
    head = packet[:8] + bytes([hops]) + packet[9:10] + b"\0\0" + packet[12:20]
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + packet[20:]


@dataclasses.dataclass
class Case:
    """One shape at one place."""
    bed: object
    place: str
    family: int
    n: int

    @property
    def here(self):
        return address(self.place, self.family)

    @property
    def there(self):
        return peer_of(self.place, self.family)

    @property
    def port(self):
        return FIRST_PORT + self.n

    def raw(self, where, packet):
        """A whole packet by a raw socket of `where`; the errno's word, or None."""
        remote = self.there if where != "peer" else self.here
        return self.bed.call(where, "raw", family=self.family, protocol=255, remote=remote, headers=True,
                             data=base64.b64encode(packet).decode())

    def payload(self, size=24):
        return f"tlx:{self.n}:".encode().ljust(size, b".")


# ---- what leaves: (what, families, send, known) ----

def big_datagram(case):
    return case.bed.call(case.place, "sendto", family=case.family, address=case.there, port=case.port, source_port=case.port + 10000,
                         size=4000)


def first_fragment(case):
    whole = struct.pack("!HHHH", case.port + 10000, case.port, 2000, 0) + case.payload(1024)
    return case.raw(case.place, ip_packet(case.here, case.there, 17, whole, more=True, ident=case.port))


def later_fragment(case):
    return case.raw(case.place, ip_packet(case.here, case.there, 17, case.payload(1024), offset=1024, ident=case.port))


def syn_ack(case):
    return case.raw(case.place, tcp_packet(case.here, case.there, case.port + 10000, case.port, SYN | ACK))


def reset(case):
    return case.raw(case.place, tcp_packet(case.here, case.there, case.port + 10000, case.port, RST | ACK))


def destination_options(case):
    """An echo request behind eight bytes of padding and a routing header's place."""
    body = echo_body(6, case.here, case.there, case.port, case.payload())
    return case.raw(case.place, ip_packet(case.here, case.there, 60, struct.pack("!BBBB4x", 58, 0, 1, 4) + body))


def hop_by_hop(case):
    udp = udp_packet(case.here, case.there, case.port + 10000, case.port, case.payload())[40:]
    return case.raw(case.place, ip_packet(case.here, case.there, 0, struct.pack("!BBBB4x", 17, 0, 1, 4) + udp))


def atomic_fragment(case):
    udp = udp_packet(case.here, case.there, case.port + 10000, case.port, case.payload())[40:]
    return case.raw(case.place, ip_packet(case.here, case.there, 44, struct.pack("!BBHI", 17, 0, 0, 7) + udp))


def no_next_header(case):
    return case.raw(case.place, ip_packet(case.here, case.there, 59, case.payload()))


def false_neighbour(case):
    """A neighbour solicitation that was routed (hop limit 64): content may hide in such."""
    body = struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, case.there) + case.payload()
    total = checksum(pseudo(case.here, case.there, 58, len(body)) + body)
    return case.raw(case.place, ip_packet(case.here, case.there, 58, body[:2] + struct.pack("!H", total) + body[4:]))


def unreachable(case):
    """An ICMP error made by hand, with content in it."""
    inner = udp_packet(case.there, case.here, case.port, case.port + 10000, case.payload())
    head = struct.pack("!BBHI", 1 if case.family == 6 else 3, 4 if case.family == 6 else 3, 0, 0) + inner
    total = checksum((pseudo(case.here, case.there, 58, len(head)) if case.family == 6 else b"") + head)
    return case.raw(case.place, ip_packet(case.here, case.there, ICMP[case.family], head[:2] + struct.pack("!H", total) + head[4:]))


def tunnelled(case):
    inner = udp_packet("192.0.2.9", "192.0.2.10", case.port + 10000, case.port, case.payload())
    return case.raw(case.place, ip_packet(case.here, case.there, 4, inner))


def dhcp_renewal(case):
    """From the client's port to the server's, whose address may be any."""
    return case.raw(case.place, udp_packet(case.here, case.there, 68, 67, case.payload()))


def tagged(kind, tag):
    """By a packet socket: IP behind a tag of a VLAN, which a switch takes off again."""
    def send(case):
        bed, macs = case.bed, {}
        near = {"host": ("peer", "peer0"), "c1": ("host", "in0"), "cb": ("peer", "peer2")}[case.place]
        macs = bed.call(case.place, "mac", device="eth0"), bed.call(*near[:1], "mac", device=near[1])
        data = frame(*macs, udp_packet(case.here, case.there, case.port + 10000, case.port, case.payload()))
        data = data[:12] + struct.pack("!HH", kind, tag) + data[12:]
        return bed.call(case.place, "frame", device="eth0", data=base64.b64encode(data).decode())
    return send


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp_connect(case):
    """The kernel's own INIT. (The peer's kernel may have no SCTP: so no session, and no cells of the matrix.)"""
    return case.bed.call(case.place, "open", n=case.n, kind="sctp", family=case.family, role="connect", local=case.here,
                         remote=case.there)


def sctp_scan(case):
    """An INIT by hand for a socket that listens: INIT-ACK comes back."""
    case.bed.call(case.place, "open", n=case.n, kind="sctp", family=case.family, role="listen", local=case.here)
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65536, 1, 1, 7)
    head = struct.pack("!HHI", case.port + 10000, case.port, 0)
    total = struct.pack("<I", crc32c(head + bytes(4) + chunk))
    return case.raw("peer", ip_packet(case.there, case.here, 132, head + total + chunk))


def mapped(kind):
    def send(case):
        return case.bed.call(case.place, "batch", list=[
            {"do": "open", "n": case.n, "kind": kind, "family": 4, "role": "connect", "local": case.here, "remote": case.there},
            {"do": "send", "n": case.n, "word": "held"}])[-1 if kind == "mapped-udp" else 0]
    return send


def fast_open(case):
    return case.bed.call(case.place, "fastopen", family=case.family, address=case.there, port=case.port, source_port=case.port + 10000)


def mptcp(case):
    return case.bed.call(case.place, "open", n=case.n, kind="mptcp", family=case.family, role="connect", local=case.here,
                         remote=case.there)


def many(case):
    group = "ff02::fb" if case.family == 6 else "224.0.0.251"
    return case.bed.call(case.place, "sendto", family=case.family, address=group, port=case.port, source_port=case.port + 10000,
                         local=case.here)


# ---- what the peer sends, and an answer may come: (what, families, send, known) ----

def scan(flags, listening=False):
    def send(case):
        if listening:
            case.bed.call(case.place, "open", n=case.n, kind="tcp", family=case.family, role="listen", local=case.here)
        return case.raw("peer", tcp_packet(case.there, case.here, case.port + 10000, case.port, flags))
    return send


def scan_udp(case):
    return case.raw("peer", udp_packet(case.there, case.here, case.port + 10000, case.port, case.payload()))


def scan_protocol(case):
    return case.raw("peer", ip_packet(case.there, case.here, 252, case.payload()))


def scan_timestamp(case):
    head = struct.pack("!BBHHHIII", 13, 0, 0, case.port, 1, 1, 0, 0)
    return case.raw("peer", ip_packet(case.there, case.here, 1, head[:2] + struct.pack("!H", checksum(head)) + head[4:]))


def fragmented_ping(case):
    body = echo_body(case.family, case.there, case.here, case.port, case.payload(1192))
    return [case.raw("peer", ip_packet(case.there, case.here, ICMP[case.family], body[at:at + 600], offset=at, more=not at,
                                       ident=case.port)) for at in (0, 600)][-1]


def ping_with_options(case):
    body = echo_body(6, case.there, case.here, case.port, case.payload())
    return case.raw("peer", ip_packet(case.there, case.here, 60, struct.pack("!BBBB4x", 58, 0, 1, 4) + body))


def bad_option(case):
    """An option that must be answered with a parameter problem (its highest bits are 10)."""
    body = echo_body(6, case.there, case.here, case.port, case.payload())
    return case.raw("peer", ip_packet(case.there, case.here, 60, struct.pack("!BBBB4x", 58, 0, 0x9E, 4) + body))


def one_hop(case):
    """Ends at the host, on its way to the place: the host tells the sender."""
    return case.raw("peer", with_hop_limit(udp_packet(case.there, case.here, case.port + 10000, case.port, case.payload()), 1))


def port_of(packet, case):
    return packet.flow == case.n


def icmp_error(*types):
    def known(packet, case):
        return packet.protocol == ICMP[case.family] and bool(packet.icmp) and packet.icmp[0] in types
    return known


def by_content(packet, case):
    return f"tlx:{case.n}:".encode() in packet.data


BOTH, V4, V6 = (4, 6), (4,), (6,)
OUT = [
    ("datagram in fragments", BOTH, big_datagram, port_of),
    ("first fragment alone", BOTH, first_fragment, port_of),
    ("later fragment alone", BOTH, later_fragment, by_content),
    ("SYN-ACK by hand", BOTH, syn_ack, port_of),
    ("RST by hand", BOTH, reset, port_of),
    ("destination options", V6, destination_options, port_of),
    ("hop-by-hop options", V6, hop_by_hop, port_of),
    ("atomic fragment", V6, atomic_fragment, port_of),
    ("no next header", V6, no_next_header, by_content),
    ("neighbour solicitation with hop limit 64", V6, false_neighbour, by_content),
    ("ICMP error by hand", BOTH, unreachable, by_content),
    ("IPv4 in IPv4", V4, tunnelled, by_content),
    ("DHCP renewal", V4, dhcp_renewal, by_content),
    ("TCP to an IPv4-mapped address", V4, mapped("mapped"), port_of),
    ("UDP to an IPv4-mapped address", V4, mapped("mapped-udp"), port_of),
    ("TCP fast open", BOTH, fast_open, port_of),
    ("MPTCP", BOTH, mptcp, port_of),
    ("multicast", BOTH, many, port_of),
    ("SCTP to the peer", BOTH, sctp_connect, port_of),
    ("packet socket, priority tag", BOTH, tagged(0x8100, 0), port_of),
    ("packet socket, VLAN 5", BOTH, tagged(0x8100, 5), port_of),
    ("packet socket, outer VLAN", BOTH, tagged(0x88A8, 5), port_of),
]
IN = [
    ("SYN to a closed port", BOTH, scan(SYN), port_of),
    ("SYN to an open port", BOTH, scan(SYN, listening=True), port_of),
    ("ACK without a session", BOTH, scan(ACK), port_of),
    ("UDP to a closed port", BOTH, scan_udp, by_content),
    ("unknown protocol", BOTH, scan_protocol, icmp_error(3, 4)),
    ("timestamp request", V4, scan_timestamp, icmp_error(14)),
    ("ping in fragments", BOTH, fragmented_ping, port_of),
    ("ping behind destination options", V6, ping_with_options, port_of),
    ("option that nobody knows", V6, bad_option, icmp_error(4)),
    ("SCTP INIT to an open port", BOTH, sctp_scan, port_of),
    ("hop limit that ends at the host", BOTH, one_hop, by_content),
]


def cases(bed, places=("host", "c1", "cb")):
    """(what, direction, Case, send, known) of every shape at every place where it can be."""
    n = FIRST
    if bed.has_sctp is None:
        bed.has_sctp = bed.call("host", "has", kind="sctp", family=4) is None
    for direction, table in (("out", OUT), ("in", IN)):
        for what, families, send, known in table:
            if what.startswith("SCTP") and not bed.has_sctp:
                continue  # test_matrix says so by name
            for place in places:
                if send is one_hop and place != "c1" or send is many and place == "c1":
                    continue  # only what the host forwards ends there; a group of the link is not forwarded
                if what.startswith("packet socket") and place == "c1":
                    continue  # the bridge that c1 is behind has no such VLAN, and routes nothing of it
                for family in families:
                    n += 1
                    yield what, direction, Case(bed, place, family, n), send, known
