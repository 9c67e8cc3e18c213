# SPDX-License-Identifier: GPL-2.0-or-later
"""Each program, link and map of a containment altered behind the sensor's back: before the order, before the first proof, after
it, and before that of the next sensor. A host that leaks is never called contained on the word of a later proof; what was altered
is repaired within seconds, reported and audited.

A trial has all of it. Guests, whose programs are the same, have what is of the whole host and one of each kind; the rest with
TELOVIX_LONG=1."""
import contextlib
import datetime
import subprocess
import threading
import time

import pytest

import bed as beds
import telovix
from agent import FIRST_PORT
from telovix import BUILD, wait_for
from test_life import HERE, set_allow, some_more, trying, wait_passing, wait_verified_anew
from test_matrix import Flows

RST = 0x04
# Three times the 5 s within which the specification wants it.
REPAIRED = 15
LINKS = ("skb_out", "skb_in", "connect4", "connect6", "sendmsg4", "sendmsg6", "setsockopt")
PINS = (*LINKS, "cfgs", "cfg", "allow4", "allow6", "local", "own_sock", "stats", "events")
FREEZABLE = ("cfgs", "allow4", "allow6", "local", "own_sock", "stats")
MEDDLING = {**{f"detach {link}": f"detach FOLDER {link}" for link in LINKS},
            **{f"another program in {link}": f"update FOLDER {link}" for link in LINKS},
            **{f"unpin {name}": f"unpin FOLDER {name}" for name in PINS},
            **{f"freeze {name}": f"freeze FOLDER {name}" for name in FREEZABLE},
            **{f"empty {name}": f"empty FOLDER {name}" for name in ("cfgs", "allow4", "allow6")},
            "an empty configuration": "switch-off FOLDER", "a trie that lets all IPv4 through": "allow-all FOLDER 4",
            "a trie that lets all IPv6 through": "allow-all FOLDER 6", "a foreign address among the own": "local FOLDER 10.99.0.1",
            "everything at once": "everything FOLDER"}
OF_DEVICES = {"no programs on devices": "detach-devices FOLDER", "other programs on devices": "update-devices FOLDER",
              "another program before ours": "before-devices FOLDER"}
MEDDLING |= OF_DEVICES
# While it runs alone: with its process the socket ends.
MARKED, MARKED_FLOW = "a socket that is marked as the sensor's own", 9000
REPEATED = {**MEDDLING, MARKED: f"marked FOLDER 10.99.0.1 {FIRST_PORT + MARKED_FLOW}"}
# What takes hold of nothing: the programs go on with what they have open, or with less.
HARMLESS = (*(f"unpin {name}" for name in PINS), *(f"freeze {name}" for name in FREEZABLE), "empty allow4", "empty allow6")
LEAKING = ("empty cfgs", "an empty configuration", "a trie that lets all IPv4 through", "a trie that lets all IPv6 through",
           "everything at once", *OF_DEVICES)
# On the whole host the programs of the devices hold what these let go.
LEAKING_IN_A_TRIAL = ("detach skb_out", "another program in skb_out")
OF_EACH_KIND = ("detach skb_out", "another program in skb_in", "unpin skb_out", "unpin own_sock", "freeze cfgs", "freeze own_sock",
                "an empty configuration", "a trie that lets all IPv4 through", "everything at once", *OF_DEVICES)
# While nobody looks.
WHILE_DEAD = ("detach skb_out", "another program in skb_in", "unpin skb_out", "unpin cfgs", "freeze cfgs", "freeze own_sock",
              "an empty configuration", "a trie that lets all IPv4 through", "everything at once", *OF_DEVICES)
WHILE_DEAD_OF_EACH_KIND = ("everything at once", "another program before ours")
# Again and again, while the containment comes up.
BEFORE_THE_PROOF = (MARKED, "detach skb_out", "another program in skb_out", "unpin cfgs", "an empty configuration",
                    "a trie that lets all IPv4 through", "everything at once", "no programs on devices")
