# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of a guest's network card, in a process outside the guest: what is recorded here has left the machine.

    with Link() as link:
        link.peer("10.99.0.1/24", "fd99::1/64")      # a network namespace with real sockets: link.netns
        Guest(link=link).run(...)
    link.sent                                       # frames that left the guest, as (monotonic seconds, bytes)

Frames travel as datagrams between two UNIX sockets; a peer is a TAP device in a namespace of its own."""
import contextlib
import fcntl
import os
import pathlib
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid

MAC = "52:54:00:99:00:02"
FRAME_MAX = 65536
FRAMES_KEPT = 200_000  # a guest that floods must not fill the memory of the harness
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


class Link:
    """`sent` grows while a guest runs; `n_unseen` counts what came when it was full. One guest at a time; a second one
    after it (a reboot) finds the same peer."""

    def __init__(self):
        self.holder = tempfile.TemporaryDirectory(prefix="telovix-link-")
        self.folder = pathlib.Path(self.holder.name)
        self.sent, self.n_unseen, self.netns, self.tap = [], 0, None, None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.folder / "outside"))
        self.wake_read, self.wake_write = os.pipe()
        self.thread = threading.Thread(target=self.relay, daemon=True)
        self.thread.start()

    def qemu_words(self):
        # The socket of a former guest would be in the way of the next.
        (self.folder / "guest").unlink(missing_ok=True)
        return ["-netdev", f"dgram,id=net0,local.type=unix,local.path={self.folder}/guest,remote.type=unix,"
                f"remote.path={self.folder}/outside", "-device", f"virtio-net-pci,netdev=net0,mac={MAC}"]

    def peer(self, *addresses):
        """A network namespace behind the link, with these addresses on its device `peer0`."""
        self.netns = f"telovix-{uuid.uuid4().hex[:8]}"
        name = self.netns[-8:] + "tap"
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))

        def ip(*words):
            subprocess.run(["/sbin/ip", *words], check=True)
        ip("netns", "add", self.netns)
        ip("link", "set", name, "netns", self.netns, "name", "peer0")
        for address in addresses:
            # An address that waits for its duplicate check cannot be bound yet.
            nodad = ["nodad"] if ":" in address else []
            ip("-n", self.netns, "address", "add", address, "dev", "peer0", *nodad)
        ip("-n", self.netns, "link", "set", "lo", "up")
        ip("-n", self.netns, "link", "set", "peer0", "up")
        self.tap = tap
        os.write(self.wake_write, b"t")

    def send(self, frame):
        """One Ethernet frame towards the guest; lost while no guest runs, as on a cable."""
        with contextlib.suppress(OSError):
            self.socket.sendto(frame, str(self.folder / "guest"))

    def relay(self):
        while True:
            wanted = [self.socket, self.wake_read] + ([self.tap] if self.tap is not None else [])
            ready = select.select(wanted, [], [])[0]
            if self.wake_read in ready and os.read(self.wake_read, 1) == b"q":
                return
            if self.socket in ready:
                frame = self.socket.recv(FRAME_MAX)
                if len(self.sent) < FRAMES_KEPT:
                    self.sent.append((time.monotonic(), frame))
                else:
                    self.n_unseen += 1
                if self.tap is not None:
                    with contextlib.suppress(OSError):  # the peer's device is down
                        os.write(self.tap, frame)
            if self.tap is not None and self.tap in ready:
                self.send(os.read(self.tap, FRAME_MAX))

    def close(self):
        if self.thread.is_alive():
            os.write(self.wake_write, b"q")
            self.thread.join(10)
        self.socket.close()
        os.close(self.wake_read)
        os.close(self.wake_write)
        if self.tap is not None:
            os.close(self.tap)
        if self.netns:
            subprocess.run(["/sbin/ip", "netns", "delete", self.netns], check=True)
        self.holder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
