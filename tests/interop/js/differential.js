// A grpc-js client that plays scripts: one behaviour as JSON a line in, one observation a line out.
// The first argument is a folder with node_modules.
'use strict';

const crypto = require('crypto');
const path = require('path');
const readline = require('readline');
const { parseArgs } = require('util');

const { values: args } = parseArgs({
  options: {
    modules: { type: 'string' },
    server: { type: 'string' },
    target: { type: 'string', default: '' },
  },
});
const grpc = require(path.resolve(args.modules, 'node_modules/@grpc/grpc-js'));

const METHOD = '/grpctunnel.differential.Script/Play';
const PATIENCE_S = 15;
// Longer messages are written down by their digest alone.
const SHOWN = 100000;
const GZIP = 2;
const OPTIONS = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.enable_retries': 1,
};

const bytes = (value) => value;

/** Bytes that do not repeat soon, and that compress a little. */
function payload(size, seed) {
  const unit = Buffer.alloc(4 * 257);
  for (let n = 0; n < 257; n++) {
    unit.writeUInt32BE((Math.imul(n, 2654435761) + seed) >>> 0, 4 * n);
  }
  return Buffer.alloc(size, unit);
}

function digest(data) {
  return `${data.length}:${crypto.createHash('sha256').update(data).digest('hex').slice(0, 8)}`;
}

function pairsOf(metadata) {
  const pairs = [];
  for (const [key, values] of Object.entries(metadata ? metadata.toJSON() : {})) {
    for (const value of values) {
      pairs.push([key, Buffer.isBuffer(value) ? value.toString('base64') : value]);
    }
  }
  return pairs;
}

class Call {
  constructor(client, behaviour) {
    const metadata = new grpc.Metadata();
    metadata.set('x-script', JSON.stringify(behaviour.server));
    for (const [key, value] of behaviour.metadata || []) {
      metadata.add(key, key.endsWith('-bin') ? Buffer.from(value, 'base64') : value);
    }
    if (args.target) metadata.set('x-tunnel-target', args.target);
    const deadline = Date.now() + 1000 * (behaviour.timeout || PATIENCE_S);
    this.events = [];
    this.arrived = [];
    this.wake = () => {};
    this.call = client.makeBidiStreamRequest(
      behaviour.method || METHOD, bytes, bytes, metadata, { deadline });
    this.call.on('metadata', (head) => { this.initial = head; this.wake(); });
    this.call.on('data', (message) => { this.arrived.push({ message }); this.wake(); });
    this.call.on('status', (status) => { this.arrived.push({ status }); this.wake(); });
    // The status tells the same.
    this.call.on('error', () => {});
  }

  async until(found) {
    while (!found()) await new Promise((wake) => { this.wake = wake; });
  }

  async play(steps) {
    for (const [name, ...rest] of steps) await this[name](...rest);
    this.half_close();
  }

  send(size, count = 1) {
    for (let seed = 0; seed < count; seed++) this.call.write(payload(size, seed));
  }

  half_close() {
    this.call.end();
  }

  async head() {
    await this.until(() => this.initial || this.arrived.length > 0);
    this.events.push(['head', pairsOf(this.initial)]);
  }

  async recv(count = 1) {
    for (let n = 0; n < count; n++) {
      await this.until(() => this.arrived.length > 0);
      const { message, status } = this.arrived.shift();
      if (status) return this.ended(status);
      const text = message.length < SHOWN ? message.toString('latin1') : '';
      this.events.push(['message', digest(message), text]);
    }
    return undefined;
  }

  async all() {
    while (!this.events.length || this.events.at(-1)[0] !== 'end') await this.recv();
  }

  sleep(seconds) {
    return new Promise((wake) => { setTimeout(wake, 1000 * seconds); });
  }

  cancel() {
    this.call.cancel();
  }

  ended({ code, details, metadata }) {
    const trailers = pairsOf(metadata);
    const isDetails = ([key]) => key === 'grpc-status-details-bin';
    this.events.push(['head', pairsOf(this.initial)]);
    this.events.push(['end', code, details,
      trailers.filter(isDetails).map(([, value]) => value),
      trailers.filter((pair) => !isDetails(pair))]);
  }
}

const clients = new Map();

function clientFor({ authority, compress }) {
  const key = JSON.stringify([authority, compress]);
  if (!clients.has(key)) {
    const own = {};
    if (authority) own['grpc.default_authority'] = authority;
    if (compress) own['grpc.default_compression_algorithm'] = GZIP;
    const credentials = grpc.credentials.createInsecure();
    clients.set(key, new grpc.Client(args.server, credentials, { ...OPTIONS, ...own }));
  }
  return clients.get(key);
}

async function observe(behaviour) {
  const begun = Date.now();
  const call = new Call(clientFor(behaviour), behaviour);
  await call.play(behaviour.client);
  return { events: call.events, seconds: (Date.now() - begun) / 1000 };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let observation;
    try {
      observation = await observe(JSON.parse(line));
    } catch (error) {
      // What a library refuses locally is an observation, too.
      observation = { events: [['refused', error.name, error.message]] };
    }
    process.stdout.write(`${JSON.stringify(observation)}\n`);
  }
  for (const client of clients.values()) client.close();
}

main();
