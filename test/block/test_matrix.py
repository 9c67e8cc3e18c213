# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way to a blocked file. Each row says: stopped, with not one instruction run; or a gap, which the rule's result names.
There is no third kind."""
import os
import shutil
import subprocess

import pytest

from bed import RAN, STOPPED, Bed, mounted


@pytest.fixture(scope="module")
def bed():
    import telovix
    with telovix.Fleet() as fleet:
        yield Bed(fleet).need_ready()


class Row:
    """A blocked program and a folder of its own."""

    def __init__(self, bed, name):
        self.bed = bed
        self.folder = bed.folder / name
        self.folder.mkdir()
        self.program = bed.program("prog", self.folder)
        self.rules = []

    def block(self, path=None, *words, check=True):
        rule = self.bed.block(path or self.program, *words, check=check)
        self.rules.append(rule["ruleId"])
        return rule

    def gaps(self):
        return {gap["gap"] for rule_id in self.rules for gap in self.bed.rule(rule_id).get("gaps", ())}

    def end(self):
        for rule_id in self.rules:
            self.bed.unblock(rule_id)


@pytest.fixture
def row(bed, request):
    row = Row(bed, request.node.originalname)
    yield row
    row.end()


def expect(row, outcome, gap=None, only_on=None, unless_read=False):
    """Stopped; or, where `gap` is open (on the backends `only_on`, on all when not given; `unless_read`: only where programs
    may not read names), it ran and the gap is named."""
    backend = row.bed.backend
    if gap and (only_on is None or backend in only_on) and not (unless_read and row.bed.reads_names):
        assert outcome.word == RAN, outcome
        assert gap in row.gaps(), (gap, row.gaps())
    else:
        assert outcome.word == STOPPED, outcome


def test_absolute_path(row):
    assert row.bed.run([row.program]).word == RAN, "before the rule it runs"
    rule = row.block()
    assert rule["observedState"] == "RULE_STATE_APPLIED" and rule["backend"] == row.bed.backend
    outcome = row.bed.run([row.program])
    expect(row, outcome)
    row.bed.parent_sees(outcome)


def test_relative_path(row):
    row.block()
    expect(row, row.bed.run(["./prog"], cwd=row.folder))
    expect(row, row.bed.run([f"../{row.folder.name}/prog"], cwd=row.folder))


def test_symbolic_link(row):
    (row.folder / "link").symlink_to("prog")
    row.block()
    expect(row, row.bed.run([row.folder / "link"]))


def test_rule_on_a_symbolic_link(row):
    (row.folder / "link").symlink_to("prog")
    rule = row.block(row.folder / "link")
    assert rule["file"] == str(row.program) and "symlink" in row.gaps()
    expect(row, row.bed.run([row.program]))


def test_hard_link(row):
    os.link(row.program, row.folder / "other")
    row.block()
    expect(row, row.bed.run([row.folder / "other"]))


def test_bind_mount_of_the_file(row):
    target = row.folder / "target"
    target.touch()
    row.block()
    with mounted("--bind", row.program, target):
        expect(row, row.bed.run([target]))


def test_bind_mount_of_the_folder(row):
    target = row.folder / "target"
    target.mkdir()
    row.block()
    with mounted("--bind", row.folder, target):
        expect(row, row.bed.run([target / "prog"]))


def test_execveat_below_a_directory(row):
    row.block()
    fd = os.open(row.folder, os.O_PATH)
    outcome = row.bed.run_fd(fd, b"prog", 0)
    os.close(fd)
    expect(row, outcome)
    row.bed.parent_sees(outcome)


def test_fexecve(row):
    fd = os.open(row.program, os.O_RDONLY)
    row.block()
    outcome = row.bed.run_fd(fd)
    os.close(fd)
    expect(row, outcome)


def test_proc_self_fd(row):
    fd = os.open(row.program, os.O_RDONLY)
    os.set_inheritable(fd, True)
    row.block()
    outcome = row.bed.run([f"/proc/self/fd/{fd}"], pass_fds=[fd])
    os.close(fd)
    expect(row, outcome)


def test_another_mount_namespace(row):
    row.block()
    expect(row, row.bed.run(["unshare", "--mount", "--", row.program]))


def test_a_mount_namespace_made_before(row):
    """Its own mount of the folder is older than the rule."""
    target = row.folder / "elsewhere"
    target.mkdir()
    holder = subprocess.Popen(["unshare", "--mount", "--", "sh", "-c",
                               f"mount --bind {row.folder} {target} && echo ready && read line"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "ready\n"
    row.block()
    outcome = row.bed.run(["nsenter", "--mount", f"--target={holder.pid}", "--", target / "prog"])
    holder.communicate("\n")
    expect(row, outcome)


def test_chroot(row):
    row.block()
    trace = row.folder / "trace"
    outcome = row.bed.run(["chroot", row.folder, "/prog", "/trace", trace], trace=trace)
    expect(row, outcome)


def test_interpreter_line(row):
    """The blocked file is the interpreter of a script."""
    script = row.folder / "script"
    trace = row.bed.trace()
    # The interpreter gets the script's path as its second word and the trace as its first.
    script.write_text(f"#!{row.program} {trace}\n")
    script.chmod(0o755)
    assert row.bed.run([script], trace=trace).word == RAN
    row.block()
    expect(row, row.bed.run([script], trace=trace))


def test_blocked_script(row):
    script = row.folder / "script"
    trace = row.bed.trace()
    script.write_text(f"#!/bin/sh\ntouch {trace}\n")
    script.chmod(0o755)
    rule = row.block(script, check=False)
    if row.bed.backend == "tracepoint":
        assert rule["observedState"] == "RULE_STATE_REFUSED" and rule["observedReason"] == "script", rule
        return
    assert rule["observedState"] == "RULE_STATE_APPLIED"
    expect(row, row.bed.run([script], trace=trace))
    expect(row, row.bed.run(["/bin/sh", script], trace=trace), gap="script_argument")


def test_copy_under_another_name(row):
    row.block()
    shutil.copy(row.program, row.folder / "copy")
    expect(row, row.bed.run([row.folder / "copy"]), gap="copy")


def test_copy_in_memory(row):
    row.block()
    fd = os.memfd_create("copy", 0)
    os.write(fd, row.program.read_bytes())
    outcome = row.bed.run_fd(fd)
    os.close(fd)
    expect(row, outcome, gap="copy")


def test_rename_away_and_back(row):
    row.block()
    moved = row.folder / "moved"
    row.program.rename(moved)
    expect(row, row.bed.run([moved]))
    moved.rename(row.program)
    expect(row, row.bed.run([row.program]))


def test_replaced_by_rename_and_run_at_once(row):
    row.block()
    for _ in range(20):
        row.bed.program("new", row.folder).rename(row.program)
        expect(row, row.bed.run([row.program]), gap="names", unless_read=True)


def test_replaced_by_remove_and_copy_at_once(row):
    row.block()
    row.program.unlink()
    row.bed.program("prog", row.folder)
    expect(row, row.bed.run([row.program]), gap="names", unless_read=True)


def test_absent_file_that_comes(row):
    path = row.folder / "later"
    rule = row.block(path, check=False)
    if not row.bed.reads_names:
        assert (rule["observedState"], rule["observedReason"]) == ("RULE_STATE_REFUSED", "names_unreadable"), rule
        return
    assert rule["observedState"] == "RULE_STATE_APPLIED" and rule["observedReason"] == "no_file_yet"
    row.bed.program("later", row.folder)
    expect(row, row.bed.run([path]))


def test_dynamic_loader_run_by_hand(row):
    loader = next(path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path))
    touch = row.folder / "touch"
    shutil.copy("/usr/bin/touch", touch)
    assert row.bed.run([loader, touch]).word == RAN
    row.block(touch)
    expect(row, row.bed.run([touch]))
    expect(row, row.bed.run([loader, touch]), gap="loader", only_on={"tracepoint"})


def test_set_user_id(row):
    row.program.chmod(0o4755)
    for folder in (row.bed.fleet.folder, row.bed.folder, row.folder):
        folder.chmod(0o777)
    trace = row.folder / "trace"
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", row.program, trace]
    assert row.bed.run(words, trace=trace).word == RAN
    row.block()
    expect(row, row.bed.run(words, trace=trace))


def test_from_a_thread(row):
    row.block()
    script = ("import os,sys,threading\n"
              "threading.Thread(target=lambda: os.execv(sys.argv[1], ['prog', sys.argv[2]])).start()\n")
    expect(row, row.bed.run(["/usr/bin/python3", "-c", script, row.program]))


@pytest.fixture
def overlay(row):
    """lower (the row's program), upper and the merged view, on a tmpfs: some file systems cannot be an upper one."""
    base = row.folder / "overlay"
    base.mkdir()
    with mounted("-t", "tmpfs", "tmpfs", base):
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        row.bed.program("low", base / "lower")
        row.bed.program("up", base / "upper")
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        with mounted("-t", "overlay", "overlay", "-o", options, base / "merged"):
            yield base


def test_overlay_lower_file(row, overlay):
    """As in a container: the host's file, seen through the container's root."""
    row.block(overlay / "lower/low")
    expect(row, row.bed.run([overlay / "merged/low"]), gap="overlay", unless_read=True)
    expect(row, row.bed.run([overlay / "lower/low"]))
    row.end()
    row.rules.clear()


def test_overlay_merged_path(row, overlay):
    row.block(overlay / "merged/low")
    assert "overlay_copy" in row.gaps()
    expect(row, row.bed.run([overlay / "merged/low"]))
    expect(row, row.bed.run([overlay / "lower/low"]), gap="overlay", unless_read=True)
    # Copied up it is another file on the upper layer, at the same path of the merged one.
    os.utime(overlay / "merged/low")
    expect(row, row.bed.run([overlay / "merged/low"]))
    row.end()
    row.rules.clear()


def test_overlay_upper_file(row, overlay):
    row.block(overlay / "merged/up")
    expect(row, row.bed.run([overlay / "merged/up"]))
    expect(row, row.bed.run([overlay / "upper/up"]), gap="overlay", unless_read=True)
    row.end()
    row.rules.clear()


def test_a_same_named_file_of_a_container_is_another(row):
    """The path is the host's: what another root shows at that path is not meant."""
    other = row.folder / "root"
    inner = other / str(row.program.parent).lstrip("/")
    inner.mkdir(parents=True)
    row.bed.program("prog", inner)
    row.block()
    trace = other / "trace"
    assert row.bed.run(["chroot", other, row.program, "/trace", trace], trace=trace).word == RAN


def test_gaps_are_documented(bed):
    """What a rule can name as a gap stands in the documentation, and the reverse."""
    import pathlib
    import re
    root = pathlib.Path(__file__).resolve().parents[2]
    listed = set(re.findall(r'^  X\([A-Z_]+,\s+"([a-z_]+)", (?:true|false),', (root / "sensor/rule_result.h").read_text(), re.M))
    text = (root / "doc/kernels.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", text.split("## Gaps")[1].split("\n## ")[0], re.M))
    assert listed and listed == documented
