# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules through the whole product with the whole host as their scope: test/block inside guests, two at a time. Their own
reports are build/test-logs/vm-block-NAME.xml."""
import concurrent.futures
import os

import pytest

from guest import Guest

BACKENDS = ("lockdown", "yama", "apparmor")  # without bpf
MATRIX = "test/block/test_matrix.py"
LIFE = ("test/block/test_life.py", "-k", "others_run or observe or leaves_no_gap or over_a_restart or host_is_lost or who_tried")
LACKING = ("test/block/test_sabotage.py", "-k", "no_btf or loses_its_pin or empty_map")
# Name → the machine, and the tests with it.
GUESTS = {
    "6.1": (dict(kernel="6.1"), (MATRIX,)),
    "6.12": (dict(kernel="6.12"), (MATRIX,)),
    "6.1-fmod-ret": (dict(kernel="6.1", lsm=BACKENDS), (MATRIX,)),
    "6.12-confidentiality": (dict(kernel="6.12", lockdown="confidentiality"), (MATRIX,)),
    "6.12-life": (dict(kernel="6.12"), LIFE),
    "6.1-sabotage": (dict(kernel="6.1"), LACKING),
    "6.1-no-btf": (dict(kernel="6.1", hide_btf=True), ("test/block/test_sabotage.py", "-k", "no_btf")),
}


@pytest.fixture(scope="module")
def reports():
    """All guests, as many at a time as there are cores; an exception stands for its guest."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return {name: pool.submit(Guest(timeout=480, **machine).run_pytest, f"block-{name}", *words)
                for name, (machine, words) in GUESTS.items()}


@pytest.mark.parametrize("name", GUESTS)
def test_rules_inside(reports, name):
    assert reports[name].result() > 0
