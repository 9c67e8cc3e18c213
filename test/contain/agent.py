# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in each place of the bed: the ends of the flows that cross it. Needs nothing but Python itself and meddle.py.

    agent.py root [PORT]     takes commands as lines of JSON on standard input (or on a port of virtio-serial with this name)
    agent.py place           started by a root for each place, in its network namespace and its cgroup

A command is {"id", "place", "do", ...}; "" is the root itself. Each gets {"id", "value"} or {"id", "error"}."""
import base64
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time

import meddle

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_OTHER, IPPROTO_MPTCP = 132, 136, 253, 262
STREAMS = ("tcp", "mptcp", "sctp", "mapped")
FIRST_PORT = 20000  # of flow 0; an ICMP flow has the number as its id


def word_of(error):
    return errno.errorcode.get(error.errno, str(error.errno)) if isinstance(error, OSError) else repr(error)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(src, dst, protocol, length):
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
    return ends + (struct.pack("!I3xB", length, protocol) if family == socket.AF_INET6 else struct.pack("!BBH", 0, protocol, length))


def udp_packet(src, dst, sport, dport, payload):
    """Headers of IP and UDP with the payload."""
    length = 8 + len(payload)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    total = checksum(pseudo(src, dst, 17, length) + head + payload) or 0xFFFF
    return ip_packet(src, dst, 17, struct.pack("!HHHH", sport, dport, length, total) + payload)


def ip_packet(src, dst, protocol, payload, offset=0, more=False, ident=0):
    """`offset` in bytes and `more`: of a fragment (IPv6 has its own header for that)."""
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
    if family == socket.AF_INET6:
        if offset or more:
            payload = struct.pack("!BBHI", protocol, 0, offset | int(more), ident) + payload
            protocol = 44
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, (int(more) << 13) | offset // 8, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def frame(src_mac, dst_mac, packet):
    kind = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
    return bytes.fromhex(dst_mac.replace(":", "")) + bytes.fromhex(src_mac.replace(":", "")) + struct.pack("!H", kind) + packet


def mac_of(device):
    # Not from sysfs, which shows the namespace that it was mounted in.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return fcntl.ioctl(sock, 0x8927, struct.pack("16s16x", device.encode()))[18:24].hex(":")  # SIOCGIFHWADDR


class Flow:
    """One end: a socket, what it got, and what its calls said."""

    def __init__(self, place, n, kind, family, role, local, remote=None, echo=False, device=None, local_mac=None, next_mac=None,
                 rport=None, lport=None, token=None, marked=None):
        self.marked = marked  # folder of the pins: the socket gets the mark of the sensor's own
        self.place, self.n, self.kind, self.role, self.echo = place, n, kind, role, echo
        self.token = n if token is None else token  # what its messages carry; both ends in one place have the same
        self.family = socket.AF_INET6 if family == 6 else socket.AF_INET
        self.local, self.remote, self.device, self.next_mac, self.local_mac = local, remote, device, next_mac, local_mac
        # The end that listens has the flow's number as its port, the other one a port by which it is known too.
        number = FIRST_PORT + n
        self.lport = lport if lport is not None else number if role == "listen" else number + 10000
        self.rport = rport if rport is not None else number if role == "connect" else number + 10000
        self.got, self.error, self.connected, self.peers, self.every, self.n_sent = [], None, False, [], None, 0
        self.sock = None

    # ---- opening ----
    def open(self):
        getattr(self, f"open_{self.kind.replace('-', '_')}")()
        self.sock.setblocking(False)
        self.place.watch(self.sock, self)

    def make(self, type_, protocol):
        self.sock = socket.socket(self.family, type_ | socket.SOCK_NONBLOCK, protocol)
        if self.family == socket.AF_INET6 and protocol not in (socket.IPPROTO_ICMPV6, IPPROTO_OTHER):
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.marked:
            meddle.mark(self.marked, self.sock)

    def stream(self, protocol):
        self.make(socket.SOCK_STREAM, protocol)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((self.local, self.lport))
        if self.role == "listen":
            self.sock.listen(16)
            return
        code = self.sock.connect_ex((self.remote, self.rport))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self.connected = None  # not known yet

    def datagram(self, protocol):
        self.make(socket.SOCK_DGRAM, protocol)
        self.sock.bind((self.local, self.lport))
        if self.role == "connect":
            self.sock.connect((self.remote, self.rport))
        self.connected = True

    def open_tcp(self):
        self.stream(socket.IPPROTO_TCP)

    def open_mptcp(self):
        self.stream(IPPROTO_MPTCP)

    def open_sctp(self):
        self.stream(IPPROTO_SCTP)

    def open_udp(self):
        self.datagram(socket.IPPROTO_UDP)

    def open_udplite(self):
        self.datagram(IPPROTO_UDPLITE)

    def open_udp_to(self):
        """Not connected: the address goes with each datagram."""
        self.make(socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        self.sock.bind((self.local, self.lport))
        self.connected = True

    def open_mapped(self):
        """TCP over IPv4 by a socket of IPv6."""
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.sock.bind((f"::ffff:{self.local}", self.lport))
        code = self.sock.connect_ex((f"::ffff:{self.remote}", self.rport))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self.connected = None

    def open_mapped_udp(self):
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.sock.bind((f"::ffff:{self.local}", self.lport))
        self.connected = True

    def icmp(self):
        return socket.IPPROTO_ICMPV6 if self.family == socket.AF_INET6 else socket.IPPROTO_ICMP

    def open_icmp_raw(self):
        self.make(socket.SOCK_RAW, self.icmp())
        self.connected = True

    def open_icmp_dgram(self):
        self.make(socket.SOCK_DGRAM, self.icmp())
        self.sock.bind((self.local, FIRST_PORT + self.n))  # its id
        self.connected = True

    def open_raw253(self):
        self.make(socket.SOCK_RAW, IPPROTO_OTHER)
        self.connected = True

    def open_packet(self):
        kind = ETH_P_IPV6 if self.family == socket.AF_INET6 else ETH_P_IP
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        self.sock.bind((self.device, kind))
        self.connected = True

    # ---- sending ----
    def text(self, word):
        self.n_sent += 1
        return f"tlx:{self.token}:{word}:".encode()

    def send(self, word):
        if self.sock is None:
            raise OSError(errno.EBADF, "not open")
        data = self.text(word)
        if self.kind in STREAMS:
            for sock in [self.sock] if self.role == "connect" else self.peers:
                sock.send(data)
            if self.role == "listen" and not self.peers:
                raise OSError(errno.ENOTCONN, "no session")
        elif self.kind in ("udp", "udplite") and self.role == "connect":
            self.sock.send(data)
        elif self.kind == "mapped-udp":
            self.sock.sendto(data, (f"::ffff:{self.remote}", self.rport))
        elif self.kind in ("udp", "udplite", "udp-to"):
            self.sock.sendto(data, (self.remote, self.rport))
        elif self.kind.startswith("icmp"):
            self.sock.sendto(self.echo_request(data), (self.remote, 0))
        elif self.kind == "raw253":
            self.sock.sendto(data, (self.remote, 0))
        else:
            self.sock.send(frame(self.local_mac or mac_of(self.device), self.next_mac,
                                 udp_packet(self.local, self.remote, self.lport, self.rport, data)))

    def echo_request(self, data):
        v6 = self.family == socket.AF_INET6
        head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, FIRST_PORT + self.n, 1)
        # The kernel fills the sum of ICMPv6, and that of a datagram socket.
        return head[:2] + struct.pack("!H", 0 if v6 else checksum(head + data)) + head[4:] + data

    # ---- receiving ----
    def ready(self, sock, events):
        if events & selectors.EVENT_WRITE:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.connected, self.error = code == 0, None if code == 0 else errno.errorcode.get(code, str(code))
            self.place.stamp(self, "connect")
            self.place.watch(sock, self, selectors.EVENT_READ if code == 0 else 0)
            return
        if sock is self.sock and self.role == "listen" and self.kind in STREAMS:
            try:
                peer, _ = sock.accept()
            except OSError as error:
                # The session ended before it was taken; or this socket itself was.
                self.error = word_of(error)
                self.place.watch(sock, self, 0 if error.errno == errno.EINVAL else None)
                return
            peer.setblocking(False)
            self.peers.append(peer)
            self.place.watch(peer, self)
            return
        try:
            data, source = sock.recvfrom(65536)
        except OSError as error:
            self.error = word_of(error)
            self.place.stamp(self, "recv")
            self.place.watch(sock, self, 0)
            return
        if not data and self.kind in STREAMS:
            self.error = self.error or "EOF"
            self.place.stamp(self, "recv")
            self.place.watch(sock, self, 0)
            return
        self.take(sock, data, source)

    def take(self, sock, data, source):
        mark = f"tlx:{self.token}:".encode()
        at = data.find(mark)
        # A raw or packet socket sees what is meant for others too, and a packet socket what it sent itself.
        if at < 0 or self.kind == "packet" and source[2] == socket.PACKET_OUTGOING:
            return
        if self.kind.startswith("icmp"):
            body = data if self.kind == "icmp-dgram" or self.family == socket.AF_INET6 else data[(data[0] & 15) * 4:]
            if body[0] not in (0, 129):
                return
        words = [piece.split(b":")[2].decode(errors="replace") for piece in data[at:].split(b"tlx")[1:] if piece.count(b":") > 2]
        self.got += words
        self.place.stamp(self, "got")
        if not self.echo or words[0].startswith("re-"):
            return
        try:
            answer = self.text("re-" + words[0])
            if self.kind in STREAMS:
                sock.send(answer)
            elif self.kind in ("udp", "udplite", "udp-to"):
                sock.sendto(answer, source)
            elif self.kind == "raw253":
                sock.sendto(answer, (source[0], 0))
            elif self.kind == "packet":
                sock.send(frame(self.local_mac or mac_of(self.device), self.next_mac,
                                udp_packet(self.local, self.remote, self.lport, self.rport, answer)))
        except OSError as error:
            self.error = word_of(error)

    def state(self):
        return {"connected": self.connected, "got": self.got[-8:], "n_got": len(self.got), "error": self.error,
                "sessions": len(self.peers), "n_sent": self.n_sent, "when": self.place.when.get(self.n, {})}

    def close(self):
        for sock in [self.sock, *self.peers]:
            if sock is not None:
                self.place.watch(sock, self, 0)
                sock.close()
        self.sock, self.peers = None, []


class Place:
    """The sockets of one network namespace, in one process."""

    def __init__(self):
        self.flows, self.selector, self.when, self.n_lines = {}, selectors.DefaultSelector(), {}, b""
        self.selector.register(0, selectors.EVENT_READ)
        self.past_tc = None

    def stamp(self, flow, what):
        self.when.setdefault(flow.n, {})[what] = time.monotonic()

    def watch(self, sock, flow, events=None):
        if events is None:
            events = selectors.EVENT_WRITE if flow.connected is None and sock is flow.sock else selectors.EVENT_READ
        try:
            self.selector.unregister(sock)
        except KeyError:
            pass
        if events:
            self.selector.register(sock, events, flow)

    def run(self):
        while True:
            periodic = [flow for flow in self.flows.values() if flow.every]
            timeout = max(0.0, min(flow.due for flow in periodic) - time.monotonic()) if periodic else None
            for key, events in self.selector.select(timeout):
                if key.fd == 0 and key.data is None:
                    piece = os.read(0, 65536)
                    if not piece:
                        return
                    self.n_lines += piece
                    *lines, self.n_lines = self.n_lines.split(b"\n")
                    for line in lines:
                        reply(json.loads(line), self)
                elif key.fileobj.fileno() >= 0:  # a command of this very round may have closed it
                    key.data.ready(key.fileobj, events)
            for flow in periodic:
                if flow.every and time.monotonic() >= flow.due:
                    flow.due = time.monotonic() + flow.every
                    self.try_send(flow, f"p{flow.n_sent}")

    def try_send(self, flow, word):
        try:
            flow.send(word)
            return None
        except OSError as error:
            self.stamp(flow, "send")
            # A socket tells its error once: to the call that comes first.
            if flow.kind in STREAMS and error.errno not in (errno.EAGAIN, errno.ENOTCONN):
                flow.error = flow.error or word_of(error)
            return word_of(error)

    # ---- commands ----
    def do_open(self, n, **words):
        flow = self.flows[n] = Flow(self, n, **words)
        self.stamp(flow, "open")
        try:
            flow.open()
        except OSError as error:
            flow.error = word_of(error)
            flow.connected = False
            self.stamp(flow, "connect")
        return flow.error

    def do_send(self, n, word):
        return self.try_send(self.flows[n], word)

    def do_repeat(self, n, every):
        """Sends by itself every so many seconds; 0 ends it."""
        self.flows[n].every, self.flows[n].due = every or None, time.monotonic()

    def do_state(self, flows=None):
        return {str(n): flow.state() for n, flow in self.flows.items() if flows is None or n in flows}

    def do_close(self, flows):
        for n in flows:
            if n in self.flows:
                self.flows.pop(n).close()

    def do_batch(self, list):
        return [getattr(self, f"do_{command.pop('do')}")(**command) for command in list]

    def do_frame(self, device, data):
        """Sends this frame as it is; the errno's word, or None."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            try:
                sock.send(base64.b64decode(data))
            except OSError as error:
                return word_of(error)

    def do_past_tc(self, device):
        """Keeps a packet socket that sends without a queue, behind the programs of devices; the errno's word, or None."""
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind((device, 0))
        try:
            sock.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
        except OSError as error:
            sock.close()
            return word_of(error)
        self.past_tc = sock
        return None

    def do_past_tc_send(self, data):
        self.past_tc.send(base64.b64decode(data))

    def do_past_tc_close(self):
        self.past_tc.close()

    def do_raw(self, family, protocol, remote, data, headers=False):
        """Sends by a raw socket; `headers`: the IP header is part of the data."""
        v6 = family == 6
        with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, 255 if headers else protocol) as sock:
            if headers:
                sock.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 36 if v6 else socket.IP_HDRINCL, 1)
            try:
                sock.sendto(base64.b64decode(data), (remote, 0))
            except OSError as error:
                return word_of(error)

    def do_connect(self, family, address, port, source_port=0, timeout=30, bytes=0):
        """One TCP connect, waited for: [errno's word or None, seconds]."""
        with socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if source_port:
                sock.bind(("::" if family == 6 else "0.0.0.0", source_port))
            started = time.monotonic()
            try:
                sock.connect((address, port))
                return [None, time.monotonic() - started]
            except TimeoutError as error:
                return [word_of(error) if error.errno else "timeout", time.monotonic() - started]
            except OSError as error:
                return [word_of(error), time.monotonic() - started]

    def do_fastopen(self, family, address, port, source_port):
        """A connect that brings its first data; the errno's word, or None."""
        with socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::" if family == 6 else "0.0.0.0", source_port))
            try:
                sock.sendto(b"tlx:9999:", 0x20000000, (address, port))  # MSG_FASTOPEN
            except OSError as error:
                return word_of(error)

    def do_sendto(self, family, address, port, source_port=0, size=16, local=None):
        with socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                if source_port:
                    sock.bind((local or ("::" if family == 6 else "0.0.0.0"), source_port))
                scope = (0, socket.if_nametoindex("eth0")) if address.startswith("ff02:") else ()
                sock.sendto(b"tlx:9999:".ljust(size, b"."), (address, port, *scope))
            except OSError as error:
                return word_of(error)

    def do_has(self, kind, family):
        """Whether this kernel has such sockets; else the errno's word."""
        type_, protocol = {"sctp": (socket.SOCK_STREAM, IPPROTO_SCTP), "udplite": (socket.SOCK_DGRAM, IPPROTO_UDPLITE),
                           "mptcp": (socket.SOCK_STREAM, IPPROTO_MPTCP)}[kind]
        try:
            socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, type_, protocol).close()
        except OSError as error:
            return word_of(error)

    def do_mac(self, device):
        return mac_of(device)

    def do_pid(self):
        return os.getpid()


