# SPDX-License-Identifier: GPL-2.0-or-later
"""Every end of a kill order, each with real processes (spec §5.1)."""
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import grpc
import pytest

import telovix
from telovix import wait_for


def start_ticks(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return int(text.rsplit(")", 1)[1].split()[19])


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def kill_json(fleet, node, pid, *words, check=None):
    result = fleet.ctl("-o", "json", "kill", node, pid, "--wait", *words, check=False)
    if check is not None:
        assert result.returncode == check, result.stderr + result.stdout
    return json.loads(result.stdout) if result.stdout else json.loads(result.stderr)


def test_killed(running):
    victim = running.node.victim()
    result = running.ctl("kill", "web-1", victim.pid, "--wait", "--reason", "test")
    assert victim.wait(5) == -signal.SIGKILL
    # Each state with its time; the last line says what, where, how long.
    for state in ("queued", "delivered", "killed"):
        assert re.search(rf"^{state}\s+\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z", result.stdout, re.M), result.stdout
    assert re.match(rf"killed: PID {victim.pid} \(sleep\) on web-1 was killed, \d+ ms after the order", result.stdout.splitlines()[-1])


def test_notice_verbatim(running, api):
    victim = running.node.victim()
    reply = api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=victim.pid)
    assert reply.notice == f"PID {victim.pid} is queued and will execute within 30 seconds on the next heartbeat"
    victim.wait(5)


def test_notice_of_a_silent_sensor(fleet):
    fleet.start_console(extra=["--config", write_config(fleet, "stale_after = 2s")])
    sensor = fleet.start_sensor("web-1")
    sensor.kill9()
    wait_for(lambda: fleet.sensor("web-1")["status"] == "SENSOR_STATUS_STALE", "the sensor is stale")
    reply = json.loads(fleet.ctl("-o", "json", "kill", "web-1", "4242", "--expires", "10m").stdout)
    assert "waits" in reply["notice"] and re.search(r"until \d{4}-\d\d-\d\dT", reply["notice"]), reply["notice"]
    assert reply["order"]["state"] == "KILL_STATE_QUEUED"


def write_config(fleet, *lines):
    path = fleet.folder / "extra.ini"
    path.write_text("[console]\n" + "\n".join(lines) + "\n")
    return path


def test_already_gone(running):
    victim = running.node.victim(("true",))
    victim.wait(5)
    order = kill_json(running, "web-1", victim.pid, check=0)
    assert order["state"] == "KILL_STATE_ALREADY_GONE"


def test_zombie_is_already_gone(running):
    victim = running.node.victim(("true",))
    wait_for(lambda: ") Z " in pathlib.Path(f"/proc/{victim.pid}/stat").read_text(), "the victim is a zombie")
    order = kill_json(running, "web-1", victim.pid, check=0)
    assert order["state"] == "KILL_STATE_ALREADY_GONE"
    victim.wait(5)


FIRST_THREAD_EXITS = """
import ctypes, os, threading, time
os.write(1, b"x")
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2): this thread alone
"""


@pytest.mark.parametrize("guard", [False, True])
def test_a_process_without_its_first_thread_is_killed(running, guard):
    """Its state is Z while its other threads run on: it is not gone, and is not called so."""
    victim = running.node.victim(("/usr/bin/python3", "-c", FIRST_THREAD_EXITS))
    wait_for(lambda: ") Z " in pathlib.Path(f"/proc/{victim.pid}/stat").read_text(), "the first thread has exited")
    assert victim.poll() is None
    words = ("--exe", os.path.realpath("/usr/bin/python3")) if guard else ()
    order = kill_json(running, "web-1", victim.pid, *words, check=0)
    assert order["state"] == "KILL_STATE_KILLED", order
    assert victim.wait(5) == -signal.SIGKILL


class CloneArgs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack",
                                                      "stack_size", "tls", "set_tid", "set_tid_size", "cgroup")]


