# SPDX-License-Identifier: GPL-2.0-or-later
"""What every peer must be able to do. Each test file of a peer takes these tests over and has a fixture `peer` of its
own; the same assertions hold for all of them."""
import base64
import os
import re
import signal
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from telovix import ROOT, wait_for

HEAD = re.compile(r"[1-9][0-9]*:[0-9a-f]{64}")
PROTO = ROOT / "proto"


def services():
    """Every service that has a contract is served, and listed."""
    for part in ("telovix/v1", "grpc"):
        for path in (PROTO / part).rglob("*.proto"):
            text = path.read_text()
            package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
            yield from (f"{package}.{name}" for name in re.findall(r"^service (\w+)", text, re.M))


def imports_of(name):
    """The file and all its imports; those of protobuf itself import nothing."""
    found = {name}
    if not name.startswith("google/protobuf/"):
        for imported in re.findall(r'^import "([^"]+)";', (PROTO / name).read_text(), re.M):
            found |= imports_of(imported)
    return found


SERVICES = sorted(services())

USER_AGENTS = {"python": "grpc-python/", "node": "grpc-node-js/", "connect": "connect-es/"}


def encode(data):
    return base64.b64encode(data).decode()


def unauthenticated(peer, call):
    if peer.name == "connect":
        # Connect looks at the HTTP status alone, and drops text and details.
        call.end()
        assert (call.code, call.text) == ("UNAUTHENTICATED", "HTTP 401")
    else:
        assert call.failed() == ("UNAUTHENTICATED", "certificate_required")
        assert call.text == "this method needs a client certificate of the fleet"


@pytest.fixture(scope="module")
def admin(peer, hub):
    """The admin's channel: one connection for all tests of a peer, so each also proves that the one before left it whole."""
    channel = peer.open(hub.address, hub.admin)
    peer.learn(channel)
    yield channel
    channel.close()


# ---- unary ----

def test_whoami(admin):
    call = admin.call("OperatorService/WhoAmI")
    reply = call.ok()
    assert (reply["name"], reply["role"], reply["fleetName"]) == ("admin", "ROLE_ADMIN", "Test Fleet")
    assert re.fullmatch(r"fleet-[a-z0-9]{16}", reply["fleetId"])


def test_head_and_trailers(admin):
    call = admin.call("OperatorService/WhoAmI")
    call.ok()
    [head] = call.trailers["telovix-audit-head"]
    assert HEAD.fullmatch(head)
    assert "telovix-audit-head" not in call.head
    # Refusals carry it too.
    call = admin.call("ContainmentService/GetKill", {"orderId": "kill_0000000000000000"})
    assert call.failed() == ("NOT_FOUND", "unknown_order")
    assert HEAD.fullmatch(call.trailers["telovix-audit-head"][0])


def test_list_sensors(admin, hub):
    reply = admin.call("FleetService/ListSensors", {"pageSize": 1000}).ok()
    [sensor] = [s for s in reply["sensors"] if s["nodeName"] == "web-1"]
    assert sensor["sensorId"] == hub.node.sensor_id
    assert (sensor["status"], sensor["trustState"]) == ("SENSOR_STATUS_HEALTHY", "TRUST_STATE_TRUSTED")
    assert sensor["connected"] is True and not sensor["labels"] and reply["nextPageToken"] == ""


def test_kill(admin, hub):
    victim = hub.node.victim()
    reply = admin.call("ContainmentService/KillProcess", {
        "sensor": "web-1", "pid": victim.pid, "exe": os.readlink(f"/proc/{victim.pid}/exe"), "reason": "gr\u00fcn \u2192 100 %"}).ok()
    assert reply["notice"] == f"PID {victim.pid} is queued and will execute within 30 seconds on the next heartbeat"
    order = reply["order"]
    assert order["state"] == "KILL_STATE_QUEUED" and order["reason"] == "gr\u00fcn \u2192 100 %" and order["actor"] == "admin"
    assert victim.wait(30) == -signal.SIGKILL
    found = wait_for(lambda: (o := admin.call("ContainmentService/GetKill", {"orderId": order["orderId"]}).ok())["state"]
                     not in ("KILL_STATE_QUEUED", "KILL_STATE_DELIVERED") and o, "the order ends")
    assert found["state"] == "KILL_STATE_KILLED" and found["comm"] == os.path.basename(order["guardExe"])
    assert int(found["startTicks"]) > 0


