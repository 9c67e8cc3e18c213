# SPDX-License-Identifier: GPL-2.0-or-later
"""A contained guest is cut off from power and started again on the same disk, the Console being gone: not one packet leaves,
neither before nor after the sensor runs; and the containment is in force before there is a network.

Two kinds of boot. In one the guest's init is no systemd, and what stands for it are the steps of the units, in their order and
by their names, so that each can be looked between: local-fs (the state's disk), telovix-sensor-restore (its ExecStart),
network-pre, the network (addresses, links up), then telovix-sensor. In the other systemd is PID 1, with the units of packaging
as they are, enabled by their [Install]; the network is what Debian calls networking.service. The units are verified by
systemd-analyze too."""
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from bed import BUILD, HOST, PORT, Machine
from telovix import ROOT, SANITIZERS, wait_for
from test_life import trying
from test_matrix import Flows
from shapes import cases

UNITS = [ROOT / "packaging/telovix-sensor-restore.service", ROOT / "packaging/telovix-sensor.service"]
KERNELS = ("6.1", "6.12")


class OnDisk(Machine):
    """Its sensor's state outlives the machine."""
    state = "/mnt/telovix-sensor"

    def boot(self):
        super().boot()
        if not self.options.get("systemd"):
            # local-fs
            self.inside.shell("blkid /dev/vda >/dev/null || mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt")

    def reboot(self, **options):
        self.power_off()
        self.forget_captures()
        self.options = options
        self.boot()

    def restore(self, check=True, bpffs=None):
        """telovix-sensor-restore, as its unit says it."""
        words = unit_value(UNITS[0], "ExecStart").split()
        assert words[0].endswith("/telovix-sensor") and words[1] == "restore", words
        return self.inside.shell(f"{BUILD}/sensor/telovix-sensor {' '.join(words[1:])} --state {self.state} --bpffs "
                                 f"{bpffs or self.bpffs}", check=check, env=SANITIZERS, timeout=90)

    def network(self):
        """What the network's services do."""
        self.build_host()


def unit_value(path, name):
    return re.search(rf"^{name}=(.*)$", path.read_text(), re.M).group(1)


@pytest.fixture(scope="module", params=KERNELS)
def machine(request, tmp_path_factory):
    if request.config.getoption("--bed") and request.param not in request.config.getoption("--bed"):
        pytest.skip(f"not asked for: --bed {request.param}")
    disk = tmp_path_factory.mktemp("disk") / "disk"
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    made = OnDisk(request.param, disk)
    made.contain()
    made.fleet.console.stop()
    yield made
    made.close()


def test_without_the_restore_it_leaks(machine):
    """The test can fail: the same boot, less one step."""
    machine.reboot()
    mark = machine.mark()
    machine.network()
    with trying(machine, Flows(machine)):
        wait_for(lambda: machine.leaks(mark), "packets leave a host that nothing was put in force on")


def test_not_one_packet_with_the_restore(machine):
    machine.reboot()
    mark = machine.mark()
    machine.restore()
    assert machine.inside.shell(f"ls {machine.bpffs}/telovix/net-1/skb_out")
    assert "UP" not in machine.inside.shell("ip -br link show eth0").split()[1], "there is no network yet"
    machine.network()
    flows = Flows(machine)
    with trying(machine, flows, ("host", "c1", "cb", "q")) as cells:
        everything(machine)
        assert not machine.leaks(mark), [str(packet) for packet in machine.leaks(mark)[:20]]
        # Now the sensor, with the Console away.
        machine.start_sensor(wait=False)
        machine.wait_started()
        wait_for(lambda: machine.status()["rules"], "the sensor has its rules from the disk")
        everything(machine)
        tries = [machine.call(cell.place, "state", flows=[cell.n])[str(cell.n)]["n_sent"] for cell in cells]
        assert min(tries) > 10, "all have tried"
    machine.fence()
    leaks = machine.leaks(mark)
    assert not leaks, [str(packet) for packet in leaks[:20]]
    # What did leave is the sensor looking for its Console.
    own = [packet for packet in machine.passed(mark) if packet.protocol == 6]
    assert own and all(packet.dport == PORT for packet in own)


def everything(machine):
    for what, direction, case, send, known in cases(machine):
        send(case)
        machine.call(case.place, "close", flows=[case.n])
    machine.fence()


def test_the_console_comes_back(machine):
    """The boot is another one: unknown until it is proved again."""
    machine.fleet.start_console(PORT)
    machine.fleet.wait_seen(machine.node)
    machine.wait_containment("contained", limit=60)
    machine.release()
    machine.contain()
    machine.fleet.console.stop()


def test_a_containment_that_cannot_be_restored_keeps_the_network_down(machine):
    """The step fails, and what brings the network up requires it."""
    machine.reboot()
    machine.inside.shell("mkdir -p /tmp/no-bpffs")
    status, out, err = machine.restore(check=False, bpffs="/tmp/no-bpffs")
    assert status == 1, (status, out, err)
    assert "contain" in out + err


# ---- the units ----

