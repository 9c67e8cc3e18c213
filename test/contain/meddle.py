# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attacker with root does to a containment, one thing at a time: meddle.py WHAT FOLDER [WORD]. Run on the host, FOLDER is
that of the pins. WHAT: detach LINK, update LINK, unpin NAME, switch-off, allow-all 4|6, local ADDRESS,
detach-devices."""
import ctypes
import os
import socket
import struct
import subprocess
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_UPDATE, PROG_LOAD, OBJ_GET, OBJ_INFO, LINK_UPDATE, LINK_BY_ID, LINK_NEXT_ID, LINK_DETACH = 0, 2, 5, 7, 15, 29, 30, 31, 34
ARRAY, LPM_TRIE, NO_PREALLOC = 2, 11, 1
LINK_TCX = 11
# Link → (type of its program, type of its attachment).
LINKS = {"skb_in": (8, 0), "skb_out": (8, 1), "connect4": (18, 10), "connect6": (18, 11), "sendmsg4": (18, 14), "sendmsg6": (18, 15)}
libc = ctypes.CDLL(None, use_errno=True)


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


def detach_devices(folder):
    """The programs on every device: links of tcx, or filters of clsact."""
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
            bpf(LINK_DETACH, struct.pack("I", link))
    for device in ("eth0", "eth1", "eth2"):
        subprocess.run(["tc", "qdisc", "delete", "dev", device, "clsact"], capture_output=True)


def update(folder, link):
    """Its program lets everything through now."""
    kind, attach = LINKS[link]
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    program = bpf(PROG_LOAD, struct.pack("IIQQIIQII16sII", kind, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0,
                                         b"open", 0, attach))
    bpf(LINK_UPDATE, struct.pack("IIII", opened(folder, link), program, 0, 0))


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


def main():
    what, folder, *words = sys.argv[1:]
    {"detach": detach, "update": update, "unpin": unpin, "switch-off": switch_off, "allow-all": allow_all, "local": local,
     "detach-devices": detach_devices}[what](
        folder, *words)


if __name__ == "__main__":
    main()
