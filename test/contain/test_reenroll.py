# SPDX-License-Identifier: GPL-2.0-or-later
"""Re-enrollment of a contained host whose sensor is revoked: its own way to the Console is let through, and nothing else leaves
the host meanwhile."""
import json
import os
import signal
import subprocess

import pytest

import bed as beds
import telovix
from telovix import BUILD, ROOT, SANITIZERS, wait_for
from test_life import trying
from test_matrix import Flows
from test_sabotage import tamperings

SCRIPT = ROOT / "packaging/telovix-sensor-reenroll"


@pytest.fixture(scope="module")
def flows(bed):
    return Flows(bed)


def end_of(bed, pid):
    """The sensor that the script started is nobody's child here."""
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), "it stops")


def on_host(bed, argv, **options):
    """In the host's namespace, and in the contained cgroup."""
    with beds.inside_of(bed.name("h")):
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              preexec_fn=bed.cgroup.join,
                              env={**os.environ, **SANITIZERS, "TELOVIX_SENSOR": str(BUILD / "sensor/telovix-sensor")}, **options)


def test_nothing_leaves_the_host_meanwhile(bed, flows):
    if bed.whole_host:
        pytest.skip("the script stops and starts a sensor of the trial; a guest's has no harness around it")
    assert bed.containment() == "none"
    bed.contain()
    before = tamperings(bed)
    mark = bed.mark()
    api = telovix.Api(bed.fleet.console.address, bed.fleet.profile)
    api.call("telovix.v1.FleetService/RevokeSensor", sensor=bed.sensor.sensor_id, confirm_node_name=bed.node)
    api.close()
    wait_for(lambda: bed.status()["uplink"] == "refused", "the sensor is refused")
    with trying(bed, flows, ("host",)):
        made = bed.fleet.ctl_json("token", "create", "--reenroll", bed.node)[0]
        words = made["enrollCommand"].split()[1:]
        # A name for the Console would not be resolved here: it is found where it answered before.
        words[words.index("--console") + 1] = f"console.invalid:{words[words.index('--console') + 1].rsplit(':', 1)[1]}"
        result = on_host(bed, [SCRIPT, *words, "--state", bed.state, "--bpffs", bed.bpffs])
        assert result.returncode == 0, result.stderr + result.stdout
        bed.fleet.wait_seen(bed.sensor.sensor_id)
        assert bed.wait_containment(bed.best, limit=60) == bed.best
        pid = json.loads(on_host(bed, [BUILD / "sensor/telovix-sensor", "status", "--state", bed.state, "-o", "json"]).stdout)["pid"]
    bed.fence()
    leaks = bed.leaks(mark)
    assert not leaks, [str(packet) for packet in leaks[:20]]
    assert not tamperings(bed) - before, "its own sockets are not taken for an intruder's"
    assert bed.seen()["trustState"] == "TRUST_STATE_ROTATED"
    end_of(bed, pid)
    bed.start_sensor()
    bed.release()