class Root:
    """Starts places and forwards their commands; runs programs."""

    def __init__(self, source, sink):
        self.source, self.sink, self.places, self.daemons, self.rest, self.last = source, sink, {}, {}, {}, {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(source, selectors.EVENT_READ, "")

    def say(self, data):
        while data:
            data = data[os.write(self.sink, data):]

    def run(self):
        while True:
            for key, _ in self.selector.select():
                piece = os.read(key.fd, 65536)
                if not piece:
                    if key.data == "":
                        return
                    # A place that ended by itself: whoever waits for its answer gets this one.
                    self.selector.unregister(key.fileobj)
                    del self.places[key.data]
                    self.say(json.dumps({"id": self.last.get(key.data), "error": f"the agent of {key.data} has ended"}).encode() + b"\n")
                    continue
                *lines, self.rest[key.fd] = (self.rest.get(key.fd, b"") + piece).split(b"\n")
                for line in lines:
                    if key.data:
                        self.say(line + b"\n")
                        continue
                    command = json.loads(line)
                    if command["place"] in self.places:
                        self.last[command["place"]] = command["id"]
                        process = self.places[command.pop("place")]
                        process.stdin.write(json.dumps(command).encode() + b"\n")
                        process.stdin.flush()
                    elif command.pop("place"):
                        self.say(json.dumps({"id": command["id"], "error": "no such place"}).encode() + b"\n")
                    elif command["do"] == "quit":
                        return
                    else:
                        reply(command, self)

    # ---- commands ----
    def do_place(self, name, netns=None, cgroup=None):
        def prepare():
            if cgroup:
                pathlib.Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
            if netns:
                fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
                if libc.setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                os.close(fd)
        process = subprocess.Popen([sys.executable, __file__, "place"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   preexec_fn=prepare)
        self.places[name] = process
        self.selector.register(process.stdout, selectors.EVENT_READ, name)
        return process.pid

    def do_unplace(self, name):
        process = self.places.pop(name)
        self.selector.unregister(process.stdout)
        process.stdin.close()
        process.stdout.close()
        process.wait()

    def do_shell(self, script, timeout=60, env=None):
        """[exit status, output, errors]"""
        result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=timeout,
                                env={**os.environ, **(env or {})})
        return [result.returncode, result.stdout, result.stderr]

    def do_start(self, name, argv, log, env=None):
        self.daemons[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=open(log, "ab"), stderr=subprocess.STDOUT,
                                              env={**os.environ, **(env or {})})
        return self.daemons[name].pid

    def do_signal(self, name, number):
        self.daemons[name].send_signal(number)

    def do_ended(self, name):
        """Exit status, or None."""
        return self.daemons[name].poll()

    def end(self):
        for process in [*self.places.values(), *self.daemons.values()]:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def reply(command, target):
    id_, do = command.pop("id"), command.pop("do")
    try:
        answer = {"id": id_, "value": getattr(target, f"do_{do}")(**command)}
    except Exception as error:  # pylint: disable=broad-except -- told to the test, which fails by it
        answer = {"id": id_, "error": f"{do}: {error!r}"}
    data = json.dumps(answer).encode() + b"\n"
    if isinstance(target, Root):
        target.say(data)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def port(name):
    """A port of virtio-serial; guests have no udev that names them."""
    for entry in pathlib.Path("/sys/class/virtio-ports").iterdir():
        if (entry / "name").read_text().strip() == name:
            return os.open(f"/dev/{entry.name}", os.O_RDWR)
    raise SystemExit(f"agent: no port {name}")


def main():
    if sys.argv[1] == "place":
        Place().run()
        return
    ends = (0, 1)
    if len(sys.argv) > 2:
        fd = port(sys.argv[2])
        ends = (fd, fd)
    else:
        # Nothing but answers goes to standard output.
        sys.stdout.flush()
    fcntl.fcntl(ends[0], fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    root = Root(*ends)
    root.say(json.dumps({"id": 0, "value": "ready"}).encode() + b"\n")
    try:
        root.run()
    finally:
        root.end()


if __name__ == "__main__":
    main()