def spawn_with_pid(pid, cgroup):
    """A process with exactly this PID, by clone3(set_tid) in the initial PID namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = ctypes.c_int32(pid)
    args = CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    child = libc.syscall(435, ctypes.byref(args), ctypes.sizeof(args))
    if child == 0:
        try:
            cgroup.join()
            os.execvp("sleep", ["sleep", "600"])
        finally:
            os._exit(1)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3(set_tid)")
    return child


def test_reused_pid_is_never_killed(running):
    """The PID is reused between the order and its delivery: the new process lives."""
    victim = running.node.victim()
    pid = victim.pid
    running.node.process.send_signal(signal.SIGSTOP)  # the order waits
    order = json.loads(running.ctl("-o", "json", "kill", "web-1", pid).stdout)["order"]
    victim.kill()
    victim.wait(5)
    assert spawn_with_pid(pid, running.node.cgroup) == pid
    try:
        running.node.process.send_signal(signal.SIGCONT)
        ended = wait_for(lambda: (o := running.ctl_json("kills", "get", order["orderId"])[0])["finishedAt"] and o
                         if "finishedAt" in running.ctl_json("kills", "get", order["orderId"])[0] else None, "the order ends")
        assert ended["state"] == "KILL_STATE_IDENTITY_MISMATCH", ended
        assert alive(pid)
        # The reader that waits is told so too, and not with success.
        assert running.ctl("kills", "get", order["orderId"]).stdout.splitlines()[-1].startswith("identity_mismatch: PID")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("guard", ["--start-ticks", "--exe"])
def test_guards(running, guard):
    victim = running.node.victim()
    right = {"--start-ticks": str(start_ticks(victim.pid)), "--exe": os.readlink(f"/proc/{victim.pid}/exe")}
    wrong = {"--start-ticks": str(start_ticks(victim.pid) + 1), "--exe": "/usr/bin/true"}
    order = kill_json(running, "web-1", victim.pid, guard, wrong[guard], check=1)
    assert order["state"] == "KILL_STATE_IDENTITY_MISMATCH"
    assert victim.poll() is None
    order = kill_json(running, "web-1", victim.pid, guard, right[guard], check=0)
    assert order["state"] == "KILL_STATE_KILLED"
    victim.wait(5)


def kernel_thread():
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[6]) & 0x00200000:
                    return int(folder.name)
            except (OSError, ValueError):
                continue
    return None


def test_protected(running):
    kthread = kernel_thread()
    assert kthread, "this machine shows no kernel thread"
    for pid in (kthread, running.node.pid):
        order = kill_json(running, "web-1", pid, check=1)
        assert order["state"] == "KILL_STATE_PROTECTED", order
    assert running.node.running()


def test_outside_scope_is_protected(running):
    outside = subprocess.Popen(["sleep", "600"])
    running.children.append(outside)
    time.sleep(0.05)
    order = kill_json(running, "web-1", outside.pid, check=1)
    assert (order["state"], order["detail"]) == ("KILL_STATE_PROTECTED", "outside_scope")
    assert outside.poll() is None
    assert order["scopeCgroup"]


def test_pid_1_is_refused_at_once(running, api):
    for pid in (0, 1, 4194305):
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=pid)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "pid" in telovix.details(error.value)[1]


def test_thread_id_is_refused(running):
    """A thread id is not a process: no process of that id is signalled."""
    script = "import threading,time,sys\nt=threading.Thread(target=time.sleep,args=(600,))\nt.start()\nprint(t.native_id,flush=True)\nt.join()"
    victim = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True, preexec_fn=running.node.cgroup.join)
    running.children.append(victim)
    tid = int(victim.stdout.readline())
    time.sleep(0.05)
    order = kill_json(running, "web-1", tid, check=None)
    assert order["state"] in ("KILL_STATE_PROTECTED", "KILL_STATE_FAILED", "KILL_STATE_IDENTITY_MISMATCH"), order
    assert victim.poll() is None
    victim.stdout.close()


def test_failed_names_the_errno(fleet):
    """The signal itself is refused: a sensor without the capability to kill others."""
    fleet.start_console()
    _, state = fleet.enroll("weak")
    cgroup = telovix.Cgroup()
    fleet.cgroups.append(cgroup)
    sensor = fleet.start_sensor("weak", state, cgroup, drop_kill=True)
    victim = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "600"], preexec_fn=cgroup.join)
    fleet.children.append(victim)
    time.sleep(0.2)
    order = kill_json(fleet, "weak", victim.pid, check=1)
    assert order["state"] == "KILL_STATE_FAILED" and order["errorNumber"] == 1, order
    assert victim.poll() is None
    assert sensor.running()


def test_expired(running):
    running.node.process.send_signal(signal.SIGSTOP)
    try:
        order = json.loads(running.ctl("-o", "json", "kill", "web-1", "4242", "--expires", "10s").stdout)["order"]
        ended = wait_for(lambda: (o := running.ctl_json("kills", "get", order["orderId"])[0])["state"] != "KILL_STATE_QUEUED" and o,
                         "the order expires", 20)
        assert ended["state"] == "KILL_STATE_EXPIRED"
    finally:
        running.node.process.send_signal(signal.SIGCONT)
    # It is never handed out afterwards.
    time.sleep(0.5)
    assert running.ctl_json("kills", "get", order["orderId"])[0]["state"] == "KILL_STATE_EXPIRED"


def test_cancelled(running):
    running.node.process.send_signal(signal.SIGSTOP)
    victim = running.node.victim()
    try:
        order = json.loads(running.ctl("-o", "json", "kill", "web-1", victim.pid).stdout)["order"]
        cancelled = running.ctl_json("kills", "cancel", order["orderId"], "--reason", "mistake")[0]
        assert cancelled["state"] == "KILL_STATE_CANCELLED"
        again = running.ctl("kills", "cancel", order["orderId"], check=False)
        assert again.returncode == 1 and "order_not_queued" in again.stderr
    finally:
        running.node.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert victim.poll() is None


def test_delivered_orders_cannot_be_cancelled(running):
    victim = running.node.victim()
    order = kill_json(running, "web-1", victim.pid, check=0)
    result = running.ctl("kills", "cancel", order["orderId"], check=False)
    assert result.returncode == 1 and "FAILED_PRECONDITION" in result.stderr
    victim.wait(5)


def test_result_unknown_and_late_report(fleet):
    """Delivered, and the sensor dies before it reports: RESULT_UNKNOWN after life + 10 min; a late report replaces it.
    The Console's clock is moved by the store: its due time is what counts."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1")
    # A virtual sensor: takes the order in a heartbeat and stays silent.
    api = telovix.Api(fleet.console.address, channel_credentials=telovix.sensor_credentials(sensor))
    sensor.kill9()
    boot_id = bytes.fromhex(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))

    def beat(**fields):
        return api.call("telovix.v1.SensorService/Heartbeat", boot_id=boot_id, boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                        sensor_version="test", **fields)

    order = json.loads(fleet.ctl("-o", "json", "kill", "web-1", "4242", "--expires", "10s").stdout)["order"]
    reply = beat()
    assert [o.order_id for o in reply.pending_kill_pids] == [order["orderId"]]
    api.close()
    fleet.console.stop()
    fleet.mint("age-order", order["orderId"], 11 * 60 * 1000)
    fleet.start_console()
    ended = wait_for(lambda: (o := fleet.ctl_json("kills", "get", order["orderId"])[0])["state"] == "KILL_STATE_RESULT_UNKNOWN" and o,
                     "the order ends unknown")
    assert ended["finishedAt"]
    api = telovix.Api(fleet.console.address, channel_credentials=telovix.sensor_credentials(sensor))
    KillResult = telovix.Api.message("telovix.v1.KillResult")
    reply = beat(kill_results=[KillResult(order_id=order["orderId"], state=4, boot_id=boot_id)])
    assert list(reply.acknowledged_order_ids) == [order["orderId"]]
    assert fleet.ctl_json("kills", "get", order["orderId"])[0]["state"] == "KILL_STATE_KILLED"
    api.close()


