# SPDX-License-Identifier: GPL-2.0-or-later
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "harness"), str(HERE)]
pytest.register_assert_rewrite("peer", "scenarios")
import telovix  # noqa: E402
from peer import Peer, node_major  # noqa: E402
from fixtures import fleet, pytest_collection_modifyitems  # noqa: E402,F401

WORK = telovix.BUILD / "interop"  # what is made and installed for the peers


class Hub:
    """One Console with a sensor and some history, shared by all peers: they change nothing that another one counts."""

    def __init__(self, fleet):
        self.fleet, self.admin = fleet, fleet.profile
        self.viewer = fleet.operator("vera", "viewer")
        self.console = fleet.start_console()
        self.address = self.console.address
        self.node = fleet.start_sensor("web-1")
        api = telovix.Api(self.address, fleet.profile)
        # Refused orders are audited too: a log of about 2 MB, more than any window or page.
        request, refused = api.method("telovix.v1.ContainmentService/KillProcess")
        self.long_reason = "\u00fc" * 500
        pending = [refused.future(request(sensor="nobody", pid=4242, reason=self.long_reason)) for _ in range(2000)]
        assert {str(call.code()) for call in pending} == {"StatusCode.NOT_FOUND"}
        api.close()


@pytest.fixture(scope="session")
def hub():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with telovix.Fleet() as fleet:
        yield Hub(fleet)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (packaging/debian-packages.txt)")


def protoc(*words):
    proto = telovix.ROOT / "proto"
    names = [str(path.relative_to(proto)) for part in ("telovix/v1", "google/rpc", "grpc") for path in (proto / part).rglob("*.proto")]
    subprocess.run(["protoc", f"--proto_path={proto}", "--proto_path=/usr/include", *words, *sorted(names)], check=True)


@pytest.fixture(scope="session")
def stubs():
    """What protoc makes for Python from proto/."""
    need("protoc", "grpc_python_plugin")
    folder = WORK / "python"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    protoc(f"--python_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={shutil.which('grpc_python_plugin')}")
    return folder


@pytest.fixture(scope="session")
def descriptors():
    need("protoc")
    WORK.mkdir(parents=True, exist_ok=True)
    protoc(f"--descriptor_set_out={WORK}/set.bin", "--include_imports")
    return WORK / "set.bin"


@pytest.fixture(scope="session")
def node():
    """The folder node/ with its packages, in the build folder."""
    need("node", "npm")
    folder = WORK / "node"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "node/package-lock.json").read_bytes()
    done = folder / "installed.json"
    for path in (HERE / "node").iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    if not done.exists() or done.read_bytes() != wanted:
        done.unlink(missing_ok=True)
        result = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True,
                                text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        done.write_bytes(wanted)
    return folder


@pytest.fixture(scope="session")
def peers(request):
    """Peers by their names, each started once."""
    found = {}
    WORK.mkdir(parents=True, exist_ok=True)
    # How a peer is started, and what it needs.
    known = {
        "python-generated": lambda get: ["/usr/bin/python3", HERE / "python/client.py", "generated", get("stubs")],
        "python-reflected": lambda get: ["/usr/bin/python3", HERE / "python/client.py", "reflected"],
        "node-files": lambda get: ["node", get("node") / "client.js", "files", telovix.ROOT / "proto"],
        "node-reflected": lambda get: ["node", get("node") / "client.js", "reflected"],
        "connect": lambda get: ["node", get("node") / "connect.js", get("descriptors")],
    }

    def start(name):
        if name == "connect" and node_major() < 20:
            pytest.skip(f"Connect needs Node 20 or newer, here is {node_major()}")
        if name not in found:
            found[name] = Peer(name, known[name](request.getfixturevalue), WORK)
        return found[name]
    yield start
    for peer in found.values():
        peer.close()
