# SPDX-License-Identifier: GPL-2.0-or-later
"""A host to contain, a Console and a peer outside of it, and what passes between them, seen at the peer's end.

                      peer (10.99.0.1, 10.97.0.1; the Console)
              peer0 |                          | peer2
       ............ | ........................ | ...........  everything that passes this line is recorded
              eth0  |                     eth2 |
        host (10.99.0.2) -- bridge in0 -- c1, c2 (routed)     bridge up0 (10.97.0.2) -- cb (bridged)
              eth1 |
       ............ | .......................................
                    q (10.96.0.2; a machine behind the host, its traffic to the peer is forwarded)

The same with fd96:: to fd99::. Two kinds of bed: in a *guest* of test/vm the host is a machine of its own and its sensor has
the whole of it; the cables end in namespaces of this machine. In a *trial* all are namespaces, and the sensor is confined to a
cgroup that host, c1, c2 and cb are in. The tests run outside in both, in the peer's namespace; what is done in a place is done
by its agent (agent.py)."""
import base64
import contextlib
import ctypes
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import telovix
from agent import CLONE_NEWNET
from guest import MODULES, Guest
from link import Link
from packets import is_let_through, parse
from telovix import BUILD, LIMIT, ROOT, SANITIZERS, wait_for

HERE = pathlib.Path(__file__).resolve().parent
PORT = 15483  # of the Console; the namespace is its own
# Place → (IPv4, IPv6) of its own, and of the peer as it sees it.
ADDRESS = {"host": ("10.99.0.2", "fd99::2"), "c1": ("10.98.0.11", "fd98::11"), "c2": ("10.98.0.12", "fd98::12"),
           "cb": ("10.97.0.11", "fd97::11"), "q": ("10.96.0.2", "fd96::2")}
PEER = {"cb": ("10.97.0.1", "fd97::1")}
PEER_DEFAULT = ("10.99.0.1", "fd99::1")
PACKET_OUTGOING = 4
libc = ctypes.CDLL(None, use_errno=True)

# What every namespace of the bed has: pings by datagram socket for all, ports of the tests apart from the kernel's choice.
SETTINGS = """
ip link set lo up
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
echo 50000 60999 >/proc/sys/net/ipv4/ip_local_port_range
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
"""
# Of the peer, to what lies behind the host; they go with the address that they need.
PEER_ROUTES = "for net in 96 98; do ip route replace 10.$net.0.0/24 via 10.99.0.2; ip -6 route replace fd$net::/64 via fd99::2; done"
HOST = SETTINGS + """
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
# An address of its own: else a bridge takes that of a port, and another one when a port comes.
ip link add in0 address 02:00:00:98:00:01 type bridge
ip link add up0 address 02:00:00:97:00:01 type bridge
ip link set eth2 master up0
for pair in eth0,10.99.0.2,fd99::2 eth1,10.96.0.1,fd96::1 up0,10.97.0.2,fd97::2 in0,10.98.0.1,fd98::1; do
  IFS=, read -r device v4 v6 <<X
$pair
X
  ip address add $v4/24 dev $device
  ip address add $v6/64 dev $device nodad
  ip link set $device up
done
ip link set eth2 up
"""


def container(name, netns, v4, v6, bridge, gateway=None):
    routes = f"ip route add default via {gateway[0]}; ip -6 route add default via {gateway[1]}" if gateway else ":"
    return f"""set -e
ip netns add {netns}
ip link add v-{name} type veth peer name eth0 netns {netns}
ip link set v-{name} master {bridge} up
ip netns exec {netns} sh -ec '{SETTINGS}
ip address add {v4}/24 dev eth0; ip address add {v6}/64 dev eth0 nodad; ip link set eth0 up; {routes}'
"""


def address(place, family):
    return ADDRESS[place][family == 6]


def peer_of(place, family):
    return PEER.get(place, PEER_DEFAULT)[family == 6]


def run(script, netns=None):
    words = ["/bin/sh", "-ec", script]
    result = subprocess.run((["ip", "netns", "exec", netns] if netns else []) + words, capture_output=True, text=True)
    assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"
    return result.stdout


