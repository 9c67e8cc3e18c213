# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a rule on a real kernel: modes, deletion, refusals, events, the sensor's death, restart and upgrade."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import telovix
from bed import RAN, STOPPED, Bed, Executions, mounted
from telovix import wait_for


@pytest.fixture
def bed(fleet):
    return Bed(fleet).need_ready()


def test_others_run_and_the_answer_is_the_references(bed):
    program, other = bed.program(), bed.program("other")
    rule = bed.block(program)
    assert rule["name"].startswith("telovix-block-binary-") and rule["name"].endswith("prog")
    assert (rule["hook"], rule["action"], rule["path"]) == ("sys_execve", "Sigkill", str(program))
    assert rule["backend"] in ("lsm", "fmod_ret", "tracepoint")
    assert bed.run([program]).word == STOPPED
    assert bed.run([other]).word == RAN
    assert bed.run(["/bin/true"]).status == 0
    # The executing process is hit, never its parent.
    script = "import subprocess,sys\nfor _ in range(3):\n  try: subprocess.run(sys.argv[1:3])\n  except PermissionError: pass\nsys.exit(7)"
    assert bed.run(["/usr/bin/python3", "-c", script, program]).status == 7


def test_observe_counts_and_stops_nothing(bed):
    program = bed.program()
    rule = bed.block(program, "--observe")
    assert bed.run([program]).word == RAN
    counted = bed.wait_rule(rule["ruleId"], lambda r: int(r["wouldHits"]) >= 1, "the observation is counted")
    assert int(counted["hits"]) == 0
    bed.fleet.ctl("rules", "mode", rule["ruleId"], "enforce", "--wait")
    assert bed.run([program]).word == STOPPED
    bed.fleet.ctl("rules", "mode", rule["ruleId"], "observe", "--wait")
    assert bed.run([program]).word == RAN


def test_deleting_lifts_the_block_at_once(bed):
    program = bed.program()
    rule = bed.block(program)
    assert bed.run([program]).word == STOPPED
    bed.unblock(rule["ruleId"])
    assert bed.run([program]).word == RAN
    assert bed.fleet.ctl("rules", "get", rule["ruleId"], check=False).returncode == 1


def test_the_same_path_twice(bed):
    program = bed.program()
    rule = bed.block(program)
    again = bed.fleet.ctl("block", bed.name, program, check=False)
    assert again.returncode == 1 and "ALREADY_EXISTS rule_exists" in again.stderr and rule["ruleId"] in again.stderr


def test_two_rules_for_one_file(bed):
    """A hard link: deleting one rule does not lift the other."""
    program = bed.program()
    os.link(program, bed.folder / "other")
    first, second = bed.block(program), bed.block(bed.folder / "other")
    bed.unblock(first["ruleId"])
    assert bed.run([program]).word == STOPPED
    bed.unblock(second["ruleId"])
    assert bed.run([program]).word == RAN


def test_no_directory_yet(bed):
    folder = bed.folder / "later"
    result = bed.fleet.ctl("-o", "json", "block", bed.name, folder / "prog", "--wait", "--timeout", "3s", check=False)
    assert result.returncode == 3 and "directory" in result.stderr
    rule = bed.fleet.ctl_json("rules", "list")[0]
    assert (rule["observedState"], rule["observedReason"]) == ("RULE_STATE_PENDING", "no_directory")
    folder.mkdir()
    bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_APPLIED", "the rule finds its directory")
    bed.program("prog", folder)
    assert bed.run([folder / "prog"]).word == STOPPED


# ---- refusals ----

def protected_files():
    loader = next(path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path))
    yield "own_binary", telovix.BUILD / "sensor/telovix-sensor"
    yield "dynamic_loader", loader
    if os.path.exists("/sbin/modprobe"):
        yield "kernel_helper", "/sbin/modprobe"


def test_files_without_which_the_host_is_lost(bed):
    rows = list(protected_files())
    try:
        rows.append(("init_binary", os.path.realpath(os.readlink("/proc/1/exe"))))
    except OSError as error:
        print(f"SKIPPED row init_binary: /proc/1/exe: {error}")
    for reason, path in rows:
        rule = bed.block(path, "--force", check=False)
        assert (rule["observedState"], rule["observedReason"]) == ("RULE_STATE_REFUSED", reason), (path, rule)
        assert rule["backend"] == ""