BEFORE_THE_PROOF_OF_EACH_KIND = ("an empty configuration", "everything at once", MARKED)
# By sockets of every kind that root marks as the sensor's own; the ends of them are the agents'.
STOLEN = ("tcp", "udp", "icmp-raw", "raw253")


@pytest.fixture(scope="module")
def flows(bed):
    return Flows(bed)


@pytest.fixture
def wanted(request, bed):
    """Before the containment, which takes a while."""
    skip_unless(bed, request.node.callspec.params["what"],
                {"test_after_the_proof": OF_EACH_KIND, "test_while_the_sensor_is_dead": WHILE_DEAD_OF_EACH_KIND,
                 "test_before_the_proof": BEFORE_THE_PROOF_OF_EACH_KIND}[request.function.__name__])


@pytest.fixture
def contained(bed):
    # Meddling makes the health critical for a quarter of an hour.
    bed.force = True
    bed.forget_captures()
    bed.contain()
    yield bed
    if not bed.seen()["connected"]:
        bed.start_sensor()
    bed.release()
    clean(bed)


def words_of(bed, words):
    folder = f"{bed.bpffs}/telovix/net-1"
    return f"/usr/bin/python3 {beds.HERE}/meddle.py {words.replace('FOLDER', folder)}"


def in_scope(bed):
    """The socket of a process outside of the trial's cgroup is held by nobody."""
    return "" if bed.whole_host else f"echo $$ >{bed.cgroup.path}/cgroup.procs; exec "


def meddle(bed, words):
    bed.inside.shell(words_of(bed, words))


# The Console knows from a heartbeat how old the proof was when that was sent: it takes it for younger, by the heartbeat's way.
WAY = datetime.timedelta(seconds=1)
WAY_OF_A_GUEST = datetime.timedelta(seconds=3)


def later_proofs(bed):
    """From which time on a proof was made after now."""
    return (telovix.now() + (WAY_OF_A_GUEST if bed.whole_host else WAY)).isoformat()


def meddle_now(bed, what):
    """(mark, since when it was so, what proofs are later)."""
    mark = bed.mark()
    meddle(bed, MEDDLING[what])
    return mark, time.monotonic(), later_proofs(bed)


def tamperings(bed):
    """The reports of it: of the audit log there is no more than a few a minute."""
    found = bed.fleet.ctl_json("events", "list", "--sensor", bed.node, "--limit", "200")
    return {event["eventId"] for event in found if event["type"].endswith("ENFORCEMENT_TAMPERED")}


def clean(bed):
    """What the meddling left that is not the sensor's to take away."""
    bed.inside.shell(f"rm -f {bed.bpffs}/before_* {bed.bpffs}/open")
    for device in ("eth0", "eth1", "eth2") if bed.whole_host else ():
        for way in ("ingress", "egress"):
            bed.inside.shell(f"tc filter delete dev {device} {way} prio 1 handle 0x7 protocol all bpf 2>/dev/null || :")


def test_tampering_is_audited(contained):
    bed = contained
    before = len(bed.fleet.audit("--action", "enforcement_tampered"))
    meddle(bed, MEDDLING["unpin cfg"])
    wait_for(lambda: len(bed.fleet.audit("--action", "enforcement_tampered")) > before, "it is in the audit log", REPAIRED)


def skip_unless(bed, what, of_each_kind):
    if what in OF_DEVICES and not bed.whole_host:
        pytest.skip("a trial has no programs on devices")
    if bed.whole_host and what not in of_each_kind and not telovix.LONG:
        pytest.skip("in a trial, and in guests with TELOVIX_LONG=1")


def places_of(bed):
    """Of others' traffic only the devices' programs know."""
    return (*HERE, "q") if bed.whole_host else HERE


