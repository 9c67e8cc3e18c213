#!/usr/bin/env node
// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
// A client with @connectrpc/connect over the gRPC protocol, driven by the tests.
//
//   connect.js FILE    a FileDescriptorSet, as protoc --descriptor_set_out writes it
const fs = require('node:fs');
const { create, createFileRegistry, fromBinary, fromJson, toJson } = require('@bufbuild/protobuf');
const { FileDescriptorSetSchema } = require('@bufbuild/protobuf/wkt');
const { Code, ConnectError } = require('@connectrpc/connect');
const { createGrpcTransport, Http2SessionManager } = require('@connectrpc/connect-node');
const { Replies, run, say } = require('./driver.js');

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(process.argv[2])));
const upper = (name) => name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
const fields = (headers) => {
  const all = {};
  for (const [name, value] of headers || []) (all[name] ||= []).push(value);
  return all;
};

function decodeDetails(error) {
  const bytes = error.metadata.get('grpc-status-details-bin');
  if (!bytes) return {};
  const status = fromBinary(registry.getMessage('google.rpc.Status'), Buffer.from(bytes, 'base64'));
  const found = { status: { code: status.code, text: status.message } };
  for (const { type, value } of error.details) {
    const schema = registry.getMessage(type);
    found[type.replace('google.rpc.', '')] = toJson(schema, fromBinary(schema, value), { registry, alwaysEmitImplicit: true });
  }
  return found;
}

class Client {
  constructor() {
    this.transports = new Map();
    this.calls = new Map();
  }

  open({ channel, address, ca, key, certificate, options }) {
    const read = (file) => (file ? fs.readFileSync(file) : undefined);
    const sessionManager = new Http2SessionManager(`https://${address}`, { pingIntervalMs: options['grpc.keepalive_time_ms'],
      pingIdleConnection: true }, { ca: read(ca), key: read(key), cert: read(certificate) });
    this.transports.set(channel, { sessionManager, transport: createGrpcTransport({ baseUrl: `https://${address}`, sessionManager,
      ...(options['grpc.default_compression_algorithm'] ? { sendCompression: require('@connectrpc/connect-node').compressionGzip } : {}) }) });
  }

  close({ channel }) {
    this.transports.get(channel).sessionManager.abort();
  }

  learn() {}

  cancel({ call }) {
    this.calls.get(call).abort.abort();
  }

  resume({ call }) {
    this.calls.get(call).resume();
  }

  method(name) {
    const [, service, method] = name.split('/');
    const known = registry.getService(service);
    const found = known && known.methods.find((entry) => entry.name === method);
    if (found) return found;
    // What generated code of another version would call.
    const other = registry.getService('telovix.v1.OperatorService');
    return { ...other.methods[0], name: method, parent: { ...other, typeName: service } };
  }

  async call({ id, channel, method, requests, timeout, metadata, cancel_after: cancelAfter, pause_after: pauseAfter }) {
    const found = this.method(method);
    const abort = new AbortController();
    const call = { abort, resume: null };
    const resumed = new Promise((resolve) => { call.resume = resolve; });
    this.calls.set(id, call);
    const replies = new Replies(id);
    const json = (message) => toJson(found.output, message, { registry, alwaysEmitImplicit: true });
    const messages = requests.map((request) => (found.parent.file ? fromJson(found.input, request, { registry }) : create(found.input)));
    const base = [found, abort.signal, timeout === undefined ? undefined : timeout * 1000, metadata];
    const { transport } = this.transports.get(channel);
    const answer = {};
    try {
      if (found.methodKind === 'unary') {
        const response = await transport.unary(...base, messages[0]);
        Object.assign(answer, { head: fields(response.header), trailers: fields(response.trailer) });
        replies.all.push(json(response.message));
      } else {
        const response = await transport.stream(...base, (async function* all() { yield* messages; })());
        answer.head = fields(response.header);
        say(id, 'head');
        for await (const message of response.message) {
          const n = replies.add(json(message));
          if (n === cancelAfter) abort.abort();
          if (n === pauseAfter) await resumed;
        }
        answer.trailers = fields(response.trailer);
      }
      say(id, 'end', { code: 'OK', text: '', replies: replies.all, ...answer });
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      const trailers = fields(error.metadata);
      say(id, 'end', { code: error.code === Code.Canceled ? 'CANCELLED' : upper(Code[error.code]), text: error.rawMessage, head: {}, trailers,
        replies: replies.all, ...decodeDetails(error), ...answer });
    }
  }
}

run(new Client());
