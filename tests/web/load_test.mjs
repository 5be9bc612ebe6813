// Many clients and bad ones against the real server on the demo model: it stays alive, answers everybody, and cuts off
// whom it must. Plain sockets, so that the bytes are those that are meant.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { RealServer } from './real_server.mjs';

const many = 1000;
let server;

before(async () => {
  server = await new RealServer('--header-seconds', '2', '--queue', '300').start();
});

after(async () => {
  assert.equal(await server.stop(), 0);
});

class Client {
  constructor() {
    this.text = '';
    this.socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.socket.setEncoding('utf8').on('data', (text) => (this.text += text));
    this.connected = new Promise((resolve, reject) => this.socket.once('connect', resolve).once('error', reject));
    this.socket.on('error', () => {}); // a reset is a way of closing, too
    this.ended = new Promise((resolve) => this.socket.once('end', resolve).once('close', resolve));
  }
  send(text) {
    this.socket.write(text);
    return this;
  }
  get status() {
    return Number(/^(?:HTTP\/1.1 100 Continue\r\n\r\n)?HTTP\/1.1 (\d+)/.exec(this.text)?.[1]);
  }
}

const request = (body, headers = 'Connection: close\r\n') => {
  const data = JSON.stringify(body);
  return `POST /v1/completions HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: ${Buffer.byteLength(data)}\r\n\r\n${data}`;
};
const completion = (number, more = {}) => ({ prompt: `Number ${number}`, max_tokens: 2, temperature: 0, ...more });
const crowd = async (count) => {
  const clients = Array.from({ length: count }, () => new Client());
  await Promise.all(clients.map(({ connected }) => connected));
  return clients;
};

test('a thousand connections that all ask at once: an answer each, or 429 and when to come back', async () => {
  const clients = await crowd(many);
  clients.forEach((client, number) => client.send(request(completion(number))));
  await Promise.all(clients.map(({ ended }) => ended));
  const statuses = clients.map(({ status }) => status);
  const answered = statuses.filter((status) => status === 200).length;
  assert.equal(answered + statuses.filter((status) => status === 429).length, many, `${new Set(statuses)}`);
  assert.ok(answered >= 300, `${answered} answered`);
  for (const { status, text } of clients) {
    const [head, body] = text.split('\r\n\r\n');
    if (status === 429) {
      assert.match(head, /Retry-After: [1-9]/);
    } else {
      assert.equal(JSON.parse(body).usage.completion_tokens, 2);
    }
  }
  assert.ok(await server.isWell());
});

test('slow-loris: who drips headers is cut off, others are served meanwhile', async () => {
  const clients = await crowd(300);
  clients.forEach((client) => client.send('GET /health HTTP/1.1\r\nX-Drip: '));
  let open = clients.length;
  clients.forEach(({ ended }) => ended.then(() => (open -= 1)));
  while (open > 0) {
    clients.filter(({ socket }) => socket.writable).forEach((client) => client.send('x'));
    assert.ok(await server.isWell());
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.deepEqual([...new Set(clients.map(({ status }) => status))], [408]);
  clients.forEach(({ socket }) => socket.destroy());
});

test('who closes the sending half gets the whole answer', async () => {
  const clients = await crowd(100);
  clients.forEach(({ socket }, number) => socket.end(request(completion(number, { stream: number % 2 === 0 }), '')));
  await Promise.all(clients.map(({ ended }) => ended));
  for (const [number, { status, text }] of clients.entries()) {
    assert.equal(status, 200, text);
    assert.match(text, number % 2 === 0 ? /data: \[DONE\]\n\n\r\n0\r\n\r\n$/ : /"completion_tokens":2[^]*\}$/);
  }
});

test('who vanishes in the middle leaves nothing behind', async () => {
  const clients = await crowd(200);
  for (const [number, client] of clients.entries()) {
    const text = request(completion(number, { stream: true, max_tokens: 1000, n: 4 }));
    client.send(number % 2 === 0 ? text : text.slice(0, (number * 7) % text.length));
  }
  await Promise.race(clients.map(({ socket }) => new Promise((resolve) => socket.once('data', resolve))));
  clients.forEach(({ socket }, number) => (number % 3 === 0 ? socket.resetAndDestroy() : socket.destroy()));
  await server.metricBecomes('phidias_requests_processing', 0);
  await server.metricBecomes('phidias_requests_waiting', 0);
  await server.metricBecomes('phidias_kv_positions_used', 0);
  assert.ok(await server.isWell());
});

test('bodies beyond the limit are refused before they are read', async () => {
  const [said, chunked] = await crowd(2);
  said.send('POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n');
  await said.ended;
  assert.equal(said.status, 413);
  chunked.send('POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
  const piece = `100000\r\n${' '.repeat(1 << 20)}\r\n`;
  let over = false;
  chunked.ended.then(() => (over = true));
  for (let mebibytes = 0; !over && mebibytes < 64; ++mebibytes) {
    chunked.send(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await chunked.ended;
  assert.equal(chunked.status, 413);
  [said, chunked].forEach(({ socket }) => socket.destroy());
  assert.ok(await server.isWell());
});