class Watch:
    """The Console's word over time: (when it was asked, state, when it was proved, when asked by the clock of that), and the states
    of the stream of changes."""

    def __init__(self, bed):
        self.bed, self.samples, self.stop = bed, [], threading.Event()
        self.thread = threading.Thread(target=self.work)
        words = [BUILD / "client/telovixctl", "--profile", bed.fleet.profile, "--console", bed.fleet.console.address, "-o", "json",
                 "sensors", "watch"]
        self.stream = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.stream.stdout))

    def work(self):
        while not self.stop.is_set():
            asked, asked_wall = time.monotonic(), telovix.now()
            seen = self.bed.seen()
            self.samples.append((asked, seen["containmentState"].removeprefix("CONTAINMENT_STATE_").lower(),
                                 seen.get("containmentVerifiedAt") or "", asked_wall))
            self.stop.wait(0.1)

    def __enter__(self):
        self.reader.start()
        self.thread.start()
        wait_for(lambda: self.samples, "the first look")
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.stream.terminate()
        self.stream.wait()
        self.reader.join()

    def wait_proved(self, bed, since_wall, what):
        """Until a proof later than `since_wall` was told, and some looks more."""
        best = bed.best
        wait_for(lambda: any(state == best and verified > since_wall for _, state, verified, _ in self.samples),
                 f"{what}: proved again", 60)
        seen = len(self.samples)
        wait_for(lambda: len(self.samples) > seen + 5, "a few looks more")

    def was_unknown(self):
        return any("CONTAINMENT_STATE_UNKNOWN" in line for line in self.lines) or any(state == "unknown" for _, state, *_ in self.samples)


def leaks_of(bed, mark):
    """In a trial only what its programs can hold counts: not the kernel's own resets for sessions that are gone (`trial_scope`)."""
    return [packet for packet in bed.leaks(mark) if bed.whole_host or packet.flow is not None and not packet.tcp_flags & RST]


def never_a_false_word(bed, watch, mark, since, since_wall):
    """After a proof that is later than the meddling nothing leaks any more, and that proof comes in time."""
    leaks, best = leaks_of(bed, mark), bed.best
    proofs = [asked for asked, state, verified, _ in watch.samples if asked > since and state == best and verified > since_wall]
    assert proofs, f"not proved again: {watch.samples[-1:]}"
    # The answer was on its way for a moment.
    late = [packet for packet in leaks if packet.when > proofs[0]]
    assert not late, f"called {best} at {proofs[0]:.3f}, and then: {late[0].when:.3f} {late[0]}"
    return leaks


@pytest.mark.parametrize("what", MEDDLING)
def test_after_the_proof(wanted, contained, flows, what):
    bed = contained
    with Watch(bed) as watch, trying(bed, flows, places_of(bed)):
        before = tamperings(bed)
        mark, since, since_wall = meddle_now(bed, what)
        wait_for(lambda: tamperings(bed) - before, f"{what} is noticed and reported", REPAIRED)
        watch.wait_proved(bed, since_wall, what)
    bed.fence()
    leaks = never_a_false_word(bed, watch, mark, since, since_wall)
    assert watch.was_unknown(), "the drift was shown"
    if leaks:
        print(f"{what}: leaked for {leaks[-1].when - leaks[0].when:.2f} s")
    if what in HARMLESS:
        assert not leaks, f"{leaks[0]}: the sensor holds it open itself"
    # In a guest everything takes as long as it takes: there the order alone counts.
    over = [packet for packet in leaks if not bed.whole_host and packet.when > since + REPAIRED]
    assert not over, f"still leaks after {over[0].when - since:.1f} s: {over[0]}"
    assert leaks or what not in (LEAKING if bed.whole_host else LEAKING + LEAKING_IN_A_TRIAL), "that is what the meddling was for"


