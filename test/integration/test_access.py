# SPDX-License-Identifier: GPL-2.0-or-later
"""Every method of every service, as reflection tells them, with every kind of caller: compared with a table that is written
down here once more, from who may do what (doc/operations.md), and not taken from the Console."""
import collections
import datetime
import json
import socket
import ssl

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

V1 = "telovix.v1."
ANYONE, SENSOR, VIEWER, OPERATOR, ADMIN = "anyone", "sensor", "viewer", "operator", "admin"
RENEW = V1 + "SensorService/RenewCertificate"

# The least that a caller must be.
LEAST = {
    ANYONE: ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch", V1 + "EnrollmentService/Enroll"],
    SENSOR: [V1 + "SensorService/" + name for name in ("Heartbeat", "Wake", "RenewCertificate")],
    VIEWER: ["grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
             "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
    + [V1 + "FleetService/" + name for name in ("ListSensors", "GetSensor", "GetFleetHealth", "WatchFleet")]
    + [V1 + "ContainmentService/" + name for name in ("GetKill", "WatchKill", "ListKills", "GetAllowList")]
    + [V1 + "PolicyService/" + name for name in ("ListEnforcementRules", "GetEnforcementRule", "WatchEnforcementRule",
                                                 "GetTemplate")]
    + [V1 + "EventService/" + name for name in ("ListEvents", "WatchEvents")]
    + [V1 + "OperatorService/" + name for name in ("WhoAmI", "RenewOperator")],
    OPERATOR: [V1 + "ContainmentService/" + name for name in ("KillProcess", "CancelKill", "BlockBinary", "ContainSensor",
                                                              "ReleaseSensor", "SetAllowList")]
    + [V1 + "PolicyService/" + name for name in ("SetEnforcementRuleMode", "DeleteEnforcementRule")]
    # What only an admin may create of them (fleet tokens, those for a revoked sensor) is decided by the argument.
    + [V1 + "TokenService/" + name for name in ("CreateEnrollmentToken", "CreateReenrollmentToken", "ListEnrollmentTokens",
                                                "RevokeEnrollmentToken")]
    + [V1 + "AuditService/" + name for name in ("ListAudit", "ExportAudit", "GetAuditHead")],
    ADMIN: [V1 + "FleetService/" + name for name in ("DisableSensor", "EnableSensor", "RevokeSensor", "DeleteSensor")]
    + [V1 + "OperatorService/" + name for name in ("CreateOperator", "ListOperators", "SetOperatorRole", "RevokeOperator")],
}
METHODS = {method: least for least, methods in LEAST.items() for method in methods}
ROLES = [VIEWER, OPERATOR, ADMIN]
# What authentication and authorization say; everything else comes from behind them.
REFUSALS = {"certificate_required", "certificate_untrusted", "certificate_expired", "certificate_not_yet_valid",
            "certificate_wrong_purpose", "certificate_identity", "certificate_unknown", "certificate_superseded",
            "certificate_revoked", "invalid_sensor_trust", "sensor_deleted", "operator_revoked", "wrong_principal",
            "role_too_low", "method_not_listed"}
PASS, ALERT = "pass", "alert"


def expected(caller, method):
    """What `caller` must get: PASS, ALERT, or the reason of the refusal."""
    least = METHODS[method]
    if caller.alert:
        return ALERT
    if least == ANYONE:
        return PASS
    if caller.refused and not (caller.may_renew and method == RENEW):
        return caller.refused
    if (least == SENSOR) != (caller.role == SENSOR):
        return "wrong_principal"
    if least == SENSOR or ROLES.index(caller.role) >= ROLES.index(least):
        return PASS
    return "role_too_low"


class Caller:
    def __init__(self, name, role, credentials, refused=None, alert=None, may_renew=False, actor=None):
        self.name, self.role, self.refused, self.alert, self.may_renew = name, role, refused, alert, may_renew
        self.credentials, self.actor = credentials, actor


# ---- certificates that no Console gives ----

def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def issue(issuer_key, issuer_name, uri, serial=None, days=(-1, 30), purpose=ExtendedKeyUsageOID.CLIENT_AUTH):
    """Key and certificate as PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), telovix.now()
    builder = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
               .issuer_name(issuer_name).public_key(key.public_key()).serial_number(serial or x509.random_serial_number() >> 40)
               .not_valid_before(now + datetime.timedelta(days=days[0])).not_valid_after(now + datetime.timedelta(days=days[1]))
               .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False))
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    return pem(key), builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Fleet(telovix.Fleet):
    """A Console, and a caller of every kind."""

    def prepare(self):
        self.mint("sensors", 6, self.folder / "sensors")
        self.start_console()
        self.roots = (self.profile / "ca.crt").read_bytes()
        self.ca_key = serialization.load_pem_private_key((self.data / "ca/ca.key").read_bytes(), None)
        self.ca_name = x509.load_pem_x509_certificate((self.data / "ca/ca.crt").read_bytes()).subject
        self.fleet_id = self.ctl_json("whoami")[0]["fleetId"]
        for name, role in (("vera", VIEWER), ("otto", OPERATOR), ("adam", ADMIN), ("rita", ADMIN), ("olga", ADMIN),
                           ("emil", ADMIN)):
            self.ctl("operator", "create", name, "--role", role, "--out", self.folder / name)
        self.callers = [
            *(Caller(role, role, telovix.credentials(self.folder / name), actor=name)
              for name, role in (("vera", VIEWER), ("otto", OPERATOR), ("adam", ADMIN))),
            Caller("sensor", SENSOR, self.sensor_identity(0), actor=self.id_of(0)),
            Caller("another sensor", SENSOR, self.sensor_identity(1), actor=self.id_of(1)),
            Caller("no certificate", None, grpc.ssl_channel_credentials(self.roots), refused="certificate_required"),
            *self.revoked(), *self.expired(), *self.old(), *self.odd()]

    def part(self, i, name):
        return (self.folder / "sensors" / str(i) / name).read_bytes()

    def id_of(self, i):
        return self.part(i, "id").decode()

    def sensor_identity(self, i):
        return grpc.ssl_channel_credentials(self.roots, self.part(i, "client.key"), self.part(i, "client.crt"))

    def made(self, uri, issuer=None, **options):
        key, certificate = issue(issuer or self.ca_key, self.ca_name, f"spiffe://{self.fleet_id}/{uri}", **options)
        return grpc.ssl_channel_credentials(self.roots, key, certificate)

    def revoked(self):
        api = telovix.Api(self.console.address, self.profile)
        node = self.sensor(self.id_of(2))["nodeName"]
        api.call(V1 + "FleetService/RevokeSensor", sensor=self.id_of(2), confirm_node_name=node)
        node = self.sensor(self.id_of(3))["nodeName"]
        api.call(V1 + "FleetService/DeleteSensor", sensor=self.id_of(3), confirm_node_name=node, force=True)
        self.ctl("operator", "revoke", "rita")
        api.close()
        yield Caller("revoked sensor", SENSOR, self.sensor_identity(2), "invalid_sensor_trust", actor=self.id_of(2))
        yield Caller("deleted sensor", SENSOR, self.sensor_identity(3), "sensor_deleted", actor=self.id_of(3))
        yield Caller("revoked operator", ADMIN, telovix.credentials(self.folder / "rita"), "operator_revoked", actor="rita")

    def expired(self):
        """The same serial, on record as good, in a certificate whose time is over."""
        serial = x509.load_pem_x509_certificate(self.part(4, "client.crt")).serial_number
        for name, days, may_renew in (("expired sensor", (-60, -10), True), ("sensor expired too long ago", (-150, -61), False)):
            yield Caller(name, SENSOR, self.made(f"sensor/{self.id_of(4)}", serial=serial, days=days), "certificate_expired",
                         may_renew=may_renew, actor=self.id_of(4))
        serial = x509.load_pem_x509_certificate((self.folder / "emil/client.crt").read_bytes()).serial_number
        yield Caller("expired operator", ADMIN, self.made("operator/emil", serial=serial, days=(-400, -1)),
                     "certificate_expired", actor="emil")

    def old(self):
        """Renewed, and the new one was used."""
        old = telovix.credentials(self.folder / "olga")
        self.ctl("renew", profile=self.folder / "olga")
        self.ctl("whoami", profile=self.folder / "olga")
        yield Caller("old serial of an operator", ADMIN, old, "certificate_superseded", actor="olga")
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        api = telovix.Api(self.console.address, channel_credentials=self.sensor_identity(5))
        reply = api.call(RENEW, csr=csr.public_bytes(serialization.Encoding.DER))
        api.close()
        leaf = x509.load_der_x509_certificate(reply.certificate_chain[0]).public_bytes(serialization.Encoding.PEM)
        api = telovix.Api(self.console.address, channel_credentials=grpc.ssl_channel_credentials(self.roots, pem(key), leaf))
        api.call(V1 + "SensorService/Heartbeat", boot_id=b"b" * 16, boot_ns=10**12)  # used
        api.close()
        yield Caller("old serial of a sensor", SENSOR, self.sensor_identity(5), "certificate_superseded", actor=self.id_of(5))

    def odd(self):
        uri = f"sensor/{self.id_of(0)}"
        yield Caller("unknown serial", SENSOR, self.made(uri), "certificate_unknown", actor=self.id_of(0))
        yield Caller("foreign CA", SENSOR, self.made(uri, issuer=ec.generate_private_key(ec.SECP256R1())), alert=True)
        yield Caller("without clientAuth", SENSOR, self.made(uri, purpose=ExtendedKeyUsageOID.SERVER_AUTH), alert=True)
        yield Caller("not yet valid", SENSOR, self.made(uri, days=(1, 30)), alert=True)


def outcome(api, method, wanted):
    """PASS, ALERT or the reason. A stream that was let in lasts until its deadline."""
    request, call = api.method(method)
    try:
        if isinstance(call, grpc.UnaryUnaryMultiCallable):
            call(request(), timeout=20)
        elif isinstance(call, grpc.UnaryStreamMultiCallable):
            for _ in call(request(), timeout=0.3 if wanted == PASS else 20):
                pass
        else:
            for _ in call(iter(()), timeout=20):
                pass
    except grpc.RpcError as error:
        reason = telovix.details(error)[0]
        if reason in REFUSALS:
            unauthenticated = reason not in ("wrong_principal", "role_too_low", "method_not_listed")
            assert error.code() == (grpc.StatusCode.UNAUTHENTICATED if unauthenticated
                                    else grpc.StatusCode.PERMISSION_DENIED), (method, reason)
            return reason
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return ALERT
    return PASS


@pytest.fixture(scope="module")
def fleet():
    with Fleet() as fleet:
        fleet.prepare()
        yield fleet


def test_the_table_has_every_method(fleet):
    """Reflection is asked, so that a new method cannot be forgotten here."""
    api = telovix.Api(fleet.console.address, fleet.profile)
    request, call = api.method("grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    services = [service.name for reply in call(iter([request(list_services="")]), timeout=10)
                for service in reply.list_services_response.service]
    assert services
    found = {f"{name}/{method.name}" for name in services for method in api.pool().FindServiceByName(name).methods}
    api.close()
    assert found == set(METHODS)
    assert sum(len(methods) for methods in LEAST.values()) == len(METHODS), "a method stands in two rows"


def test_every_method_with_every_caller(fleet):
    wrong, denied = [], collections.Counter()
    for caller in fleet.callers:
        api = telovix.Api(fleet.console.address, channel_credentials=caller.credentials)
        for method in METHODS:
            wanted = expected(caller, method)
            # Twice: a denial is on record once.
            for _ in range(2 if wanted not in (PASS, ALERT) else 1):
                got = outcome(api, method, wanted)
                if got != wanted:
                    wrong.append(f"{caller.name} at {method}: {got}, not {wanted}")
            if wanted not in (PASS, ALERT):
                denied[(caller.actor or "", "/" + method, wanted)] += 1
        api.close()
    assert not wrong, "\n".join(wrong)
    assert len(fleet.callers) >= 12 and len(denied) > 100
    # Callers that are told apart by more than actor, method and reason would have a record each.
    on_record = collections.Counter()
    for record in fleet.audit("--outcome", "failure"):
        detail = json.loads(record["detail"])
        if record["actionType"] in ("access_denied", "sensor_rejected") and "repeated" not in detail:
            assert record["clientIp"] == "127.0.0.1"
            on_record[(record["actor"], detail["method"], detail["reason"])] += 1
    missing = [key for key in denied if on_record[key] != 1]
    assert not missing, f"{len(missing)} of {len(denied)}: {missing[:5]} {[on_record[key] for key in missing[:5]]}"


@pytest.mark.parametrize("name", ["foreign CA", "without clientAuth", "not yet valid"])
def test_the_handshake_ends_in_an_alert(fleet, tmp_path, name):
    uri = f"spiffe://{fleet.fleet_id}/operator/admin"
    key, certificate = {
        "foreign CA": lambda: issue(ec.generate_private_key(ec.SECP256R1()), fleet.ca_name, uri),
        "without clientAuth": lambda: issue(fleet.ca_key, fleet.ca_name, uri, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        "not yet valid": lambda: issue(fleet.ca_key, fleet.ca_name, uri, days=(1, 30))}[name]()
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "crt").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    host, port = fleet.console.address.rsplit(":", 1)
    with pytest.raises(ssl.SSLError) as error:
        # The server's judgement comes behind our own end of the handshake (TLS 1.3).
        context.wrap_socket(socket.create_connection((host, int(port)), timeout=10)).recv(1)
    assert "ALERT" in error.value.reason, error.value


def test_another_sensor_cannot_speak_for_it(fleet):
    """Who a heartbeat is from is said by its certificate alone."""
    node = fleet.sensor(fleet.id_of(0))["nodeName"]
    api = telovix.Api(fleet.console.address, channel_credentials=fleet.sensor_identity(0))
    other = telovix.Api(fleet.console.address, channel_credentials=fleet.sensor_identity(1))
    for one in (api, other):
        one.call(V1 + "SensorService/Heartbeat", boot_id=b"b" * 16, boot_ns=10**12)
    admin = telovix.Api(fleet.console.address, fleet.profile)
    order = admin.call(V1 + "ContainmentService/KillProcess", sensor=node, pid=4242).order.order_id
    reply = api.call(V1 + "SensorService/Heartbeat", boot_id=b"b" * 16, boot_ns=10**12 + 1)
    assert [kill.order_id for kill in reply.pending_kill_pids] == [order]
    reply = other.call(V1 + "SensorService/Heartbeat", boot_id=b"b" * 16, boot_ns=10**12 + 1,
                       kill_results=[{"order_id": order, "state": 4}])
    assert not reply.pending_kill_pids
    assert admin.call(V1 + "ContainmentService/GetKill", order_id=order).state == 2, "delivered, and not ended by another"
    for one in (api, other, admin):
        one.close()


def test_anonymous_denials_are_bounded():
    """From however many addresses they come: 60 a minute in full, then one summary."""
    with telovix.Fleet() as fleet:
        fleet.start_console()
        host, port = fleet.console.address.rsplit(":", 1)
        for i in range(75):
            anonymous(host, int(port), f"127.0.1.{i + 1}")
        fleet.console.stop()
        fleet.start_console()
        denied = [json.loads(record["detail"]) for record in fleet.audit("--action", "access_denied")]
        full = [detail for detail in denied if detail["reason"] == "certificate_required"]
        summaries = [detail for detail in denied if detail["reason"] == "anonymous_flood"]
        assert len(full) == 60
        assert [summary["repeated"] for summary in summaries] == [15]


def anonymous(host, port, source):
    """One call without a certificate from the address `source`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection((host, port), timeout=20, source_address=(source, 0))) as sock:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        client.initiate_connection()
        client.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":path", "/" + V1 + "OperatorService/WhoAmI"),
                                (":authority", "console"), ("te", "trailers"), ("content-type", "application/grpc")],
                            end_stream=True)
        sock.sendall(client.data_to_send())
        while True:
            for event in client.receive_data(sock.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    assert dict(event.headers)[":status"] == "401"
                    return
