# SPDX-License-Identifier: GPL-2.0-or-later
"""`buf curl`, a command line for any gRPC server: Go's HTTP/2, by reflection, with no file."""
import base64
import json
import re
import subprocess

import pytest

from scenarios import PROTO, SERVICES
from telovix import Api

UNAUTHENTICATED = 16


@pytest.fixture
def buf(node, hub, tmp_path):
    def buf(path, request=None, *words, certificate=True, code=0):
        """What it prints, parsed. The exit status is eight times the gRPC code."""
        if certificate:
            words += ("--cert", hub.admin / "client.crt", "--key", hub.admin / "client.key")
        if request is not None:
            words += ("-d", json.dumps(request))
        result = subprocess.run([node / "node_modules/.bin/buf", "curl", "--protocol", "grpc", "--cacert", hub.admin / "ca.crt",
                                 *words, f"https://{hub.address}/{path}"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert result.returncode == 8 * code, result.stderr + result.stdout
        return json.loads(result.stderr) if code else result.stdout
    return buf


def replies(text):
    """Messages one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


def details(error):
    found = {}
    for detail in error["details"]:
        value = detail["value"]
        found[detail["type"]] = Api.message(detail["type"]).FromString(base64.b64decode(value + "=" * (-len(value) % 4)))
    return found


def test_list_methods(buf):
    assert buf("", None, "--list-services").split() == SERVICES
    methods = set()
    for path in (p for part in ("telovix/v1", "grpc") for p in (PROTO / part).rglob("*.proto")):
        package, service = "", ""
        for line in path.read_text().splitlines():
            if match := re.match(r"package ([\w.]+);", line):
                package = match.group(1)
            elif match := re.match(r"service (\w+)", line):
                service = match.group(1)
            elif match := re.match(r"\s*rpc (\w+)", line):
                methods.add(f"{package}.{service}/{match.group(1)}")
    assert buf("", None, "--list-methods").split() == sorted(methods)


def test_unary(buf):
    [reply] = replies(buf("telovix.v1.OperatorService/WhoAmI", {}))
    assert (reply["name"], reply["role"]) == ("admin", "ROLE_ADMIN")


def test_error_details(buf):
    error = buf("telovix.v1.ContainmentService/KillProcess", {"sensor": "web-1", "pid": 1, "life": "9s"}, code=3)
    assert error["code"] == "invalid_argument" and error["message"] == "pid: 1 is no process that can be killed; PIDs start at 2"
    found = details(error)
    assert {v.field: v.description for v in found["google.rpc.BadRequest"].field_violations} == {
        "pid": "1 is no process that can be killed; PIDs start at 2", "life": "is not between 10 s and 24 h"}
    info = found["google.rpc.ErrorInfo"]
    assert (info.reason, info.domain) == ("invalid_argument", "telovix")


def test_text_survives(buf):
    error = buf("telovix.v1.FleetService/GetSensor", {"sensor": "100% \u00fc\u4e2d"}, code=5)
    assert error["message"] == "no sensor has the id or the node name \"100% \u00fc\u4e2d\""


def test_kill_and_watch(buf, hub):
    victim = hub.node.victim()
    [reply] = replies(buf("telovix.v1.ContainmentService/KillProcess", {"sensor": "web-1", "pid": victim.pid}))
    found = replies(buf("telovix.v1.ContainmentService/WatchKill", {"orderId": reply["order"]["orderId"]}))
    assert found[-1]["state"] == "KILL_STATE_KILLED"
    victim.wait(30)


def test_export(buf):
    seqs = [int(record["seq"]) for record in replies(buf("telovix.v1.AuditService/ExportAudit", {}))]
    assert len(seqs) > 2000 and seqs == list(range(1, len(seqs) + 1))


def test_no_certificate(buf, descriptors):
    """Reflection is for operators, so that the schema must be given here."""
    error = buf("telovix.v1.OperatorService/WhoAmI", {}, "--schema", descriptors, certificate=False, code=UNAUTHENTICATED)
    assert error["code"] == "unauthenticated"
