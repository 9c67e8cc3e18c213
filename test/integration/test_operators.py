# SPDX-License-Identifier: GPL-2.0-or-later
"""Operators: made, renewed, given another role, revoked; what that does to what they have open; and the break-glass."""
import json
import os
import pathlib
import queue
import random
import subprocess
import threading
import time

import grpc
import pytest

import telovix
from test_trust import Relay

WHOAMI = "telovix.v1.OperatorService/WhoAmI"


@pytest.fixture
def console(fleet):
    """A Console without sensors."""
    fleet.start_console()
    return fleet


def create(fleet, name, role, **options):
    out = fleet.folder / f"profile-{name}"
    return fleet.ctl("operator", "create", name, "--role", role, "--out", out, **options), out


def reason_of(error):
    return error.value.code(), telovix.details(error.value)[0]


class Stream:
    """A server stream that is read in the background: `first` and `end` wait for the first message and the status."""

    def __init__(self, call, read_all=True):
        self.call, self.ended = call, queue.Queue()
        self.first = next(call)
        if read_all:
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for _ in self.call:
                pass
            self.ended.put((grpc.StatusCode.OK, ""))
        except grpc.RpcError as error:
            self.ended.put((error.code(), telovix.details(error)[0]))

    def end(self):
        return self.ended.get(timeout=telovix.LIMIT)

    def running(self):
        return self.ended.empty() and self.call.is_active()


# ---- create ----

@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_create_makes_a_whole_profile(console, role):
    result, out = create(console, "anna", role, check=True)
    assert f"anna ({role})" in result.stdout
    assert sorted(p.name for p in out.iterdir()) == ["ca.crt", "client.crt", "client.key", "profile.ini"]
    assert out.stat().st_mode & 0o777 == 0o700 and (out / "client.key").stat().st_mode & 0o777 == 0o600
    who = console.ctl_json("whoami", profile=out)[0]
    assert (who["name"], who["role"]) == ("anna", f"ROLE_{role.upper()}")
    assert not list(console.folder.glob("*.pending"))
    record = console.audit("--action", "operator_created", "--actor", "admin")[0]
    assert json.loads(record["detail"]) == {"name": "anna", "role": role}
    listed = {line["name"]: line for line in console.ctl_json("operator", "list")}
    assert listed["anna"]["createdBy"] == "admin" and listed["admin"]["createdBy"] == "local_root"
    assert not listed["anna"]["revoked"]


def test_create_refuses(console):
    _, out = create(console, "anna", "viewer")
    result, _ = create(console, "anna", "viewer", check=False)
    assert result.returncode == 1 and "is there; choose another --out" in result.stderr
    assert (out / "client.key").exists(), "an existing folder stays as it is"
    result = console.ctl("operator", "create", "anna", "--role", "viewer", "--out", console.folder / "b", check=False)
    assert result.returncode == 1 and "operator_exists" in result.stderr
    assert not list(console.folder.glob("b*")), "a refused operator leaves nothing"
    console.ctl("operator", "revoke", "anna")
    result = console.ctl("operator", "create", "anna", "--role", "viewer", "--out", console.folder / "b", check=False)
    assert result.returncode == 1 and "operator_exists" in result.stderr and "not given twice" in result.stderr
    for words in (["Anna", "--role", "viewer"], ["local_root", "--role", "viewer"], ["bob"], ["bob", "--role", "root"]):
        result = console.ctl("operator", "create", *words, "--out", console.folder / "b", check=False)
        assert result.returncode == 2, result
    assert console.ctl("operator", "create", "bob", "--role", "viewer", check=False).returncode == 2
    failed = console.audit("--action", "operator_created", "--outcome", "failure")
    assert [json.loads(record["detail"])["reason"] for record in failed] == ["operator_exists"] * 2


def test_a_lost_answer_is_asked_for_again(console):
    """The key waits in a folder beside: the same request, under the same id, gets the same certificate."""
    out = console.folder / "profile-anna"
    words = ["operator", "create", "anna", "--role", "viewer", "--out", out, "--request-id", "once"]
    result = console.ctl(*words, check=False, env={"TELOVIX_PROFILE": ""}, timeout=90)
    assert result.returncode == 0
    # As a run leaves it whose answer was lost: key and request, and no profile yet.
    pending = console.folder / "profile-bob.pending"
    console.console.stop()
    result = console.ctl("operator", "create", "bob", "--role", "viewer", "--out", console.folder / "profile-bob",
                         "--request-id", "lost", "--timeout", "300ms", check=False)
    assert result.returncode in (1, 3)
    if result.returncode == 3:
        assert "--request-id lost" in result.stderr and (pending / "client.key").exists()
    console.start_console()
    console.ctl("operator", "create", "bob", "--role", "viewer", "--out", console.folder / "profile-bob", "--request-id", "lost")
    assert console.ctl_json("whoami", profile=console.folder / "profile-bob")[0]["name"] == "bob"
    assert not pending.exists()