def test_order_arrives_without_the_wake_stream(fleet):
    """With the wake stream cut the order still arrives with the next heartbeat (at most 30 s)."""
    fleet.start_console()
    sensor = fleet.start_sensor("web-1", env={"TELOVIX_TEST_NO_WAKE": "1"})
    victim = sensor.victim()
    started = time.monotonic()
    order = kill_json(fleet, "web-1", victim.pid, check=0)
    assert order["state"] == "KILL_STATE_KILLED" and time.monotonic() - started < 30
    victim.wait(5)


def test_never_heartbeaten(fleet):
    fleet.start_console()
    fleet.enroll("quiet")
    result = fleet.ctl("kill", "quiet", "4242", check=False)
    assert result.returncode == 1 and "FAILED_PRECONDITION never_heartbeaten" in result.stderr


def test_unknown_sensor(running):
    result = running.ctl("kill", "nobody", "4242", check=False)
    assert result.returncode == 1 and "NOT_FOUND unknown_sensor" in result.stderr


def test_request_id(running, api):
    victim = running.node.victim()
    first = api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=victim.pid, request_id="same-1")
    victim.wait(5)
    again = api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=victim.pid, request_id="same-1")
    assert again == first
    with pytest.raises(grpc.RpcError) as error:
        api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=victim.pid + 1, request_id="same-1")
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert telovix.details(error.value)[0] == "request_id_reused"


def test_open_orders_are_bounded(running, api):
    running.node.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(64):
            api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=4242)
        with pytest.raises(grpc.RpcError) as error:
            api.call("telovix.v1.ContainmentService/KillProcess", sensor="web-1", pid=4242)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert telovix.details(error.value)[0] == "too_many_open_orders"
    finally:
        running.node.process.send_signal(signal.SIGCONT)
    wait_for(lambda: running.sensor("web-1")["openOrders"] == 0, "all orders end")


def test_audit_tells_the_whole_story(running):
    victim = running.node.victim()
    order = kill_json(running, "web-1", victim.pid, "--reason", "proof", check=0)
    victim.wait(5)
    records = {r["actionType"]: r for r in running.audit() if order["orderId"] in r["detail"]}
    assert records["process_kill_queued"]["actor"] == "admin" and records["process_kill_queued"]["reason"] == "proof"
    assert json.loads(records["process_kill_finished"]["detail"])["state"] == "killed"
    assert "intact" in running.ctl("audit", "verify").stdout


def test_wait_times_out_with_status_3(running):
    running.node.process.send_signal(signal.SIGSTOP)
    try:
        result = running.ctl("kill", "web-1", "4242", "--wait", "--timeout", "1s", check=False)
        assert result.returncode == 3 and "kills get kill_" in result.stderr
    finally:
        running.node.process.send_signal(signal.SIGCONT)
