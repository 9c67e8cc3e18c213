# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of test/bpf on kernels that have the hooks which a development machine may refuse. Both kernels at a time."""
import concurrent.futures
import os
import pathlib

import pytest

import telovix
from guest import Guest, ROOT

# The same programs run on this machine's kernel with every run, and in guests through the whole product (test_block.py).
pytestmark = pytest.mark.skipif(not telovix.LONG, reason="minutes of emulation: TELOVIX_LONG=1")

BUILD = pathlib.Path(os.environ.get("TELOVIX_BUILD", ROOT / "build/debug")).resolve()
KERNELS = ("6.1", "6.12")


def run_one(machine, runs):
    lines = ["set -e"]
    for backend, name in runs:
        choice = f"TELOVIX_BPF_BACKEND={backend} " if backend else ""
        lines.append(f"{choice}{BUILD}/test/bpf/test_bpf_{name} --verbose -j1")
    result = machine.run(["/bin/sh", "-c", "\n".join(lines)])
    text = result.console_text
    assert result.rc == 0 and text.count("| Failing: 0 | Crashing: 0") == len(runs), text
    assert "Tested: 0" not in text and "BUG: " not in text and "Oops" not in text, text
    return text


def run(*runs, timeout=180, **settings):
    """Runs each (backend, program) in turn, in a guest of each kernel; backend None = the best that lives. The consoles."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(lambda kernel: run_one(Guest(kernel, timeout=timeout, **settings), runs), KERNELS))


def backends_of(text):
    """What the tests say that they were run with."""
    return {line.split()[-1] for line in text.splitlines() if line.startswith("bed: backend ")}


def test_security_module():
    """The best one: it is taken where none is asked for."""
    for text in run((None, "canary"), *(("lsm", name) for name in ("exec", "event", "object", "host")), timeout=480):
        assert backends_of(text) == {"lsm"}, text


def test_modified_return():
    run(*(("fmod_ret", name) for name in ("canary", "exec", "host")), timeout=300)


def test_security_modules_without_bpf():
    """Programs load and attach there and are never called: the canary finds it, and the next backend is taken."""
    for text in run((None, "canary"), (None, "host"), lsm=["lockdown", "yama", "apparmor"]):
        assert backends_of(text) == {"fmod_ret"}, text


def test_confidentiality():
    """Files are blocked by identity; names, and the file behind an overlay's, cannot be read."""
    for text in run(("lsm", "canary"), ("lsm", "exec"), lockdown="confidentiality", timeout=300):
        assert "lockdown: names cannot be read" in text, text
