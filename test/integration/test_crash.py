# SPDX-License-Identifier: GPL-2.0-or-later
"""`kill -9` at random instants, with a checked history: every answer that was given is recorded, and afterwards each
answered order must be there, ended, and true about its process. No other process may have been touched.

Bounded for a merge; TELOVIX_LONG=1 (run-tests --long) multiplies the rounds."""
import os
import random
import signal
import subprocess
import threading
import time

import grpc
import pytest

import telovix
from telovix import wait_for

ROUNDS = 1000 if telovix.LONG else 200
SENSOR_ROUNDS = 1000 if telovix.LONG else 200
# The rounds share one pair of daemons: orders come in bursts, each burst meets one kill -9.
PER_BURST = 4
SEED = int(os.environ.get("TELOVIX_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
GOOD = {"killed", "already_gone"}


def word(state):
    enum = telovix.Api.pool().FindEnumTypeByName("telovix.v1.KillState")
    return enum.values_by_number[state].name.removeprefix("KILL_STATE_").lower()


class History:
    """What was asked and what was answered."""

    def __init__(self, fleet, sensor):
        self.fleet, self.sensor, self.lock = fleet, sensor, threading.Lock()
        self.answered = {}   # order id → (victim, request id)
        self.unanswered = [] # (victim, request id): may or may not exist
        self.refused = []    # victims whose order was refused: too many are open
        self.bystanders = [sensor.victim() for _ in range(3)]
        self.victims = []

    def prepare(self, api, n):
        """All victims are older than every baseline: a Console that has just started knows only what it stored."""
        self.victims = [self.sensor.victim_now() for _ in range(n)]
        time.sleep(0.05)
        warm_up = self.sensor.victim()
        api.call("telovix.v1.ContainmentService/KillProcess", sensor=self.sensor.sensor_id, pid=warm_up.pid,
                 request_id="warm-up")
        assert warm_up.wait(20) == -signal.SIGKILL

    def ask(self, api, number):
        with self.lock:
            victim = self.victims.pop()
        request_id = f"crash-{number}"
        try:
            reply = api.call("telovix.v1.ContainmentService/KillProcess", timeout=2, sensor=self.sensor.sensor_id,
                             pid=victim.pid, request_id=request_id)
            with self.lock:
                self.answered[reply.order.order_id] = (victim, request_id)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                with self.lock:
                    self.refused.append(victim)
                return
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                                    grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN,
                                    grpc.StatusCode.INTERNAL), error
            with self.lock:
                self.unanswered.append((victim, request_id))

    def retry_unanswered(self, api):
        """A retry with the same request id makes each certain: it never acts twice."""
        for victim, request_id in self.unanswered:
            reply = api.call("telovix.v1.ContainmentService/KillProcess", sensor=self.sensor.sensor_id, pid=victim.pid,
                             request_id=request_id)
            self.answered[reply.order.order_id] = (victim, request_id)
        self.unanswered = []

    def check(self, api):
        orders = {}

        def all_ended():
            token = ""
            orders.clear()
            while True:
                page = api.call("telovix.v1.ContainmentService/ListKills", page_size=1000, page_token=token)
                orders.update((o.order_id, o) for o in page.orders)
                token = page.next_page_token
                if not token:
                    break
            return all(o.HasField("finished_at") for o in orders.values())

        wait_for(all_ended, "every order ends", 60)
        victims = {}
        for order_id, (victim, request_id) in self.answered.items():
            assert order_id in orders, f"answered order {order_id} ({request_id}) is lost; seed {SEED}"
            order = orders[order_id]
            assert order.pid == victim.pid and order.request_id == request_id
            assert word(order.state) in GOOD, f"{order_id}: {word(order.state)} {order.detail}; seed {SEED}"
            assert victim.wait(10) == -signal.SIGKILL
            victims.setdefault(victim.pid, []).append(order_id)
        # One order a request, and no process killed by an order that nobody gave.
        assert len(self.answered) == len({r for _, r in self.answered.values()})
        assert set(orders) >= set(self.answered)
        assert len(orders) == len(self.answered) + 1, f"orders that nobody was answered for; seed {SEED}"
        for bystander in self.bystanders + self.refused:
            assert bystander.poll() is None, f"a process that nobody named was killed; seed {SEED}"


def burst(history, address, profile, start, n, threads=4):
    """n requests from a few connections at once."""
    def work(numbers):
        api = telovix.Api(address, profile)
        for number in numbers:
            history.ask(api, number)
        api.close()

    workers = [threading.Thread(target=work, args=(range(start + i, start + n, threads),)) for i in range(threads)]
    for worker in workers:
        worker.start()
    return workers


@pytest.mark.parametrize("who", ["console", "sensor"])
def test_kill_9(fleet, who):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    fleet.start_console()
    sensor = fleet.start_sensor("crash")
    history = History(fleet, sensor)
    rounds = ROUNDS if who == "console" else SENSOR_ROUNDS
    api = telovix.Api(fleet.console.address, fleet.profile)
    history.prepare(api, rounds * PER_BURST)
    api.close()
    number, crashes = 0, 0
    while crashes < rounds:
        workers = burst(history, fleet.console.address, fleet.profile, number, PER_BURST)
        number += PER_BURST
        # Any instant between request and acknowledgement.
        time.sleep(rng.uniform(0, 0.03 if who == "console" else 0.15))
        if who == "console":
            fleet.console.kill9()
            fleet.start_console(port=fleet.console.port)
        else:
            sensor.kill9()
            sensor = fleet.restart_sensor(sensor, wait=False)
            history.sensor = sensor
        crashes += 1
        for worker in workers:
            worker.join()
    fleet.wait_seen(sensor.sensor_id)
    api = telovix.Api(fleet.console.address, fleet.profile)
    history.retry_unanswered(api)
    history.check(api)
    api.close()
    assert "intact" in fleet.ctl("audit", "verify").stdout
    fleet.console.stop()
    result = subprocess.run([telovix.BUILD / "console/telovix-console", "verify", "--data", fleet.data], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    print(f"{crashes} kills of the {who}, {len(history.answered)} orders")
