# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a containment: what happens to sessions, what the callers are told, what goes on, the sensor's own link, the
allow list, and the sensor's and the Console's absence."""
import base64
import contextlib
import subprocess
import sys
import time
import types

import pytest

import bed as beds
import telovix
from agent import frame, udp_packet
from bed import ADDRESS, HERE as HERE_FOLDER, PEER_DEFAULT, PORT, address, peer_of
from shapes import ACK, tcp_packet
from telovix import wait_for
from test_matrix import PLACES, Flows, documented_gaps

# Bounds of the specification times three: these machines are emulated, or shared.
ENDED, REFUSED_ELSEWHERE = 3 * 1.0, 3 * 2.0
HERE = ("host", "c1", "cb")  # places with processes on the contained host
FAMILIES = (4, 6)
n_source = iter(range(40000, 49000))


@pytest.fixture(scope="module")
def flows(bed):
    return Flows(bed)


@pytest.fixture
def free(bed):
    """Not contained before, nor after."""
    assert bed.containment() == "none"
    yield bed
    if not bed.seen()["connected"]:
        bed.fleet.console.running() or bed.fleet.start_console(PORT)
        bed.fleet.wait_seen(bed.node)
    bed.release()


def wait_passing(bed, cells, flows):
    flows.open(cells)
    flows.all_pass(cells, "before", "before it is contained")


def states_here(flows, cells):
    return {cell: ours for cell, (ours, _) in flows.states(cells).items()}


# ---- sessions ----

def test_sessions_are_dead_at_once_and_nobody_is_killed(free, flows):
    bed = free
    cells = flows.cells(HERE, "established", ("tcp",))
    wait_passing(bed, cells, flows)
    pids = {place: bed.call(place, "pid") for place in HERE}
    # Like a shell with output: traffic both ways, all the time.
    for cell in cells:
        for where in (cell.place, "peer"):
            bed.call(where, "repeat", n=cell.n, every=0.05)
    bed.contain()
    mark = bed.mark()
    got = {cell: ours["n_got"] for cell, ours in states_here(flows, cells).items()}
    # In a trial no namespace is entered: sessions there get nothing through, and their owners hear of it later.
    told = [cell for cell in cells if bed.whole_host or cell.place == "host"]
    ended = wait_for(lambda: all(states_here(flows, told)[cell]["error"] for cell in told) and states_here(flows, told),
                     "every session has ended")
    for cell, ours in ended.items():
        assert ours["error"] in ("ECONNABORTED", "ECONNRESET", "EPIPE"), (str(cell), ours)
        heard = min(ours["when"][what] for what in ("recv", "send") if what in ours["when"])
        assert heard - ours["when"]["got"] < ENDED, (str(cell), ours)
    bed.fence()
    if not bed.whole_host:
        # The kernel's own resets for sessions that are gone.
        assert "trial_scope" in bed.gaps()
    else:
        assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)]
    assert {cell: ours["n_got"] for cell, ours in states_here(flows, cells).items()} == got
    assert {place: bed.call(place, "pid") for place in HERE} == pids
    bed.release()
    fresh = flows.cells(HERE, "new", ("tcp", "udp"))
    flows.open(fresh)
    flows.all_pass(fresh, "after", "after the release")
    flows.close([*cells, *fresh])


def test_a_session_that_waits_to_read_hears_of_it(free, flows):
    """Nothing was ever sent on it: without the sweep its owner would wait for ever."""
    bed = free
    cells = [cell for cell in flows.cells(HERE if bed.whole_host else ("host",), "established", ("tcp",)) if cell.direction == "out"]
    wait_passing(bed, cells, flows)
    bed.contain()
    wait_for(lambda: all(ours["error"] for ours in states_here(flows, cells).values()), "recv has returned an error")
    told = {str(cell): ours["error"] for cell, ours in states_here(flows, cells).items()}
    assert set(told.values()) == {"ECONNABORTED"}, told
    flows.close(cells)


def test_servers_outlive_a_containment(free, flows):
    """What listened before serves again afterwards, without a restart."""
    bed = free
    cells = [cell for cell in flows.cells(HERE, "established", ("tcp", "udp")) if cell.direction == "in"]
    wait_passing(bed, cells, flows)
    bed.contain()
    bed.release()
    for cell in cells:
        _, theirs = flows.ends(cell)
        bed.call("peer", "close", flows=[cell.n])
        assert bed.call("peer", theirs.pop("do"), **{**theirs, "lport": 40000 + theirs["n"]}) is None
    flows.all_pass(cells, "again", "the servers answer again")
    flows.close(cells)


def test_callers_get_an_error(free):
    bed = free
    bed.contain()
    mark = bed.mark()
    bed.add_c2()
    for place in (*HERE, "c2"):
        for family in FAMILIES:
            there = peer_of(place, family)
            word, seconds = bed.call(place, "connect", family=family, address=there, port=9, source_port=next(n_source))
            if place == "host":
                assert word == "EPERM", (place, family, word)
            else:
                # Local addresses of other namespaces are not known: the dropped SYN ends by a short time-out.
                assert word in ("ETIMEDOUT", "EPERM") and seconds < REFUSED_ELSEWHERE, (place, family, word, seconds)
            word = bed.call(place, "sendto", family=family, address=there, port=9, source_port=next(n_source))
            assert word == "EPERM", (place, family, word)
    bed.fence()
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)]


# ---- what goes on ----

def local_flows(flows, bed):
    """(place, family, address) of loopback and of own addresses that are none."""
    for place in ("host", "c1", "cb"):
        for family in FAMILIES:
            yield place, family, "127.0.0.1" if family == 4 else "::1"
            yield place, family, address(place, family)
    yield "host", 4, "10.98.0.1"
    yield "host", 6, "fd97::2"


def open_local(bed, place, family, where, kind, n):
    """Two flows in one place, that talk to each other: (listening, connecting)."""
    common = {"kind": kind, "family": family, "local": where, "remote": where}
    assert bed.call(place, "open", n=n, role="listen", echo=True, **common) is None
    word = bed.call(place, "open", n=n + 1, role="connect", lport=30000 + n, rport=20000 + n, token=n, **common)
    assert word is None, (place, where, kind, word)


def local_works(bed, place, n, kind):
    before = bed.call(place, "state", flows=[n])[str(n)]["n_got"]

    def done():
        bed.call(place, "send", n=n + 1, word="hello")
        return bed.call(place, "state", flows=[n])[str(n)]["n_got"] > before
    wait_for(done, f"{place}: {kind} to itself")


def test_loopback_and_own_addresses_go_on(free, flows):
    bed = free
    old, n = [], 7000
    for place, family, where in local_flows(flows, bed):
        for kind in ("tcp", "udp"):
            open_local(bed, place, family, where, kind, n)
            local_works(bed, place, n, kind)
            old.append((place, n, kind, where))
            n += 10
    bed.contain()
    for place, number, kind, where in old:
        local_works(bed, place, number, f"{kind} to {where}, older than the containment")
    for place, family, where in local_flows(flows, bed):
        for kind in ("tcp", "udp"):
            open_local(bed, place, family, where, kind, n)
            local_works(bed, place, n, f"{kind} to {where}")
            old.append((place, n, kind, where))
            n += 10
    bed.fence()
    for place, number, _, _ in old:
        bed.call(place, "close", flows=[number, number + 1])


def test_containers_of_one_bridge_are_cut_from_each_other(free, flows):
    """A packet between two namespaces of the host leaves its sender's sockets like any other."""
    bed = free
    bed.contain()
    bed.add_c2()
    for family in FAMILIES:
        word, _ = bed.call("c1", "connect", family=family, address=address("c2", family), port=9, source_port=next(n_source))
        assert word in ("ETIMEDOUT", "EPERM"), word


