# SPDX-License-Identifier: GPL-2.0-or-later
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "harness"))
from fixtures import api, fleet, pytest_collection_modifyitems, running  # noqa: E402,F401
