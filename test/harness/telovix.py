# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts real Consoles and Sensors for tests, and ends them again by their process ids.

Everything runs on loopback and below a temporary folder. `Fleet.start_sensor` is the one place that starts sensors,
always with a test cgroup of its own: without that scope an order could reach any process of the machine. Only in a guest
of test/vm, which is nobody's machine, may a sensor have the whole host."""
import contextlib
import datetime
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TELOVIX_BUILD", ROOT / "build/debug"))
LONG = os.environ.get("TELOVIX_LONG", "0") == "1"
# ASan + UBSan builds report here and exit with 99; a leak makes the daemon's exit status non-zero too.
SANITIZERS = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
SANITIZER_WORDS = re.compile(r"ERROR: (Address|Leak|Thread)Sanitizer|runtime error:")
LIMIT = 30.0  # seconds after which a condition counts as missed


def wait_for(condition, what, limit=LIMIT):
    """Polls until `condition()` is true; returns its value."""
    until = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.005)


def cgroup2_mount():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return pathlib.Path(line.split()[4])
    return None


class Cgroup:
    """A cgroup2 folder of the test; processes join it by themselves before exec."""

    def __init__(self):
        mount = cgroup2_mount()
        if mount is None:
            raise RuntimeError("no cgroup2 mount")
        self.path = mount / f"telovix-test-{uuid.uuid4().hex[:12]}"
        self.path.mkdir()

    def join(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        for pid in (self.path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: not (self.path / "cgroup.procs").read_text().strip(), "test cgroup is empty")
        self.path.rmdir()


class WallClock:
    """A wall clock that is wrong by as much as the test says, for the processes that get `env`; a build that is not a
    release follows it while it runs."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / f"clock-{uuid.uuid4().hex[:6]}"
        self.path.write_bytes(bytes(8))
        self.env = {"TELOVIX_TEST_CLOCK": str(self.path)}

    def set(self, days=0, seconds=0):
        """In place: the processes have it mapped."""
        with open(self.path, "r+b") as file:
            file.write(int((days * 86400 + seconds) * 1000).to_bytes(8, sys.byteorder, signed=True))


class Daemon:
    """A child process with its output in a file."""

    def __init__(self, name, argv, folder, env=None, preexec=None):
        self.name, self.argv = name, [str(word) for word in argv]
        self.log = pathlib.Path(folder) / f"{name}-{uuid.uuid4().hex[:6]}.log"
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT,
            env={**os.environ, **SANITIZERS, **(env or {})}, preexec_fn=preexec)
        self.expect_kill = False

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def wait_output(self, pattern, limit=LIMIT):
        def found():
            match = re.search(pattern, self.output())
            if not match and not self.running():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.output()}")
            return match
        return wait_for(found, f"{self.name} prints {pattern}", limit)

    def kill9(self):
        self.expect_kill = True
        self.process.kill()
        self.process.wait()

    def stop(self, limit=LIMIT):
        """SIGTERM; the daemon must end by itself, with status 0 and nothing of a sanitizer in its output."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} did not stop on SIGTERM:\n{self.output()}") from None
        text = self.output()
        assert not SANITIZER_WORDS.search(text), f"{self.name}:\n{text}"
        if not self.expect_kill:
            assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}:\n{text}"


class Console(Daemon):
    def __init__(self, fleet, port=0, extra=()):
        super().__init__("console", [BUILD / "console/telovix-console", "run", "--data", fleet.data, "--listen",
                                     f"{fleet.listen}:{port}", *extra], fleet.folder, env=fleet.env)
        self.port = int(self.wait_output(rf"listening on {re.escape(fleet.listen)}:(\d+)").group(1))
        self.address = f"{fleet.addresses[0]}:{self.port}"