def test_sessions_of_mptcp_are_cut(free, flows):
    """Nothing passes on any of their paths. That their owners hear of it is more than the kernel lets anybody do."""
    bed = free
    cells = flows.cells(HERE, "established", ("mptcp",))
    wait_passing(bed, cells, flows)
    bed.contain()
    mark = bed.mark()
    got = {cell: (ours["n_got"], theirs["n_got"]) for cell, (ours, theirs) in flows.states(cells).items()}
    for cell in cells:
        for where in (cell.place, "peer"):
            bed.call(where, "send", n=cell.n, word="held")
    started = time.monotonic()
    wait_for(lambda: time.monotonic() > started + 2.5, "TCP tries again")
    bed.fence()
    assert {cell: (ours["n_got"], theirs["n_got"]) for cell, (ours, theirs) in flows.states(cells).items()} == got
    if bed.whole_host:
        assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)]
    bed.release()
    fresh = flows.cells(HERE, "new", ("mptcp",))
    flows.open(fresh)
    flows.all_pass(fresh, "after", "after the release")
    flows.close([*cells, *fresh])


def test_a_session_of_sctp_is_cut(free, flows):
    """Between two namespaces of the host: the peer's kernel may have no SCTP."""
    bed = free
    word = bed.call("host", "has", kind="sctp", family=4)
    if word:
        pytest.skip(f"this kernel has no sctp: {word}")
    ends = {4: ("10.98.0.1", ADDRESS["c1"][0]), 6: ("fd98::1", ADDRESS["c1"][1])}
    for n, (family, (host, c1)) in enumerate(ends.items(), 6100):
        common = {"n": n, "kind": "sctp", "family": family}
        assert bed.call("host", "open", role="listen", local=host, echo=True, **common) is None
        assert bed.call("c1", "open", role="connect", local=c1, remote=host, **common) is None

    def heard(word, place):
        states = bed.call(place, "state", flows=[6100, 6101])
        return len(states) == 2 and all(word in state["got"] for state in states.values())

    def say(word):
        for n in (6100, 6101):
            bed.call("c1", "send", n=n, word=word)
    wait_for(lambda: all(state["connected"] for state in bed.call("c1", "state", flows=[6100, 6101]).values()), "SCTP is connected")
    say("before")
    wait_for(lambda: heard("re-before", "c1"), "SCTP works")
    bed.contain()
    say("held")
    # Its retransmissions come after a second.
    started = time.monotonic()
    wait_for(lambda: time.monotonic() > started + 2.5, "SCTP tries again")
    assert not any("held" in state["got"] for state in bed.call("host", "state", flows=[6100, 6101]).values())
    bed.release()
    wait_for(lambda: heard("held", "host"), "what was held is sent again after the release")
    for place in ("host", "c1"):
        bed.call(place, "close", flows=[6100, 6101])