@pytest.mark.parametrize("what", WHILE_DEAD)
def test_while_the_sensor_is_dead(wanted, contained, flows, what):
    """The next sensor finds it before it says a word."""
    bed = contained
    bed.kill9()
    mark, since, since_wall = meddle_now(bed, what)
    with trying(bed, flows, places_of(bed)):
        bed.start_sensor(wait=False)
        with Watch(bed) as watch:
            watch.wait_proved(bed, since_wall, what)
    bed.fence()
    leaks = never_a_false_word(bed, watch, mark, since, since_wall)
    assert not leaks or not what.startswith("freeze"), f"{leaks[0]}: what was frozen held until its successor did"


# ---- sockets that root marks as the sensor's own ----

@contextlib.contextmanager
def stolen(bed, flows):
    """New sockets with the mark of the sensor's link, which send all the time."""
    cells = [cell for cell in flows.cells(HERE, "new", STOLEN) if cell.direction == "out"]
    told = flows.open(cells, marked=f"{bed.bpffs}/telovix/net-1")
    # Some of them may be late for a pass already.
    assert not all(error for (cell, where), error in told.items() if where == cell.place), "they are let through"
    for cell in cells:
        bed.call(cell.place, "repeat", n=cell.n, every=0.02)
    yield cells
    for cell in cells:
        bed.call(cell.place, "repeat", n=cell.n, every=0)
    flows.close(cells)


def are_dead(bed, flows, cells):
    """Nothing passes by them any more, and the owner of a session has heard of it."""
    # In a trial no namespace is entered: owners of sessions there hear of it by their own time-outs.
    sessions = [cell for cell in cells if cell.kind == "tcp" and (bed.whole_host or cell.place == "host")]
    wait_for(lambda: all(ours["error"] for ours, _ in flows.states(sessions).values()), "every session has ended", REPAIRED)
    mark = bed.mark()
    some_more(bed, [cell for cell in cells if cell.kind != "tcp"])
    bed.fence()
    assert not leaks_of(bed, mark), [str(packet) for packet in leaks_of(bed, mark)[:20]]


def test_a_socket_that_is_marked_as_the_sensors_own(contained, flows):
    bed = contained
    before = tamperings(bed)
    with Watch(bed) as watch:
        mark, since, since_wall = bed.mark(), time.monotonic(), later_proofs(bed)
        with stolen(bed, flows) as cells:
            wait_for(lambda: tamperings(bed) - before, "it is noticed and reported", REPAIRED)
            watch.wait_proved(bed, since_wall, "marked sockets")
            bed.fence()
            leaks = never_a_false_word(bed, watch, mark, since, since_wall)
            are_dead(bed, flows, cells)
    assert watch.was_unknown(), "the drift was shown"
    # The next pass may come before all of them have sent.
    assert leaks, "that is what the marks were for"
    over = [packet for packet in leaks if not bed.whole_host and packet.when > since + REPAIRED]
    assert not over, f"still leaks after {over[0].when - since:.1f} s: {over[0]}"
    assert bed.seen()["connected"], "the sensor's own link goes on"


def test_sockets_that_are_marked_while_the_sensor_is_dead(contained, flows):
    """The next sensor finds them before it says a word."""
    bed = contained
    bed.kill9()
    mark, since = bed.mark(), time.monotonic()
    with stolen(bed, flows) as cells:
        since_wall = later_proofs(bed)
        bed.start_sensor(wait=False)
        with Watch(bed) as watch:
            watch.wait_proved(bed, since_wall, "marked sockets")
            bed.fence()
            leaks = never_a_false_word(bed, watch, mark, since, since_wall)
            are_dead(bed, flows, cells)
    assert {packet.protocol for packet in leaks} >= {6, 17, 253}, "that is what the marks were for"


def test_our_own_sockets_are_no_tampering(contained):
    """The next sensor knows none of the former one's, which may end after it: killed in the middle, or told to stop."""
    bed = contained
    before = tamperings(bed)
    for end in (bed.kill9, bed.stop, bed.kill9):
        end()
        bed.start_sensor()
        wait_verified_anew(bed, "the next sensor")
    assert not tamperings(bed) - before


