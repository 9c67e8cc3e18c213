# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attacker with root does to a containment, one thing at a time: meddle.py [--for SECONDS] WHAT FOLDER [WORD]. Run on the
host, FOLDER is that of the pins. WHAT: one of the functions below whose name ends the same way, such as detach LINK. With --for:
over and over for so long, whatever fails."""
import contextlib
import ctypes
import itertools
import os
import pathlib
import socket
import struct
import subprocess
import sys
import time

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_UPDATE, MAP_DELETE, PROG_LOAD, OBJ_PIN, OBJ_GET, OBJ_INFO, MAP_FREEZE = 0, 2, 3, 5, 6, 7, 15, 22
LINK_CREATE, LINK_UPDATE, LINK_BY_ID, LINK_NEXT_ID, LINK_DETACH = 28, 29, 30, 31, 34
ARRAY, LPM_TRIE, NO_PREALLOC = 2, 11, 1
LINK_TCX, TCX_WAYS, BEFORE = 11, {"ingress": 46, "egress": 47}, 8
SCHED_CLS = 3
DEVICES = ("eth0", "eth1", "eth2")
# Link → (type of its program, type of its attachment).
LINKS = {"skb_in": (8, 0), "skb_out": (8, 1), "connect4": (18, 10), "connect6": (18, 11), "sendmsg4": (18, 14), "sendmsg6": (18, 15),
         "setsockopt": (25, 22)}
libc = ctypes.CDLL(None, use_errno=True)
held, turn = [], itertools.count()


def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr.ljust(144, b"\0"))
    result = libc.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf {command}: {os.strerror(ctypes.get_errno())}")
    return result


def opened(folder, name):
    path = ctypes.create_string_buffer(f"{folder}/{name}".encode())
    return bpf(OBJ_GET, struct.pack("QII", ctypes.addressof(path), 0, 0))


def made_map(kind, key, value, entries, flags=0):
    return bpf(MAP_CREATE, struct.pack("IIIII", kind, key, value, entries, flags))


def put(fd, key, value):
    key, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    bpf(MAP_UPDATE, struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))


def detach(folder, link):
    bpf(LINK_DETACH, struct.pack("I", opened(folder, link)))


def pin(fd, path):
    path = ctypes.create_string_buffer(str(path).encode())
    bpf(OBJ_PIN, struct.pack("QI", ctypes.addressof(path), fd))


def open_program(kind, result, attach=0):
    """One that returns `result` and does nothing else."""
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, result, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(PROG_LOAD, struct.pack("IIQQIIQII16sII", kind, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0,
                                      b"open", 0, attach))


def tcx_links():
    identity = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("II", identity, 0).ljust(144, b"\0"))
        if libc.syscall(SYS_BPF, LINK_NEXT_ID, attr, len(attr)) < 0:
            break
        identity = struct.unpack_from("I", attr, 4)[0]
        link = bpf(LINK_BY_ID, struct.pack("I", identity))
        info = ctypes.create_string_buffer(256)
        bpf(OBJ_INFO, struct.pack("IIQ", link, len(info), ctypes.addressof(info)))
        if struct.unpack_from("I", info)[0] == LINK_TCX:
            yield link


def detach_devices(folder):
    """The programs on every device: links of tcx, or filters of clsact."""
    for link in tcx_links():
        bpf(LINK_DETACH, struct.pack("I", link))
    for device in DEVICES:
        subprocess.run(["tc", "qdisc", "delete", "dev", device, "clsact"], capture_output=True)


@contextlib.contextmanager
def pinned_open_program(folder):
    """For tc(8), which takes a program by its pin only."""
    path = pathlib.Path(folder).parent.parent / "open"
    pin(open_program(SCHED_CLS, 0), path)
    yield path
    path.unlink()


def update_devices(folder):
    """They hold a program that lets everything through: in links of tcx, or in our filters of clsact."""
    links = list(tcx_links())
    for link in links:
        bpf(LINK_UPDATE, struct.pack("IIII", link, open_program(SCHED_CLS, 0), 0, 0))
    if not links:
        with pinned_open_program(folder) as path:
            filters("replace", "0x544c58", "bpf", "direct-action", "object-pinned", path)


def filters(what, handle, *words):
    for device in DEVICES:
        for way in TCX_WAYS:
            subprocess.run(["tc", "filter", what, "dev", device, way, "prio", "1", "handle", handle, "protocol", "all", *words],
                           check=True)


def before_devices(folder):
    """Another program is asked before those on the devices, and says that it is enough."""
    if not list(tcx_links()):
        with pinned_open_program(folder) as path:
            filters("add", "0x7", "bpf", "direct-action", "object-pinned", path)
        return
    for device in DEVICES:
        for way, attach in TCX_WAYS.items():
            link = bpf(LINK_CREATE, struct.pack("IIIIIIQ", open_program(SCHED_CLS, 0), socket.if_nametoindex(device), attach, BEFORE,
                                                0, 0, 0))
            pin(link, pathlib.Path(folder).parent.parent / f"before_{device}_{way}")


def update(folder, link):
    """Its program lets everything through now."""
    kind, attach = LINKS[link]
    bpf(LINK_UPDATE, struct.pack("IIII", opened(folder, link), open_program(kind, 1, attach), 0, 0))


def freeze(folder, name):
    """Nothing can be set in it any more."""
    bpf(MAP_FREEZE, struct.pack("I", opened(folder, name)))


def empty(folder, name):
    """A map of maps names none any more."""
    for at in range(1 if name == "cfgs" else 2):
        key = ctypes.create_string_buffer(struct.pack("I", at), 4)
        with contextlib.suppress(FileNotFoundError):
            bpf(MAP_DELETE, struct.pack("IIQ", opened(folder, name), 0, ctypes.addressof(key)))


def everything(folder):
    """All at once: devices, links, pins."""
    detach_devices(folder)
    for link in LINKS:
        detach(folder, link)
    for path in pathlib.Path(folder).iterdir():
        path.unlink()


def lay(folder, cgroup):
    """Before a containment: links of its names with programs that let everything through, and a frozen map of each kind."""
    os.makedirs(folder, 0o700)
    os.chmod(pathlib.Path(folder).parent, 0o700)
    where = os.open(cgroup, os.O_RDONLY)
    for link, (kind, attach) in LINKS.items():
        pin(bpf(LINK_CREATE, struct.pack("IIII", open_program(kind, 1, attach), where, attach, 0)), f"{folder}/{link}")
    for name in ("cfgs", "allow4", "allow6", "local", "own_sock", "stats", "events", "cfg"):
        fd = made_map(ARRAY, 4, 24, 1)
        bpf(MAP_FREEZE, struct.pack("I", fd))
        pin(fd, f"{folder}/{name}")


def unpin(folder, name):
    os.unlink(f"{folder}/{name}")


def switch_off(folder):
    """All zero lets everything through."""
    inner = made_map(ARRAY, 4, 24, 1)
    put(opened(folder, "cfgs"), bytes(4), struct.pack("I", inner))


def allow_all(folder, family):
    """Both banks let every address, protocol and port through."""
    size = 4 if family == "4" else 16
    one = struct.pack("HHBB2x", 0, 65535, 0, 1)
    value = struct.pack("II", 1, 0) + one.ljust(64 * 8, b"\0")
    for bank in range(2):
        inner = made_map(LPM_TRIE, 4 + size, len(value), 64, NO_PREALLOC)
        put(inner, struct.pack("I", 0) + bytes(size), value)
        put(opened(folder, f"allow{family}"), struct.pack("I", bank), struct.pack("I", inner))


def local(folder, address):
    """The connect hooks take it for one of this host."""
    put(opened(folder, "local"), socket.inet_pton(socket.AF_INET6, f"::ffff:{address}"), b"\1")


def mark(folder, sock):
    """The programs take it for the sensor's own socket."""
    fd = opened(folder, "own_sock")
    try:
        put(fd, struct.pack("i", sock.fileno()), struct.pack("I", 1))
    finally:
        os.close(fd)


