# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules on a real kernel through the whole product. On a development machine every sensor is confined to a cgroup of the test;
in a guest of test/vm (TELOVIX_HOST_SCOPE=1) its scope is the whole host."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))
from fixtures import *  # noqa: E402,F401,F403
