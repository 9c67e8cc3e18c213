# SPDX-License-Identifier: GPL-2.0-or-later
"""The units that a host runs the sensor with."""
import re
import shutil
import subprocess

import pytest
import telovix

UNITS = ("telovix-sensor.service", "telovix-sensor-restore.service")
PROGRAM = "/usr/sbin/telovix-sensor"


def text_of(unit):
    return (telovix.ROOT / "packaging" / unit).read_text()


def settings(unit):
    """Key → values in the order of the file."""
    found = {}
    for line in text_of(unit).splitlines():
        if re.match(r"[A-Za-z]+=", line):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_it(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    # The program is not installed where the tests run.
    for name in UNITS:
        (tmp_path / name).write_text(text_of(name).replace(PROGRAM, telovix.BUILD.as_posix() + "/sensor/telovix-sensor"))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True,
                            timeout=60)
    said = [line for line in result.stderr.splitlines() if "telovix" in line]
    assert result.returncode == 0 and not said, result.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_every_capability_has_its_reason(unit):
    lines = text_of(unit).splitlines()
    named = [i for i, line in enumerate(lines) if line.startswith("CapabilityBoundingSet=")]
    assert named
    for i in named:
        assert re.fullmatch(r"CapabilityBoundingSet=CAP_[A-Z_]+", lines[i]), f"one a line: {lines[i]}"
        assert lines[i - 1].startswith("# "), f"{lines[i]} has no reason"
    assert settings(unit)["NoNewPrivileges"] == ["yes"]


def test_what_each_may_do():
    may = {unit: {value for value in settings(unit)["CapabilityBoundingSet"]} for unit in UNITS}
    load = {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
    assert may["telovix-sensor.service"] == load | {"CAP_KILL"}
    assert may["telovix-sensor-restore.service"] == load, "it kills nobody"


def test_restore_comes_before_the_network_and_holds_it_down():
    unit = settings("telovix-sensor-restore.service")
    assert unit["DefaultDependencies"] == ["no"]
    assert "network-pre.target" in unit["Wants"][0].split()
    assert "network-pre.target" in unit["Before"][0].split()
    assert "/var/lib/telovix-sensor" in unit["RequiresMountsFor"][0].split()
    assert (unit["Type"], unit["RemainAfterExit"]) == (["oneshot"], ["yes"])
    assert {"systemd-networkd.service", "NetworkManager.service", "networking.service", "ifup@.service", "iwd.service",
            "cloud-init-local.service"} <= {name for line in unit["RequiredBy"] for name in line.split()}
    assert "cloud-init-local.service" in unit["Before"][0].split(), "it goes out before network-pre.target"
    after = settings("telovix-sensor.service")["After"][0].split()
    assert "telovix-sensor-restore.service" in after