# ---- the sensor's own link ----

def others_are_refused(bed, hosts=PEER_DEFAULT):
    """Another process cannot reach the Console, from anywhere on the host."""
    mark = bed.mark()
    for host in hosts:
        family = 6 if ":" in host else 4
        for place in ("host", "c1", "cb", "c2") if bed.has_c2 else ("host", "c1", "cb"):
            # Of its own network the peer has another address.
            there = peer_of(place, family) if place == "cb" else host
            word, _ = bed.call(place, "connect", family=family, address=there, port=PORT, source_port=next(n_source), timeout=10)
            assert word in (("EPERM",) if place == "host" else ("EPERM", "ETIMEDOUT", "timeout")), (place, there, word)
            word = bed.call(place, "sendto", family=family, address=there, port=PORT, source_port=next(n_source))
            assert word == "EPERM", (place, there, word)
    bed.fence()
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)]


def nobody_speaks_in_the_links_name(bed):
    """Root writes segments of the sensor's own session by hand: it is the socket that is let through, not the address."""
    mark, data = bed.mark(), b"tlx:8998:in its name:"
    links = wait_for(lambda: ports_of(bed), "the link is there")
    for (ours, theirs), port in links.items():
        family = 6 if ":" in theirs else 4
        packet = tcp_packet(theirs, ours, port, PORT, ACK, data)
        bed.call("host", "raw", family=family, protocol=255, remote=ours, headers=True, data=base64.b64encode(packet).decode())
        if bed.whole_host:
            macs = bed.call("host", "mac", device="eth0"), bed.call("peer", "mac", device="peer0")
            word = bed.call("host", "frame", device="eth0", data=base64.b64encode(frame(*macs, packet)).decode())
            assert word is not None, "a frame in the link's name was taken"
    bed.fence()
    forged = [packet for packet in bed.passed(mark) if data in packet.data]
    assert not forged, [str(packet) for packet in forged]


def wait_verified_anew(bed, what):
    """Connected, and proved after now."""
    since = telovix.now().isoformat()

    def proved():
        seen = bed.seen()
        return seen["connected"] and seen["containmentState"].endswith(bed.best.upper()) and (seen.get("containmentVerifiedAt") or "") > since
    wait_for(proved, f"{what}: connected and proved", 90)


def cut_link(bed):
    """The Console's end of every session of the sensor is destroyed."""
    beds.run(f"ss -K sport = :{PORT} >/dev/null")


def ports_of(bed):
    """Sessions of the sensor's with the Console: (the Console's address, the host's) → port of the host. Those of its proof, which
    say nothing, are none."""
    ends = [[end.rsplit(":", 1) for end in line.split()[2:4]]
            for line in beds.run(f"ss -HtniO state established sport = :{PORT}").splitlines() if "bytes_received:" in line]
    plain = [(ours[0].strip("[]").removeprefix("::ffff:"), theirs[0].strip("[]").removeprefix("::ffff:"), int(theirs[1]))
             for ours, theirs in ends]
    return {(ours, theirs): port for ours, theirs, port in plain if theirs in ADDRESS["host"]}


def links_to(bed):
    """Addresses of the Console with a session of the sensor's."""
    return {ours for ours, _ in ports_of(bed)}


def forget_neighbours(bed):
    for where, remote in (("peer", bed.outside), ("host", bed.inside)):
        script = "ip neigh flush all; ip -6 neigh flush all"
        remote.shell(script if where == "host" else f"ip netns exec {bed.name('peer')} sh -c '{script}'")


