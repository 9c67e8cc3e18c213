# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input and wrong identities: the precise error, audited where it should be, and nothing else disturbed."""
import datetime
import socket
import ssl
import struct

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import telovix

KILL = "/telovix.v1.ContainmentService/KillProcess"
WHOAMI = "/telovix.v1.OperatorService/WhoAmI"


class Raw:
    """One HTTP/2 connection with hand-made frames."""

    def __init__(self, address, profile=None):
        host, port = address.rsplit(":", 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if profile:
            context.load_cert_chain(profile / "client.crt", profile / "client.key")
        self.sock = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10))
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def request(self, path=WHOAMI, body=b"\0\0\0\0\0", content_type="application/grpc", method="POST", end=True, extra=(),
                te="trailers", head_end=False):
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "console")]
        if te:
            headers.append(("te", te))
        if content_type is not None:
            headers.append(("content-type", content_type))
        self.h2.send_headers(stream, headers + list(extra), end_stream=head_end)
        if not head_end and body is not None:
            for at in range(0, max(len(body), 1), 16384):
                piece = body[at:at + 16384]
                while self.h2.local_flow_control_window(stream) < len(piece):
                    self.pump()
                self.h2.send_data(stream, piece, end_stream=end and at + 16384 >= len(body))
                self.flush()
        self.flush()
        return stream

    def pump(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        events = self.h2.receive_data(data)
        self.flush()
        return events

    def answer(self, stream):
        """Headers and trailers in one dict, messages joined; ends at END_STREAM or RST_STREAM."""
        fields, body = {}, b""
        while True:
            for event in self.pump():
                if getattr(event, "stream_id", stream) != stream:
                    continue
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    fields.update(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamReset):
                    return {**fields, "reset": event.error_code}, body
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return {**fields, "goaway": event.error_code}, body
                elif isinstance(event, h2.events.StreamEnded):
                    return fields, body

    def ask(self, *args, **options):
        return self.answer(self.request(*args, **options))[0]

    def close(self):
        self.sock.close()


@pytest.fixture
def raw(running):
    raw = Raw(running.console.address, running.profile)
    yield raw
    # Whatever was sent: the same connection still serves.
    assert raw.ask()["grpc-status"] == "0"
    raw.close()


def frame(message, flag=0):
    return struct.pack(">BI", flag, len(message)) + message


@pytest.mark.parametrize("content_type", [None, "", "application/json", "application/grpc+json", "application/grpc-web", "text/plain"])
def test_wrong_content_type(raw, content_type):
    answer = raw.ask(content_type=content_type)
    assert answer[":status"] == "415" and "grpc-status" not in answer


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
def test_right_content_type(raw, content_type):
    answer = raw.ask(content_type=content_type)
    assert answer["grpc-status"] == "0" and answer["content-type"] == content_type.split(";")[0] or answer["content-type"] == content_type


def test_wrong_method(raw):
    answer = raw.ask(method="PUT")
    assert answer[":status"] == "405" and answer["allow"] == "POST"


@pytest.mark.parametrize("path", ["/telovix.v1.OperatorService/whoami", "/telovix.v1.Nothing/WhoAmI", WHOAMI + "?a=b", "/x", "/"])
def test_unknown_method(raw, path):
    answer = raw.ask(path=path)
    assert (answer[":status"], answer["grpc-status"]) == ("200", "12")


def test_te_may_be_missing(raw):
    assert raw.ask(te=None)["grpc-status"] == "0"


@pytest.mark.parametrize("value, status", [("5x", "13"), ("123456789S", "13"), ("-1S", "13"), ("", "13"), ("0m", "4"), ("99999999H", "0"), ("5S", "0")])
def test_grpc_timeout(raw, value, status):
    assert raw.ask(extra=[("grpc-timeout", value)])["grpc-status"] == status


@pytest.mark.parametrize("body, status", [
    (b"", "12"),                                   # no message
    (b"\0\0\0", "13"),                             # half a head
    (b"\0\0\0\0\5ab", "13"),                       # truncated
    (frame(b"") + frame(b""), "12"),               # two messages
    (frame(b"", 2), "13"), (frame(b"", 1), "13"),  # flags
    (b"\0\x7f\xff\xff\xff", "8"),                  # oversized: from the five bytes alone
])
def test_frames(raw, body, status):
    assert raw.ask(body=body)["grpc-status"] == status


def test_no_message_with_the_headers(raw):
    assert raw.ask(head_end=True)["grpc-status"] == "12"


def test_compressed(raw):
    answer = raw.ask(body=frame(b"", 1), extra=[("grpc-encoding", "gzip")])
    assert answer["grpc-status"] == "12" and answer["grpc-accept-encoding"] == "identity"


def test_oversized_names_both_numbers(raw):
    answer = raw.ask(body=struct.pack(">BI", 0, 2_000_000) + b"x" * 1000, end=True)
    assert answer["grpc-status"] == "8" and "2000000" in answer["grpc-message"] and "1048576" in answer["grpc-message"]


@pytest.mark.parametrize("message, field", [
    (b"\x0a\xff", "sensor"), (b"\xff", "request"),      # malformed protobuf
    (b"\x0a\x03a\0b", "sensor"), (b"\x0a\x02\xc3\x28", "sensor"),  # NUL, invalid UTF-8
])
def test_malformed_message(raw, message, field):
    answer = raw.ask(path=KILL, body=frame(message))
    assert answer["grpc-status"] == "3" and field in answer["grpc-message"], answer


def test_any_split_is_the_same(running):
    """The message split at every byte."""
    raw = Raw(running.console.address, running.profile)
    stream = raw.request(body=None, end=False)
    body = frame(b"")
    for at in range(len(body)):
        raw.h2.send_data(stream, body[at:at + 1], end_stream=at == len(body) - 1)
        raw.flush()
    assert raw.answer(stream)[0]["grpc-status"] == "0"
    raw.close()


# ---- identities ----

def no_certificate(fleet):
    return grpc.ssl_channel_credentials((fleet.profile / "ca.crt").read_bytes())


def refused(api, name="telovix.v1.OperatorService/WhoAmI", **fields):
    with pytest.raises(grpc.RpcError) as error:
        api.call(name, **fields)
    return error.value.code(), telovix.details(error.value)[0]


def test_no_certificate(running):
    api = telovix.Api(running.console.address, channel_credentials=no_certificate(running))
    for _ in range(3):
        assert refused(api) == (grpc.StatusCode.UNAUTHENTICATED, "certificate_required")
    # Health may be asked by anyone.
    assert api.call("grpc.health.v1.Health/Check").status == 1
    api.close()
    raw = Raw(running.console.address)
    answer = raw.ask()
    assert (answer[":status"], answer["grpc-status"]) == ("401", "16")
    raw.close()
    # Denied attempts are audited once per source, method and minute.
    denied = [r for r in running.audit("--action", "access_denied") if "WhoAmI" in r["detail"]]
    assert len(denied) == 1 and denied[0]["outcome"] == "AUDIT_OUTCOME_FAILURE" and denied[0]["clientIp"] == "127.0.0.1"


def make_certificate(fleet, uri, issuer=None, eku=ExtendedKeyUsageOID.CLIENT_AUTH, days=(-1, 30), cn="test"):
    """A certificate signed with the fleet's CA key (or another), as an attacker or a mistake might have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    if issuer is None:
        issuer = (x509.load_pem_x509_certificate((fleet.data / "ca/ca.crt").read_bytes()),
                  serialization.load_pem_private_key((fleet.data / "ca/ca.key").read_bytes(), None))
    ca, ca_key = issuer
    try:
        key_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value)
    except x509.ExtensionNotFound:
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())
    builder = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
               .issuer_name(ca.subject).public_key(key.public_key()).serial_number(x509.random_serial_number() >> 40)
               .not_valid_before(telovix.now() + datetime.timedelta(days=days[0]))
               .not_valid_after(telovix.now() + datetime.timedelta(days=days[1]))
               .add_extension(x509.BasicConstraints(False, None), True)
               .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
               .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
               .add_extension(key_id, False)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return grpc.ssl_channel_credentials((fleet.profile / "ca.crt").read_bytes(), key_pem, pem)


def fleet_id(fleet):
    import re
    return re.search(r"fleet-[a-z0-9]{16}", (fleet.profile / "profile.ini").read_text()).group(0)


def test_unknown_serial(running):
    """Signed by our CA, but not on record."""
    api = telovix.Api(running.console.address, channel_credentials=make_certificate(running, f"spiffe://{fleet_id(running)}/operator/admin"))
    assert refused(api) == (grpc.StatusCode.UNAUTHENTICATED, "certificate_unknown")
    api.close()


def test_expired_is_told_so(running):
    """An expired leaf passes the handshake, so that its owner can be told."""
    api = telovix.Api(running.console.address, channel_credentials=make_certificate(
        running, f"spiffe://{fleet_id(running)}/operator/admin", days=(-30, -1)))
    assert refused(api) == (grpc.StatusCode.UNAUTHENTICATED, "certificate_expired")
    api.close()


@pytest.mark.parametrize("kind", ["foreign CA", "not yet valid", "server purpose", "no purpose"])
def test_handshake_is_refused(running, tmp_path, kind):
    """These end in a TLS alert; the fleet's own callers notice nothing."""
    uri = f"spiffe://{fleet_id(running)}/operator/admin"
    options = {}
    if kind == "foreign CA":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other fleet")])
        ca = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
              .serial_number(1).not_valid_before(telovix.now() - datetime.timedelta(days=1))
              .not_valid_after(telovix.now() + datetime.timedelta(days=30))
              .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
        options["issuer"] = (ca, key)
    elif kind == "not yet valid":
        options["days"] = (1, 30)
    elif kind == "server purpose":
        options["eku"] = ExtendedKeyUsageOID.SERVER_AUTH
    else:
        options["eku"] = None
    api = telovix.Api(running.console.address, channel_credentials=make_certificate(running, uri, **options))
    with pytest.raises(grpc.RpcError) as error:
        api.call("telovix.v1.OperatorService/WhoAmI", timeout=3)
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    api.close()
    assert running.ctl("whoami").returncode == 0


def test_telovixctl_translates_the_alert(running, tmp_path):
    """A profile of another fleet: words, not numbers."""
    with telovix.Fleet() as other:
        result = running.ctl("whoami", profile=other.profile, check=False)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "certificate" in result.stderr.lower(), result.stderr


def test_sensor_on_the_operator_api_and_the_reverse(running):
    sensor = telovix.Api(running.console.address, channel_credentials=telovix.sensor_credentials(running.node))
    assert refused(sensor) == (grpc.StatusCode.PERMISSION_DENIED, "wrong_principal")
    sensor.close()
    admin = telovix.Api(running.console.address, running.profile)
    assert refused(admin, "telovix.v1.SensorService/Heartbeat", boot_id=b"x" * 16) == (grpc.StatusCode.PERMISSION_DENIED, "wrong_principal")
    admin.close()
    assert {r["actor"] for r in running.audit("--outcome", "failure")} >= {"admin", running.node.sensor_id}


def test_sensor_reporting_for_another_sensor(running):
    """Its report is audited, and the order of the other sensor is not touched."""
    import signal as signals
    other = running.start_sensor("other")
    running.node.process.send_signal(signals.SIGSTOP)
    try:
        order = running.ctl_json("kill", "web-1", "4242")[0]["order"]
        api = telovix.Api(running.console.address, channel_credentials=telovix.sensor_credentials(other))
        KillResult = telovix.Api.message("telovix.v1.KillResult")
        reply = api.call("telovix.v1.SensorService/Heartbeat", boot_id=b"x" * 16, boot_ns=1,
                         kill_results=[KillResult(order_id=order["orderId"], state=4)])
        assert order["orderId"] not in reply.acknowledged_order_ids
        api.close()
        assert running.ctl_json("kills", "get", order["orderId"])[0]["state"] == "KILL_STATE_QUEUED"
    finally:
        running.node.process.send_signal(signals.SIGCONT)
    rejected = telovix.wait_for(lambda: [r for r in running.audit("--action", "sensor_rejected") if order["orderId"] in r["detail"]],
                                "the report is on record")
    assert rejected[0]["actor"] == other.sensor_id


def test_impossible_reports_are_audited_once_a_minute(running):
    """However many of them a sensor sends: the audit log is not its to fill."""
    victim = running.node.victim()
    order = running.ctl_json("kill", "web-1", victim.pid, "--wait")[0]
    api = telovix.Api(running.console.address, channel_credentials=telovix.sensor_credentials(running.node))
    KillResult = telovix.Api.message("telovix.v1.KillResult")
    for _ in range(20):
        api.call("telovix.v1.SensorService/Heartbeat", boot_id=b"x" * 16, boot_ns=1,
                 kill_results=[KillResult(order_id=order["orderId"], state=99)] * 50)
    api.close()
    telovix.wait_for(lambda: running.audit("--action", "sensor_rejected"), "the report is on record")
    victim = running.node.victim()
    running.ctl_json("kill", "web-1", victim.pid)  # its record comes after all of theirs
    assert len(running.audit("--action", "sensor_rejected")) == 1


def test_wrong_role(fleet):
    profile = fleet.operator("eve", "viewer")
    fleet.start_console()
    fleet.start_sensor("web-1")
    result = fleet.ctl("kill", "web-1", "4242", profile=profile, check=False)
    assert result.returncode == 1 and "PERMISSION_DENIED role_too_low" in result.stderr
    assert fleet.ctl("sensors", "list", profile=profile).returncode == 0
    denied = fleet.audit("--action", "access_denied", "--actor", "eve")
    assert len(denied) == 1 and "KillProcess" in denied[0]["detail"]


def test_role_bites_at_the_next_start(fleet):
    """The role is looked up in the store, not in the certificate."""
    profile = fleet.operator("bob", "operator")
    fleet.start_console()
    assert fleet.ctl("token", "list", profile=profile).returncode == 0
    fleet.console.stop()
    fleet.mint("role", "bob", "viewer")
    fleet.start_console()
    assert "role_too_low" in fleet.ctl("token", "list", profile=profile, check=False).stderr
    fleet.console.stop()
    fleet.mint("revoke-operator", "bob")
    fleet.start_console()
    result = fleet.ctl("whoami", profile=profile, check=False)
    assert result.returncode == 1 and "UNAUTHENTICATED" in result.stderr


def test_revoked_sensor_gets_401(fleet):
    fleet.start_console()
    sensor = fleet.start_sensor("web-1")
    fleet.console.stop()
    fleet.mint("revoke-sensor", sensor.sensor_id)
    fleet.start_console()
    sensor.wait_output(r"invalid_sensor_trust")
    api = telovix.Api(fleet.console.address, channel_credentials=telovix.sensor_credentials(sensor))
    assert refused(api, "telovix.v1.SensorService/Heartbeat", boot_id=b"x" * 16) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_sensor_trust")
    api.close()
    assert sensor.running()


def test_field_violations(running):
    api = telovix.Api(running.console.address, running.profile)
    for fields, field in (({"exe": "relative"}, "exe"), ({"reason": "x" * 501}, "reason"), ({"request_id": "with space"}, "request_id"),
                          ({"exe": "/" + "x" * 4096}, "exe")):
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=4242, **fields)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert field in telovix.details(error.value)[1]
    for seconds in (9, 86401):
        duration = telovix.Api.message("google.protobuf.Duration")(seconds=seconds)
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=4242, life=duration)
        assert "life" in telovix.details(error.value)[1]
    for token in ("garbage", "AAAA"):
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.FleetService/ListSensors", page_token=token)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "page_token" in telovix.details(error.value)[1]
    api.close()


