# SPDX-License-Identifier: GPL-2.0-or-later
"""The network tests of test/bpf on kernels with clsact alone (6.1) and with tcx (6.12). Both kernels at a time."""
import pytest

import telovix
import test_programs

# The same tests run on this machine's kernel with every run; emulated they take twelve minutes.
pytestmark = pytest.mark.skipif(not telovix.LONG, reason="twelve minutes of emulation: TELOVIX_LONG=1")


def run(*names, timeout):
    return test_programs.run(*((None, name) for name in names), timeout=timeout)


def test_packets_and_sockets():
    run("net_packet", "net_socket", timeout=500)


def test_devices():
    """What a device is filtered by, each kernel says; the first one has no tcx."""
    old, new = run("net_tc", timeout=500)
    assert "bed: devices by clsact" in old and "by tcx" not in old, old
    assert "bed: devices by tcx" in new, new


def test_life():
    run("net_life", timeout=900)


def test_whole_host():
    run("net_host", timeout=300)