def test_the_link_lives_and_nobody_else_gets_through(free):
    bed = free
    bed.contain()
    bed.add_c2()
    others_are_refused(bed)
    nobody_speaks_in_the_links_name(bed)
    cut_link(bed)
    wait_verified_anew(bed, "cut")
    others_are_refused(bed)
    forget_neighbours(bed)
    cut_link(bed)
    wait_verified_anew(bed, "cut, neighbours forgotten")
    bed.fleet.console.stop()
    forget_neighbours(bed)
    others_are_refused(bed)
    bed.fleet.start_console(PORT)
    wait_verified_anew(bed, "the Console started again")
    others_are_refused(bed)


def test_the_link_follows_the_consoles_address(free):
    bed = free
    new4, new6 = "10.99.0.7", "fd99::7"
    peer = bed.name("peer")
    ini = bed.fleet.data / "console.ini"
    text = ini.read_text()
    bed.contain()
    wait_for(lambda: links_to(bed), "a link")
    try:
        # IPv4 is gone: over IPv6, whose neighbours nobody knows any more.
        beds.run(f"ip -n {peer} address delete {PEER_DEFAULT[0]}/24 dev peer0")
        forget_neighbours(bed)
        cut_link(bed)
        wait_for(lambda: links_to(bed) == {PEER_DEFAULT[1]}, "the link is over IPv6", 90)
        nobody_speaks_in_the_links_name(bed)
        # The Console moves: it tells its new addresses, then the old one goes too.
        beds.run(f"ip -n {peer} address add {new4}/24 dev peer0; ip -n {peer} address add {new6}/64 dev peer0 nodad")
        ini.write_text(text.replace("advertise = " + ", ".join(PEER_DEFAULT), f"advertise = {new4}, {new6}"))
        assert new4 in ini.read_text()
        bed.console_ports |= {(new4, PORT), (new6, PORT)}
        bed.fleet.console.stop()
        bed.fleet.addresses = (new4, new6)
        bed.fleet.start_console(PORT)
        wait_verified_anew(bed, "the Console has new addresses")
        beds.run(f"ip -n {peer} address delete {PEER_DEFAULT[1]}/64 dev peer0")
        forget_neighbours(bed)
        cut_link(bed)
        wait_for(lambda: links_to(bed) & {new4, new6}, "the link is to a new address", 90)
        wait_verified_anew(bed, "moved")
        others_are_refused(bed, (new4, new6))
    finally:
        beds.run(f"ip -n {peer} address replace {PEER_DEFAULT[0]}/24 dev peer0; "
                 f"ip -n {peer} address replace {PEER_DEFAULT[1]}/64 dev peer0 nodad")
        beds.run(beds.PEER_ROUTES, peer)
        bed.fleet.console.stop()
        ini.write_text(text)
        bed.fleet.addresses = PEER_DEFAULT
        bed.fleet.start_console(PORT)
        bed.fleet.wait_seen(bed.node)
        beds.run(f"ip -n {peer} address delete {new4}/24 dev peer0; ip -n {peer} address delete {new6}/64 dev peer0; :")


# ---- the allow list ----

def open_and_send(bed, flows, cells):
    """Which of these pass now."""
    mark = bed.mark()
    flows.open(cells)
    for attempt in range(2):
        flows.send(cells, f"a{attempt}")
        bed.fence()
    arrived = flows.arrived(cells, mark, "a1")
    flows.close(cells)
    return {(cell.place, cell.kind, cell.family, cell.direction) for cell in arrived}


PLAIN = ("tcp", "udp", "icmp-raw", "raw253")


def expected(entry, cells):
    """What an entry lets through, of cells between peer and host or what is behind it; written apart from the product's own reading of it."""
    direction, rest = entry.split(":", 1)
    has_ports = "," in rest
    kinds = [rest.rsplit("/", 1)[1]] if rest.endswith(("/tcp", "/udp")) else ["tcp", "udp"] if has_ports else PLAIN
    found = set()
    for cell in cells:
        if (":" in rest) != (cell.family == 6) or cell.kind not in kinds:
            continue
        # Without a port there is nothing that tells a session's direction.
        if has_ports and cell.direction != direction:
            continue
        found.add((cell.place, cell.kind, cell.family, cell.direction))
    return found


ENTRIES = [
    "out:10.99.0.1/32,20000-29999/tcp", "out:10.99.0.1/32,20000-29999/udp", "in:10.99.0.1/32,20000-29999/tcp",
    "in:10.99.0.0/24,20000-29999/udp", "out:fd99::1/128,20000-29999/tcp", "in:fd99::/64,20000-29999/udp",
    "out:10.99.0.0/25,20000-29999", "in:fd99::1/128,20000-29999", "out:10.99.0.0/24", "in:fd99::/32",
]


