# SPDX-License-Identifier: GPL-2.0-or-later
"""What the conftest.py of each folder of tests with real daemons takes over."""
import os

import pytest

import telovix


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root: a sensor kills processes in a test cgroup"))


@pytest.fixture
def fleet():
    with telovix.Fleet() as fleet:
        yield fleet


@pytest.fixture
def running(fleet):
    """A Console and one sensor that was seen."""
    fleet.start_console()
    fleet.node = fleet.start_sensor("web-1")
    return fleet


@pytest.fixture
def api(running):
    api = telovix.Api(running.console.address, running.profile)
    yield api
    api.close()
