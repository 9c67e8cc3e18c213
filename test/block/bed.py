# SPDX-License-Identifier: GPL-2.0-or-later
"""A fleet of one sensor whose engine is ready, files that leave a trace when they run, and the ways to run them."""
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import uuid

import pytest

import telovix
from telovix import BUILD, wait_for

# In a guest of test/vm the sensor has the whole host.
WHOLE_HOST = os.environ.get("TELOVIX_HOST_SCOPE") == "1"
TRACE_PROGRAM = BUILD / "test/bpf/bpf_trace_program"
SYS_EXECVEAT = {"x86_64": 322, "aarch64": 281}[os.uname().machine]
AT_EMPTY_PATH = 0x1000
libc = ctypes.CDLL(None, use_errno=True)

STOPPED, RAN = "stopped", "ran"


class Outcome:
    """What became of one execution. `trace` tells whether its first instructions ran."""

    def __init__(self, status, trace):
        self.status, self.trace = status, trace

    @property
    def word(self):
        return RAN if self.trace else STOPPED

    def __repr__(self):
        return f"{self.word} ({self.status})"


class Bed:
    """One sensor with an engine, and a folder of programs."""

    def __init__(self, fleet, name="web-1", env=None):
        self.fleet = fleet
        if not fleet.console:
            fleet.start_console()
        self.sensor = fleet.start_sensor(name, env=env, whole_host=WHOLE_HOST)
        self.name = name
        self.folder = fleet.folder / f"bed-{name}"
        self.folder.mkdir()
        self.n = 0
        self.wait_started()

    # ---- the host's own word ----
    def status(self):
        return self.sensor.status()

    def engine(self):
        return self.status()["engine"]

    def need_ready(self):
        """Tests of enforcement say by name why they cannot run here."""
        engine = self.engine()
        if engine["state"] != "ready":
            pytest.skip(f"this kernel allows no enforcement: {engine['reason']} {engine['detail']}")
        return self

    @property
    def backend(self):
        return self.engine()["backend"]

    @property
    def reads_names(self):
        """False under lockdown=confidentiality."""
        return next(cap["available"] for cap in self.engine()["capabilities"] if cap["name"] == "read_name")

    def wait_started(self):
        """A sensor that was just started may not answer yet."""
        def started():
            with contextlib.suppress(AssertionError):
                return self.engine()["state"] != "starting"
        wait_for(started, "the engine has started")

    def restart(self, env=None, wait=True):
        self.sensor = self.fleet.start_sensor(self.name, self.sensor.state, self.sensor.cgroup, env=env,
                                              whole_host=WHOLE_HOST, bpffs=self.sensor.bpffs, wait=wait)
        self.wait_started()

    # ---- rules ----
    def block(self, path, *words, check=True):
        """`telovixctl block --wait`; the rule as JSON."""
        result = self.fleet.ctl("-o", "json", "block", self.name, path, "--wait", *words, check=False)
        if check:
            assert result.returncode == 0, result.stderr + result.stdout
        return json.loads(result.stdout.splitlines()[-1])

    def rule(self, rule_id):
        return self.fleet.ctl_json("rules", "get", rule_id)[0]

    def unblock(self, rule_id):
        self.fleet.ctl("rules", "delete", rule_id, "--wait")

    def wait_rule(self, rule_id, condition, what, limit=30):
        return wait_for(lambda: (rule := self.rule(rule_id)) and condition(rule) and rule, what, limit)

    # ---- programs ----
    def program(self, name="prog", folder=None):
        """A static program of its own inode whose first instructions make the file that it is given."""
        path = (folder or self.folder) / name
        shutil.copyfile(TRACE_PROGRAM, path)
        path.chmod(0o755)
        return path

    def trace(self):
        self.n += 1
        return self.folder / f"trace-{self.n}-{uuid.uuid4().hex[:6]}"

    def join(self):
        if self.sensor.cgroup:
            self.sensor.cgroup.join()

    def run(self, argv, trace=None, cwd=None, before=None, executable=None, pass_fds=()):
        """Runs it in the scope; the last word is the trace's path unless `argv` holds it."""
        trace = trace or self.trace()
        words = [str(word) for word in argv]
        if str(trace) not in words:
            words.append(str(trace))

        def prepare():
            self.join()
            if before:
                before()

        try:
            status = subprocess.run(words, executable=executable, cwd=cwd, preexec_fn=prepare, pass_fds=pass_fds,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    timeout=60).returncode
        except PermissionError as error:
            status = f"EPERM{'' if error.errno == 1 else ' ' + str(error.errno)}"
        made = trace.exists()
        trace.unlink(missing_ok=True)
        return Outcome(status, made)

    def run_fd(self, fd, name=b"", flags=AT_EMPTY_PATH):
        """execveat(2) in a child of ours: a descriptor, and a name below it."""
        trace = self.trace()
        argv = (ctypes.c_char_p * 3)(b"prog", str(trace).encode(), None)
        envp = (ctypes.c_char_p * 1)(None)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                self.join()
                libc.syscall(SYS_EXECVEAT, fd, name, argv, envp, flags)
                os._exit(100 + ctypes.get_errno())
            os._exit(99)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        made = trace.exists()
        trace.unlink(missing_ok=True)
        return Outcome("EPERM" if code == 101 else code, made)

    def parent_sees(self, outcome):
        """What the documentation says: EPERM where the call is refused, a child killed by SIGKILL where it is not."""
        expected = {"EPERM"} if self.backend in ("lsm", "fmod_ret") else {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert outcome.status in expected, (self.backend, outcome)


class Executions:
    """Executes the program over and over from another thread, until told to end."""

    def __init__(self, bed, program):
        self.bed, self.program, self.n, self.leaks = bed, program, 0, []
        self.stop, self.thread = threading.Event(), threading.Thread(target=self.work)

    def work(self):
        while not self.stop.is_set():
            outcome = self.bed.run([self.program])
            self.n += 1
            if outcome.word == RAN:
                self.leaks.append(self.n)

    def __enter__(self):
        self.thread.start()
        wait_for(lambda: self.n > 5, "the executions have begun")
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def some_more(self, n=20):
        target = self.n + n
        wait_for(lambda: self.n > target, f"{n} more executions")


@contextlib.contextmanager
def mounted(*words):
    subprocess.run(["mount", *[str(word) for word in words]], check=True, capture_output=True)
    try:
        yield pathlib.Path(words[-1])
    finally:
        subprocess.run(["umount", "--lazy", str(words[-1])], check=True)
