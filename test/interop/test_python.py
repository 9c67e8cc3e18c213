# SPDX-License-Identifier: GPL-2.0-or-later
"""Python with Debian's grpcio: with stubs from protoc, and with no file at all."""
import pytest

from scenarios import *  # noqa: F401,F403


@pytest.fixture(scope="module", params=["python-generated", "python-reflected"])
def peer(request, peers):
    return peers(request.param)
