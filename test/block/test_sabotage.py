# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs, links and maps altered behind the sensor's back: noticed, repaired, reported, audited. And kernels that lack
something: never a rule that is called applied."""
import ctypes
import json
import os
import pathlib
import subprocess

import pytest

import telovix
from bed import RAN, STOPPED, Bed, Executions, mounted
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


def freeze(pin):
    """bpf(BPF_MAP_FREEZE): user space can never write that map again. bpftool does it too, but only some versions."""
    syscall, get, freeze_map = {"x86_64": 321, "aarch64": 280}[os.uname().machine], 7, 22
    libc, path = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(os.fsencode(pin))
    fd = libc.syscall(syscall, get, (ctypes.c_uint64 * 16)(ctypes.addressof(path)), 128)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    assert libc.syscall(syscall, freeze_map, (ctypes.c_uint32 * 32)(fd), 128) == 0, os.strerror(ctypes.get_errno())
    os.close(fd)


@pytest.mark.parametrize("name", ["cfg", "rules"])
def test_a_map_is_frozen(bed, name):
    """What can never be set right again is replaced, while it goes on enforcing, and hits are not forgotten."""
    program, other = bed.program(), bed.program("other")
    rule = bed.block(program)
    assert bed.run([program]).word == STOPPED
    bed.wait_rule(rule["ruleId"], lambda r: int(r["hits"]) == 1, "the hit is counted")
    pin = pins(bed, name)[0]
    freeze(pin)
    if name == "rules":
        with Executions(bed, program) as executions:
            expect_repaired(bed, program, name)
        assert not executions.leaks
    else:
        expect_repaired(bed, program, name)
        assert int(bed.rule(rule["ruleId"])["hits"]) >= 1
    bed.block(other, "--force")
    assert bed.run([other]).word == STOPPED
    wait_for(lambda: any(e["path"] == str(other) for e in bed.fleet.ctl_json("events", "list", "--limit", "1000")),
             "events of the new maps are read")
    bed.unblock(rule["ruleId"])
    assert bed.run([program]).word == RAN


def test_the_scope_is_emptied_and_frozen(bed):
    program = bed.program()
    bed.block(program)
    cfg = pins(bed, "cfg")[0]
    bpftool("map", "update", "pinned", cfg, "key", "hex", "00", "00", "00", "00", "value", "hex", *["00"] * 16)
    freeze(cfg)
    assert bed.run([program]).word == RAN, "that is what the tampering was for"
    expect_repaired(bed, program, "cfg")


def test_the_folder_of_pins_is_opened(bed):
    program = bed.program()
    bed.block(program)
    folder = pathlib.Path(bed.sensor.bpffs) / "telovix"
    folder.chmod(0o755)
    expect_repaired(bed, program, "folder")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_canary_cannot_be_executed(bed):
    """Nothing can be proved then, and that is said; what is in force stays so throughout."""
    program = bed.program()
    rule = bed.block(program)
    state = bed.sensor.state
    with Executions(bed, program) as executions:
        for _ in range(2):
            (state / "canary").chmod(0)
            wait_for(lambda: (state / "canary").stat().st_mode & 0o777 == 0o700, "the canary is mended")
        with mounted("--bind", state, state):
            subprocess.run(["mount", "-o", "remount,bind,noexec", state], check=True)
            bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_FAILED", "it is not called applied")
            failed = bed.rule(rule["ruleId"])
            assert failed["observedReason"] == "engine_down" and "cannot be executed" in failed["observedDetail"], failed
            assert "ran" not in failed["observedDetail"], failed
            executions.some_more()
        bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_APPLIED", "it is applied again")
        executions.some_more()
    assert not executions.leaks, f"{len(executions.leaks)} of {executions.n} ran"


@pytest.mark.parametrize("name", ["count", "cfg"])
def test_pins_that_cannot_be_adopted(bed, name):
    """They enforce until the new ones do: not only until those are attached."""
    program = bed.program()
    bed.block(program)
    bed.sensor.kill9()
    pin = pins(bed, name)[0]
    pin.unlink()
    bpftool("map", "create", pin, "type", "array", "key", 4, "value", 24, "entries", 3, "name", "foreign")
    with Executions(bed, program) as executions:
        bed.restart()
        executions.some_more()
    assert not executions.leaks, f"{len(executions.leaks)} of {executions.n} ran"
    assert [r["state"] for r in bed.status()["rules"]] == ["applied"]


def test_two_sensors_on_the_same_pins(bed):
    """The second one would undo the rules of the first, and the reverse: it enforces nothing, and says why."""
    program, other = bed.program(), bed.program("other")
    bed.block(program)
    second = bed.fleet.start_sensor("web-2", cgroup=bed.sensor.cgroup, bpffs=bed.sensor.bpffs,
                                    whole_host=bed.sensor.cgroup is None)
    wait_for(lambda: second.status()["engine"]["state"] == "unavailable", "the second one is refused")
    assert second.status()["engine"]["reason"] == "pins_in_use"
    with Executions(bed, program) as executions:
        refused = bed.fleet.ctl("-o", "json", "block", "web-2", other, "--wait", check=False)
        rule = json.loads(refused.stdout.splitlines()[-1])
        assert (rule["observedState"], rule["observedReason"]) == ("RULE_STATE_REFUSED", "no_enforcement"), rule
        assert "another sensor" in rule["observedDetail"], rule
        verified = bed.engine()["verifiedAt"]
        wait_for(lambda: bed.engine()["verifiedAt"] > verified, "the first one looks again")
    assert not executions.leaks
    assert bed.run([other]).word == RAN
    # The pins go to whoever is left.
    bed.sensor.stop()
    wait_for(lambda: second.status()["engine"]["state"] == "ready", "the second one takes over")
    wait_for(lambda: bed.run([other]).word == STOPPED, "its rule is in force")


def test_a_verification_that_hangs(bed):
    """The worker threads are stopped one by one; the loop goes on and says that nothing is proved any more."""
    program = bed.program()
    rule = bed.block(program)
    libc, seize, interrupt, detach = ctypes.CDLL(None, use_errno=True), 0x4206, 0x4207, 17
    threads = [int(tid) for tid in os.listdir(f"/proc/{bed.sensor.pid}/task") if int(tid) != bed.sensor.pid]
    for tid in threads:
        assert libc.ptrace(seize, tid, None, None) == 0 and libc.ptrace(interrupt, tid, None, None) == 0
        os.waitpid(tid, 0x40000000)  # __WALL
    failed = bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_FAILED", "it is not called applied", 60)
    assert failed["observedReason"] == "engine_down" and "hangs" in failed["observedDetail"], failed
    assert (bed.engine()["state"], bed.engine()["reason"]) == ("down", "stalled")
    assert bed.run([program]).word == STOPPED
    for tid in threads:
        assert libc.ptrace(detach, tid, None, None) == 0
    bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_APPLIED", "it is proved again")


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
