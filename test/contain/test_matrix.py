# SPDX-License-Identifier: GPL-2.0-or-later
"""The leak matrix: every kind of packet × IPv4, IPv6 × out, in × new, established × every place. Each cell is first seen to
pass, then contained; then nothing of it passes, or it is a gap which the sensor reports and doc/kernels.md explains, and the
host is called partially contained. After the release it passes again.

A cell passes *out* when something of it arrives at the peer; *in* when the place answered to what the peer sent, or an ordinary
socket there got it. (That a packet socket can listen is the gap packet_listen; that it cannot answer is tested.)"""
import dataclasses
import pathlib
import re
import time

import pytest

from bed import address, peer_of
from telovix import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("tcp", "udp", "icmp-raw", "icmp-dgram", "raw253", "packet", "sctp", "udplite")
FAMILIES, DIRECTIONS, PLACES = (4, 6), ("out", "in"), ("host", "c1", "cb", "q")
STREAMS = ("tcp", "mptcp", "sctp")
# Sessions of SCTP between network namespaces of one kernel and across a guest: everywhere where the module is.
OPTIONAL = ("sctp", "udplite")


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str
    family: int
    direction: str
    place: str
    age: str  # "new" or "established"
    n: int = dataclasses.field(compare=False)

    def __str__(self):
        return f"{self.place} {self.kind} IPv{self.family} {self.direction} {self.age}"


class Flows:
    """Numbers flows, opens both ends of each and sends on them. All of a place go in one command: a guest is slow."""
    n_next = 0

    def __init__(self, bed):
        self.bed = bed
        self.missing = {(kind, family): word for kind in OPTIONAL for family in FAMILIES
                        for word in [bed.call("host", "has", kind=kind, family=family) or bed.call("peer", "has", kind=kind, family=family)]
                        if word}
        self.mac = {place: bed.call(place, "mac", device="eth0") for place in ("host", "c1", "cb", "q")}
        self.mac.update({device: bed.call("host", "mac", device=device) for device in ("in0", "eth1", "up0")})
        self.mac.update({device: bed.call("peer", "mac", device=device) for device in ("peer0", "peer2")})

    def cells(self, places, age, kinds=KINDS):
        made = []
        for place in places:
            for kind in kinds:
                for family in FAMILIES:
                    if (kind, family) in self.missing:
                        continue
                    for direction in DIRECTIONS:
                        made.append(Cell(kind, family, direction, place, age, Flows.n_next))
                        Flows.n_next += 1
        return made

    def ends(self, cell):
        """What the agents are told for the place's end and the peer's end."""
        place_mac = self.mac.get(cell.place) or self.bed.call(cell.place, "mac", device="eth0")
        # Of packet sockets: the next hop is the bridge's or the host's own card, or the peer itself.
        near = {"c1": "in0", "c2": "in0", "q": "eth1", "cb": "peer2", "host": "peer0"}[cell.place]
        far_device = "peer2" if cell.place == "cb" else "peer0"
        far = place_mac if cell.place == "cb" else self.mac["host"]
        ours, theirs = address(cell.place, cell.family), peer_of(cell.place, cell.family)
        out = cell.direction == "out"
        common = {"do": "open", "n": cell.n, "kind": cell.kind, "family": cell.family}
        return ({**common, "role": "connect" if out else "listen", "local": ours, "remote": theirs, "device": "eth0",
                 "next_mac": self.mac[near], "echo": not out},
                {**common, "role": "listen" if out else "connect", "local": theirs, "remote": ours, "device": far_device,
                 "next_mac": far, "echo": out})

    def batch(self, by_place):
        return {place: self.bed.call(place, "batch", list=commands) for place, commands in by_place.items() if commands}

    def open(self, cells, **ours):
        """Listening ends first; `ours` are words for the place's end. What the calls at the place's end said, by cell."""
        told = {}
        for role in ("listen", "connect"):
            todo = {}
            for cell in cells:
                for where, command in zip((cell.place, "peer"), self.ends(cell)):
                    if command["role"] == role:
                        todo.setdefault(where, []).append((cell, {**command, **(ours if where == cell.place else {})}))
            for where, pairs in todo.items():
                errors = self.bed.call(where, "batch", list=[command for _, command in pairs])
                told.update({(cell, where): error for (cell, _), error in zip(pairs, errors)})
        return told

    def send(self, cells, word):
        """One message on each, by the end that the direction names."""
        todo = {}
        for cell in cells:
            todo.setdefault(cell.place if cell.direction == "out" else "peer", []).append(cell)
        told = {}
        for where, list_ in todo.items():
            errors = self.bed.call(where, "batch", list=[{"do": "send", "n": cell.n, "word": word} for cell in list_])
            told.update(zip(list_, errors))
        return told

    def states(self, cells):
        """(the place's end, the peer's end) of each cell."""
        ends = {}
        for where in {cell.place for cell in cells} | {"peer"}:
            ends[where] = self.bed.call(where, "state")
        return {cell: (ends[cell.place].get(str(cell.n)), ends["peer"].get(str(cell.n))) for cell in cells}

    def close(self, cells):
        for where in {cell.place for cell in cells} | {"peer"}:
            self.bed.call(where, "close", flows=[cell.n for cell in cells if where in (cell.place, "peer")])

    # ---- what passed ----
    def arrived(self, cells, mark, word):
        """Cells of which something arrived at the peer's side, or at an ordinary socket of the place, since `mark`."""
        flows = {packet.flow for packet in self.bed.passed(mark) if not self.bed.is_fine(packet)}
        states = self.states(cells)
        passed = set()
        for cell in cells:
            ours = states[cell][0]
            got = cell.direction == "in" and cell.kind != "packet" and ours and word in ours["got"]
            if cell.n in flows or got:
                passed.add(cell)
        return passed

    def all_pass(self, cells, word, what):
        """Every one of them passes, with an answer where the kind has one; waits for it, sends lost messages again."""
        mark = self.bed.mark()
        streams = [cell for cell in cells if cell.kind in STREAMS]
        missing, attempts = list(cells), 0

        def connected():
            nonlocal missing
            missing = [cell for cell, (ours, _) in self.states(streams).items() if not (ours["connected"] or ours["sessions"])]
            return not missing

        def done():
            nonlocal missing, attempts
            # The first packet of a flow may wait for a neighbour's address, and only few can wait.
            if attempts % 20 == 0:
                self.send(missing, word)
            attempts += 1
            states = self.states(cells)
            seen = {packet.flow for packet in self.bed.passed(mark)}
            # The end that asked for an echo has it; of a ping, whose other end is the kernel, the answer.
            missing = [cell for cell in cells if cell.n not in seen or not states[cell][
                cell.direction == "in" or not cell.kind.startswith("icmp")]["n_got"]]
            return not missing
        try:
            wait_for(connected, what)
            missing = list(cells)
            wait_for(done, what)
        except AssertionError:
            raise AssertionError(f"{what}: no way through for {[str(cell) for cell in missing]}") from None


