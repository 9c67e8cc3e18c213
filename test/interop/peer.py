# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives a client program in another language: commands go in and events come out as one JSON line each.

Commands: `open` and `close` a channel, `learn` the server's files over it, `call` a method, `cancel` or `resume` a call.
Events of a call: `head` when a stream's response headers have come, `message` for each streamed reply, and `end` with
`code`, `text`, `head`, `trailers`, `replies`, and the google.rpc details by their names. Other commands end with `done`.
`error` is an exception of the client library. Messages are JSON as the libraries make it: lowerCamelCase, enums by
name, 64-bit numbers as strings, bytes in base64, defaults printed."""
import functools
import json
import os
import pathlib
import queue
import shutil
import subprocess
import threading

from telovix import LIMIT


@functools.cache
def node_major():
    """Of the installed Node; 0 = none."""
    if not shutil.which("node"):
        return 0
    text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.lstrip("v").split(".")[0])


class PeerError(Exception):
    """What the client library threw at its user."""


class Call:
    def __init__(self, peer, number):
        self.peer, self.number, self.events = peer, number, queue.Queue()
        self.code = None

    def next(self, *wanted, limit=LIMIT):
        """The next event of one of these kinds; the end of the call is never skipped."""
        while True:
            try:
                event = self.events.get(timeout=limit)
            except queue.Empty:
                raise AssertionError(f"not within {limit} s: {wanted} from {self.peer.name}") from None
            if event["event"] == "error":
                raise PeerError(event["text"])
            if event["event"] in wanted:
                return event
            if event["event"] in ("end", "done"):
                raise AssertionError(f"{self.peer.name} waits for {wanted}, the call ended: {event}")

    def message(self):
        return self.next("message")["reply"]

    def end(self, limit=LIMIT):
        found = self.next("end", limit=limit)
        self.code, self.text, self.head, self.trailers = found["code"], found["text"], found["head"], found["trailers"]
        self.replies = found["replies"]
        self.status, self.info = found.get("status"), found.get("ErrorInfo")
        self.violations = {v["field"]: v["description"] for v in found.get("BadRequest", {}).get("fieldViolations", ())}
        return self

    def ok(self):
        """The only reply of a call that must succeed."""
        self.end()
        assert (self.code, self.text) == ("OK", ""), (self.code, self.text)
        [reply] = self.replies
        return reply

    def failed(self):
        """Code and reason of a call that must fail; the details say the same as the status, and whose reason it is."""
        self.end()
        assert self.code != "OK"
        assert self.status["text"] == self.text and self.info["domain"] == "telovix"
        return self.code, self.info["reason"]

    def silent(self, seconds):
        """Nothing is heard of the call for so long."""
        try:
            event = self.events.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"{self.peer.name}: {event}")

    def cancel(self):
        self.peer.order("cancel", call=self.number)

    def resume(self):
        self.peer.order("resume", call=self.number)


class Channel:
    def __init__(self, peer, name):
        self.peer, self.name = peer, name

    def call(self, method, *requests, **options):
        """Starts a call; `method` without the package is one of telovix.v1."""
        path = f"/{method}" if method.startswith("grpc.") else f"/telovix.v1.{method}"
        return self.peer.send("call", channel=self.name, method=path, requests=requests or [{}], **options)

    def close(self):
        self.peer.order("close", channel=self.name)


class Peer:
    def __init__(self, name, argv, folder):
        self.name, self.calls, self.n_channels = name, {}, 0
        self.errors = pathlib.Path(folder) / f"peer-{name}.log"
        self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(self.errors, "wb"), text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.calls[event["id"]].events.put(event)

    def send(self, op, **fields):
        number = len(self.calls) + 1
        call = self.calls[number] = Call(self, number)
        self.process.stdin.write(json.dumps({"op": op, "id": number, **fields}) + "\n")
        self.process.stdin.flush()
        return call

    def order(self, op, **fields):
        return self.send(op, **fields).next("done")

    def open(self, address, profile=None, certificate=True, **options):
        """A channel with a connection of its own. `profile` is a folder with ca.crt, client.crt and client.key."""
        self.n_channels += 1
        name = f"channel-{self.n_channels}"
        files = {"ca": f"{profile}/ca.crt"}
        if certificate:
            files.update(key=f"{profile}/client.key", certificate=f"{profile}/client.crt")
        # No client waits long for a Console that restarts in the middle of a test.
        self.order("open", channel=name, address=address, **files, options={
            "grpc.initial_reconnect_backoff_ms": 50, "grpc.min_reconnect_backoff_ms": 50,
            "grpc.max_reconnect_backoff_ms": 500, **options})
        return Channel(self, name)

    def learn(self, channel):
        self.order("learn", channel=channel.name)

    def connections(self, port):
        """Local ports of its established connections to `port` of this machine."""
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        inodes = set()
        for entry in (folder / "fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        found = set()
        for table in ("tcp", "tcp6"):
            for line in (folder / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                local, remote = (int(word.rsplit(":", 1)[1], 16) for word in words[1:3])
                if remote == port and words[3] == "01" and words[9] in inodes:
                    found.add(local)
        return found

    def close(self):
        self.process.stdin.close()
        self.process.wait(LIMIT)
        self.reader.join(LIMIT)
        self.process.stdout.close()
        assert self.process.returncode == 0, self.errors.read_text()
