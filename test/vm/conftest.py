# SPDX-License-Identifier: GPL-2.0-or-later
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "harness"))
# What needs a machine of its own runs only where a guest's init says so.
INSIDE = os.environ.get("TELOVIX_HOST_SCOPE") == "1"
collect_ignore = [] if INSIDE else ["inside"]


def pytest_configure():
    if not INSIDE:
        subprocess.run([HERE / "fetch-kernels"], check=True)