def marked(folder, address, port):
    """A datagram by a socket of its own that has the mark; always the same socket. It is marked more often than it sends, for a
    capture has an end; and not as often as can be, for the kernel frees the former mark of each time much later."""
    if not held:
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held[0].bind(("", int(port) + 10000))
    mark(folder, held[0])
    time.sleep(0.001)
    if next(turn) % 10 == 0:
        held[0].sendto(f"tlx:{int(port) - 20000}:stolen:".encode(), (address, int(port)))


def main():
    words, limit = sys.argv[1:], None
    if words[0] == "--for":
        limit, words = float(words[1]), words[2:]
    what, folder, *words = words
    do = {"detach": detach, "update": update, "unpin": unpin, "freeze": freeze, "empty": empty, "switch-off": switch_off,
          "allow-all": allow_all, "local": local, "detach-devices": detach_devices, "update-devices": update_devices,
          "before-devices": before_devices, "everything": everything, "lay": lay, "marked": marked}[what]
    if limit is None:
        do(folder, *words)
        return
    until = time.monotonic() + limit
    while time.monotonic() < until:
        # What is not there yet, or no more, cannot be meddled with.
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            do(folder, *words)
        # Else there are soon no descriptors left, and nothing is meddled with any more.
        kept = held[0].fileno() if held else 3
        os.closerange(3, kept)
        os.closerange(kept + bool(held), 1024)


if __name__ == "__main__":
    main()