class Sensor(Daemon):
    """Enrolled and running; `victim()` starts processes that it may kill. Without a cgroup its scope is the whole host."""

    def __init__(self, fleet, name, state, cgroup, env=None, drop_kill=False, bpffs=None, drop_bpf=False, program=None):
        self.fleet, self.node, self.state, self.cgroup = fleet, name, pathlib.Path(state), cgroup
        self.ini = (self.state / "sensor.ini").read_text()
        self.sensor_id = re.search(r"sensor_[a-z0-9]{16}", self.ini).group(0)
        # Without CAP_KILL a signal to a process of another user fails; without the others no program can be loaded.
        dropped = ",".join((["-kill"] if drop_kill else []) + (["-bpf", "-perfmon", "-sys_admin"] if drop_bpf else []))
        prefix = ["setpriv", "--bounding-set", dropped, "--inh-caps", dropped] if dropped else []
        self.bpffs = bpffs
        scope = ["--cgroup", cgroup.path] if cgroup else []
        super().__init__(f"sensor-{name}", [*prefix, program or BUILD / "sensor/telovix-sensor", "run", "--state", state,
                                            "--bpffs", bpffs, *scope], fleet.folder, env={**fleet.env, **(env or {})})

    def status(self):
        """What `telovix-sensor status` says on the host."""
        result = subprocess.run([BUILD / "sensor/telovix-sensor", "status", "--state", self.state, "-o", "json"],
                                capture_output=True, text=True, env={**os.environ, **SANITIZERS}, timeout=30)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def victim_now(self, argv=("sleep", "3600")):
        """As young as it can be: an order given at once may find it started after its baseline."""
        join = self.cgroup.join if self.cgroup else None
        process = subprocess.Popen(argv, preexec_fn=join, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.fleet.children.append(process)
        return process

    def victim(self, argv=("sleep", "3600")):
        process = self.victim_now(argv)
        # The baseline of an order is older than the order by the sensor's clock tick: let one pass.
        time.sleep(0.03)
        return process


class Fleet:
    """A Console with its data, the sensors that enrolled with it, and an admin's profile. `hosts`: the addresses that it
    tells to sensors; others than loopback only in a network namespace of the test."""

    def __init__(self, env=None, hosts=("127.0.0.1",)):
        self.addresses, self.listen = hosts, "127.0.0.1" if hosts == ("127.0.0.1",) else "[::]"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="telovix-test-"))
        self.data = self.folder / "console"
        self.env = env or {}
        self.daemons, self.children, self.cgroups, self.mounts = [], [], [], []
        words = [word for host in hosts for word in ("--host", host)]
        subprocess.run([BUILD / "console/telovix-console", "init", "--data", self.data, "--fleet", "Test Fleet", *words],
                       check=True, env={**os.environ, **SANITIZERS}, capture_output=True)
        self.profile = self.data / "admin"
        self.console = None

    # ---- daemons ----
    def start_console(self, port=None, extra=()):
        if port is None:
            port = self.console.port if self.console else 0
        self.console = Console(self, port, extra)
        self.daemons.append(self.console)
        return self.console

    def enroll(self, name, token=None, extra=(), check=True, env=None, state=None, console=None):
        """Runs `telovix-sensor enroll`; returns the completed process and the state folder."""
        state = state or self.folder / f"state-{name}"
        if token is None:
            token = json.loads(self.ctl("-o", "json", "token", "create").stdout)
        result = subprocess.run(
            [BUILD / "sensor/telovix-sensor", "enroll", "--console", console or self.console.address, "--ca-cert-hash",
             token["caCertHash"], "--token", token["token"], "--node-name", name, "--state", state, *extra],
            capture_output=True, text=True, env={**os.environ, **SANITIZERS, **self.env, **(env or {})}, timeout=60)
        assert not SANITIZER_WORDS.search(result.stderr), result.stderr
        if check:
            assert result.returncode == 0, result.stderr + result.stdout
        return result, state

    def bpffs(self, name):
        """A BPF file system of the sensor's own: what it pins dies with the mount. Just a folder where none can be had."""
        folder = self.folder / f"bpffs-{name}"
        if not folder.exists():
            folder.mkdir()
            if subprocess.run(["mount", "-t", "bpf", "bpf", folder], capture_output=True).returncode == 0:
                self.mounts.append(folder)
        return folder

    def start_sensor(self, name, state=None, cgroup=None, env=None, wait=True, drop_kill=False,
                     whole_host=False, bpffs=None, drop_bpf=False, program=None):
        """The one place that starts sensors, always with a scope of its own; `whole_host` is for guests of test/vm."""
        if whole_host and os.environ.get("TELOVIX_HOST_SCOPE") != "1":
            raise RuntimeError("a sensor without a scope runs only in a guest of test/vm")
        if state is None:
            _, state = self.enroll(name)
        if cgroup is None and not whole_host:
            cgroup = Cgroup()
            self.cgroups.append(cgroup)
        sensor = Sensor(self, name, state, cgroup, env, drop_kill, bpffs or self.bpffs(name), drop_bpf, program)
        self.daemons.append(sensor)
        if wait:
            self.wait_seen(sensor.sensor_id)
        return sensor

    def restart_sensor(self, sensor, wait=True):
        return self.start_sensor(sensor.node, sensor.state, sensor.cgroup, wait=wait, whole_host=sensor.cgroup is None,
                                 bpffs=sensor.bpffs)

    def wait_seen(self, sensor_id, limit=LIMIT):
        def seen():
            found = self.sensor(sensor_id)
            return found.get("connected") and found.get("lastSeenAt") and not found.get("unconfirmedSinceRestart")
        wait_for(seen, f"{sensor_id} is seen", limit)

    # ---- operator ----
    def ctl(self, *words, check=True, profile=None, env=None, timeout=90):
        result = subprocess.run(
            [BUILD / "client/telovixctl", "--profile", profile or self.profile, "--console", self.console.address,
             *[str(word) for word in words]], capture_output=True, text=True, timeout=timeout,
            env={**os.environ, **SANITIZERS, **self.env, **(env or {})})
        assert not SANITIZER_WORDS.search(result.stderr), result.stderr
        if check:
            assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stderr}{result.stdout}"
        return result

    def ctl_json(self, *words, **options):
        return [json.loads(line) for line in self.ctl("-o", "json", *words, **options).stdout.splitlines()]

    def sensor(self, name):
        return self.ctl_json("sensors", "get", name)[0]

    def audit(self, *words):
        return self.ctl_json("audit", "list", "--limit", "5000", *words)

    def mint(self, *words):
        """Changes the store of a stopped Console in ways that have no command yet."""
        result = subprocess.run([BUILD / "test/harness/telovix-mint", "--data", self.data, *[str(word) for word in words]],
                                capture_output=True, text=True, env={**os.environ, **SANITIZERS}, timeout=120)
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    def operator(self, name, role):
        """A profile of a further operator. The Console must be stopped."""
        folder = self.folder / f"profile-{name}"
        self.mint("operator", name, role, folder)
        return folder

    # ---- end ----
    def close(self):
        errors = []
        for daemon in reversed(self.daemons):
            try:
                daemon.stop()
            except AssertionError as error:
                errors.append(str(error))
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for mount in self.mounts:
            subprocess.run(["umount", "--lazy", mount], check=True)
        for cgroup in self.cgroups:
            cgroup.remove()
        if errors:
            raise AssertionError("\n".join(errors))
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            # Read before close removes the folder.
            outputs = [(daemon.name, daemon.argv[1], daemon.output()[-4000:]) for daemon in self.daemons]
            with contextlib.suppress(AssertionError):
                self.close()
            for name, verb, output in outputs:
                print(f"---- {name} ({verb}):\n{output}")