STATE = "/var/lib/telovix-sensor"
# The disk is mounted by a service (without udev systemd knows no disks), which puts the sensor in its place too. The folder then comes
# by a mount of its own, as where /var is a file system by itself.
DISK = f"""[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ln -s {BUILD.resolve()}/sensor/telovix-sensor /usr/sbin/telovix-sensor
ExecStart=/bin/mount /dev/vda /mnt
"""
MOUNT = f"""[Unit]
DefaultDependencies=no
Requires=disk.service
After=disk.service
[Mount]
What=/mnt/telovix-sensor
Where={STATE}
Type=none
Options=bind
"""
# What brings the network up, by the name that Debian gives it; it writes down what it finds when it begins.
NETWORK = """[Unit]
DefaultDependencies=no
Wants=network.target
Before=network.target
After=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'ls /sys/fs/bpf/telovix/net-1 >/run/pins-before-the-network || :; exec /bin/sh -e /etc/systemd/system/network-up'
[Install]
WantedBy=network.target
"""
SENSORS = "[Service]\nEnvironment=TELOVIX_HOST_SCOPE=1\n" + "".join(f'Environment="{name}={value}"\n' for name, value in SANITIZERS.items())


@pytest.fixture(scope="module")
def units():
    """The folder of units, enabled as an installation does it."""
    if not pathlib.Path("/lib/systemd/systemd").exists():
        pytest.skip("no systemd on this machine: packaging/install-packages vm")
    with tempfile.TemporaryDirectory(prefix="telovix-units-") as folder:
        root = pathlib.Path(folder)
        etc = root / "etc/systemd/system"
        etc.mkdir(parents=True)
        for unit in UNITS:
            shutil.copy(unit, etc)
            (etc / f"{unit.name}.d").mkdir()
            (etc / f"{unit.name}.d/sensor.conf").write_text(SENSORS)
        (etc / "disk.service").write_text(DISK)
        (etc / "var-lib-telovix\\x2dsensor.mount").write_text(MOUNT)
        (etc / "networking.service").write_text(NETWORK)
        (etc / "network-up").write_text(HOST)
        subprocess.run(["systemctl", "--root", root, "enable", *[unit.name for unit in UNITS], "networking.service"], check=True,
                       capture_output=True)
        yield etc


def boot_systemd(machine, units):
    machine.reboot(systemd=units, bpffs=False)
    wait_for(lambda: not state_of(machine, "networking.service").endswith("+"), "the network was started, or was not", 120)
    print(machine.inside.shell("journalctl -b --no-pager -o cat -u 'telovix-*' -u networking | tail -60"))


def state_of(machine, unit):
    """With a + while something is still to be done about it."""
    shown = dict(line.split("=", 1) for line in machine.inside.shell(f"systemctl show -p ActiveState -p Job {unit}").splitlines())
    return shown["ActiveState"] + ("+" if shown.get("Job", "") not in ("", "0") else "")


def test_systemd_restores_before_the_network(machine, units):
    boot_systemd(machine, units)
    assert state_of(machine, "telovix-sensor-restore.service") == "active"
    pins = machine.inside.shell("cat /run/pins-before-the-network").split()
    assert {"skb_out", "skb_in", "cfgs"} <= set(pins), f"in force when the network was begun: {pins}"
    mark = {name: 0 for name in machine.taps}  # since the power was switched on
    machine.add_place("host", None)
    machine.add_container("c1")
    machine.add_container("cb")
    flows = Flows(machine)
    with trying(machine, flows, ("host", "c1", "cb", "q")) as cells:
        everything(machine)
        wait_for(lambda: state_of(machine, "telovix-sensor.service") == "active", "the sensor runs", 60)
        machine.wait_started()
        wait_for(lambda: machine.status()["rules"], "the sensor has its rules from the disk")
        tries = [machine.call(cell.place, "state", flows=[cell.n])[str(cell.n)]["n_sent"] for cell in cells]
        assert min(tries) > 10, "all have tried"
    machine.fence()
    leaks = machine.leaks(mark)
    assert not leaks, [str(packet) for packet in leaks[:20]]


def test_systemd_keeps_the_network_down_when_it_cannot(machine, units):
    """The restore fails, and with it everything that brings a network up."""
    broken = units / f"{UNITS[0].name}.d/broken.conf"
    broken.write_text("[Service]\nExecStart=\nExecStart=/usr/sbin/telovix-sensor restore --bpffs /tmp\n")
    boot_systemd(machine, units)
    broken.unlink()
    assert state_of(machine, "telovix-sensor-restore.service") == "failed"
    assert state_of(machine, "networking.service") == "inactive"
    assert "UP" not in machine.inside.shell("ip -br link show eth0").split()[1]
    assert not machine.leaks({name: 0 for name in machine.taps})


def test_the_units_are_in_order(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    for unit in UNITS:
        # The programs are not installed here.
        text = re.sub(r"/usr/sbin/telovix-sensor", str(BUILD.resolve() / "sensor/telovix-sensor"), unit.read_text())
        (tmp_path / unit.name).write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.glob("*.service"))], capture_output=True, text=True,
                            env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:/lib/systemd/system", "PATH": "/usr/bin:/bin"})
    assert result.returncode == 0 and "telovix" not in result.stderr, result.stderr
    restore = UNITS[0].read_text()
    assert unit_value(UNITS[0], "DefaultDependencies") == "no"
    assert "network-pre.target" in unit_value(UNITS[0], "Before") and "network-pre.target" in unit_value(UNITS[0], "Wants")
    assert "/var/lib/telovix-sensor" in unit_value(UNITS[0], "RequiresMountsFor") and "/sys/fs/bpf" in restore
    assert "systemd-networkd.service" in unit_value(UNITS[0], "RequiredBy"), "the network stays down when it fails"
    assert not re.search(r"^After=.*network", restore, re.M)