def test_a_key_that_may_be_an_operators_is_kept(console):
    """Its answer was lost: whatever a repetition is told, the key stays until it has its certificate."""
    out, relay = console.folder / "profile-carl", Relay(console.console.address)
    words = ["operator", "create", "carl", "--role", "viewer", "--out", out]
    console.ctl("--console", relay.address, "whoami")  # its first connection; the answers of the next are swallowed
    result = console.ctl("--console", relay.address, *words, "--request-id", "first", check=False)
    relay.close()
    assert result.returncode == 3 and "--request-id first" in result.stderr, (result, relay.swallowed)
    telovix.wait_for(lambda: console.audit("--action", "operator_created", "--outcome", "success"), "carl is an operator")
    pending = console.folder / "profile-carl.pending"
    key, csr = (pending / "client.key").read_bytes(), (pending / "client.csr").read_bytes()

    def kept():
        return not out.exists() and (pending / "client.key").read_bytes() == key and (pending / "client.csr").read_bytes() == csr
    result = console.ctl(*words, "--request-id", "second", check=False)
    assert result.returncode == 1 and "operator_exists" in result.stderr and kept(), result
    console.console.stop()
    result = console.ctl(*words, "--request-id", "first", "--timeout", "300ms", check=False)
    assert result.returncode == 1 and kept(), result
    console.start_console()
    console.ctl(*words, "--request-id", "first")
    assert (out / "client.key").read_bytes() == key and not pending.exists()
    assert console.ctl_json("whoami", profile=out)[0]["name"] == "carl"
    # What lies there and is nobody's of these commands stays, refused or not.
    other = console.folder / "profile-dora.pending"
    other.mkdir(mode=0o700)
    (other / "notes").write_text("mine")
    result = console.ctl("operator", "create", "carl", "--role", "viewer", "--out", console.folder / "profile-dora", check=False)
    assert result.returncode == 1 and [p.name for p in other.iterdir()] == ["notes"], result


def test_roles_of_the_methods(console):
    """Operators are an admin's business, but for one's own renewal."""
    _, viewer = create(console, "vera", "viewer")
    _, operator = create(console, "otto", "operator")
    for profile in (viewer, operator):
        for words in (["operator", "list"], ["operator", "role", "vera", "admin"], ["operator", "revoke", "otto"],
                      ["operator", "create", "eve", "--role", "admin", "--out", console.folder / "eve"]):
            result = console.ctl(*words, profile=profile, check=False)
            assert result.returncode == 1 and "role_too_low" in result.stderr
        console.ctl("renew", profile=profile)
        console.ctl("whoami", profile=profile)


# ---- role and revocation ----

def test_the_last_admin_stays(console):
    for words in (["operator", "revoke", "admin"], ["operator", "role", "admin", "operator"]):
        result = console.ctl(*words, check=False)
        assert result.returncode == 1 and "last_admin" in result.stderr
    _, anna = create(console, "anna", "admin")
    console.ctl("operator", "revoke", "anna")
    # A revoked admin does not count.
    assert "last_admin" in console.ctl("operator", "revoke", "admin", check=False).stderr
    assert "operator_is_revoked" in console.ctl("operator", "role", "anna", "admin", check=False).stderr
    assert "unknown_operator" in console.ctl("operator", "revoke", "nobody", check=False).stderr
    _, berta = create(console, "berta", "admin")
    console.ctl("operator", "role", "admin", "viewer")  # oneself: the answer still comes
    assert "role_too_low" in console.ctl("operator", "list", check=False).stderr
    assert "last_admin" in console.ctl("operator", "role", "berta", "viewer", profile=berta, check=False).stderr
    console.ctl("operator", "role", "admin", "admin", profile=berta)
    console.ctl("operator", "revoke", "berta", profile=berta)  # oneself
    result = console.ctl("whoami", profile=berta, check=False)
    assert result.returncode == 1 and "operator_revoked" in result.stderr
    console.ctl("operator", "revoke", "berta")  # again: nothing changes
    changed = [json.loads(record["detail"])["changed"] for record in console.audit("--action", "operator_revoked",
                                                                                    "--outcome", "success")]
    assert changed == [False, True, True]


