# SPDX-License-Identifier: GPL-2.0-or-later
"""The ends that a sensor may come to while its host is contained: replaced by another build, killed while its Console is gone, lifted
by root. Not one packet leaves the host before root says so, captured at the peer's end."""
import json
import struct

import pytest

from telovix import BUILD, SANITIZERS, wait_for
from test_life import HERE, PORT, some_more, trying, wait_passing, wait_verified_anew
from test_matrix import Flows

EM_BPF = 247
# Of a program (net_count.bpf.h: how long a burst of events is), as a number and as what it is compared with.
SPANS = [(100000000 - less, 99990000 - less) for less in (0, 1)]


@pytest.fixture(scope="module")
def flows(bed):
    return Flows(bed)


@pytest.fixture
def contained(bed):
    bed.forget_captures()
    bed.contain()
    yield bed
    if not bed.fleet.console.running():
        bed.fleet.start_console(PORT)
    if not bed.seen()["connected"]:
        bed.start_sensor()
    bed.release()


@pytest.fixture(scope="module")
def other_build():
    """The sensor with other programs in it: a number in the objects that it carries is another one, and so are their tags."""
    data = bytearray((BUILD / "sensor/telovix-sensor").read_bytes())
    at, n_changed = -1, 0
    while (at := data.find(b"\x7fELF", at + 1)) >= 0:
        if struct.unpack_from("<H", data, at + 18)[0] != EM_BPF:
            continue
        sections, = struct.unpack_from("<Q", data, at + 40)
        size, n = struct.unpack_from("<HH", data, at + 58)
        inner = bytes(data[at:at + sections + size * n])
        changed = inner
        for before, after in SPANS:
            changed = changed.replace(struct.pack("<I", before), struct.pack("<I", after))
        data[at:at + len(inner)] = changed
        n_changed += changed != inner
    assert n_changed == 2, "the programs of the cgroup and of the devices"
    # Where a guest sees it too.
    path = BUILD.resolve() / "sensor/telovix-sensor-other"
    path.write_bytes(data)
    path.chmod(0o755)
    yield path
    path.unlink()


def tags(bed):
    """Of the programs in the links of the cgroup that differ between the builds: setsockopt sends no events."""
    found = {}
    for link in ("skb_out", "skb_in", "connect4", "connect6", "sendmsg4", "sendmsg6"):
        link_info = json.loads(bed.inside.shell(f"bpftool -j link show pinned {bed.bpffs}/telovix/net-1/{link}"))
        found[link] = json.loads(bed.inside.shell(f"bpftool -j prog show id {link_info['prog_id']}"))["tag"]
    return found


def places_of(bed):
    return (*HERE, "q") if bed.whole_host else HERE


def program(bed, word, check=True):
    """telovix-sensor WORD on the host."""
    scope = "" if bed.whole_host else f"--cgroup {bed.cgroup.path}"
    return bed.inside.shell(f"{BUILD.resolve()}/sensor/telovix-sensor {word} --state {bed.state} --bpffs {bed.bpffs} {scope}",
                            check=check, env=SANITIZERS, timeout=90)


def test_an_upgrade_replaces_the_programs_without_a_window(contained, flows, other_build):
    bed = contained
    old = tags(bed)
    mark = bed.mark()
    with trying(bed, flows, places_of(bed)) as cells:
        for build, end in ((other_build, bed.stop), (None, bed.kill9)):
            before = tags(bed)
            end()
            bed.start_sensor(program=build)
            wait_verified_anew(bed, "the other build")
            changed = {link for link, tag in tags(bed).items() if tag != before[link]}
            assert changed == set(before), "all programs are those of the build that runs"
            some_more(bed, cells)
    bed.fence()
    assert tags(bed) == old
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]


def test_killed_and_upgraded_while_the_console_is_gone(contained, flows, other_build):
    bed = contained
    bed.fleet.console.stop()
    mark = bed.mark()
    with trying(bed, flows, places_of(bed)) as cells:
        for build, end in ((None, bed.kill9), (other_build, bed.kill9), (None, bed.stop)):
            end()
            some_more(bed, cells)
            bed.start_sensor(wait=False, program=build)
            bed.wait_started()
            wait_for(lambda: bed.status()["rules"], "the sensor has its rules from the disk")
            some_more(bed, cells)
    bed.fence()
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]
    bed.fleet.start_console(PORT)
    bed.fleet.wait_seen(bed.node, 120)
    wait_verified_anew(bed, "the Console is back")


def test_restore_and_lift(contained, flows):
    """Whoever asks for it, at whatever moment: the status says what came of it, and so does the network."""
    bed = contained
    mark = bed.mark()
    with trying(bed, flows, places_of(bed)) as cells:
        program(bed, "restore")  # a sensor runs, and has done it
        bed.kill9()
        program(bed, "restore")
        some_more(bed, cells)
        bed.fence()
        assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]
    assert "no sensor runs" in program(bed, "lift")
    free = [cell for cell in flows.cells(HERE, "new", ("udp",)) if cell.direction == "out"]
    wait_passing(bed, free, flows)
    flows.close(free)
    program(bed, "restore")
    wait_passing(bed, free, flows)
    flows.close(free)
    # Only a new desired state puts it in force again.
    bed.start_sensor()
    bed.wait_containment("failed")
    assert bed.seen()["containmentReason"] == "enforcement_lifted"
    bed.release()
    bed.force = True
    bed.contain()
    mark = bed.mark()
    with trying(bed, flows, places_of(bed)) as cells:
        some_more(bed, cells)
        bed.fence()
        assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]
        # The Console is told before the first program goes.
        assert "the Console knows" in program(bed, "lift")
        wait_for(lambda: bed.leaks(mark), "it is lifted")
    bed.wait_containment("failed")
