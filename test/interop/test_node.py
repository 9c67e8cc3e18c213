# SPDX-License-Identifier: GPL-2.0-or-later
"""Node with @grpc/grpc-js: with the .proto files, and with no file at all."""
import pytest

from scenarios import *  # noqa: F401,F403


@pytest.fixture(scope="module", params=["node-files", "node-reflected"])
def peer(request, peers):
    return peers(request.param)