# ---- a plain gRPC client, by reflection alone ----

def credentials(profile, key=None, certificate=None):
    profile = pathlib.Path(profile)
    return grpc.ssl_channel_credentials((profile / "ca.crt").read_bytes(),
                                        key or (profile / "client.key").read_bytes(),
                                        certificate or (profile / "client.crt").read_bytes())


def sensor_credentials(sensor):
    """The identity of an enrolled sensor, for tests that speak in its place."""
    folder = sensor.state / "identity"
    return grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), (folder / "client.key").read_bytes(),
                                        (folder / "client.crt").read_bytes())


class Api:
    """Calls any method of the Console by name with keyword arguments; message classes come from reflection's
    descriptors (embedded from proto/ by protoc at import)."""

    _pool = None

    @classmethod
    def pool(cls):
        if cls._pool is None:
            from google.protobuf import descriptor_pb2, descriptor_pool
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "set.bin"
                protos = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto")
                                if "telovix/v1" in str(p) or "grpc/" in str(p) or "google/rpc" in str(p))
                subprocess.run(["protoc", f"--proto_path={ROOT / 'proto'}", "--proto_path=/usr/include", "--include_imports",
                                f"--descriptor_set_out={out}", *protos], check=True)
                files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
            cls._pool = descriptor_pool.DescriptorPool()
            for file in files.file:
                cls._pool.Add(file)
        return cls._pool

    @classmethod
    def message(cls, name):
        from google.protobuf import message_factory
        descriptor = cls.pool().FindMessageTypeByName(name)
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(descriptor)
        return message_factory.MessageFactory(cls.pool()).GetPrototype(descriptor)

    def __init__(self, address, profile=None, channel_credentials=None, options=()):
        if channel_credentials is None:
            channel_credentials = credentials(profile)
        # No client waits long for a Console that restarts in the middle of a test; but the second of these is also how
        # long an attempt may take, handshake included, and a busy machine takes its time.
        self.channel = grpc.secure_channel(address, channel_credentials, options=[
            ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 5000),
            ("grpc.max_reconnect_backoff_ms", 500), *options])

    def method(self, name):
        service, method = name.rsplit("/", 1)
        found = self.pool().FindServiceByName(service).FindMethodByName(method)
        request, reply = self.message(found.input_type.full_name), self.message(found.output_type.full_name)
        from google.protobuf import descriptor_pb2
        proto = descriptor_pb2.MethodDescriptorProto()
        found.CopyToProto(proto)
        kind = self.channel.unary_stream if proto.server_streaming else self.channel.unary_unary
        if proto.client_streaming:
            kind = self.channel.stream_stream
        return request, kind(f"/{name}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString)

    def call(self, name, timeout=10, metadata=(), **fields):
        request, method = self.method(name)
        return method(request(**fields), timeout=timeout, metadata=metadata)

    def close(self):
        self.channel.close()


def details(error):
    """google.rpc.Status of a failed call → (reason, {field: description})."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Api.message("google.rpc.Status").FromString(value)
            reason, fields = "", {}
            for detail in status.details:
                if detail.type_url.endswith("google.rpc.ErrorInfo"):
                    reason = Api.message("google.rpc.ErrorInfo").FromString(detail.value).reason
                elif detail.type_url.endswith("google.rpc.BadRequest"):
                    for violation in Api.message("google.rpc.BadRequest").FromString(detail.value).field_violations:
                        fields[violation.field] = violation.description
            return reason, fields
    return "", {}


def now():
    return datetime.datetime.now(datetime.timezone.utc)