def test_garbage_on_the_port(running):
    """Plain text, half a handshake, a sudden end: nobody else notices."""
    host, port = running.console.address.rsplit(":", 1)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, b"", b"\0" * 4096):
        sock = socket.create_connection((host, int(port)), timeout=5)
        sock.sendall(garbage)
        sock.close()
    assert running.ctl("whoami").returncode == 0


def test_alpn_is_required(running):
    host, port = running.console.address.rsplit(":", 1)
    for protocols in (["http/1.1"], []):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if protocols:
            context.set_alpn_protocols(protocols)
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            sock = context.wrap_socket(socket.create_connection((host, int(port)), timeout=5))
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            if not sock.recv(100):
                raise EOFError
            sock.close()


def test_tls_1_3_only_and_no_tickets(running):
    host, port = running.console.address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(socket.create_connection((host, int(port)), timeout=5))
    raw = Raw(running.console.address, running.profile)
    assert raw.ask()["grpc-status"] == "0"
    assert raw.sock.session is None or not raw.sock.session.has_ticket
    raw.close()


def test_page_tokens_and_filters_that_are_none(running, api):
    """A cut token would begin elsewhere, an unknown number match what nobody asked for."""
    for _ in range(3):
        running.enroll(f"n{_}")
        running.ctl("kill", "web-1", "4242")
    def first_violation(method, **fields):
        with pytest.raises(grpc.RpcError) as error:
            api.call(f"telovix.v1.{method}", **fields)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, error.value
        return next(iter(telovix.details(error.value)[1]))
    for method in ("AuditService/ListAudit", "FleetService/ListSensors", "ContainmentService/ListKills", "TokenService/ListEnrollmentTokens"):
        token = api.call(f"telovix.v1.{method}", page_size=1).next_page_token
        assert token and api.call(f"telovix.v1.{method}", page_size=1, page_token=token)
        for bad in (token[:-3], token + "AAAA", "!", "AAAA"):
            assert first_violation(method, page_size=1, page_token=bad) == "page_token", (method, bad)
    assert first_violation("AuditService/ListAudit", outcome=9) == "outcome"
    assert first_violation("FleetService/ListSensors", status=99) == "status"
    assert first_violation("FleetService/ListSensors", health_state=-1) == "health_state"


def test_strangers_do_not_take_all_places(running):
    """Connections without a certificate are bounded, whatever they do with them: those past the bound are told to go."""
    opened = []
    try:
        for _ in range(512):
            opened.append(Raw(running.console.address))
        late = Raw(running.console.address)
        opened.append(late)
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                for event in late.pump():
                    if isinstance(event, h2.events.ConnectionTerminated):
                        assert event.error_code == 11 and event.additional_data == b"too_many_anonymous"
        # Those within it are served, and so are sensors and operators.
        assert opened[0].ask("/grpc.health.v1.Health/Check")["grpc-status"] == "0"
        victim = running.node.victim()
        running.ctl("kill", "web-1", victim.pid, "--wait")
    finally:
        for raw in opened:
            raw.close()
    def free_again():
        raw = Raw(running.console.address)
        try:
            return raw.ask("/grpc.health.v1.Health/Check")["grpc-status"] == "0"
        except (EOFError, ConnectionError, KeyError):
            return False
        finally:
            raw.close()
    telovix.wait_for(free_again, "a place is free again")