@pytest.mark.parametrize("what", BEFORE_THE_PROOF)
def test_before_the_proof(request, wanted, bed, flows, what):
    """Somebody does it again and again while the containment comes up, and for seconds after: whatever the proof says, it says
    of its own moment, and no word of it outlives the next one."""
    assert bed.containment() == "none"
    bed.forget_captures()
    request.addfinalizer(lambda: (bed.release(), clean(bed)))
    bed.force = True
    with trying(bed, flows, places_of(bed)), Watch(bed) as watch:
        mark = bed.mark()
        bed.inside.call("", "start", name="meddler", log="/dev/null",
                        argv=["/bin/sh", "-c", in_scope(bed) + words_of(bed, REPEATED[what]).replace("meddle.py", f"meddle.py --for {REPAIRED}")])
        bed.fleet.ctl("contain", bed.node, "--force")
        wait_for(lambda: bed.inside.call("", "ended", name="meddler") is not None, "the meddler is done", 90)
        since, since_wall = time.monotonic(), later_proofs(bed)
        watch.wait_proved(bed, since_wall, what)
    bed.fence()
    best = bed.best
    for asked, state, verified, asked_wall in watch.samples:
        if state != best:
            continue
        assert verified, f"called {state} at {asked:.3f} without a proof"
        age = asked_wall - datetime.datetime.fromisoformat(verified)
        assert bed.whole_host or age.total_seconds() < REPAIRED, f"called {state} on the word of a proof of {age} ago"
    never_a_false_word(bed, watch, mark, since, since_wall)
    if what == MARKED:
        never_proved_meanwhile(bed, watch, [packet.when for packet in bed.passed(mark) if packet.flow == MARKED_FLOW])


def never_proved_meanwhile(bed, watch, times):
    """Not once while something passed all the time."""
    def wall(when):
        return telovix.now() - datetime.timedelta(seconds=time.monotonic() - when)
    way = WAY_OF_A_GUEST if bed.whole_host else WAY
    first, last = (wall(min(times)) + way).isoformat(), (wall(max(times)) - way).isoformat()
    assert first < last, f"it passed for {max(times) - min(times):.1f} s only"
    proofs = [sample for sample in watch.samples if sample[1] == bed.best and first < sample[2] < last]
    assert not proofs, proofs[0]


def test_what_was_laid_out_before_the_order(request, bed, flows):
    """Links of the right names that let everything through, and frozen maps, where the sensor will pin its own."""
    assert bed.containment() == "none"
    bed.forget_captures()
    request.addfinalizer(bed.release)
    meddle(bed, f"lay FOLDER {'/sys/fs/cgroup' if bed.whole_host else bed.cgroup.path}")
    bed.force = True
    bed.contain()
    mark = bed.mark()
    with trying(bed, flows, places_of(bed)):
        wait_verified_anew(bed, "what was laid out is replaced")
    bed.fence()
    assert not leaks_of(bed, mark)


def test_frozen_maps_do_not_keep_it_in_force(contained, flows):
    """Released before the sensor has noticed, or after: the host is free."""
    bed = contained
    for name in FREEZABLE:
        meddle(bed, MEDDLING[f"freeze {name}"])
    bed.release()
    cells = [cell for cell in flows.cells(HERE, "new", ("udp",)) if cell.direction == "out"]
    wait_passing(bed, cells, flows)
    flows.close(cells)
    bed.contain()


def test_an_allow_list_can_be_replaced_in_frozen_maps(contained):
    bed = contained
    for name in ("cfgs", "allow4", "allow6"):
        meddle(bed, MEDDLING[f"freeze {name}"])
    set_allow(bed, "out:10.99.0.1/32,21000/udp")
    bed.wait_containment(bed.best, limit=60)