# ---- what a gap is called ----

def gaps_of(bed, cell):
    """The words of the gaps that a leak of this cell may be, in this bed."""
    if bed.whole_host:
        return set()
    # In a trial the programs are on a cgroup: what no socket of it sends they do not see.
    if cell.place == "q":
        return {"trial_scope", "forwarded"}
    if cell.kind == "packet":
        return {"packet_socket"}
    if cell.direction == "in":
        # Answered by the kernel's own sockets, which are in the root cgroup.
        return {"trial_scope"}
    return set()


def documented_gaps():
    text = (ROOT / "doc/kernels.md").read_text()
    return set(re.findall(r"^\| `([a-z_]+)` \|", text, re.M))


def judge(bed, passed):
    """Leaks that are no named gap, as sentences."""
    reported, documented = bed.gaps(), documented_gaps()
    faults = []
    for cell in sorted(passed, key=str):
        named = gaps_of(bed, cell) & reported
        if not named:
            faults.append(f"{cell}: passes, and no gap of {sorted(gaps_of(bed, cell)) or 'none'} is reported")
        elif not named & documented:
            faults.append(f"{cell}: its gap {sorted(named)} is not in doc/kernels.md")
    if passed and bed.containment() == "contained":
        faults.append(f"{len(passed)} cells pass, and the Console says contained")
    return faults


# ---- the tests, in this order: they share the sessions that are older than the containment ----

@pytest.fixture(scope="module")
def flows(bed):
    return Flows(bed)


@pytest.fixture(scope="module")
def old(flows):
    """Sessions in every place that were there before the containment, and worked."""
    cells = flows.cells(PLACES, "established")
    flows.open(cells)
    flows.all_pass(cells, "before", "without a containment")
    return cells


@pytest.fixture(scope="module")
def contained(bed, flows, old):
    """The state of the tests from here on, until one releases it."""
    bed.contain()
    bed.mark_contained = bed.mark()
    yield bed
    bed.release()


@pytest.mark.parametrize("kind", OPTIONAL)
def test_kind_is_there(flows, kind):
    """Says by name which cells cannot be made here."""
    absent = {f"IPv{family}: {word}" for (name, family), word in flows.missing.items() if name == kind}
    if absent:
        pytest.skip(f"this kernel has no {kind}: {', '.join(sorted(absent))}")


def test_without_a_containment_every_cell_passes(bed, flows, old):
    assert {"tcp", "udp", "icmp-raw", "icmp-dgram", "raw253", "packet"} <= {cell.kind for cell in old}
    fresh = flows.cells(PLACES, "new")
    flows.open(fresh)
    flows.all_pass(fresh, "fresh", "without a containment, new ones")
    flows.close(fresh)


def test_established(contained, flows, old):
    mark = contained.mark()
    flows.send(old, "held")
    contained.fence()
    passed = flows.arrived(old, mark, "held")
    assert not judge(contained, passed), "\n".join(judge(contained, passed))


def test_new(contained, flows):
    contained.add_c2()
    cells = flows.cells((*PLACES, "c2"), "new")
    mark = contained.mark()
    flows.open(cells)
    flows.send(cells, "held")
    contained.fence()
    # A listening end of the place must not have been reached, a connecting one must not have got through.
    passed = flows.arrived(cells, mark, "held")
    for cell, (ours, theirs) in flows.states(cells).items():
        if cell.kind in STREAMS and (ours["sessions"] or ours["connected"] or theirs["connected"]):
            passed.add(cell)
    contained.new_cells = cells
    assert not judge(contained, passed), "\n".join(judge(contained, passed))


def test_nothing_at_all_passed(contained, flows, old):
    """Whatever it was, also what no cell foresaw: retransmissions, resets, errors. A second of TCP's own retries included."""
    started = time.monotonic()
    wait_for(lambda: time.monotonic() > started + 1.5, "TCP tries again")
    contained.fence()
    known = {cell.n: cell for cell in [*old, *getattr(contained, "new_cells", [])]}
    leaks = contained.leaks(contained.mark_contained)
    passed = {known[packet.flow] for packet in leaks if packet.flow in known}
    strange = [str(packet) for packet in leaks if packet.flow not in known]
    faults = judge(contained, passed) + strange
    assert not faults, "\n".join(faults)


def test_after_the_release_all_passes_again(contained, flows, old):
    contained.release()
    flows.close([*old, *contained.new_cells])
    cells = flows.cells((*PLACES, "c2"), "new")
    flows.open(cells)
    flows.all_pass(cells, "after", "after the release")
