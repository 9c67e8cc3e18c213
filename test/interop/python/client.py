#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A client with nothing but grpcio and protobuf, driven by the tests (commands and events: see ../peer.py).

    client.py generated DIR    stubs that protoc made in DIR
    client.py reflected        no file at all: message classes are made from what server reflection gives"""
import contextlib
import importlib
import json
import pathlib
import sys
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

BOOT = "grpc.reflection.v1"


def boot_messages():
    """The messages that ask for all others, written down here: a client without files has no other way to begin."""
    file = descriptor_pb2.FileDescriptorProto(name="boot.proto", package=BOOT, syntax="proto3")

    def message(name, *fields):
        entry = file.message_type.add(name=name)
        for number, field, type_name, repeated in fields:
            made = entry.field.add(name=field, number=number, label=3 if repeated else 1)
            if type_name in ("string", "bytes"):
                made.type = 9 if type_name == "string" else 12
            else:
                made.type, made.type_name = 11, f".{BOOT}.{type_name}"
        return entry

    request = message("Request", (4, "file_containing_symbol", "string", False), (7, "list_services", "string", False))
    request.oneof_decl.add(name="asked")
    for field in request.field:
        field.oneof_index = 0
    message("Files", (1, "file_descriptor_proto", "bytes", True))
    message("Service", (1, "name", "string", False))
    message("Services", (1, "service", "Service", True))
    message("Reply", (4, "files", "Files", False), (6, "services", "Services", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return [factory.GetPrototype(pool.FindMessageTypeByName(f"{BOOT}.{name}")) for name in ("Request", "Reply")]


class Reflected:
    """Message classes of a server, by reflection alone."""

    def __init__(self):
        self.pool, self.files = None, {}

    def learn(self, channel):
        request_class, reply_class = boot_messages()
        call = channel.stream_stream(f"/{BOOT}.ServerReflection/ServerReflectionInfo",
                                     request_serializer=request_class.SerializeToString,
                                     response_deserializer=reply_class.FromString)

        def ask(*requests):
            return list(call(iter([request_class(**fields) for fields in requests]), timeout=30))
        [listed] = ask({"list_services": "*"})
        names = [service.name for service in listed.services.service]
        for reply in ask(*({"file_containing_symbol": name} for name in [*names, "google.rpc.Status", "google.rpc.BadRequest"])):
            for data in reply.files.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                self.files[file.name] = file
        pool, added = descriptor_pool.DescriptorPool(), set()

        def add(name):
            if name not in added:
                added.add(name)
                for needed in self.files[name].dependency:
                    add(needed)
                pool.Add(self.files[name])
        for name in self.files:
            add(name)
        self.pool = pool

    def message(self, name):
        return message_factory.MessageFactory(self.pool).GetPrototype(self.pool.FindMessageTypeByName(name))

    def callable(self, channel, service, method):
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        proto = descriptor_pb2.MethodDescriptorProto()
        found.CopyToProto(proto)
        make = {(False, False): channel.unary_unary, (False, True): channel.unary_stream,
                (True, True): channel.stream_stream}[proto.client_streaming, proto.server_streaming]
        request, reply = self.message(found.input_type.full_name), self.message(found.output_type.full_name)
        return request, make(f"/{service}/{method}", request_serializer=request.SerializeToString,
                             response_deserializer=reply.FromString)


class Generated:
    """Stubs as protoc writes them."""

    def __init__(self, folder):
        import google
        sys.path.insert(0, folder)
        # Generated google/rpc and grpc/health lie beside installed packages of the same names.
        google.__path__.append(f"{folder}/google")
        grpc.__path__.append(f"{folder}/grpc")
        self.pool = descriptor_pool.Default()
        self.stubs = {}
        for path in sorted(pathlib.Path(folder).rglob("*_pb2_grpc.py")):
            module = str(path.relative_to(folder))[:-len("_pb2_grpc.py")].replace("/", ".")
            messages, stubs = importlib.import_module(f"{module}_pb2"), importlib.import_module(f"{module}_pb2_grpc")
            for service in messages.DESCRIPTOR.services_by_name.values():
                self.stubs[service.full_name] = getattr(stubs, f"{service.name}Stub")

    def learn(self, channel):
        pass

    def message(self, name):
        return message_factory.MessageFactory(self.pool).GetPrototype(self.pool.FindMessageTypeByName(name))

    def callable(self, channel, service, method):
        stub = self.stubs[service](channel)
        request = self.pool.FindServiceByName(service).FindMethodByName(method).input_type
        return self.message(request.full_name), getattr(stub, method)


class Client:
    def __init__(self, source):
        self.source, self.channels, self.calls, self.resumed = source, {}, {}, {}
        self.lock = threading.Lock()

    def say(self, number, event, **fields):
        with self.lock:
            print(json.dumps({"id": number, "event": event, **fields}), flush=True)

    def json(self, message):
        if isinstance(message, bytes):
            return {}
        return json_format.MessageToDict(message, including_default_value_fields=True, descriptor_pool=self.source.pool)

    # ---- commands ----
    def open(self, channel, address, ca, options, key=None, certificate=None, **_):
        credentials = grpc.ssl_channel_credentials(
            pathlib.Path(ca).read_bytes(), key and pathlib.Path(key).read_bytes(),
            certificate and pathlib.Path(certificate).read_bytes())
        # Without a pool of its own a second channel with the same options would share the connection.
        self.channels[channel] = grpc.secure_channel(address, credentials, options=[
            ("grpc.use_local_subchannel_pool", 1), *options.items()])

    def close(self, channel, **_):
        self.channels.pop(channel).close()

    def learn(self, channel, **_):
        self.source.learn(self.channels[channel])

    def cancel(self, call, **_):
        self.calls[call].cancel()

    def resume(self, call, **_):
        self.resumed[call].set()

    def call(self, id, channel, method, requests, timeout=None, metadata=(), wait_for_ready=False,
             cancel_after=None, pause_after=None, **_):
        channel = self.channels[channel]
        service, name = method[1:].rsplit("/", 1)
        try:
            request_class, callable_ = self.source.callable(channel, service, name)
        except (KeyError, AttributeError):
            request_class, callable_ = None, channel.unary_unary(method)
        messages = [b"" if request_class is None else json_format.ParseDict(
            request, request_class(), descriptor_pool=self.source.pool) for request in requests]
        options = {"timeout": timeout, "metadata": [tuple(pair) for pair in metadata], "wait_for_ready": wait_for_ready}
        self.resumed[id] = threading.Event()
        replies = []
        if isinstance(callable_, grpc.UnaryUnaryMultiCallable):
            call = self.calls[id] = callable_.future(messages[0], **options)
            with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                replies.append(self.json(call.result()))
        else:
            is_bidi = isinstance(callable_, grpc.StreamStreamMultiCallable)
            call = self.calls[id] = callable_(iter(messages) if is_bidi else messages[0], **options)
            with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                self.read(id, call, replies, cancel_after, pause_after)
        self.end(id, call, replies)

    def read(self, id, call, replies, cancel_after, pause_after):
        call.initial_metadata()
        self.say(id, "head")
        for reply in call:
            replies.append(self.json(reply))
            self.say(id, "message", reply=replies[-1] if len(replies) <= 10 else None)
            if len(replies) == cancel_after:
                call.cancel()
            if len(replies) == pause_after:
                self.resumed[id].wait()

    def end(self, id, call, replies):
        trailers, details = {}, {}
        for key, value in call.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                details = self.details(value)
            else:
                trailers.setdefault(key, []).append(value)
        head = {}
        for key, value in call.initial_metadata() or ():
            head.setdefault(key, []).append(value)
        self.say(id, "end", code=call.code().name, text=call.details(), head=head, trailers=trailers, replies=replies, **details)

    def details(self, data):
        status = self.source.message("google.rpc.Status").FromString(data)
        found = {"status": {"code": status.code, "text": status.message}}
        for detail in status.details:
            name = detail.type_url.removeprefix("type.googleapis.com/")
            found[name.removeprefix("google.rpc.")] = self.json(self.source.message(name).FromString(detail.value))
        return found

    def run(self, command):
        try:
            getattr(self, command["op"])(**command)
            if command["op"] != "call":
                self.say(command["id"], "done")
        except Exception as error:  # whatever a user of these libraries would have seen
            self.say(command["id"], "error", text=f"{type(error).__name__}: {error}")

    def loop(self):
        for line in sys.stdin:
            command = json.loads(line)
            if command["op"] == "call":
                threading.Thread(target=self.run, args=(command,), daemon=True).start()
            else:
                self.run(command)


if __name__ == "__main__":
    Client(Generated(sys.argv[2]) if sys.argv[1] == "generated" else Reflected()).loop()