def test_retry(admin):
    """A request id makes it safe: the first answer again, and no second order."""
    request = {"sensor": "web-1", "pid": 4194304, "requestId": f"retry-{uuid.uuid4()}"}
    first = admin.call("ContainmentService/KillProcess", request).ok()
    assert admin.call("ContainmentService/KillProcess", request).ok() == first
    call = admin.call("ContainmentService/KillProcess", {**request, "pid": 4194303})
    assert call.failed() == ("ALREADY_EXISTS", "request_id_reused")


def test_who_asked_is_on_record(peer, admin):
    """Fields that nobody knows are ignored; the user agent is in the audit log."""
    order = admin.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": 4194304, "reason": peer.name},
                       metadata=[["x-ticket", "INC-1, INC-2"], ["x-ticket", "INC-3"], ["x-empty", ""]]).ok()["order"]
    record = admin.call("AuditService/ListAudit", {"pageSize": 1, "actionType": "process_kill_queued"}).ok()["records"][0]
    assert order["orderId"] in record["detail"] and record["reason"] == peer.name
    assert record["clientIp"] == "127.0.0.1" and record["userAgent"].startswith(USER_AGENTS[peer.name.split("-")[0]])


def test_maps(peer, admin):
    if peer.name == "node-reflected":
        pytest.skip("proto-loader takes a map for a list of entries where its type comes as a descriptor")
    labels = {"site/room": "A-1", "x": ""}
    reply = admin.call("TokenService/CreateEnrollmentToken", {"labels": labels, "name": "gr\u00fcn"}).ok()
    assert reply["record"]["labels"] == labels and reply["record"]["name"] == "gr\u00fcn"
    assert admin.call("TokenService/RevokeEnrollmentToken", {"tokenId": reply["record"]["tokenId"]}).ok()["status"] == "TOKEN_STATUS_REVOKED"


# ---- server streams ----

def test_watch_kill_to_the_end(admin, hub):
    victim = hub.node.victim()
    order = admin.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": victim.pid}).ok()["order"]
    call = admin.call("ContainmentService/WatchKill", {"orderId": order["orderId"]}).end()
    victim.wait(30)
    assert (call.code, call.text) == ("OK", "")
    states = [reply["state"].removeprefix("KILL_STATE_") for reply in call.replies]
    # Each state once and in order; the watch may begin after the first ones.
    life = ["QUEUED", "DELIVERED", "STILL_ALIVE", "KILLED"]
    assert states[-1] == "KILLED" and states == [state for state in life if state in states]
    assert HEAD.fullmatch(call.trailers["telovix-audit-head"][0])
    # A watch of an order that has ended: its state, then the end.
    call = admin.call("ContainmentService/WatchKill", {"orderId": order["orderId"]}).end()
    assert (call.code, [reply["state"] for reply in call.replies]) == ("OK", ["KILL_STATE_KILLED"])


def test_watch_fleet_and_cancel(admin, hub):
    call = admin.call("FleetService/WatchFleet")
    call.next("head")
    first = call.message()
    assert first["initial"] is True
    call.cancel()
    assert call.end().code == "CANCELLED"