def test_a_lower_role_bites_at_the_next_request(fleet):
    """On open connections, and on open streams for which it does not suffice."""
    fleet.mint("fill-audit", 30000)  # more than a connection takes up: the export stays open
    fleet.start_console()
    _, anna = create(fleet, "anna", "admin")
    api = telovix.Api(fleet.console.address, anna)
    export = Stream(api.call("telovix.v1.AuditService/ExportAudit", timeout=60), read_all=False)
    events = api.call("telovix.v1.EventService/WatchEvents", timeout=60)
    telovix.wait_for(lambda: events.is_active(), "the watch is open")
    assert api.call("telovix.v1.OperatorService/ListOperators").operators
    fleet.ctl("operator", "role", "anna", "operator")
    with pytest.raises(grpc.RpcError) as error:
        api.call("telovix.v1.OperatorService/ListOperators")
    assert reason_of(error) == (grpc.StatusCode.PERMISSION_DENIED, "role_too_low")
    assert api.call("telovix.v1.AuditService/GetAuditHead").seq > 30000, "an operator still may"
    fleet.ctl("operator", "role", "anna", "viewer")
    with pytest.raises(grpc.RpcError) as error:
        api.call("telovix.v1.AuditService/GetAuditHead")
    assert reason_of(error) == (grpc.StatusCode.PERMISSION_DENIED, "role_too_low")
    with pytest.raises(grpc.RpcError) as error:
        for _ in export.call:
            pass
    assert reason_of(error) == (grpc.StatusCode.PERMISSION_DENIED, "role_too_low")
    assert api.call(WHOAMI).role == 1
    assert events.is_active(), "what a viewer may goes on"
    fleet.ctl("operator", "role", "anna", "admin")
    assert api.call("telovix.v1.OperatorService/ListOperators").operators
    events.cancel()
    api.close()


def test_revoked_on_a_live_connection(running):
    """Every stream ends, the next request gets 401, reconnecting does not help; others notice nothing."""
    _, anna = create(running, "anna", "operator")
    _, berta = create(running, "berta", "operator")
    api, other = (telovix.Api(running.console.address, profile) for profile in (anna, berta))
    running.node.stop()  # so that the order stays queued
    order = api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=4242).order.order_id
    fleets = [Stream(one.call("telovix.v1.FleetService/WatchFleet", timeout=60)) for one in (api, other)]
    kill = Stream(api.call("telovix.v1.ContainmentService/WatchKill", order_id=order, timeout=60))
    events = api.call("telovix.v1.EventService/WatchEvents", timeout=60)
    running.ctl("operator", "revoke", "anna", "--reason", "left us")
    for stream in (fleets[0], kill):
        assert stream.end() == (grpc.StatusCode.UNAUTHENTICATED, "operator_revoked")
    with pytest.raises(grpc.RpcError) as error:
        next(events)
    assert reason_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "operator_revoked")
    with pytest.raises(grpc.RpcError) as error:
        api.call(WHOAMI)
    assert reason_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "operator_revoked")
    again = telovix.Api(running.console.address, anna)
    with pytest.raises(grpc.RpcError) as error:
        again.call(WHOAMI)
    assert reason_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "operator_revoked")
    result = running.ctl("renew", profile=anna, check=False)
    assert result.returncode == 1 and "operator_revoked" in result.stderr
    assert fleets[1].running() and other.call(WHOAMI).name == "berta"
    fleets[1].call.cancel()
    record = running.audit("--action", "operator_revoked")[0]
    assert record["actor"] == "admin" and record["reason"] == "left us"
    denied = running.audit("--action", "access_denied", "--actor", "anna")
    assert {json.loads(one["detail"])["reason"] for one in denied} == {"operator_revoked"}
    for one in (api, other, again):
        one.close()


# ---- renewal ----