def test_a_shell_needs_force(bed):
    """A copy listed in /etc/shells would do too, but the real one shows that nothing else is hit: the rule is deleted first."""
    rule = bed.block("/bin/sh", check=False)
    assert (rule["observedState"], rule["observedReason"]) == ("RULE_STATE_REFUSED", "needs_force")
    bed.unblock(rule["ruleId"])
    if bed.sensor.cgroup is None:
        return  # blocking the guest's own shell would end the test with it
    forced = bed.block("/bin/sh", "--force")
    assert forced["observedState"] == "RULE_STATE_APPLIED"
    assert bed.run(["/bin/sh", "-c", ": > $0"]).word == STOPPED
    bed.unblock(forced["ruleId"])
    assert bed.run(["/bin/sh", "-c", ": > $0"]).word == RAN


# ---- events ----

def test_events_tell_who_tried(bed):
    program = bed.program()
    rule = bed.block(program)
    process = subprocess.Popen(["/usr/bin/python3", "-c", "import os,sys\ntry: os.execv(sys.argv[1],['p','/nowhere/x'])\nexcept OSError: pass",
                                program], preexec_fn=bed.join)
    process.wait()
    events = wait_for(lambda: bed.fleet.ctl_json("events", "list", "--sensor", bed.name), "the event arrives")
    event = events[0]
    assert event["type"] == "EVENT_TYPE_EXEC_BLOCKED" and event["ruleId"] == rule["ruleId"]
    assert event["pid"] == process.pid and event["parentPid"] == os.getpid() and event["uid"] == 0
    # Where the execution is refused the process has its old name, where it is killed the new one.
    assert event["comm"].startswith("prog" if bed.backend == "tracepoint" else "python3")
    assert event["path"] == str(program)
    bed.wait_rule(rule["ruleId"], lambda r: int(r["hits"]) == 1, "the hit is counted")


def test_a_flood_of_events_is_bounded(bed):
    program = bed.program()
    bed.block(program)
    for _ in range(200):
        bed.run([program])
    wait_for(lambda: sum(int(e["count"]) for e in bed.fleet.ctl_json("events", "list", "--limit", "1000")) == 200,
             "every execution is counted, whatever was put together")


def test_events_name_their_rule_from_the_first_on(bed):
    """Rules come and go under a program that is executed all the time: each event is of a rule that there was."""
    program = bed.program()
    rules = set()
    with Executions(bed, program) as executions:
        for _ in range(8):
            rule = bed.block(program)
            rules.add(rule["ruleId"])
            executions.some_more(3)
            bed.unblock(rule["ruleId"])
    stopped = executions.n - len(executions.leaks)
    events = wait_for(lambda: (found := bed.fleet.ctl_json("events", "list", "--limit", "1000")) and
                      sum(int(e["count"]) for e in found) == stopped and found, "every event arrived")
    assert {event["ruleId"] for event in events} == rules
    assert {event["path"] for event in events} == {str(program)}


# ---- death, restart, upgrade ----

def test_kill_9_leaves_no_gap_and_a_restart_adopts(bed):
    program = bed.program()
    rule = bed.block(program)
    with Executions(bed, program) as executions:
        for _ in range(5):
            bed.sensor.kill9()
            executions.some_more()
            bed.restart()
            executions.some_more()
    assert not executions.leaks, f"{len(executions.leaks)} of {executions.n} ran"
    status = bed.status()
    assert status["engine"]["state"] == "ready"
    assert [r["state"] for r in status["rules"]] == ["applied"]
    # Counting went on: the slot was adopted with the rule.
    wait_for(lambda: bed.status()["rules"][0]["hits"] >= executions.n, "every execution was counted")
    assert bed.rule(rule["ruleId"])["observedState"] == "RULE_STATE_APPLIED"


def test_kill_9_at_any_instant_of_a_change(bed):
    """Rules come and go while the sensor dies again and again; the one that stays is never lifted."""
    program = bed.program()
    bed.block(program)
    with Executions(bed, program) as executions:
        for round_ in range(10):
            other = bed.program(f"other-{round_}")
            bed.fleet.ctl("block", bed.name, other)
            time.sleep(round_ * 0.008)  # another instant of the change each time
            bed.sensor.kill9()
            bed.restart()
    assert not executions.leaks
    wait_for(lambda: all(r["observedState"] == "RULE_STATE_APPLIED" for r in bed.fleet.ctl_json("rules", "list")),
             "every rule is applied in the end")
    for round_ in range(10):
        assert bed.run([bed.folder / f"other-{round_}"]).word == STOPPED


