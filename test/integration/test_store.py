# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Console says of a data folder that it cannot use (spec §9)."""
import os
import subprocess

import pytest

import telovix


def console(*words):
    return subprocess.run([telovix.BUILD / "console/telovix-console", *words], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **telovix.SANITIZERS})


def start(fleet, *words):
    return console("run", "--data", fleet.data, "--listen", "127.0.0.1:0", *words)


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_store_that_was_cut_is_said_so(fleet, command):
    os.truncate(fleet.data / "store/data.mdb", 8192)
    result = start(fleet) if command == "run" else console("verify", "--data", fleet.data)
    assert result.returncode == 1 and "restore from a backup" in result.stderr, result
    assert len(result.stderr.splitlines()) == 1


def test_an_edited_audit_record_is_found(fleet):
    path = fleet.data / "store/data.mdb"
    data = path.read_bytes()
    assert b"operator_created" in data
    path.write_bytes(data.replace(b"operator_created", b"operator_revoked"))
    result = console("verify", "--data", fleet.data)
    assert result.returncode == 1 and "the hash does not match the content" in result.stdout


def test_a_second_console_refuses(running):
    for result in (start(running), console("verify", "--data", running.data)):
        assert result.returncode == 1 and "stop the Console that runs on this folder" in result.stderr
    assert running.ctl("whoami").returncode == 0


@pytest.mark.parametrize("line", ["frob = 1", "stale_after = 5", "map_size = 1", "no line"])
def test_a_wrong_setting_names_file_and_line(fleet, line):
    path = fleet.folder / "bad.ini"
    path.write_text(f"[console]\n{line}\n")
    result = start(fleet, "--config", path)
    assert result.returncode == 1 and f"{path}:2: " in result.stderr, result.stderr


@pytest.mark.parametrize("key", ["ca/ca.key", "tls/server.key"])
def test_a_key_that_others_may_read_is_refused(fleet, key):
    (fleet.data / key).chmod(0o644)
    result = start(fleet)
    assert result.returncode == 1 and f"{fleet.data / key}: " in result.stderr, result.stderr