def test_cancel_reaches_the_console(admin):
    """Four watches an operator: a fifth is refused, and a cancelled one makes room."""
    def watch():
        call = admin.call("FleetService/WatchFleet")
        call.next("message")
        return call

    calls = [watch() for _ in range(4)]
    assert admin.call("FleetService/WatchFleet").failed() == ("RESOURCE_EXHAUSTED", "too_many_watches")
    calls.pop().cancel()

    def room():
        call = admin.call("FleetService/WatchFleet", cancel_after=1).end()
        return call.code == "CANCELLED"
    wait_for(room, "the cancelled watch makes room")
    for call in calls:
        call.cancel()
        assert call.end().code == "CANCELLED"


def test_export_audit(admin):
    """Larger than every window: nothing is lost, the order is kept."""
    call = admin.call("AuditService/ExportAudit").end()
    assert (call.code, call.text) == ("OK", "")
    seqs = [int(reply["seq"]) for reply in call.replies]
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) > 2000
    assert call.replies[0]["prevHash"] == encode(bytes(32))
    assert all(a["hash"] == b["prevHash"] for a, b in zip(call.replies, call.replies[1:]))
    seq, digest = call.trailers["telovix-audit-head"][0].split(":")
    assert int(seq) == seqs[-1] and digest == base64.b64decode(call.replies[-1]["hash"]).hex()


def test_slow_reader_stops_only_itself(admin, peer):
    slow = admin.call("AuditService/ExportAudit", pause_after=1)
    slow.next("message")
    for _ in range(20):
        admin.call("OperatorService/WhoAmI").ok()
    slow.resume()
    assert slow.end().code == "OK" and int(slow.replies[-1]["seq"]) == len(slow.replies)


def test_large_pages(admin, hub):
    """A page ends at about 512 KiB; the next one goes on behind it."""
    seqs, token, n_pages = [], "", 0
    while n_pages == 0 or token:
        reply = admin.call("AuditService/ListAudit", {
            "pageSize": 5000, "pageToken": token, "actionType": "process_kill_queued", "outcome": "AUDIT_OUTCOME_FAILURE"}).ok()
        seqs += [int(record["seq"]) for record in reply["records"]]
        assert reply["records"][0]["reason"] == hub.long_reason or n_pages == 0
        token, n_pages = reply["nextPageToken"], n_pages + 1
    assert len(set(seqs)) == len(seqs) >= 2000 and seqs == sorted(seqs, reverse=True) and n_pages >= 3


# ---- a sensor ----

def signing_request(key):
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return encode(request.public_bytes(serialization.Encoding.DER))