def test_the_number_of_a_file_that_is_gone(bed):
    """While no sensor holds the inode of a replaced file its number goes to the next file that is made: another file."""
    image, folder = bed.folder / "image", bed.folder / "ext4"
    folder.mkdir()
    subprocess.run(["truncate", "-s", "32M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted("-o", "loop", image, folder):
        program = bed.program("prog", folder)
        number = program.stat().st_ino
        bed.block(program)
        replaced = bed.program("new", folder).rename(program)
        wait_for(lambda: bed.status()["rules"][0]["file"] == str(program), "the new file is found")
        passes = bed.engine()["verifiedAt"]
        wait_for(lambda: bed.engine()["verifiedAt"] > passes, "another look")
        bed.sensor.kill9()
        others = [bed.program(f"other-{n}", folder) for n in range(10)]
        assert number in [path.stat().st_ino for path in others], "the number was given to another file"
        assert {bed.run([path]).word for path in others} == {RAN}
        assert bed.run([replaced]).word == STOPPED
        bed.restart()
        assert {bed.run([path]).word for path in others} == {RAN}
        assert bed.run([replaced]).word == STOPPED
        bed.sensor.stop()


def test_a_file_moved_away_stays_blocked_over_a_restart(bed):
    program = bed.program()
    bed.block(program)
    program.rename(bed.folder / "moved")
    wait_for(lambda: bed.status()["rules"][0]["reason"] == "no_file_yet", "the move is seen")
    bed.sensor.kill9()
    assert bed.run([bed.folder / "moved"]).word == STOPPED
    bed.restart()
    assert bed.run([bed.folder / "moved"]).word == STOPPED
    bed.unblock(bed.fleet.ctl_json("rules", "list")[0]["ruleId"])
    assert bed.run([bed.folder / "moved"]).word == RAN


def test_a_clean_stop_keeps_rules_in_force(bed):
    program = bed.program()
    bed.block(program)
    bed.sensor.stop()
    assert bed.run([program]).word == STOPPED
    bed.restart()
    assert bed.run([program]).word == STOPPED


def test_a_stop_without_rules_leaves_nothing_behind(bed):
    bed.sensor.stop()
    assert not list((pathlib.Path(bed.sensor.bpffs) / "telovix").rglob("*_prog")), "programs went with the sensor"


def test_without_a_console_the_rules_of_the_disk_hold(bed):
    program = bed.program()
    bed.block(program)
    bed.fleet.console.stop()
    bed.sensor.kill9()
    # As after a reboot: nothing is pinned any more.
    for path in sorted((pathlib.Path(bed.sensor.bpffs) / "telovix").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    # The kernel lets go of programs a little later.
    wait_for(lambda: bed.run([program]).word == RAN, "nothing is in force any more")
    bed.restart(wait=False)
    wait_for(lambda: bed.status()["rules"] and bed.status()["rules"][0]["state"] == "applied", "the rule is in force again")
    assert bed.run([program]).word == STOPPED
    bed.fleet.start_console()


def test_a_console_that_was_rolled_back_to_a_copy(bed):
    """What its copy says of a rule that was deleted since is not the host's answer."""
    program, other = bed.program(), bed.program("other")
    rule = bed.block(program)
    bed.fleet.console.stop()
    copy = bed.fleet.folder / "copy"
    shutil.copytree(bed.fleet.data, copy)
    bed.fleet.start_console()
    bed.fleet.wait_seen(bed.sensor.sensor_id)
    bed.block(other)
    bed.unblock(rule["ruleId"])
    bed.fleet.console.stop()
    shutil.rmtree(bed.fleet.data)
    copy.rename(bed.fleet.data)
    bed.fleet.start_console()
    unknown = bed.wait_rule(rule["ruleId"], lambda r: r["observedState"] == "RULE_STATE_UNKNOWN", "it is not called applied")
    assert unknown["observedReason"] == "desired_rollback", unknown
    assert "desired_rollback" in [reason["reason"] for reason in bed.fleet.sensor(bed.name)["healthReasons"]]
    assert bed.run([program]).word == RAN and bed.run([other]).word == STOPPED, "the host keeps what it has"