def test_the_allow_list_lets_through_what_it_says_and_no_more(free, flows):
    bed = free
    bed.contain("--allow", "out:203.0.113.0/24")
    for entry in ENTRIES:
        set_allow(bed, entry)
        assert entry in bed.fleet.ctl("allow", bed.node, "list").stdout
        cells = flows.cells(("host", "c1"), "new", PLAIN)
        found = open_and_send(bed, flows, cells)
        wanted = expected(entry, cells)
        if not bed.whole_host:
            # The kernel answers pings by itself in a trial.
            pings = {(place, "icmp-raw", family, "in") for place in ("host", "c1") for family in FAMILIES}
            found -= pings
            wanted -= pings
        assert found == wanted, (entry, sorted(found ^ wanted))
        # What the entry does not name is refused: another address of the same machine.
        other = flows.cells(("cb",), "new", ("tcp", "udp"))
        if entry != "in:fd99::/32":
            assert not open_and_send(bed, flows, other), entry


def set_allow(bed, *entries):
    """Returns after the host has it in force."""
    bed.fleet.ctl("allow", bed.node, "set", *entries)
    rule = bed.seen()["containmentRuleId"]

    def applied():
        found = bed.fleet.ctl_json("rules", "get", rule)[0]
        return found["observedState"] in ("RULE_STATE_APPLIED", "RULE_STATE_PARTIAL")
    wait_for(applied, f"{entries} is in force")


def test_a_thousand_replacements_have_no_open_window(free, flows):
    """What no list names never passes, and what both name never stops."""
    bed = free
    bed.contain("--allow", "out:10.99.0.1/32,7001/udp")
    forbidden = flows.cells(PLACES if bed.whole_host else HERE, "new", ("udp", "icmp-raw", "raw253"))
    forbidden = [cell for cell in forbidden if cell.direction == "out"]
    flows.open(forbidden)
    kept = 6000
    bed.call("peer", "open", n=kept, kind="udp", family=4, role="listen", local=PEER_DEFAULT[0], lport=7001)
    bed.call("host", "open", n=kept, kind="udp-to", family=4, role="connect", local=ADDRESS["host"][0], remote=PEER_DEFAULT[0],
             rport=7001, lport=30000 + kept)
    wait_for(lambda: bed.call("host", "send", n=kept, word="x") is None, "the allowed one is in force")
    mark = bed.mark()
    for cell in forbidden:
        bed.call(cell.place, "repeat", n=cell.n, every=0.01)
    bed.call("host", "repeat", n=kept, every=0.005)
    n = 1000 if telovix.LONG or not bed.whole_host else 60
    before = bed.status()
    result = subprocess.run([sys.executable, HERE_FOLDER / "replace.py", bed.fleet.console.address, bed.fleet.profile, bed.node, str(n),
                             "out:10.99.0.1/32,7001/udp out:203.0.113.0/24", "out:198.51.100.0/24 out:10.99.0.1/32,7001/udp"],
                            capture_output=True, text=True, timeout=2400 if telovix.LONG else 600)
    assert result.stdout == f"{n} replacements\n", result.stderr
    for cell in forbidden:
        bed.call(cell.place, "repeat", n=cell.n, every=0)
    bed.call("host", "repeat", n=kept, every=0)
    bed.fence()
    leaks = [packet for packet in bed.leaks(mark) if packet.flow != kept]
    assert not leaks, [str(packet) for packet in leaks[:20]]
    state = bed.call("host", "state", flows=[kept])[str(kept)]
    assert "send" not in state["when"], "a send of what both lists allow was refused"
    passed = [packet for packet in bed.passed(mark) if packet.flow == kept]
    assert len(passed) >= state["n_sent"] - 1 > 100, (len(passed), state)
    sent = sum(bed.call(cell.place, "state", flows=[cell.n])[str(cell.n)]["n_sent"] for cell in forbidden)
    assert sent > 10 * len(forbidden), "the forbidden ones have tried"
    assert before["engine"]["state"] == bed.status()["engine"]["state"]
    flows.close(forbidden)
    bed.call("host", "close", flows=[kept])
    bed.call("peer", "close", flows=[kept])


# ---- others of the product ----

def test_kill_works_while_contained(free):
    bed = free
    bed.contain()
    if bed.whole_host:
        pid = bed.inside.call("", "start", name="victim", argv=["sleep", "3600"], log="/dev/null")
        wait_for(lambda: bed.fleet.ctl("kill", bed.node, pid, "--wait", check=False).returncode == 0, "it is killed")
        assert bed.inside.call("", "ended", name="victim") == -9
    else:
        victim = bed.sensor.victim()
        assert bed.fleet.ctl("kill", bed.node, victim.pid, "--wait").returncode == 0
        assert victim.wait(10) == -9