def set_netns(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside_of(netns):
    """This thread, and what it starts, is in that namespace for a while."""
    here, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{netns}", os.O_RDONLY)
    set_netns(there)
    try:
        yield
    finally:
        set_netns(here)
        os.close(here)
        os.close(there)


class Tap:
    """Frames that arrive at a device, recorded from another thread; `sent` is as that of link.Link."""

    def __init__(self, netns, device):
        self.sent = []
        with inside_of(netns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.bind((device, 3))
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE: none may be lost
        self.end_read, self.end_write = os.pipe()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while self.end_read not in select.select([self.sock, self.end_read], [], [])[0]:
            data, source = self.sock.recvfrom(65536)
            if source[2] != PACKET_OUTGOING:
                self.sent.append((time.monotonic(), data))

    @property
    def n_unseen(self):
        # struct tpacket_stats: packets, drops; reading clears it.
        return struct.unpack("II", self.sock.getsockopt(263, 6, 8))[1]

    def close(self):
        os.write(self.end_write, b"q")
        self.thread.join(10)
        self.sock.close()
        os.close(self.end_read)
        os.close(self.end_write)


class Nic(Link):
    """One of several network cards of a guest, whose other end is a device of a namespace here."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def qemu_words(self):
        (self.folder / "guest").unlink(missing_ok=True)
        return ["-netdev", f"dgram,id=net{self.number},local.type=unix,local.path={self.folder}/guest,remote.type=unix,"
                f"remote.path={self.folder}/outside", "-device",
                f"virtio-net-pci,netdev=net{self.number},mac=52:54:00:99:00:{self.number + 2:02x}"]

    def move(self, netns, device):
        run(f"ip -n {self.netns} link set peer0 netns {netns} name {device}")


class Cables:
    """The three cards of a guest, and the port by which its agent is spoken to; what guest.Guest takes as its link."""

    def __init__(self):
        self.nics = [Nic(number) for number in range(3)]
        self.holder = tempfile.TemporaryDirectory(prefix="telovix-agent-")
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = f"{self.holder.name}/agent"
        self.server.bind(self.path)
        self.server.listen(4)

    def qemu_words(self):
        words = [word for nic in self.nics for word in nic.qemu_words()]
        return words + ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.path}", "-device",
                        "virtserialport,chardev=agent,name=agent"]

    def close(self):
        self.server.close()
        for nic in self.nics:
            nic.close()
        self.holder.cleanup()


class Remote:
    """A root agent and its places."""

    def __init__(self, read, write):
        self.read, self.write, self.n, self.rest, self.lock = read, write, 0, b"", threading.Lock()

    def line(self, limit):
        until = time.monotonic() + limit
        while b"\n" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                raise AssertionError(f"the agent did not answer within {limit} s")
            piece = os.read(self.read, 1 << 20)
            if not piece:
                raise AssertionError("the agent is gone")
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ready(self, limit):
        assert self.line(limit) == {"id": 0, "value": "ready"}

    def call(self, place, do, limit=90, **words):
        with self.lock:
            self.n += 1
            data = json.dumps({"id": self.n, "place": place, "do": do, **words}).encode() + b"\n"
            while data:
                data = data[os.write(self.write, data):]
            while (answer := self.line(limit))["id"] != self.n:
                pass
        if "error" in answer:
            raise AssertionError(f"{place}: {answer['error']}")
        return answer["value"]

    def shell(self, script, check=True, **words):
        status, out, err = self.call("", "shell", script=script, **words)
        assert not check or status == 0, f"{script}: {status}\n{out}{err}"
        return (status, out, err) if not check else out

    def quit(self):
        with contextlib.suppress(OSError):
            os.write(self.write, b'{"id": -1, "place": "", "do": "quit"}\n')


class Bed:
    """One host with its sensor, `node`, seen by a Console outside of it. `whole_host` tells the kind."""
    whole_host = False
    node = "web-1"
    has_sctp = None  # its kernel; None = not asked yet
    force = False  # contain with it: a test has made the health critical
    module = None  # whose tests run
    looked = 0.0

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.tag = uuid.uuid4().hex[:6]
        self.taps, self.fleet, self.sensor, self.has_c2 = {}, None, None, False
        self.console_ports = {(host, PORT) for host in PEER_DEFAULT}
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def name(self, place):
        return f"tx{self.tag}-{place}"

    # ---- building ----
    def build_outside(self):
        """Namespaces of peer and q, whose devices are there, and their agents."""
        run(SETTINGS + """
ip address add 10.97.0.1/24 dev peer2; ip address add fd97::1/64 dev peer2 nodad; ip link set peer2 up
ip address add 10.99.0.1/24 dev peer0; ip address add fd99::1/64 dev peer0 nodad
ip link set peer0 up
""" + PEER_ROUTES, self.name("peer"))
        run(SETTINGS + """
ip address add 10.96.0.2/24 dev eth0; ip address add fd96::2/64 dev eth0 nodad
ip link set eth0 up
ip route add default via 10.96.0.1; ip -6 route add default via fd96::1
""", self.name("q"))
        process = subprocess.Popen([sys.executable, HERE / "agent.py", "root"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stack.callback(process.wait, 30)
        self.outside = Remote(process.stdout.fileno(), process.stdin.fileno())
        self.stack.callback(self.outside.quit)
        self.outside.ready(60)
        for place in ("peer", "q"):
            self.outside.call("", "place", name=place, netns=self.name(place))

    def build_host(self):
        """The part of the host's side that is there before it is contained."""
        self.inside.shell("set -e\n" + HOST)
        self.add_place("host", None)
        self.add_container("c1")
        self.add_container("cb")

    def add_container(self, place):
        gateway = ("10.98.0.1", "fd98::1") if place != "cb" else None
        self.inside.shell(container(place, self.name(place), *ADDRESS[place], "in0" if gateway else "up0", gateway))
        self.add_place(place, self.name(place))

    def add_c2(self):
        """The namespace that is made after the containment; in the place of a former one."""
        if self.has_c2:
            self.inside.call("", "unplace", name="c2")
            self.inside.shell(f"ip netns delete {self.name('c2')}; ip link delete v-c2 2>/dev/null || :")
        self.add_container("c2")
        self.has_c2 = True

    def add_place(self, place, netns):
        self.inside.call("", "place", name=place, netns=netns, cgroup=None)

    def start_fleet(self):
        """The Console in the peer's namespace, where this thread is too from now on, and the sensor on the host."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.stack.callback(os.close, here)
        self.stack.callback(set_netns, here)
        there = os.open(f"/run/netns/{self.name('peer')}", os.O_RDONLY)
        set_netns(there)
        os.close(there)
        self.fleet = telovix.Fleet(hosts=PEER_DEFAULT)
        self.stack.push(self.fleet.__exit__)
        self.fleet.start_console(PORT)
        self.start_sensor()

    # ---- agents ----
    def agent(self, place):
        return self.outside if place in ("peer", "q") else self.inside

    def call(self, place, do, **words):
        return self.agent(place).call(place, do, **words)

    # ---- the sensor ----
    def status(self):
        """What the host itself says."""
        status, out, err = self.inside.shell(f"{BUILD}/sensor/telovix-sensor status --state {self.state} -o json", check=False,
                                             env=SANITIZERS)
        assert status == 0, err
        return json.loads(out)

    def wait_started(self):
        def started():
            with contextlib.suppress(AssertionError):
                return self.status()["engine"]["state"] != "starting"
        wait_for(started, "the engine has started", 60)

    # ---- what passes ----
    def forget_captures(self):
        """What was recorded so far; no mark from before may be used any more. A capture has an end (link.FRAMES_KEPT)."""
        for tap in self.taps.values():
            del tap.sent[:]

    def mark(self):
        return {name: len(tap.sent) for name, tap in self.taps.items()}

    def forget_captures(self):
        """They hold so much and no more. No mark of before counts any longer."""
        for tap in self.taps.values():
            del tap.sent[:]

    def passed(self, mark):
        """Everything recorded since."""
        return [parse(when, name, data) for name, tap in self.taps.items() for when, data in tap.sent[mark.get(name, 0):]]

    def is_fine(self, packet):
        return is_let_through(packet, self.console_ports, ADDRESS["host"])

    def leaks(self, mark):
        """What passed since and no contained host may send."""
        for name, tap in self.taps.items():
            assert not tap.n_unseen, f"{name}: the capture lost frames"
        return [packet for packet in self.passed(mark) if not self.is_fine(packet)]

    def fence(self):
        """Returns after everything that was sent before has been recorded: ARP passes always."""
        self.n_fence = getattr(self, "n_fence", 0) + 1
        for device, where in (("eth0", "peer0"), ("eth1", "q"), ("up0", "peer2")):
            word = struct.pack("!HBB", 0xC612, self.n_fence >> 8 & 255, self.n_fence & 255)
            mac = bytes.fromhex(self.call("host", "mac", device=device).replace(":", ""))
            arp = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + word
            at = len(self.taps[where].sent)
            error = self.call("host", "frame", device=device, data=base64.b64encode(arp.ljust(60, b"\0")).decode())
            assert error is None, f"{device}: ARP was refused: {error}"
            wait_for(lambda where=where, at=at, word=word: any(data[38:42] == word for _, data in self.taps[where].sent[at:]),
                     f"ARP passes at {device}")

    # ---- containment ----
    def seen(self):
        """What the Console says; asked ten times a second at most, for each is a process."""
        time.sleep(max(0.0, self.looked + 0.1 - time.monotonic()))
        self.looked = time.monotonic()
        return self.fleet.sensor(self.node)

    def containment(self):
        return self.seen()["containmentState"].removeprefix("CONTAINMENT_STATE_").lower()

    @property
    def best(self):
        """The word of a containment in force: a trial has gaps by its nature, a host while a packet socket hears what comes."""
        return "contained" if self.whole_host and not self.listens() else "partial"

    def listens(self):
        return any(line.split()[3] != "0000" for line in self.inside.shell("cat /proc/net/packet").splitlines()[1:])

    def gaps(self):
        return {gap["gap"] for gap in self.seen().get("containmentGaps", ())}

    def contain(self, *words, check=True):
        words = (*words, *([] if self.best == "contained" else ["--accept-partial"]), *(["--force"] if self.force else []))
        result = self.fleet.ctl("contain", self.node, "--wait", *words, check=check)
        if check:
            assert self.containment() == self.best, self.seen()
            assert not self.whole_host or self.gaps() <= {"packet_listen"}, self.seen()
        return result

    def release(self):
        result = self.fleet.ctl("release", self.node, "--wait")
        assert self.containment() == "none", self.seen()
        return result

    def wait_containment(self, *states, limit=LIMIT):
        return wait_for(lambda: (state := self.containment()) in states and state, f"containment is {states}", limit)

    def close(self):
        self.stack.close()


class Trial(Bed):
    """Namespaces of this machine; the sensor is confined to a cgroup."""

    def build(self):
        for place in ("peer", "q", "h"):
            run(f"ip netns add {self.name(place)}")
            self.stack.callback(run, f"ip netns delete {self.name(place)}")
        for device, netns, other in (("eth0", "peer", "peer0"), ("eth1", "q", "eth0"), ("eth2", "peer", "peer2")):
            # Both in the namespaces from the start: none of these is ever a device of the machine itself.
            run(f"ip -n {self.name('h')} link add {device} type veth peer name {other} netns {self.name(netns)}")
        # Containers' namespaces end with the bed too, even one that was not finished.
        for place in ("c1", "c2", "cb"):
            self.stack.callback(run, f"ip netns delete {self.name(place)} 2>/dev/null || :")
        self.cgroup = telovix.Cgroup()
        self.stack.callback(self.cgroup.remove)
        self.build_outside()
        with inside_of(self.name("h")):
            process = subprocess.Popen([sys.executable, HERE / "agent.py", "root"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stack.callback(process.wait, 30)
        self.inside = Remote(process.stdout.fileno(), process.stdin.fileno())
        self.stack.callback(self.inside.quit)
        self.inside.ready(60)
        self.build_host()
        for where, netns, device in (("peer0", "peer", "peer0"), ("peer2", "peer", "peer2"), ("q", "q", "eth0")):
            self.taps[where] = Tap(self.name(netns), device)
        self.stack.callback(self.end_captures)
        self.start_fleet()

    def end_captures(self):
        while self.taps:
            self.taps.popitem()[1].close()

    def add_place(self, place, netns):
        self.inside.call("", "place", name=place, netns=netns, cgroup=str(self.cgroup.path))

    def start_sensor(self, wait=True, env=None, program=None):
        with inside_of(self.name("h")):
            if self.sensor is None:
                self.sensor = self.fleet.start_sensor(self.node, cgroup=self.cgroup, env=env)
            else:
                self.sensor = self.fleet.start_sensor(self.node, self.sensor.state, self.cgroup, env=env, wait=False,
                                                      bpffs=self.sensor.bpffs, program=program)
        self.state, self.bpffs = self.sensor.state, self.sensor.bpffs
        if wait:
            self.fleet.wait_seen(self.sensor.sensor_id)
            self.wait_started()

    def retry(self):
        """The sensor asks for its Console now, however long it has waited in vain."""
        self.sensor.process.send_signal(signal.SIGHUP)

    def kill9(self):
        self.sensor.kill9()

    def stop(self):
        self.sensor.stop()

    def sensor_pid(self):
        return self.sensor.pid

    def log(self):
        return self.sensor.output()


# A guest has not the memory that the sanitizer holds back by default, and a sensor that lives for an hour fills it.
GUEST_SANITIZERS = {**SANITIZERS, "ASAN_OPTIONS": f"{SANITIZERS['ASAN_OPTIONS']}:quarantine_size_mb=16"}


class Machine(Bed):
    """A guest of test/vm; its sensor has the whole host. `disk`: an image whose file system holds the sensor's state."""
    whole_host = True

    def __init__(self, kernel, disk=None, **options):
        self.kernel, self.disk, self.options = kernel, disk, options
        super().__init__()

    def build(self):
        for place in ("peer", "q"):
            run(f"ip netns add {self.name(place)}")
            self.stack.callback(run, f"ip netns delete {self.name(place)}")
        # Closed before the namespaces that their devices are in.
        self.cables = Cables()
        self.stack.callback(self.cables.close)
        for nic, (place, device) in zip(self.cables.nics, (("peer", "peer0"), ("q", "eth0"), ("peer", "peer2"))):
            nic.peer()
            nic.move(self.name(place), device)
        self.taps = dict(zip(("peer0", "q", "peer2"), self.cables.nics))
        self.build_outside()
        self.boot()
        self.build_host()
        self.start_fleet()

    def boot(self, argv=None):
        """Starts the machine; its agent answers afterwards."""
        machine = Guest(self.kernel, memory=768, timeout=7200 if telovix.LONG else 900, link=self.cables, disks=[self.disk] if self.disk else [],
                        modules=[*MODULES, "virtio_console", "ip_gre", "bonding"], **self.options)
        self.outcome = None

        def work():
            try:
                self.outcome = machine.run(argv or ["/usr/bin/python3", HERE / "agent.py", "root", "agent"])
            except Exception as error:  # pylint: disable=broad-except -- told by power_off
                self.outcome = error
        # The thread starts qemu; the tests' own thread goes on.
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        self.stack.callback(self.power_off)
        self.cables.server.settimeout(60)
        connection, _ = self.cables.server.accept()
        self.connection = connection
        self.inside = Remote(connection.fileno(), connection.fileno())
        self.inside.ready(120)

    def power_off(self):
        """Ends the machine as a power cut does; its result."""
        if self.thread is None:
            return self.outcome
        self.inside.quit()
        self.thread.join(120)
        alive, self.thread = self.thread.is_alive(), None
        self.connection.close()
        assert not alive, "the guest did not end"
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    state, bpffs, sensor_log = "/tmp/state", "/sys/fs/bpf", "/tmp/sensor.log"

    def start_sensor(self, wait=True, env=None, program=None):
        if self.sensor is None:
            token = self.fleet.ctl_json("token", "create")[0]
            self.inside.shell(f"{BUILD}/sensor/telovix-sensor enroll --console {PEER_DEFAULT[0]}:{PORT} --ca-cert-hash "
                              f"{token['caCertHash']} --token {token['token']} --node-name {self.node} --state {self.state}",
                              env=SANITIZERS)
            self.sensor = True
        self.inside.call("", "start", name="sensor", log=self.sensor_log, env={**GUEST_SANITIZERS, **(env or {})},
                         argv=[f"{program or BUILD / 'sensor/telovix-sensor'}", "run", "--state", self.state, "--bpffs", self.bpffs])
        if wait:
            self.fleet.wait_seen(self.node)
            self.wait_started()

    def retry(self):
        self.inside.call("", "signal", name="sensor", number=signal.SIGHUP)

    def kill9(self):
        self.inside.call("", "signal", name="sensor", number=signal.SIGKILL)
        wait_for(lambda: self.inside.call("", "ended", name="sensor") is not None, "the sensor is dead")

    def stop(self):
        self.inside.call("", "signal", name="sensor", number=signal.SIGTERM)
        status = wait_for(lambda: [self.inside.call("", "ended", name="sensor")] != [None] and
                          [self.inside.call("", "ended", name="sensor")], "the sensor has stopped", 60)[0]
        assert status == 0, self.log()

    def sensor_pid(self):
        return int(self.inside.shell("pidof telovix-sensor").split()[0])

    def log(self):
        return self.inside.shell(f"cat {self.sensor_log}")


BEDS = {"trial": Trial, "6.1": lambda: Machine("6.1"), "6.12": lambda: Machine("6.12")}
