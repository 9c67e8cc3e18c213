# SPDX-License-Identifier: GPL-2.0-or-later
"""Containment on a real kernel through the whole product: `--bed trial` in namespaces and a cgroup of this machine, `--bed 6.1`
and `--bed 6.12` in guests of test/vm on the whole host. Without the option all of them."""
import os
import pathlib
import signal
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "harness", HERE.parent / "vm"):
    sys.path.insert(0, str(folder))
import bed as beds  # noqa: E402 -- the folders are added first

# Files and tests that take minutes when they are emulated.
LONG_IN_GUESTS = {"test_sabotage", "test_ends", "test_reboot", "test_the_link_follows_the_consoles_address",
                  "test_a_hazard_refuses_without_force"}

# Whether the sensor lives and waits for what, and how much memory there is.
WHAT_THE_GUEST_SAYS = ("head -3 /proc/meminfo; for p in $(pidof telovix-sensor); do grep -hE 'State|VmRSS' /proc/$p/status; "
                       "cat /proc/$p/task/*/wchan; done; dmesg | tail -15")


def pytest_addoption(parser):
    parser.addoption("--bed", action="append", choices=sorted(beds.BEDS), help="which kinds of bed; several times")
    parser.addoption("--bounded", action="store_true", help="what fits a merge: guests leave out what takes minutes, by name")


def pytest_configure(config):
    if os.environ.get("TELOVIX_HOST_SCOPE") == "1":
        raise pytest.UsageError("these tests run outside of the guests that they start")
    if os.geteuid() != 0:
        raise pytest.UsageError("network namespaces and cgroups need root")
    # A run that is told to end takes its namespaces with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if set(config.getoption("--bed") or beds.BEDS) - {"trial"}:
        subprocess.run([HERE.parent / "vm/fetch-kernels"], check=True)


def pytest_generate_tests(metafunc):
    if "bed" in metafunc.fixturenames:
        metafunc.parametrize("bed", metafunc.config.getoption("--bed") or sorted(beds.BEDS), indirect=True, scope="session")


def pytest_collection_modifyitems(config, items):
    for item in items if config.getoption("--bounded") else ():
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if {"6.1", "6.12"} & set(values) and {item.path.stem, item.originalname} & LONG_IN_GUESTS:
            item.add_marker(pytest.mark.skip(reason=f"{item.originalname}: in guests with run-tests --long"))


@pytest.fixture(scope="session")
def bed(request):
    """One for all files: a guest takes half a minute to come up with its sensor."""
    made = beds.BEDS[request.param]()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def tells_what_the_sensor_said(request):
    """Into the report of a test that fails. Marks of captures are those of one file."""
    bed = request.getfixturevalue("bed") if "bed" in request.fixturenames else None
    if bed and bed.module is not request.module:
        bed.module = request.module
        bed.forget_captures()
    before = len(bed.log()) if bed else 0
    yield
    if bed:
        print(f"---- the sensor:\n{bed.log()[before:][-6000:]}")
        if bed.whole_host:
            print(f"---- the guest:\n{bed.inside.shell(WHAT_THE_GUEST_SAYS)}")
