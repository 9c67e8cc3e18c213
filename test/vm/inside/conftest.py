# SPDX-License-Identifier: GPL-2.0-or-later
import os

import pytest

import telovix


def pytest_configure():
    if os.environ.get("TELOVIX_HOST_SCOPE") != "1":
        raise pytest.UsageError("these tests act on a whole machine: test/vm/guest.py runs them")


@pytest.fixture(scope="module")
def whole_host():
    """A Console and one sensor, `fleet.node`, whose scope is this machine."""
    with telovix.Fleet() as fleet:
        fleet.start_console()
        fleet.node = fleet.start_sensor("guest-1", whole_host=True)
        yield fleet
