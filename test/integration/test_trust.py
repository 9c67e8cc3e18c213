# SPDX-License-Identifier: GPL-2.0-or-later
"""Identities of sensors with real processes (spec §2): tokens and what misuse of them gets, an impostor, certificates that renew,
copies that come back, clocks that are wrong."""
import contextlib
import datetime
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import telovix
from telovix import BUILD, LONG, SANITIZERS, Api, WallClock, details, wait_for

ENROLL = "telovix.v1.EnrollmentService/Enroll"
BEAT = "telovix.v1.SensorService/Heartbeat"
RENEW = "telovix.v1.SensorService/RenewCertificate"
YEAR = 365
TIME = r"\d{4}-\d\d-\d\dT[0-9:.]+Z"


def make_key():
    return ec.generate_private_key(ec.SECP256R1())


def csr_of(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(
        serialization.Encoding.DER)


def pem_of(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def token(fleet, *words, **options):
    return fleet.ctl_json("token", "create", *words, **options)[0]


def refused(code, reason, call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() == code, error.value
    assert details(error.value)[0] == reason, error.value
    return error.value.details()


def denied(reason, call):
    return refused(grpc.StatusCode.UNAUTHENTICATED, reason, call)


def actions(fleet, kind, *words):
    """Details of the audit records of that kind, oldest first, with outcome."""
    return [(r["outcome"].endswith("SUCCESS"), json.loads(r["detail"])) for r in reversed(fleet.audit(*words))
            if r["actionType"] == kind]


def verify(fleet):
    result = subprocess.run([BUILD / "console/telovix-console", "verify", "--data", fleet.data], capture_output=True, text=True,
                            env={**os.environ, **SANITIZERS}, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def ends(fleet, name):
    return fleet.sensor(name)["certificateExpiresAt"]


class Anonymous:
    """Speaks to the enrollment service as a host does."""

    def __init__(self, fleet):
        self.api = Api(fleet.console.address, channel_credentials=grpc.ssl_channel_credentials(
            (fleet.profile / "ca.crt").read_bytes()))

    def enroll(self, secret, key, node="web-1", **fields):
        return self.api.call(ENROLL, token=secret, csr=csr_of(key), node_name=node, **fields)


class Identity:
    """A key with its certificate, kept apart from the sensor that it is of."""

    def __init__(self, fleet, key_pem, chain_pem):
        self.fleet = fleet
        self.credentials = grpc.ssl_channel_credentials((fleet.profile / "ca.crt").read_bytes(), key_pem, chain_pem)
        self.boot_ns = 10**12

    @classmethod
    def of(cls, fleet, sensor):
        folder = pathlib.Path(sensor.state) / "identity"
        return cls(fleet, (folder / "client.key").read_bytes(), (folder / "client.crt").read_bytes())

    @classmethod
    def made(cls, fleet, key, chain):
        return cls(fleet, pem_of(key), b"".join(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
                                                for der in chain))

    def call(self, name, **fields):
        """Over a connection of its own, as a process that has just started."""
        api = Api(self.fleet.console.address, channel_credentials=self.credentials)
        try:
            return api.call(name, **fields)
        finally:
            api.close()

    def beat(self, **fields):
        self.boot_ns += 10**6
        return self.call(BEAT, boot_id=b"b" * 16, boot_ns=self.boot_ns, sensor_version="1", **fields)

    def wake(self):
        api = Api(self.fleet.console.address, channel_credentials=self.credentials)
        try:
            return next(api.call("telovix.v1.SensorService/Wake"))
        finally:
            api.close()

    def renew(self, key):
        return self.call(RENEW, csr=csr_of(key))


@pytest.fixture
def anybody(running):
    anybody = Anonymous(running)
    yield anybody
    anybody.api.close()


# ---- tokens ----

def test_a_token_is_used_once_and_its_key_may_ask_again(running, anybody):
    secret, key = token(running)["token"], make_key()
    first = anybody.enroll(secret, key, "db-1")
    again = anybody.enroll(secret, key, "db-1")
    assert (again.sensor_id, list(again.certificate_chain)) == (first.sensor_id, list(first.certificate_chain))
    denied("token_used", lambda: anybody.enroll(secret, make_key(), "db-1"))
    assert [ok for ok, d in actions(running, "sensor_enrolled", "--sensor", first.sensor_id)] == [True], "asking again is no news"
    assert len(running.ctl_json("sensors", "list")) == 2
    assert list(first.ca_bundle) == list(again.ca_bundle) and first.console_addresses == [running.console.address]
    running.console.stop()
    verify(running)


def test_misuse_of_tokens(running, anybody):
    bound = token(running, "--node-name", "db-1")["token"]
    denied("token_wrong_node", lambda: anybody.enroll(bound, make_key(), "db-2"))
    taken_back = token(running)
    running.ctl("token", "revoke", taken_back["record"]["tokenId"])
    denied("token_revoked", lambda: anybody.enroll(taken_back["token"], make_key(), "db-3"))
    denied("token_unknown", lambda: anybody.enroll("tse_" + "A" * 43, make_key(), "db-4"))
    denied("token_unknown", lambda: anybody.enroll("hello", make_key(), "db-4"))
    assert anybody.enroll(bound, make_key(), "DB-1").sensor_id, "names are compared without case"
    states = {t["tokenId"]: t["status"] for t in running.ctl_json("token", "list")}
    assert states[taken_back["record"]["tokenId"]] == "TOKEN_STATUS_REVOKED"
    reasons = {d["reason"] for ok, d in actions(running, "enrollment_failed") if not ok}
    assert {"token_wrong_node", "token_revoked", "token_unknown"} <= reasons


def test_an_expired_token(moved):
    anybody = Anonymous(moved)
    made = token(moved, "--expires", "1m")
    moved.clock.set(seconds=61)
    denied("token_expired", lambda: anybody.enroll(made["token"], make_key()))
    assert moved.ctl_json("token", "list")[0]["status"] == "TOKEN_STATUS_EXPIRED"
    anybody.api.close()


def test_a_fleet_token(fleet):
    olga = fleet.operator("olga", "operator")
    fleet.start_console()
    anybody = Anonymous(fleet)
    result = fleet.ctl("token", "create", "--kind", "fleet", "--max-uses", "2", profile=olga, check=False)
    assert result.returncode == 1 and "role_too_low" in result.stderr, result.stderr
    made = token(fleet, "--kind", "fleet", "--max-uses", "2", "--expires", "730d", "--label", "site=b", "--name", "rack 7")
    assert made["record"]["kind"] == "TOKEN_KIND_FLEET" and made["record"]["maxUses"] == 2
    keys = [make_key() for _ in range(3)]
    got = [anybody.enroll(made["token"], keys[i], f"node-{i}", labels={"site": "a", "rack": "7"}) for i in range(2)]
    assert got[0].sensor_id != got[1].sensor_id
    denied("token_used", lambda: anybody.enroll(made["token"], keys[2], "node-2"))
    for i in range(2):
        again = anybody.enroll(made["token"], keys[i], f"node-{i}")
        assert list(again.certificate_chain) == list(got[i].certificate_chain), "its life is not over, the key is the same"
    assert fleet.sensor("node-1")["labels"] == {"site": "b", "rack": "7"}
    (listed,) = fleet.ctl_json("token", "list")
    assert (listed["status"], listed["uses"]) == ("TOKEN_STATUS_USED", 2)
    anybody.api.close()
    fleet.console.stop()
    verify(fleet)


@pytest.mark.parametrize("words, part", [
    (["--kind", "fleet"], "needs --max-uses"), (["--max-uses", "3"], "needs --kind fleet"),
    (["--kind", "fleet", "--max-uses", "2", "--node-name", "a"], "--node-name is not for a fleet token"),
    (["--kind", "worker"], "want one-time or fleet"), (["--max-uses", "0"], "from 1 to 100000"),
    (["--reenroll", "web-1", "--label", "a=b"], "goes with none of"), (["--reenroll", "web-1", "--kind", "fleet"], "goes with none")])
def test_wrong_usage_of_token_create(running, words, part):
    result = running.ctl("token", "create", *words, check=False)
    assert result.returncode == 2 and part in result.stderr and result.stdout == "", result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words, part", [
    (["--kind", "fleet", "--max-uses", "2", "--expires", "731d"], "730 days"), (["--expires", "25h"], "24 h"),
    (["--expires", "59s"], "1 min"), (["--reenroll", "nobody"], "unknown_sensor"),
    (["--reenroll", "web-1", "--expires", "25h"], "24 h")])
def test_what_no_token_may_be(running, words, part):
    result = running.ctl("token", "create", *words, check=False)
    assert result.returncode == 1 and part in result.stderr, result.stderr


# ---- what the host does ----

class Relay:
    """Between a host and a server: hands on what both say, but on the second connection not the answer, which is the first long
    thing that the server says after the handshake: then both are cut."""

    def __init__(self, address):
        self.target = address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.n_connections, self.swallowed = 0, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.n_connections += 1
                host, port = self.target.rsplit(":", 1)
                server = socket.create_connection((host, int(port)))
                said = []  # what the client said, piece by piece: the first is its hello
                mute = self.n_connections > 1
                threading.Thread(target=self.pump, args=(client, server, said, None), daemon=True).start()
                threading.Thread(target=self.pump, args=(server, client, None, said if mute else None), daemon=True).start()

    def pump(self, source, target, said, heard):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if heard is not None and len(heard) > 1 and len(data) > 600:
                    self.swallowed += len(data)
                    source.shutdown(socket.SHUT_RDWR)
                    break
                if said is not None:
                    said.append(len(data))
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


def test_a_lost_enrollment_reply(running):
    made = token(running)
    relay = Relay(running.console.address)
    result, state = running.enroll("db-1", made, check=False, console=relay.address)
    assert result.returncode == 3 and "the same command may be repeated" in result.stderr, (result, relay.swallowed)
    wait_for(lambda: [ok for ok, d in actions(running, "sensor_enrolled") if d["node_name"] == "db-1"], "it was enrolled")
    relay.close()
    first = running.sensor("db-1")["sensorId"]
    result, _ = running.enroll("db-1", made)
    assert first in result.stdout
    assert len(running.ctl_json("sensors", "list")) == 2
    sensor = running.start_sensor("db-1", state)
    assert sensor.sensor_id == first


class Impostor:
    """A server with the certificates of another fleet, that keeps what it is told."""

    def __init__(self, fleet, chain):
        self.heard, self.n_connections = [], 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["h2"])
        self.context.load_cert_chain(chain, fleet.data / "tls/server.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self.listener.accept()
                raw.settimeout(20)
                self.n_connections += 1
                with contextlib.suppress(OSError):
                    tls = self.context.wrap_socket(raw, server_side=True)
                    while data := tls.recv(65536):
                        self.heard.append(data)

    def close(self):
        self.listener.close()


def test_the_token_never_goes_to_an_impostor(running):
    made = token(running)
    with telovix.Fleet() as other:
        other.start_console()
        other.console.stop()
        own, ca = (other.data / "tls/server.crt").read_bytes(), (other.data / "ca/ca.crt").read_bytes()
        chain = other.folder / "chain.pem"
        # Its own CA; and the right CA beside a leaf that it did not issue.
        for stuffing in (ca, (running.data / "ca/ca.crt").read_bytes(), ca + (running.data / "ca/ca.crt").read_bytes()):
            chain.write_bytes(own + stuffing)
            impostor = Impostor(other, chain)
            result, state = running.enroll("db-1", made, check=False, console=impostor.address)
            assert result.returncode == 1, result.stdout
            assert not (state / "sensor.ini").exists()
            assert impostor.n_connections == 1 and b"".join(impostor.heard) == b"", "nothing was sent"
            impostor.close()
        assert "does not chain" in result.stderr or "nothing was sent" in result.stderr, result.stderr
    wrong = dict(made, caCertHash="sha256:" + "0" * 64)
    result, _ = running.enroll("db-1", wrong, check=False)
    assert result.returncode == 1 and "nothing was sent" in result.stderr
    assert running.ctl_json("token", "list")[0]["status"] == "TOKEN_STATUS_PENDING", "and it is not spent"
    result, _ = running.enroll("db-1", made)
    assert "enrolled: sensor_" in result.stdout


def test_a_host_never_becomes_another_sensor(running):
    """A token for a new sensor, given to a host that is one: refused, and not spent."""
    sensor, made = running.node, token(running)
    result, _ = running.enroll("web-1", made, check=False, state=sensor.state)
    assert result.returncode == 1 and "a sensor runs there: stop it first" in result.stderr, result.stderr
    sensor.stop()
    before = {p.name: p.read_bytes() for p in (sensor.state / "identity").iterdir()}
    result, _ = running.enroll("web-1", made, check=False, state=sensor.state)
    assert result.returncode == 1 and "token_wrong_sensor" in result.stderr, result.stderr
    after = {p.name: p.read_bytes() for p in (sensor.state / "identity").iterdir() if p.name != "pending.key"}
    assert after == before
    assert running.ctl_json("token", "list")[0]["status"] == "TOKEN_STATUS_PENDING"
    assert running.restart_sensor(sensor).sensor_id == sensor.sensor_id


# ---- clocks of the test ----

@pytest.fixture
def moved():
    """A fleet whose clocks all move together, and a further one for a host that has its own."""
    with tempfile.TemporaryDirectory(prefix="telovix-clock-") as folder:
        clock, own = WallClock(folder), WallClock(folder)
        with telovix.Fleet(env={**clock.env, "TELOVIX_TEST_REFUSED_RETRY_MS": "300"}) as fleet:
            fleet.clock, fleet.own_clock = clock, own
            fleet.start_console()
            yield fleet


def beat(sensor):
    """An end of whatever wait it is in: a heartbeat comes soon."""
    sensor.process.send_signal(signal.SIGHUP)


def wait_renewed(fleet, names, before, what):
    def renewed():
        return all(ends(fleet, name) != before[name] for name in names)
    wait_for(renewed, what)


# ---- renewal ----

def test_sensors_renew_by_themselves(moved):
    fleet, names = moved, ["web-1", "web-2"]
    sensors = [fleet.start_sensor(name) for name in names]
    before = {name: ends(fleet, name) for name in names}
    old_keys = [(s.state / "identity/client.key").read_bytes() for s in sensors]
    fleet.clock.set(days=16)
    for sensor in sensors:
        beat(sensor)
        fleet.wait_seen(sensor.sensor_id)
    assert {name: ends(fleet, name) for name in names} == before, "more than 45 % of the life are left"
    fleet.clock.set(days=20)
    for sensor in sensors:
        beat(sensor)
    wait_renewed(fleet, names, before, "both have a new certificate")
    for sensor, old_key in zip(sensors, old_keys):
        sensor.wait_output("certificate renewed")
        wait_for(lambda: sensor.status()["uplink"] == "connected", "it is back with it")
        folder = sensor.state / "identity"
        assert (folder / "client.key").read_bytes() != old_key, "a new key"
        assert sorted(p.name for p in folder.iterdir()) == ["ca.crt", "client.crt", "client.key"]
        found = fleet.sensor(sensor.node)
        assert found["trustHealth"] == "TRUST_HEALTH_HEALTHY" and found["trustState"] == "TRUST_STATE_TRUSTED", found
        (record,) = actions(fleet, "sensor_certificate_renewed", "--sensor", sensor.sensor_id)
        assert record[0] and record[1]["expires"]
        assert not actions(fleet, "clone_suspected", "--sensor", sensor.sensor_id)
        # It is an identity for good: a restart has it too.
        sensor.stop()
        fleet.restart_sensor(sensor)
    fleet.console.stop()
    verify(fleet)


def test_the_former_certificate_is_good_until_the_new_one_is_used(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    old = Identity.of(fleet, sensor)
    fleet.clock.set(days=20)
    key = make_key()
    first = old.renew(key)
    again = old.renew(key)
    assert list(first.certificate_chain) == list(again.certificate_chain), "a lost reply"
    assert list(first.ca_bundle) and first.console_time.seconds
    old.beat()
    new = Identity.made(fleet, key, first.certificate_chain)
    old.beat()
    new.beat()
    said = denied("certificate_superseded", old.beat)
    assert "replaced by a newer one" in said
    denied("certificate_superseded", lambda: old.renew(key))
    new.beat()
    refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "renewed_recently", lambda: new.renew(make_key()))
    assert len(actions(fleet, "sensor_certificate_renewed")) == 2, "one of them the refused one"
    fleet.console.stop()
    verify(fleet)


def test_a_copy_that_renewed_first_is_found(moved):
    """The copy gets a certificate and does not use it yet; the sensor asks for its own, and that takes its place."""
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    former, key, stolen = Identity.of(fleet, sensor), make_key(), make_key()
    fleet.clock.set(days=20)
    copy = Identity.made(fleet, stolen, former.renew(stolen).certificate_chain)
    refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "renewed_recently", lambda: former.renew(key))
    fleet.clock.set(days=20, seconds=3601)
    own = Identity.made(fleet, key, former.renew(key).certificate_chain)
    denied("certificate_superseded", copy.beat)
    own.beat()
    denied("certificate_superseded", copy.beat)
    wait_for(lambda: actions(fleet, "clone_suspected"), "it is suspected")
    own.beat()
    fleet.console.stop()
    verify(fleet)


def test_a_renewal_while_the_consoles_clock_is_ahead_cuts_nobody_off(moved):
    """A certificate that begins in the future would be good for nothing once the clock is put right."""
    fleet = moved
    sensor = fleet.start_sensor("web-1", env=fleet.own_clock.env)
    before = {"web-1": ends(fleet, "web-1")}
    for days in (20, 41):  # and once more, with what was got then
        fleet.clock.set(days=days)
        beat(sensor)
        wait_renewed(fleet, ["web-1"], before, "it renewed")
        before = {"web-1": ends(fleet, "web-1")}
        wait_for(lambda: sensor.output().count("certificate renewed") == (1 if days == 20 else 2), "it has taken it")
    fleet.ctl("renew")  # the operator, too
    fleet.clock.set()
    sensor.stop()
    sensor = fleet.start_sensor("web-1", sensor.state, sensor.cgroup, env=fleet.own_clock.env, bpffs=sensor.bpffs)
    fleet.wait_seen(sensor.sensor_id)
    wait_for(lambda: sensor.status()["uplink"] == "connected", "it is not cut off")
    fleet.ctl("whoami")
    found = fleet.sensor("web-1")
    assert found["trustHealth"] == "TRUST_HEALTH_HEALTHY", found
    assert sensor.status()["renewalError"] == ""


def test_a_copy_marks_one_sensor_only(moved):
    fleet = moved
    sensors = [fleet.start_sensor(f"web-{i}") for i in range(3)]
    copies = [Identity.of(fleet, sensor) for sensor in sensors]
    before = {sensor.node: ends(fleet, sensor.node) for sensor in sensors}
    fleet.clock.set(days=20)
    for sensor in sensors:
        beat(sensor)
    wait_renewed(fleet, list(before), before, "all have new certificates")
    for sensor in sensors:
        fleet.wait_seen(sensor.sensor_id)
        wait_for(lambda: sensor.status()["uplink"] == "connected", "it is back with it")
    for _ in range(3):
        denied("certificate_superseded", copies[1].beat)
    wait_for(lambda: fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_DEGRADED", "it is suspected")
    (record,) = actions(fleet, "clone_suspected")
    assert record[1]["node_name"] == "web-1"
    reasons = [r["reason"] for r in fleet.sensor("web-1")["healthReasons"]]
    assert "trust_degraded" in reasons
    for name in ("web-0", "web-2"):
        found = fleet.sensor(name)
        assert found["trustHealth"] == "TRUST_HEALTH_HEALTHY" and found["connected"], found
    # The sensor itself is not cut off, and after a start of the Console the mark is still there, once.
    assert sensors[1].status()["uplink"] == "connected"
    fleet.console.stop()
    fleet.start_console()
    denied("certificate_superseded", copies[1].beat)
    fleet.wait_seen(sensors[1].sensor_id)
    assert fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_DEGRADED"
    assert len(actions(fleet, "clone_suspected")) == 1


def test_a_host_that_slept_a_month(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    old, before = Identity.of(fleet, sensor), {"web-1": ends(fleet, "web-1")}
    fleet.clock.set(days=50)
    said = denied("certificate_expired", old.beat)
    assert len(re.findall(TIME, said)) == 2 and "renewed" in said, said
    denied("certificate_expired", old.wake)
    sensor = fleet.restart_sensor(sensor, wait=False)
    wait_renewed(fleet, ["web-1"], before, "it renewed by itself")
    fleet.wait_seen(sensor.sensor_id)
    assert len(re.findall("the Console refuses this sensor", sensor.output())) == 1


def test_a_host_that_slept_too_long(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    fleet.clock.set(days=95)
    fleet.console.wait_output("server certificate issued")
    sensor = fleet.restart_sensor(sensor, wait=False)
    sensor.wait_output("certificate_expired")
    wait_for(lambda: "re-enroll the sensor" in sensor.status()["renewalError"], "its renewal is refused")
    assert sensor.status()["uplink"] == "refused"
    assert not [ok for ok, d in actions(fleet, "sensor_certificate_renewed") if ok]
    sensor.stop()
    made = token(fleet, "--reenroll", "web-1")
    fleet.enroll("web-1", made, state=sensor.state)
    assert fleet.restart_sensor(sensor).sensor_id == sensor.sensor_id


def test_a_failed_renewal_is_told(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    # No file can be written there, and none made anew.
    (sensor.state / "identity/pending.key").mkdir()
    fleet.clock.set(days=20)
    beat(sensor)
    wait_for(lambda: fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_DEGRADED", "the Console knows")
    assert "trust_degraded" in [r["reason"] for r in fleet.sensor("web-1")["healthReasons"]]
    assert "a new key" in sensor.status()["renewalError"]
    (sensor.state / "identity/pending.key").rmdir()
    sensor.stop()
    before = {"web-1": ends(fleet, "web-1")}
    sensor = fleet.restart_sensor(sensor)
    wait_renewed(fleet, ["web-1"], before, "the next start renews")
    wait_for(lambda: fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_HEALTHY", "and ends the report")


def test_kill_at_any_instant_of_a_renewal(moved):
    """Whatever is on disk is a usable identity."""
    fleet, rng, days = moved, random.Random(5), 0
    sensor = fleet.start_sensor("web-1")
    for round_no in range(16 if LONG else 6):  # the operator's certificate runs a year
        before = {"web-1": ends(fleet, "web-1")}
        days += 21
        fleet.clock.set(days=days)
        beat(sensor)
        time.sleep(rng.uniform(0, 0.25))
        sensor.kill9()
        sensor = fleet.restart_sensor(sensor)
        wait_renewed(fleet, ["web-1"], before, f"round {round_no}: it renewed")
        wait_for(lambda: sensor.status()["uplink"] == "connected", "it is connected")
    assert not actions(fleet, "clone_suspected")
    fleet.console.stop()
    verify(fleet)


# ---- a clock that is wrong by a year ----

def block(fleet, sensor):
    """A rule in force, and the check that it stops what it shall."""
    program = fleet.folder / "blocked"
    program.write_bytes(pathlib.Path("/usr/bin/true").read_bytes())
    program.chmod(0o755)
    result = fleet.ctl("block", "web-1", program, "--wait", check=False)
    if result.returncode and "no_enforcement" in result.stdout + result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stderr + result.stdout

    def is_stopped():
        process = sensor.victim_now([str(program)])
        return process.wait() == -signal.SIGKILL
    assert is_stopped()
    return is_stopped


@pytest.mark.parametrize("days", [YEAR, -YEAR])
def test_the_consoles_clock_is_wrong_by_a_year(moved, days):
    fleet = moved
    sensor = fleet.start_sensor("web-1", env=fleet.own_clock.env)
    is_stopped = block(fleet, sensor)
    fleet.clock.set(days=days)

    def said():
        text = sensor.status()["lastError"]
        return text if len(re.findall(TIME, text)) >= 2 else None
    beat(sensor)
    text = wait_for(said, "it names both times")
    assert "our clock says" in text or "the Console's clock says" in text, text
    assert is_stopped() and sensor.status()["rules"][0]["state"] == "applied"
    fleet.clock.set()
    wait_for(lambda: sensor.status()["uplink"] == "connected", "it recovers by itself", 90)
    fleet.wait_seen(sensor.sensor_id)
    assert is_stopped()
    wait_for(lambda: fleet.sensor("web-1")["trustHealth"] == "TRUST_HEALTH_HEALTHY", fleet.sensor("web-1")["healthReasons"])


def test_the_sensors_clock_is_ahead_by_a_year(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1", env=fleet.own_clock.env)
    is_stopped = block(fleet, sensor)
    fleet.own_clock.set(days=YEAR)
    beat(sensor)
    text = wait_for(lambda: sensor.status()["uplink"] != "connected" and sensor.status()["lastError"], "it refuses the Console")
    assert "expired" in text and len(re.findall(TIME, text)) == 2, text
    assert is_stopped()
    fleet.own_clock.set()
    wait_for(lambda: sensor.status()["uplink"] == "connected", "it recovers by itself", 90)
    assert is_stopped()


def test_a_dead_clock_cuts_no_sensor_off(moved):
    """Behind by a year: the last time that the Console told counts. Without one, an enrollment is refused with both times."""
    fleet = moved
    sensor = fleet.start_sensor("web-1", env=fleet.own_clock.env)
    fleet.own_clock.set(days=-YEAR)
    beat(sensor)
    fleet.wait_seen(sensor.sensor_id)
    sensor.stop()
    sensor = fleet.start_sensor("web-1", sensor.state, sensor.cgroup, env=fleet.own_clock.env, bpffs=sensor.bpffs)
    wait_for(lambda: sensor.status()["uplink"] == "connected", "it is not cut off")
    made = token(fleet)
    result, state = fleet.enroll("db-1", made, check=False, env=fleet.own_clock.env)
    assert result.returncode == 1 and "not yet valid" in result.stderr and len(re.findall(TIME, result.stderr)) == 2, result.stderr
    fleet.own_clock.set()
    fleet.enroll("db-1", made, env=fleet.own_clock.env)


# ---- the Console's own certificate, and its CAs ----

def server_certificate(address):
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), timeout=10) as raw, context.wrap_socket(raw) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(True))


def test_the_consoles_certificate_renews_without_a_dropped_connection(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1", env=fleet.own_clock.env)
    sensor.stop()
    api = Api(fleet.console.address, fleet.profile)
    watch = api.call("telovix.v1.FleetService/WatchFleet", timeout=120)
    next(watch)
    first = server_certificate(fleet.console.address)
    fleet.clock.set(days=59)
    fleet.ctl("whoami")
    assert server_certificate(fleet.console.address) == first, "more than a third is left"
    fleet.clock.set(days=61)
    fleet.console.wait_output("server certificate issued")
    second = wait_for(lambda: (c := server_certificate(fleet.console.address)) != first and c, "it shows the new one")
    assert second.not_valid_after > first.not_valid_after + datetime.timedelta(days=50)
    # The stream that was open goes on, on its connection.
    seen = []
    reader = threading.Thread(target=lambda: seen.extend([next(watch)]))
    reader.start()
    fleet.ctl("token", "create")
    api.call("telovix.v1.FleetService/DisableSensor", sensor="web-1")
    reader.join(20)
    assert seen, "the stream is alive"
    watch.cancel()
    api.close()


def test_a_staged_ca_comes_with_a_renewal(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    with telovix.Fleet() as other:
        fleet_ca = fleet.data / "ca/ca.crt"
        fleet_ca.write_bytes(fleet_ca.read_bytes() + (other.data / "ca/ca.crt").read_bytes())
    fleet.console.process.send_signal(signal.SIGHUP)
    fleet.console.wait_output("reloaded")
    before = {"web-1": ends(fleet, "web-1")}
    fleet.clock.set(days=20)
    beat(sensor)
    wait_renewed(fleet, ["web-1"], before, "it renewed")
    sensor.wait_output("certificate renewed")
    assert (sensor.state / "identity/ca.crt").read_text().count("BEGIN CERTIFICATE") == 2
    wait_for(lambda: sensor.status()["uplink"] == "connected", "and goes on")


# ---- refused ----

def revoke(fleet, sensor):
    api = Api(fleet.console.address, fleet.profile)
    api.call("telovix.v1.FleetService/RevokeSensor", sensor=sensor.sensor_id, confirm_node_name=sensor.node)
    api.close()


def test_a_refused_sensor_says_so_once_and_keeps_what_it_enforces(moved):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    is_stopped = block(fleet, sensor)
    pending = token(fleet, "--reenroll", "web-1")
    revoke(fleet, sensor)
    sensor.wait_output("invalid_sensor_trust")
    wait_for(lambda: sensor.status()["uplink"] == "refused", "heartbeats stop")
    wait_for(lambda: actions(fleet, "sensor_rejected"), "it is on record")
    # It asks again and again (here each 300 ms), and says it once.
    n = sensor.output().count("connected")
    wait_for(lambda: sensor.output().count("connected") > n + 4, "it tries again")
    assert sensor.output().count("the Console refuses this sensor") == 1
    assert len(actions(fleet, "sensor_rejected")) <= 2, "throttled"
    assert is_stopped() and sensor.status()["uplink"] == "refused"
    # A token of before the revocation brings nobody back.
    assert {t["status"] for t in fleet.ctl_json("token", "list") if t["sensorId"]} == {"TOKEN_STATUS_REVOKED"}
    anybody = Anonymous(fleet)
    denied("token_revoked", lambda: anybody.enroll(pending["token"], make_key(), "web-1"))
    anybody.api.close()


@pytest.mark.parametrize("late, may", [(59.9, True), (60.1, False)])
def test_how_late_a_renewal_may_be(moved, late, may):
    fleet = moved
    sensor = fleet.start_sensor("web-1")
    sensor.stop()
    fleet.clock.set(days=30 + late)
    fleet.console.wait_output("server certificate issued")
    sensor = fleet.restart_sensor(sensor, wait=False)
    sensor.wait_output("certificate_expired")
    if may:
        sensor.wait_output("certificate renewed")
        fleet.wait_seen(sensor.sensor_id)
    else:
        wait_for(lambda: "re-enroll the sensor" in sensor.status()["renewalError"], "it is too late")
        assert not [ok for ok, d in actions(fleet, "sensor_certificate_renewed") if ok]
