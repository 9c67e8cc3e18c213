# SPDX-License-Identifier: GPL-2.0-or-later
"""Node with Connect, which speaks gRPC by an HTTP/2 stack and a codec of its own."""
import pytest

from scenarios import *  # noqa: F401,F403


@pytest.fixture(scope="module", params=["connect"])
def peer(request, peers):
    return peers(request.param)