def test_renew_replaces_key_and_certificate(console):
    _, anna = create(console, "anna", "operator")
    before = {name: (anna / name).read_bytes() for name in ("client.key", "client.crt", "ca.crt", "profile.ini")}
    old = telovix.credentials(anna)
    result = console.ctl("renew", profile=anna)
    assert "anna (operator); certificate until" in result.stdout
    assert sorted(p.name for p in anna.iterdir()) == ["audit_head", "ca.crt", "client.crt", "client.key", "profile.ini"]
    for name in ("client.key", "client.crt"):
        assert (anna / name).read_bytes() != before[name]
        assert (anna / name).stat().st_mode & 0o777 == 0o600
    # The former one stays good until the new one is used.
    api = telovix.Api(console.console.address, channel_credentials=old)
    assert api.call(WHOAMI).name == "anna"
    console.ctl("whoami", profile=anna)

    def refused():
        try:
            api.call(WHOAMI)
        except grpc.RpcError as error:
            return (error.code(), telovix.details(error)[0])
    assert telovix.wait_for(refused, "the former one is over") == (grpc.StatusCode.UNAUTHENTICATED, "certificate_superseded")
    api.close()
    console.ctl("whoami", profile=anna)
    assert len(console.audit("--action", "operator_certificate_renewed", "--actor", "anna")) == 1


def test_renew_wants_a_new_key(console):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    key = serialization.load_pem_private_key((console.profile / "client.key").read_bytes(), None)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    api = telovix.Api(console.console.address, console.profile)
    for value in (csr.public_bytes(serialization.Encoding.DER), b"", b"x" * 5000):
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.OperatorService/RenewOperator", csr=value)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "csr" in telovix.details(error.value)[1]
    api.close()
    failed = console.audit("--action", "operator_certificate_renewed", "--outcome", "failure")
    assert len(failed) >= 1


def test_renew_killed_at_any_instant(console):
    """kill -9 in the middle, again and again: the profile works each time."""
    _, anna = create(console, "anna", "operator")
    argv = [telovix.BUILD / "client/telovixctl", "--profile", anna, "--console", console.console.address, "renew"]
    chance = random.Random(6)
    start = time.monotonic()
    assert subprocess.run(argv, capture_output=True, env={**os.environ, **telovix.SANITIZERS}).returncode == 0
    whole = time.monotonic() - start
    cut = 0
    for _ in range(200 if telovix.LONG else 40):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, **telovix.SANITIZERS})
        time.sleep(chance.uniform(0, 1.1) * whole)
        process.kill()
        cut += process.wait() != 0
        assert console.ctl_json("whoami", profile=anna)[0]["name"] == "anna"
    assert cut > 0, "none was cut off"
    console.ctl("renew", profile=anna)
    assert not list(anna.glob("*.new"))


# ---- the break-glass ----

def break_glass(fleet, name, role="admin", out=None):
    return subprocess.run([telovix.BUILD / "console/telovix-console", "operator", "create", name, "--data", fleet.data, "--role",
                           role, "--out", out or fleet.folder / f"profile-{name}"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **telovix.SANITIZERS})


def test_break_glass(fleet):
    fleet.start_console()
    result = break_glass(fleet, "rescue")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "stop it" in result.stderr and "telovixctl operator create" in result.stderr
    assert not list(fleet.folder.glob("profile-rescue*"))
    fleet.console.stop()
    result = break_glass(fleet, "rescue")
    assert result.returncode == 0, result.stderr
    out = fleet.folder / "profile-rescue"
    assert (out / "client.key").stat().st_mode & 0o777 == 0o600
    again = break_glass(fleet, "rescue", out=fleet.folder / "again")
    assert again.returncode == 1 and "there is an operator rescue" in again.stderr
    assert not list(fleet.folder.glob("again*"))
    assert break_glass(fleet, "other", out=out).returncode == 1
    assert break_glass(fleet, "No Name").returncode == 2
    fleet.start_console()
    who = fleet.ctl_json("whoami", profile=out)[0]
    assert (who["name"], who["role"]) == ("rescue", "ROLE_ADMIN")
    fleet.ctl("operator", "revoke", "admin", profile=out)  # what a break-glass is for
    created = fleet.ctl_json("audit", "list", "--actor", "local_root", "--action", "operator_created", profile=out)
    assert [(json.loads(record["detail"])["name"], record["outcome"], record["actorRole"]) for record in created] == [
        ("rescue", "AUDIT_OUTCOME_FAILURE", "local_root"), ("rescue", "AUDIT_OUTCOME_SUCCESS", "local_root"),
        ("admin", "AUDIT_OUTCOME_SUCCESS", "local_root")]
    fleet.ctl("audit", "verify", profile=out)
    fleet.profile = pathlib.Path(out)