def enroll(peer, admin, hub, folder, name):
    """Token, signing request, certificate: a channel with the identity of a new sensor."""
    token = admin.call("TokenService/CreateEnrollmentToken", {"nodeName": name}).ok()["token"]
    key = ec.generate_private_key(ec.SECP256R1())
    request = {"token": token, "csr": signing_request(key), "nodeName": name}
    stranger = peer.open(hub.address, hub.admin, certificate=False)
    # This code keeps its text in every client: no certificate would cure it, and so its HTTP status is 200.
    refused = stranger.call("EnrollmentService/Enroll", {**request, "token": token[:-1] + ("a" if token[-1] != "a" else "b")})
    assert refused.failed() == ("UNAUTHENTICATED", "token_unknown")
    reply = stranger.call("EnrollmentService/Enroll", request).ok()
    # A lost answer can be had again, with the same key only.
    assert stranger.call("EnrollmentService/Enroll", request).ok()["sensorId"] == reply["sensorId"]
    other = {**request, "csr": signing_request(ec.generate_private_key(ec.SECP256R1()))}
    assert stranger.call("EnrollmentService/Enroll", other).failed() == ("UNAUTHENTICATED", "token_used")
    stranger.close()
    pem = serialization.Encoding.PEM
    for file, chain in (("client.crt", reply["certificateChain"]), ("ca.crt", reply["caBundle"])):
        certificates = [x509.load_der_x509_certificate(base64.b64decode(data)) for data in chain]
        (folder / file).write_bytes(b"".join(certificate.public_bytes(pem) for certificate in certificates))
    (folder / "client.key").write_bytes(key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return peer.open(hub.address, folder)


def test_as_a_sensor(peer, admin, hub, tmp_path):
    """Enrollment, Heartbeat, Wake, an order taken and answered: all that a sensor does, by this peer."""
    name = f"peer-{peer.name}"
    channel = enroll(peer, admin, hub, tmp_path, name)
    boot = {"bootId": encode(b"0123456789abcdef"), "bootNs": "1000000000000", "sensorVersion": "peer"}
    reply = channel.call("SensorService/Heartbeat", boot).ok()
    assert reply["pendingKillPids"] == [] and len(base64.b64decode(reply["auditHead"]["hash"])) == 32
    wake = channel.call("SensorService/Wake")
    # Nothing has happened yet, and still the stream is open: its headers came at once.
    wake.next("head")
    order = admin.call("ContainmentService/KillProcess", {"sensor": name, "pid": 4242}).ok()["order"]
    assert wake.message() == {}
    reply = channel.call("SensorService/Heartbeat", {**boot, "bootNs": "1000500000000"}).ok()
    [pending] = reply["pendingKillPids"]
    assert (pending["orderId"], pending["pid"], pending["bootId"]) == (order["orderId"], 4242, boot["bootId"])
    reply = channel.call("SensorService/Heartbeat", {**boot, "bootNs": "1001000000000", "killResults": [
        {"orderId": order["orderId"], "state": "KILL_STATE_ALREADY_GONE", "bootId": boot["bootId"]}]}).ok()
    assert reply["acknowledgedOrderIds"] == [order["orderId"]] and reply["pendingKillPids"] == []
    assert admin.call("ContainmentService/GetKill", {"orderId": order["orderId"]}).ok()["state"] == "KILL_STATE_ALREADY_GONE"
    # The newest stream wins.
    newer = channel.call("SensorService/Wake")
    newer.next("head")
    assert wake.failed() == ("ABORTED", "wake_replaced")
    newer.cancel()
    assert newer.end().code == "CANCELLED"
    assert channel.call("OperatorService/WhoAmI").failed() == ("PERMISSION_DENIED", "wrong_principal")
    channel.close()


# ---- deadlines ----

def test_deadline(admin):
    call = admin.call("FleetService/WatchFleet", timeout=0.3)
    call.next("message")
    assert call.end().code == "DEADLINE_EXCEEDED"


def test_deadline_that_has_passed(peer, admin):
    if peer.name == "connect":
        pytest.skip("Connect takes a time-out of 0 or less for none")
    assert admin.call("OperatorService/WhoAmI", timeout=-1).end().code == "DEADLINE_EXCEEDED"
    admin.call("OperatorService/WhoAmI", timeout=20).ok()


# ---- errors ----

def test_violations(admin):
    call = admin.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": 1, "exe": "relative", "requestId": "with space"})
    assert call.failed() == ("INVALID_ARGUMENT", "invalid_argument")
    assert call.status["code"] == 3
    assert call.violations == {
        "pid": "1 is no process that can be killed; PIDs start at 2",
        "exe": "is not an absolute path of at most 4095 bytes",
        "request_id": "is not 1 to 64 of [A-Za-z0-9._:-]"}
    assert call.text == "pid: 1 is no process that can be killed; PIDs start at 2"


@pytest.mark.parametrize("name", ["100% sure", "%41%zz%", "\u00fcber\u2192\u4e2d\u6587", "caf\u00e9 \U0001f680", "a:b/c?d&e=f+g"])
def test_text_survives(admin, name):
    """Percent, characters of two to four bytes, and what URLs escape: the text arrives as it was written."""
    call = admin.call("FleetService/GetSensor", {"sensor": name})
    assert call.failed() == ("NOT_FOUND", "unknown_sensor")
    assert call.text == f"no sensor has the id or the node name \"{name}\""


def test_long_text_is_cut_at_a_character(admin):
    call = admin.call("FleetService/GetSensor", {"sensor": "\u4e2d" * 1000})
    assert call.failed() == ("NOT_FOUND", "unknown_sensor")
    assert re.fullmatch("no sensor has the id or the node name \"\u4e2d{50,}\u2026?\"?", call.text), call.text


def test_no_certificate(peer, admin, hub):
    channel = peer.open(hub.address, hub.admin, certificate=False)
    unauthenticated(peer, channel.call("OperatorService/WhoAmI"))
    # Streams likewise, and health needs none.
    unauthenticated(peer, channel.call("FleetService/WatchFleet"))
    assert channel.call("grpc.health.v1.Health/Check").ok() == {"status": "SERVING"}
    channel.close()


def test_role(peer, admin, hub):
    channel = peer.open(hub.address, hub.viewer)
    assert channel.call("OperatorService/WhoAmI").ok()["role"] == "ROLE_VIEWER"
    call = channel.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": 4242})
    assert call.failed() == ("PERMISSION_DENIED", "role_too_low")
    assert channel.call("AuditService/ExportAudit").failed() == ("PERMISSION_DENIED", "role_too_low")
    channel.close()


@pytest.mark.parametrize("method", ["OperatorService/Nothing", "NoService/WhoAmI", "OperatorService/whoAmI"])
def test_unknown_method(admin, method):
    call = admin.call(method)
    assert call.failed() == ("UNIMPLEMENTED", "unknown_method")
    assert call.text == f"there is no method /telovix.v1.{method}"


def test_compressed_request(peer, admin, hub):
    channel = peer.open(hub.address, hub.admin, **{"grpc.default_compression_algorithm": 2})
    call = channel.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": 4242, "reason": "x" * 5000})
    assert call.failed() == ("UNIMPLEMENTED", "compression_unsupported")
    assert call.text == "the message is compressed; this server accepts only identity"
    channel.close()


def test_oversized_request(admin):
    call = admin.call("ContainmentService/KillProcess", {"sensor": "web-1", "pid": 4242, "reason": "x" * 2000000})
    assert call.failed()[0] == "RESOURCE_EXHAUSTED"
    assert "20000" in call.text and "1048576" in call.text
    admin.call("OperatorService/WhoAmI").ok()


# ---- health ----

def test_health(admin):
    for service in ("", "telovix.v1.FleetService", "grpc.health.v1.Health"):
        assert admin.call("grpc.health.v1.Health/Check", {"service": service}).ok() == {"status": "SERVING"}
    assert admin.call("grpc.health.v1.Health/Check", {"service": "no.such"}).failed() == ("NOT_FOUND", "unknown_service")


@pytest.mark.parametrize("service, status", [("", "SERVING"), ("telovix.v1.FleetService", "SERVING"), ("no.such", "SERVICE_UNKNOWN")])
def test_health_watch(admin, service, status):
    call = admin.call("grpc.health.v1.Health/Watch", {"service": service})
    assert call.message() == {"status": status}
    # It stays open: what ends it is the cancel.
    admin.call("OperatorService/WhoAmI").ok()
    call.cancel()
    assert call.end().code == "CANCELLED"


# ---- reflection ----

@pytest.fixture(params=["v1", "v1alpha"])
def reflect(admin, request):
    def reflect(*requests):
        call = admin.call(f"grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo", *requests).end()
        assert (call.code, call.text) == ("OK", "") and len(call.replies) == len(requests)
        for question, answer in zip(requests, call.replies):
            asked = answer["originalRequest"]
            assert {key: asked[key] for key in question} == question and answer["validHost"] == question.get("host", "")
        return call.replies
    return reflect


def files_of(answer):
    return [base64.b64decode(data) for data in answer["fileDescriptorResponse"]["fileDescriptorProto"]]


def name_of(file):
    """FileDescriptorProto { string name = 1; } comes first."""
    assert file[0] == 0x0a
    return file[2:2 + file[1]].decode()


def test_reflection_lists_services(reflect):
    for content in ("", "*"):
        [answer] = reflect({"host": "here", "listServices": content})
        assert sorted(entry["name"] for entry in answer["listServicesResponse"]["service"]) == SERVICES


@pytest.mark.parametrize("symbol, file", [
    ("telovix.v1.FleetService", "telovix/v1/fleet.proto"), ("telovix.v1.FleetService.GetSensor", "telovix/v1/fleet.proto"),
    ("telovix.v1.KillOrder", "telovix/v1/types.proto"), ("telovix.v1.KillOrder.pid", "telovix/v1/types.proto"),
    ("telovix.v1.KillState", "telovix/v1/types.proto"), ("telovix.v1.KILL_STATE_KILLED", "telovix/v1/types.proto"),
    ("telovix.v1.Sensor.LabelsEntry", "telovix/v1/fleet.proto"), ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
    ("google.rpc.BadRequest.FieldViolation", "google/rpc/error_details.proto"), ("google.rpc.Status", "google/rpc/status.proto"),
    ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
    ("grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto")])
def test_reflection_finds_symbols(reflect, symbol, file):
    [answer] = reflect({"fileContainingSymbol": symbol})
    assert name_of(files_of(answer)[0]) == file


def test_reflection_gives_files_with_their_imports(reflect):
    [answer] = reflect({"fileByFilename": "telovix/v1/fleet.proto"})
    names = [name_of(file) for file in files_of(answer)]
    assert names[0] == "telovix/v1/fleet.proto" and set(names) == imports_of(names[0]) and len(set(names)) == len(names)


def test_reflection_goes_on_after_a_miss(reflect):
    answers = reflect({"fileContainingSymbol": "telovix.v1.Nothing"}, {"fileByFilename": "fleet.proto"}, {},
                      {"fileContainingExtension": {"containingType": "telovix.v1.Sensor", "extensionNumber": 100}},
                      {"allExtensionNumbersOfType": "telovix.v1.Sensor"}, {"allExtensionNumbersOfType": "telovix.v1.Nothing"},
                      {"listServices": ""})
    codes = [answer.get("errorResponse", {}).get("errorCode") for answer in answers]
    assert codes == [5, 5, 12, 5, None, 5, None]
    assert answers[0]["errorResponse"]["errorMessage"] == "no symbol telovix.v1.Nothing"
    assert answers[4]["allExtensionNumbersResponse"] == {"baseTypeName": "telovix.v1.Sensor", "extensionNumber": []}
    assert len(answers[6]["listServicesResponse"]["service"]) == len(SERVICES)


def test_reflection_is_for_operators(peer, admin, hub):
    channel = peer.open(hub.address, hub.admin, certificate=False)
    unauthenticated(peer, channel.call("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", {"listServices": ""}))
    channel.close()


# ---- connections ----

def test_calls_share_one_connection(peer, admin, hub):
    """50 calls in flight, a third of them streams."""
    channel = peer.open(hub.address, hub.admin)
    channel.call("OperatorService/WhoAmI").ok()
    before = peer.connections(hub.console.port)
    calls = [channel.call(*(("AuditService/ExportAudit", {"fromSeq": "1990"}) if i % 3 == 0 else ("OperatorService/WhoAmI",)))
             for i in range(50)]
    for i, call in enumerate(calls):
        call.end()
        assert (call.code, call.text) == ("OK", "")
        if i % 3 == 0:
            seqs = [int(reply["seq"]) for reply in call.replies]
            assert seqs == list(range(1990, 1990 + len(seqs)))
        else:
            assert call.replies[0]["name"] == "admin"
    assert peer.connections(hub.console.port) == before
    channel.close()


def test_calls_beyond_the_limit_wait(admin):
    """More calls than streams a connection may have (100): the client queues them, none fails."""
    calls = [admin.call("FleetService/GetSensor", {"sensor": "web-1"}) for _ in range(300)]
    for call in calls:
        assert call.ok()["nodeName"] == "web-1"