def test_the_references_notices(free):
    bed = free
    again = bed.fleet.ctl("release", bed.node)
    assert "sensor is not in containment" in again.stdout + again.stderr
    bed.contain()
    again = bed.fleet.ctl("contain", bed.node)
    assert "sensor is already in containment" in again.stdout + again.stderr
    other = bed.fleet.ctl("contain", bed.node, "--allow", "out:203.0.113.0/24", check=False)
    assert other.returncode == 1 and f"allow {bed.node} set" in other.stderr, other.stderr
    assert bed.seen()["isContained"] is True


def test_an_offline_sensor_is_pending_and_never_contained(free):
    bed = free
    bed.stop()
    result = bed.fleet.ctl("contain", bed.node, "--wait", "--timeout", "3s", "--accept-partial", check=False)
    assert result.returncode == 3, result.stdout + result.stderr
    seen = bed.seen()
    assert seen["isContained"] is True and seen["containmentState"] == "CONTAINMENT_STATE_PENDING", seen
    bed.start_sensor(wait=False)
    assert bed.wait_containment(bed.best, "failed", limit=60) == bed.best
    bed.stop()
    bed.fleet.ctl("release", bed.node)
    assert bed.containment() == "release_pending"
    bed.start_sensor(wait=False)
    bed.wait_containment("none", limit=60)


@contextlib.contextmanager
def trying(bed, flows, places=HERE):
    """Processes that try to get out, all the time."""
    cells = [cell for cell in flows.cells(places, "new", ("udp", "icmp-raw", "raw253")) if cell.direction == "out"]
    flows.open(cells)
    for cell in cells:
        bed.call(cell.place, "repeat", n=cell.n, every=0.01)
    yield cells
    for cell in cells:
        bed.call(cell.place, "repeat", n=cell.n, every=0)
    flows.close(cells)


def some_more(bed, cells, n=20):
    def count():
        return [bed.call(cell.place, "state", flows=[cell.n])[str(cell.n)]["n_sent"] for cell in cells]
    before = count()
    wait_for(lambda: all(now > then + n for now, then in zip(count(), before)), f"{n} more attempts each", 60)


def test_death_restart_and_upgrade_have_no_gap(free, flows):
    bed = free
    bed.contain()
    mark = bed.mark()
    with trying(bed, flows, (*HERE, "q") if bed.whole_host else HERE) as cells:
        for end in (bed.kill9, bed.stop, bed.kill9):
            end()
            some_more(bed, cells)
            bed.start_sensor()
            some_more(bed, cells)
            wait_verified_anew(bed, "started again")
    bed.fence()
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]


def test_a_silent_sensor_is_unknown(free):
    """The host goes on, but nobody can know it: never called contained."""
    bed = free
    if bed.whole_host and not telovix.LONG:
        pytest.skip("the Console's own doing: in a trial, and in guests with TELOVIX_LONG=1")
    ini = bed.fleet.data / "console.ini"
    text = ini.read_text()
    bed.fleet.console.stop()
    ini.write_text(text + "stale_after = 12s\nheartbeat_interval = 2s\n")
    bed.fleet.start_console(PORT)
    bed.fleet.wait_seen(bed.node)
    try:
        bed.contain()
        bed.kill9()
        bed.wait_containment("unknown", limit=60)
        assert bed.seen()["isContained"] is True
        bed.start_sensor()
        bed.wait_containment(bed.best, limit=60)
    finally:
        bed.fleet.console.stop()
        ini.write_text(text)
        bed.fleet.start_console(PORT)
        bed.fleet.wait_seen(bed.node)


def test_without_a_console_it_is_kept_or_released_as_ordered(free, flows):
    """One minute each; while it is kept the host is watched all the time."""
    bed = free
    if bed.whole_host and not telovix.LONG:
        pytest.skip("two minutes: in a trial, and in guests with TELOVIX_LONG=1")
    for order, host_says in (("keep", None), ("release", "lost_console")):
        bed.contain("--on-lost-console", order)
        rule = bed.fleet.ctl_json("rules", "get", bed.seen()["containmentRuleId"])[0]
        assert rule["onLostConsole"] == f"ON_LOST_CONSOLE_{order.upper()}"
        bed.fleet.console.stop()
        mark, started = bed.mark(), time.monotonic()
        with trying(bed, flows) as cells:
            if order == "keep":
                wait_for(lambda: time.monotonic() - started > 66, "a minute and the reserve", 90)
                bed.fence()
                assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]
            else:
                wait_for(lambda: bed.leaks(mark), "it released itself", 120)
                assert time.monotonic() - started > 55, "not before its minute"
                some_more(bed, cells)
                assert bed.status()["rules"][0]["reason"] == host_says
        bed.fleet.start_console(PORT)
        # After more than a minute without one the sensor asks as seldom as it ever does, and its old addresses too.
        bed.retry()
        bed.fleet.wait_seen(bed.node, 120)
        if order == "keep":
            bed.wait_containment(bed.best, limit=60)
        else:
            # Shown as it is: wanted, and not in force.
            assert bed.wait_containment("failed", limit=60)
            assert bed.seen()["containmentReason"] == host_says
        bed.release()
        wait_for(lambda: bed.containment() == "none", "released")


