# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs, links and maps altered behind the sensor's back: noticed, repaired, reported, audited. And kernels that lack
something: never a rule that is called applied."""
import json
import os
import pathlib
import subprocess
import time

import pytest

import telovix
from bed import RAN, STOPPED, Bed
from telovix import wait_for

# Three times the 5 s within which the specification wants it.
NOTICED = 15


@pytest.fixture
def bed(fleet):
    return Bed(fleet).need_ready()


def pins(bed, pattern):
    found = sorted((pathlib.Path(bed.sensor.bpffs) / "telovix").rglob(pattern))
    assert found, pattern
    return found


def bpftool(*words):
    result = subprocess.run(["bpftool", "-j", *[str(word) for word in words]], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout) if result.stdout.strip() else None


def expect_repaired(bed, program, what):
    """Reported as tampered and audited; and the block holds."""
    def seen():
        return [e for e in bed.fleet.ctl_json("events", "list", "--limit", "100")
                if e["type"] == "EVENT_TYPE_ENFORCEMENT_TAMPERED" and what in e["path"]]
    event = wait_for(seen, f"the tampering with {what} is reported", NOTICED)[0]
    assert "repaired" in event["detail"] and "could not" not in event["detail"], event
    audited = [r for r in bed.fleet.audit("--action", "enforcement_tampered") if what in r["detail"]]
    assert audited and audited[0]["sensorId"] == bed.sensor.sensor_id
    assert bed.run([program]).word == STOPPED
    sensor = bed.fleet.sensor(bed.name)
    assert sensor["healthState"] == "HEALTH_STATE_CRITICAL"
    assert "enforcement_tampered" in [reason["reason"] for reason in sensor["healthReasons"]]
    assert bed.engine()["state"] == "ready"


def test_a_link_loses_its_pin(bed):
    program = bed.program()
    bed.block(program)
    link = next(path for path in pins(bed, "*") if path.is_file() and bed.backend in path.name and not path.name.endswith(("_prog", "_self")))
    link.unlink()
    assert bed.run([program]).word == STOPPED, "the sensor holds it itself"
    expect_repaired(bed, program, "link")
    assert link.exists()


def test_the_rules_are_replaced_by_an_empty_map(bed):
    program = bed.program()
    bed.block(program)
    outer = next(path for path in pins(bed, "rules"))
    bpftool("map", "create", bed.folder.parent / f"bpffs-{bed.name}" / "empty", "type", "hash", "key", 24, "value", 272,
                    "entries", 1, "name", "empty")
    bpftool("map", "update", "pinned", outer, "key", "hex", "00", "00", "00", "00", "value", "pinned",
            bed.folder.parent / f"bpffs-{bed.name}" / "empty")
    expect_repaired(bed, program, "rules")


def test_the_scope_is_emptied(bed):
    program = bed.program()
    bed.block(program)
    cfg = next(path for path in pins(bed, "cfg"))
    bpftool("map", "update", "pinned", cfg, "key", "hex", "00", "00", "00", "00", "value", "hex", *["00"] * 16)
    assert bed.run([program]).word == RAN, "that is what the tampering was for"
    expect_repaired(bed, program, "cfg")


def test_all_pins_are_removed(bed):
    program = bed.program()
    bed.block(program)
    for path in pins(bed, "*"):
        if path.is_file():
            path.unlink()
    assert bed.run([program]).word == STOPPED
    expect_repaired(bed, program, "")
    bed.sensor.kill9()
    assert bed.run([program]).word == STOPPED, "it is pinned again"
    bed.restart()


def test_tampering_while_the_sensor_is_dead(bed):
    program = bed.program()
    bed.block(program)
    backend = bed.backend
    bed.sensor.kill9()
    for path in pins(bed, "*"):
        if path.is_file() and backend in path.name:
            path.unlink()
    bed.restart()
    wait_for(lambda: bed.run([program]).word == STOPPED, "the rule is in force again")
    assert bed.engine()["state"] == "ready"


# ---- kernels that lack something ----

def lacking(fleet, env=None, bpffs=None, **options):
    """A sensor whose kernel lacks something: it starts, heartbeats, and kills."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1", env=env, whole_host=os.environ.get("TELOVIX_HOST_SCOPE") == "1", bpffs=bpffs, **options)
    victim = sensor.victim()
    assert fleet.ctl("kill", "web-1", victim.pid, "--wait").returncode == 0
    victim.wait(10)
    result = fleet.ctl("-o", "json", "block", "web-1", "/usr/bin/yes", "--wait", check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    rule = json.loads(result.stdout.splitlines()[-1])
    assert rule["observedState"] in ("RULE_STATE_REFUSED", "RULE_STATE_FAILED") and rule["backend"] == ""
    assert rule["appliedAt"] is None if "appliedAt" in rule else True
    assert subprocess.run(["/usr/bin/yes", "--version"], preexec_fn=sensor.cgroup.join if sensor.cgroup else None,
                          capture_output=True).returncode == 0
    return sensor, rule, sensor.status()["engine"]


def test_no_btf(fleet):
    _, rule, engine = lacking(fleet, env={"TELOVIX_TEST_BTF": "/nonexistent/vmlinux"})
    assert (engine["state"], engine["reason"]) == ("unavailable", "no_btf")
    assert "BTF" in rule["observedDetail"] or "btf" in rule["observedDetail"], rule


def test_no_bpf_file_system(fleet):
    folder = fleet.folder / "no-bpffs"
    folder.mkdir()
    _, rule, engine = lacking(fleet, bpffs=folder)
    assert (engine["state"], engine["reason"]) == ("unavailable", "no_bpffs")
    assert "BPF file system" in rule["observedDetail"], rule


def test_a_missing_capability(fleet):
    _, rule, engine = lacking(fleet, drop_bpf=True)
    assert (engine["state"], engine["reason"]) == ("unavailable", "no_capability")
    assert "CAP_BPF" in rule["observedDetail"], rule


def test_a_program_that_the_verifier_refuses(fleet):
    """With type information that lacks what the exec programs read, their loads are made invalid, and the verifier says so."""
    poor = fleet.folder / "poor.btf"
    subprocess.run(["bpftool", "gen", "min_core_btf", "/sys/kernel/btf/vmlinux", poor, telovix.BUILD / "bpf/file_id.bpf.o"], check=True)
    _, rule, engine = lacking(fleet, env={"TELOVIX_TEST_BTF": str(poor)})
    assert engine["state"] == "unavailable" and engine["reason"] == "no_backend", engine
    assert "verifier" in rule["observedDetail"] or "relocation" in rule["observedDetail"], rule
