# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit log: filters, pages and exports; and that nobody can rewrite it, whoever has the disk: each way to meddle is found
by `verify` on the host, by `audit verify`, by the profile that was told a head, or by the first heartbeat of a sensor."""
import csv
import io
import json
import os
import re
import shutil
import subprocess

import grpc
import pytest

import telovix

LIST = "telovix.v1.AuditService/ListAudit"
EXPORT = "telovix.v1.AuditService/ExportAudit"
WHOAMI = "telovix.v1.OperatorService/WhoAmI"


@pytest.fixture
def console(fleet):
    fleet.start_console()
    return fleet


def export(fleet, *words, **options):
    return fleet.ctl("audit", "export", *words, **options).stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# ---- reading ----

def test_filters_of_list_and_export(running):
    running.ctl("kills", "cancel", "kill_0000000000000000", check=False)
    running.ctl("token", "create", "--reason", "a reason")
    everything = running.audit()
    assert [int(record["seq"]) for record in everything] == list(range(len(everything), 0, -1))
    middle = everything[len(everything) // 2]["createdAt"]
    cases = [(["--action", "enrollment_token_created"], lambda r: r["actionType"] == "enrollment_token_created"),
             (["--actor", "admin"], lambda r: r["actor"] == "admin"),
             (["--outcome", "failure"], lambda r: r["outcome"] == "AUDIT_OUTCOME_FAILURE"),
             (["--sensor", "web-1"], lambda r: r["sensorId"] == running.node.sensor_id),
             (["--since", middle], lambda r: r["createdAt"] >= middle),
             (["--until", middle], lambda r: r["createdAt"] <= middle),
             (["--actor", "admin", "--outcome", "failure"],
              lambda r: r["actor"] == "admin" and r["outcome"] == "AUDIT_OUTCOME_FAILURE")]
    last = int(everything[0]["seq"])
    for words, wanted in cases:
        expected = [record for record in everything if wanted(record)]
        assert expected and len(expected) < len(everything), words
        listed = [record for record in running.audit(*words) if int(record["seq"]) <= last]
        assert listed == expected, words
        exported = [record for record in lines(export(running, *words)) if int(record["seq"]) <= last]
        assert exported == expected[::-1], words
    for words in (["--actor", "Not A Name"], ["--action", "X"], ["--sensor", "nobody"]):
        for verb in ("list", "export"):
            assert running.ctl("audit", verb, *words, check=False).returncode == 1
    made = running.audit("--action", "audit_exported", "--outcome", "success")[0]
    assert json.loads(made["detail"]) == {"actor": "admin", "from_seq": 1, "outcome": 2}


def test_records_of_a_deleted_sensor_are_found_by_its_id(running):
    sensor_id = running.node.sensor_id
    running.node.stop()
    running.ctl("delete", "web-1", "--force", "--yes")
    records = running.audit("--sensor", sensor_id)
    assert {"sensor_enrolled", "sensor_deleted"} <= {record["actionType"] for record in records}
    assert lines(export(running, "--sensor", sensor_id))


def test_pages(fleet):
    fleet.mint("fill-audit", 12000)
    fleet.start_console()
    api = telovix.Api(fleet.console.address, fleet.profile)
    token, seqs, sizes = "", [], []
    while True:
        reply = api.call(LIST, page_size=5000, page_token=token)
        assert reply.ByteSize() < (512 << 10) + 20000
        seqs += [record.seq for record in reply.records]
        sizes.append(len(reply.records))
        token = reply.next_page_token
        if not token:
            break
        fleet.ctl("token", "create")  # what is added meanwhile is in front of the first page
    assert seqs == list(range(seqs[0], 0, -1)) and len(sizes) > 3, "no record twice, none left out"
    assert max(sizes) <= 5000
    assert len(api.call(LIST).records) == 50
    assert 50 < len(api.call(LIST, page_size=9999999).records) <= 5000
    # With a narrow filter a page may be short, and goes on.
    found, token = [], ""
    while True:
        reply = api.call(LIST, page_token=token, action_type="console_initialized")
        found += [record.seq for record in reply.records]
        token = reply.next_page_token
        if not token:
            break
    assert found == [1]
    for other in ({"actor": "admin"}, {"outcome": 1}, {"action_type": "x"}):
        first = api.call(LIST, page_size=1).next_page_token
        with pytest.raises(grpc.RpcError) as error:
            api.call(LIST, page_token=first, **other)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "page_token" in telovix.details(error.value)[1]
    api.close()


def test_a_long_export_holds_nobody_up(fleet):
    """It is streamed: other calls are answered in the middle of it, and a reader who goes away ends it."""
    fleet.mint("fill-audit", 40000)
    fleet.start_console()
    api, other = (telovix.Api(fleet.console.address, fleet.profile) for _ in range(2))
    call = api.call(EXPORT, timeout=60)
    first = next(call)
    assert first.seq == 1 and other.call(WHOAMI).name == "admin"
    last = first.seq
    for record in call:
        assert record.seq == last + 1
        last = record.seq
    assert last > 40000
    # A filter that finds nothing reads all of it, in turns.
    assert not list(api.call(EXPORT, timeout=60, actor="nobody"))
    assert [record.seq for record in api.call(EXPORT, timeout=60, from_seq=last)][0] == last
    call = api.call(EXPORT, timeout=60)
    next(call)
    call.cancel()
    assert other.call(WHOAMI).name == "admin"
    for one in (api, other):
        one.close()


def test_csv_is_safe_for_spreadsheets(console):
    """RFC 4180; a user agent or a reason that a spreadsheet would take for a formula gets a mark before it."""
    api = telovix.Api(console.console.address, console.profile,
                      options=[("grpc.primary_user_agent", "=HYPERLINK(\"http://x\",\"y\")")])
    api.call("telovix.v1.TokenService/CreateEnrollmentToken", kind=1, reason="=1+1\r\n,\"quoted\"")
    api.close()
    text = subprocess.run([telovix.BUILD / "client/telovixctl", "--profile", console.profile, "--console",
                           console.console.address, "audit", "export", "--format", "csv"], capture_output=True, timeout=60,
                          check=True, env={**os.environ, **telovix.SANITIZERS}).stdout.decode()
    assert text.count("\r\n") == text.count("\n"), "lines end as RFC 4180 has it"
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0][:3] == ["seq", "created_at", "action_type"] and rows[0][-2:] == ["prev_hash", "hash"]
    assert all(len(row) == len(rows[0]) for row in rows)
    row = dict(zip(rows[0], next(row for row in rows if row[2] == "enrollment_token_created")))
    assert row["reason"] == "'=1+1\\x0D\\x0A,\"quoted\""
    assert row["user_agent"].startswith("'=HYPERLINK")
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for one in rows for cell in one)
    plain = lines(export(console))
    assert [int(record["seq"]) for record in plain] == list(range(1, len(plain) + 1))
    assert next(r for r in plain if r["actionType"] == "enrollment_token_created")["reason"] == "=1+1\r\n,\"quoted\""


def test_verify_is_not_spoilt_by_its_own_record(console):
    for _ in range(3):
        assert "intact" in console.ctl("audit", "verify").stdout
    assert len(console.audit("--action", "audit_exported")) == 3
    head = console.ctl("audit", "head").stdout.strip()
    console.ctl("token", "create")
    assert "the noted head is part of it" in console.ctl("audit", "verify", "--head", head).stdout
    seq, digest = head.split(":")
    wrong = f"{seq}:{'0' * 64}"
    result = console.ctl("audit", "verify", "--head", wrong, check=False)
    assert result.returncode == 1 and "not part of this log" in result.stderr
    assert "noted head" in console.ctl("audit", "verify", "--head", digest).stdout


# ---- nobody can rewrite it ----

def verify_store(fleet):
    return subprocess.run([telovix.BUILD / "console/telovix-console", "verify", "--data", fleet.data], capture_output=True,
                          text=True, timeout=60, env={**os.environ, **telovix.SANITIZERS})


MEDDLING = {"one byte": (["damage-audit", 5], 5), "a record dropped": (["drop-audit", 5], 6),
            "two records swapped": (["swap-audit", 5, 6], 5)}


@pytest.mark.parametrize("name", MEDDLING)
def test_meddling_is_found_and_named(console, name):
    for _ in range(6):
        console.ctl("token", "create")
    console.console.stop()
    words, seq = MEDDLING[name]
    console.mint(*words)
    result = verify_store(console)
    assert result.returncode == 1 and f"{seq}" in result.stdout, result.stdout
    assert any("audit" in line and str(seq) in line for line in result.stdout.splitlines())
    console.start_console()
    result = console.ctl("audit", "verify", check=False)
    assert result.returncode == 1 and f"record {seq}: " in result.stderr, result.stderr


@pytest.mark.parametrize("way", ["tail cut", "rolled back to a copy", "cut and written anew"])
def test_a_shorter_or_other_log_is_seen_by_its_witnesses(running, way):
    """Such a log is whole in itself; who was told a newer head knows better."""
    copy = running.folder / "copy"
    running.profile = shutil.copytree(running.data / "admin", running.folder / "admin")  # as an operator would
    node = running.node
    running.ctl("token", "create")
    running.console.stop()
    shutil.copytree(running.data, copy)
    running.start_console()
    running.wait_seen(node.sensor_id)
    for _ in range(5):
        running.ctl("token", "create")
    head = int(running.ctl("audit", "head").stdout.split(":")[0])
    # Each heartbeat of a kill tells the sensor the newest head.
    running.ctl("kill", "web-1", node.victim().pid, "--wait")
    node.stop()
    running.console.stop()
    if way == "rolled back to a copy":
        shutil.rmtree(running.data)
        shutil.copytree(copy, running.data)
    else:
        running.mint("cut-audit", head - 3)
        if way == "cut and written anew":
            running.mint("fill-audit", 40)
    assert verify_store(running).returncode == 0, "in itself it is whole"
    running.start_console()
    witnessed = running.ctl("whoami", check=False)
    if way == "cut and written anew":
        # Longer than what was told: only the whole walk shows it.
        assert witnessed.stderr == ""
    else:
        assert "audit_fork" in witnessed.stderr and "cut or rolled back" in witnessed.stderr
        assert witnessed.returncode == 0, "what was asked for is answered all the same"
        assert len(witnessed.stderr.splitlines()) == 1
    result = running.ctl("audit", "verify", check=False)
    assert result.returncode == 1 and re.search(r"record \d+: this profile was told another one|audit_fork", result.stderr)
    running.restart_sensor(node, wait=False)
    records = telovix.wait_for(lambda: running.audit("--action", "audit_fork_reported"), "the first heartbeat tells of it")
    message = json.loads(records[0]["detail"])["message"]
    assert records[0]["sensorId"] == node.sensor_id
    assert int(re.search(r"the sensor saw (\d+):", message).group(1)) >= head, message
    assert "audit log fork" in running.console.output()