def test_a_new_link_is_held_from_its_first_moment(free):
    """A tunnel that appears later: what is inside is let through by nobody, though the outer packets are."""
    bed = free
    if not bed.whole_host:
        pytest.skip("a trial has no programs on devices: its gap packet_socket says so")
    bed.contain("--allow", f"out:{PEER_DEFAULT[0]}/32", "--allow", f"in:{PEER_DEFAULT[0]}/32")
    bed.inside.shell(f"ip link add later type gretap local {ADDRESS['host'][0]} remote {PEER_DEFAULT[0]} && "
                     "ip address add 10.95.0.1/24 dev later && ip link set later up")
    inner = udp_packet("10.95.0.1", "10.95.0.2", 38999, 28999, b"tlx:8999:inside:")
    data = base64.b64encode(frame("02:00:00:95:00:01", "02:00:00:95:00:02", inner)).decode()
    try:
        wait_for(lambda: bed.call("host", "frame", device="later", data=data) is not None, "a frame into the new device is refused")
        mark = bed.mark()
        bed.call("host", "frame", device="later", data=data)
        assert bed.call("host", "sendto", family=4, address="10.95.0.2", port=28998) == "EPERM"
        bed.fence()
        leaks = [packet for packet in bed.passed(mark) if b"tlx:" in packet.data]
        assert not leaks, [str(packet) for packet in leaks]
    finally:
        bed.inside.shell("ip link delete later")


def contain_partially(bed):
    bed.fleet.ctl("contain", bed.node, "--wait", "--accept-partial")
    assert bed.containment() == "partial", bed.seen()
    assert bed.gaps() <= documented_gaps()


def test_packet_sockets_past_the_devices(free):
    """One made before is a gap while it is there; no other is made."""
    bed = free
    packet = udp_packet(ADDRESS["host"][0], PEER_DEFAULT[0], 38998, 28998, b"tlx:8998:past:")
    macs = bed.call("host", "mac", device="eth0"), bed.call("peer", "mac", device="peer0")
    data = base64.b64encode(frame(*macs, packet)).decode()

    def passes():
        mark = bed.mark()
        bed.call("host", "past_tc_send", data=data)
        bed.fence()
        return any(b"tlx:8998:past:" in packet.data for packet in bed.passed(mark))
    assert bed.call("host", "past_tc", device="eth0") is None
    assert passes(), "without a containment"
    contain_partially(bed)
    assert ("packet_bypass" if bed.whole_host else "packet_socket") in bed.gaps()
    assert passes(), "what the gap says"
    bed.call("host", "past_tc_close")
    assert bed.call("host", "past_tc", device="eth0") == "EPERM"
    wait_for(lambda: "packet_bypass" not in bed.gaps() and bed.containment() == bed.best, "nothing passes by any more")


def test_senders_of_the_kernel_are_a_gap(free):
    """What anybody writes to /dev/kmsg goes to the card itself: no program sees it."""
    bed = free
    if not bed.whole_host:
        pytest.skip("a trial has its gap packet_socket: no module is loaded here")
    status, _, error = bed.inside.shell("modprobe --dry-run netconsole", check=False)
    if status:
        pytest.skip(f"this kernel has no netconsole: {error}")
    mac = bed.call("peer", "mac", device="peer0")
    bed.inside.shell(f"modprobe netconsole netconsole=38997@{ADDRESS['host'][0]}/eth0,28997@{PEER_DEFAULT[0]}/{mac}")

    def passes():
        mark = bed.mark()
        bed.inside.shell("echo '<0>tlx:8997:of the kernel:' >/dev/kmsg")
        bed.fence()
        return any(b"tlx:8997:" in packet.data for packet in bed.passed(mark))
    try:
        wait_for(passes, "without a containment")
        contain_partially(bed)
        assert bed.gaps() == {"kernel_bypass"}
        wait_for(passes, "what the gap says")
    finally:
        bed.inside.shell("rmmod netconsole")
    wait_for(lambda: not bed.gaps() and bed.containment() == bed.best, "nothing passes by any more")
    assert not passes()


