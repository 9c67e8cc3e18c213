#!/usr/bin/env node
// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
// A client with @grpc/grpc-js and @grpc/proto-loader, driven by the tests.
//
//   client.js files DIR    the .proto files in DIR
//   client.js reflected    no file at all: everything is made from what server reflection gives
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { Replies, run, say } = require('./driver.js');

const OPTIONS = { longs: String, enums: String, bytes: String, defaults: true };
const BOOT = 'grpc.reflection.v1';

// The messages that ask for all others: a client without files has no other way to begin.
const BOOT_JSON = {
  nested: {
    grpc: { nested: { reflection: { nested: { v1: { nested: {
      ServerReflection: { methods: { ServerReflectionInfo: {
        requestType: 'Request', requestStream: true, responseType: 'Reply', responseStream: true } } },
      Request: {
        oneofs: { asked: { oneof: ['fileContainingSymbol', 'listServices'] } },
        fields: { fileContainingSymbol: { type: 'string', id: 4 }, listServices: { type: 'string', id: 7 } } },
      Files: { fields: { fileDescriptorProto: { rule: 'repeated', type: 'bytes', id: 1 } } },
      Service: { fields: { name: { type: 'string', id: 1 } } },
      Services: { fields: { service: { rule: 'repeated', type: 'Service', id: 1 } } },
      Reply: { fields: { files: { type: 'Files', id: 4 }, services: { type: 'Services', id: 6 } } },
    } } } } } },
  },
};

function protoFiles(folder) {
  return fs.readdirSync(folder, { recursive: true })
    .filter((name) => /^(telovix\/v1|google\/rpc|grpc)\/.*\.proto$/.test(name)).map((name) => path.join(folder, name));
}

async function reflect(channel) {
  const service = loader.fromJSON(BOOT_JSON)[`${BOOT}.ServerReflection`];
  const client = new (grpc.makeGenericClientConstructor(service))('', null, { channelOverride: channel });
  const ask = (requests) => new Promise((resolve, reject) => {
    const call = client.ServerReflectionInfo(), replies = [];
    call.on('data', (reply) => replies.push(reply)).on('error', reject).on('end', () => resolve(replies));
    for (const request of requests) call.write(request);
    call.end();
  });
  const [listed] = await ask([{ listServices: '*' }]);
  const names = [...listed.services.service.map((entry) => entry.name), 'google.rpc.Status', 'google.rpc.BadRequest'];
  const files = new Map();
  for (const reply of await ask(names.map((fileContainingSymbol) => ({ fileContainingSymbol }))))
    for (const bytes of reply.files ? reply.files.fileDescriptorProto : [])
      files.set(bytes.toString('latin1'), bytes);
  // FileDescriptorSet { repeated FileDescriptorProto file = 1; }
  const varint = (n) => (n < 128 ? [n] : [n & 127 | 128, ...varint(n >> 7)]);
  const parts = [...files.values()].flatMap((bytes) => [Buffer.from([0x0a, ...varint(bytes.length)]), bytes]);
  return loader.loadFileDescriptorSetFromBuffer(Buffer.concat(parts), OPTIONS);
}

// Definitions that come as descriptors keep the names of the .proto files.
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function rename(value, how) {
  if (Array.isArray(value)) return value.map((item) => rename(item, how));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [how(name), rename(item, how)]));
}

/** A google.rpc.Status, its details by their names. */
function decodeDetails(definition, bytes) {
  const status = definition['google.rpc.Status'].deserialize(bytes);
  const found = { status: { code: status.code, text: status.message } };
  for (const detail of status.details) {
    // An `any` of a known type is unpacked by the loader itself.
    const name = (detail['@type'] || detail.type_url || detail.typeUrl).replace('type.googleapis.com/', '');
    found[name.replace('google.rpc.', '')] = detail['@type'] ? detail
      : definition[name].deserialize(Buffer.from(detail.value, 'base64'));
  }
  return found;
}

class Client {
  constructor(definition) {
    this.definition = definition;
    this.toLibrary = definition ? (message) => message : (message) => rename(message, snake);
    this.fromLibrary = definition ? (message) => message : (message) => rename(message, camel);
    this.clients = new Map();
    this.calls = new Map();
  }

  open({ channel, address, ca, key, certificate, options }) {
    const read = (file) => (file ? fs.readFileSync(file) : null);
    this.clients.set(channel, new grpc.Client(address, grpc.credentials.createSsl(read(ca), read(key), read(certificate)),
      { 'grpc.use_local_subchannel_pool': 1, ...options }));
  }

  close({ channel }) {
    this.clients.get(channel).close();
  }

  async learn({ channel }) {
    if (!this.definition) this.definition = await reflect(this.clients.get(channel).getChannel());
  }

  cancel({ call }) {
    this.calls.get(call).cancel();
  }

  resume({ call }) {
    this.calls.get(call).resume();
  }

  method(name) {
    const [, service, method] = name.split('/');
    const found = (this.definition[service] || {})[method];
    if (found) return found;
    const raw = (value) => (Buffer.isBuffer(value) ? value : Buffer.alloc(0));
    return { path: name, requestStream: false, responseStream: false, requestSerialize: raw, responseDeserialize: raw };
  }

  call({ id, channel, method, requests, timeout, metadata = [], wait_for_ready: waitForReady,
    cancel_after: cancelAfter, pause_after: pauseAfter }) {
    const client = this.clients.get(channel);
    const found = this.method(method);
    const head = new grpc.Metadata({ waitForReady });
    for (const [name, value] of metadata) head.add(name, value);
    const options = timeout === undefined ? {} : { deadline: Date.now() + timeout * 1000 };
    const replies = new Replies(id);
    const answer = { head: {} };
    const base = [found.path, found.requestSerialize, found.responseDeserialize];
    let call;
    if (found.requestStream)
      call = client.makeBidiStreamRequest(...base, head, options);
    else if (found.responseStream)
      call = client.makeServerStreamRequest(...base, this.toLibrary(requests[0]), head, options);
    else
      call = client.makeUnaryRequest(...base, this.toLibrary(requests[0]), head, options, (error, reply) => {
        if (!error) replies.all.push(this.fromLibrary(reply));
      });
    this.calls.set(id, call);
    call.on('metadata', (fields) => {
      answer.head = fields.toJSON();
      if (found.responseStream) say(id, 'head');
    });
    call.on('status', (status) => setImmediate(() => this.end(id, answer, status, replies)));
    if (!found.responseStream) return;
    call.on('error', () => {}); // told by the status
    call.on('data', (reply) => {
      const n = replies.add(this.fromLibrary(reply));
      if (n === cancelAfter) call.cancel();
      if (n === pauseAfter) call.pause();
    });
    if (found.requestStream) {
      for (const request of requests) call.write(this.toLibrary(request));
      call.end();
    }
  }

  end(id, { head }, status, replies) {
    const [details] = status.metadata.get('grpc-status-details-bin');
    status.metadata.remove('grpc-status-details-bin');
    say(id, 'end', { code: grpc.status[status.code], text: status.details, head, trailers: status.metadata.toJSON(),
      replies: replies.all, ...(details ? this.fromLibrary(decodeDetails(this.definition, details)) : {}) });
  }
}

const [mode, folder] = process.argv.slice(2);
run(new Client(mode === 'files' ? loader.loadSync(protoFiles(folder), { ...OPTIONS, includeDirs: [folder] }) : null));