def test_a_packet_socket_that_listens_is_a_gap(free, flows):
    bed = free
    if not bed.whole_host:
        pytest.skip("a trial has no programs on devices: its gap packet_socket says so")
    cells = flows.cells(("host",), "new", ("packet",))
    bed.contain()
    flows.open(cells)
    wait_for(lambda: "packet_listen" in bed.gaps() and bed.containment() == "partial", "it is told")
    assert "packet_listen" in documented_gaps()
    flows.close(cells)
    wait_for(lambda: not bed.gaps() and bed.containment() == bed.best, "it has gone")


def test_a_device_in_another_namespace_is_a_gap(free):
    bed = free
    if not bed.whole_host:
        pytest.skip("a trial has no programs on devices: its gap packet_socket says so")
    bed.contain()
    bed.inside.shell("ip netns add away && ip -n away link add card type bond")
    try:
        wait_for(lambda: bed.gaps() == {"device_elsewhere"} and bed.containment() == "partial", "it is told")
        assert "device_elsewhere" in documented_gaps()
    finally:
        bed.inside.shell("ip netns delete away")
    wait_for(lambda: not bed.gaps() and bed.containment() == bed.best, "it has gone")


def test_a_hazard_refuses_without_force(free):
    bed = free
    if not bed.whole_host:
        pytest.skip("a trial has no hazards: test/integration has their words")
    bed.inside.shell("mkdir -p /opt/console /tmp/nobody; cp /bin/sleep /opt/console/telovix-console; "
                     "cp /bin/sleep /tmp/nobody/telovix-console; chown -R nobody /tmp/nobody")
    # Anybody may call himself so.
    bed.inside.call("", "start", name="nobody", log="/dev/null",
                    argv=["setpriv", "--reuid=nobody", "--clear-groups", "/tmp/nobody/telovix-console", "3600"])
    wait_for(lambda: "nobody" in bed.inside.shell("ps -o user= -C telovix-console || :"), "it runs")
    bed.contain()
    bed.release()
    bed.inside.call("", "signal", name="nobody", number=9)
    bed.inside.call("", "start", name="console", argv=["/opt/console/telovix-console", "3600"], log="/dev/null")
    try:
        # The Console does not know yet; the host looks before it puts one up.
        result = bed.fleet.ctl("contain", bed.node, "--wait", check=False)
        assert result.returncode == 1 and "console_host" in result.stdout + result.stderr, result.stdout + result.stderr
        assert bed.containment() == "failed" and bed.status()["rules"][0]["reason"] == "hazard"
        assert bed.call("peer", "connect", family=4, address=ADDRESS["host"][0], port=9)[0] == "ECONNREFUSED", "the host answers"
        bed.release()
        wait_for(lambda: bed.seen().get("hazards") == ["console_host"], "the hazard is known", 90)
        refused = bed.fleet.ctl("contain", bed.node, check=False)
        assert refused.returncode == 1 and "console_host" in refused.stderr, refused.stderr
        assert not bed.seen().get("isContained") and bed.containment() == "none"
        bed.contain("--force")
        bed.release()
    finally:
        bed.inside.call("", "signal", name="console", number=9)
        wait_for(lambda: bed.inside.call("", "ended", name="console") is not None, "it is gone")
    wait_for(lambda: not bed.seen().get("hazards"), "the hazard is gone", 90)


def test_a_second_sensor_leaves_the_containment_alone(free, flows):
    """With the same pins it would undo what the first one has in force, and the reverse."""
    bed = free
    if bed.whole_host:
        pytest.skip("a guest has one sensor; in a trial")
    bed.contain()
    mark = bed.mark()
    # In the scope its link would be cut like that of any other process.
    outside = types.SimpleNamespace(path=bed.cgroup.path, join=lambda: None)
    with beds.inside_of(bed.name("h")):
        second = bed.fleet.start_sensor("web-2", cgroup=outside, bpffs=bed.bpffs)
    with trying(bed, flows) as cells:
        refused = bed.fleet.ctl("contain", "web-2", "--wait", "--accept-partial", check=False)
        assert refused.returncode != 0 and "another sensor" in refused.stdout + refused.stderr, refused.stdout + refused.stderr
        bed.fleet.ctl("release", "web-2")
        some_more(bed, cells)
        wait_verified_anew(bed, "with a second sensor beside it")
        second.stop()
        some_more(bed, cells)
    bed.fence()
    assert not bed.leaks(mark), [str(packet) for packet in bed.leaks(mark)[:20]]
