// What people type: curl against the real server on the demo model.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RealServer } from './real_server.mjs';

let server;
let scratch;

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'phidias-curl-'));
  server = await new RealServer('--cors-origins', 'https://chat.example', '--log-format', 'json').start();
});

after(async () => {
  rmSync(scratch, { recursive: true });
  assert.equal(await server.stop(), 0, server.err);
});

// curl's exit code and what it printed, with the answer's head (-i) unless asked otherwise.
function curl(path, ...flags) {
  const heads = flags.includes('-w') ? [] : ['-i'];
  return new Promise((resolve) => {
    execFile('curl', ['-sS', '--noproxy', '*', ...heads, ...flags, server.url + path], { encoding: 'utf8', maxBuffer: 1 << 26 }, (error, out, err) => {
      const [, head = '', body = ''] = /^((?:HTTP[^]*?\r\n\r\n)+)([^]*)$/.exec(out) ?? [];
      resolve({ code: error?.code ?? 0, out, err, head: head.toLowerCase(), body, status: Number(/^HTTP\/1.[01] (\d+)(?![^]*\nHTTP)/m.exec(head.split('\r\n\r\n').at(-2) ?? '')?.[1]) });
    });
  });
}

const chat = (more = {}) => JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 5, temperature: 0, ...more });
const endless = JSON.stringify({ prompt: 'Once', max_tokens: 100000, n: 64, stream: true });

test("the help's example: no model, no content type", async () => {
  const { status, head, body } = await curl('v1/chat/completions', '-d', chat());
  assert.equal(status, 200, body);
  assert.match(head, /content-type: application\/json\r\n/);
  assert.equal(JSON.parse(body).choices[0].message.role, 'assistant');
});

test('a stream is events, and ends with [DONE]', async () => {
  const { status, head, body } = await curl('v1/chat/completions', '-N', '-d', chat({ stream: true }));
  assert.equal(status, 200);
  assert.match(head, /content-type: text\/event-stream/);
  assert.match(head, /x-accel-buffering: no/);
  assert.ok(body.endsWith('data: [DONE]\n\n'));
  const events = body.trim().split('\n\n').slice(0, -1).map((event) => JSON.parse(event.slice('data: '.length)));
  assert.match(events.at(-1).choices[0].finish_reason, /^(stop|length)$/);
  const old = await curl('v1/chat/completions', '--http1.0', '-d', chat({ stream: true }));
  assert.ok(old.body.endsWith('data: [DONE]\n\n'), 'HTTP/1.0, until the connection closes');
});

test('health, metrics, tokens, HEAD and what is not there', async () => {
  assert.equal((await curl('health')).body, '{"status":"ok"}');
  assert.match((await curl('health', '-I')).head, /content-length: 15/);
  assert.match((await curl('metrics')).body, /^phidias_requests_processing \d/m);
  const { tokens } = JSON.parse((await curl('tokenize', '-d', '{"content":"Hello, world!"}')).body);
  assert.equal(JSON.parse((await curl('detokenize', '-d', JSON.stringify({ tokens }))).body).content, 'Hello, world!');
  assert.equal((await curl('nothing')).status, 404);
  const wrong = await curl('v1/completions', '-X', 'DELETE');
  assert.equal(wrong.status, 405);
  assert.match(wrong.head, /allow: post, options/);
});

test('bodies: malformed, chunked, with an expectation, huge', async () => {
  const bad = await curl('v1/completions', '-d', '{"prompt": ');
  assert.equal(bad.status, 400);
  assert.match(JSON.parse(bad.body).error.message, /no valid JSON/);
  const file = join(scratch, 'body.json');
  writeFileSync(file, chat());
  assert.equal((await curl('v1/chat/completions', '-H', 'Transfer-Encoding: chunked', '--data-binary', `@${file}`)).status, 200);
  assert.equal((await curl('v1/chat/completions', '-H', 'Expect: 100-continue', '--data-binary', `@${file}`)).status, 200);
  writeFileSync(file, Buffer.alloc(5 << 20, ' '));
  for (const flags of [[], ['-H', 'Transfer-Encoding: chunked']]) {
    const huge = await curl('v1/completions', ...flags, '--data-binary', `@${file}`);
    assert.equal(huge.status, 413, `${huge.err}`);
    assert.match(JSON.parse(huge.body).error.message, /4194304 bytes/);
  }
  assert.ok(await server.isWell());
});

test('one connection serves one request after the other', async () => {
  const { out } = await curl('health', '-o', '/dev/null', '-w', '%{num_connects}\n', `${server.url}v1/models`, '-o', '/dev/null', `${server.url}nothing`, '-o', '/dev/null');
  assert.equal(out, '1\n0\n0\n');
});

test('who gives up stops the generation', async () => {
  const { code } = await curl('v1/completions', '-N', '--max-time', '1', '-d', endless);
  assert.equal(code, 28);
  await server.metricBecomes('phidias_requests_processing', 0);
  await server.saysOnStderr('"status":499');
});

test('pages of other origins: those on the list alone', async () => {
  const asks = (origin) => curl('v1/chat/completions', '-X', 'OPTIONS', '-H', `Origin: ${origin}`, '-H', 'Access-Control-Request-Method: POST', '-H', 'Access-Control-Request-Headers: content-type,x-stainless-lang');
  assert.match((await asks('https://chat.example')).head, /access-control-allow-headers: content-type, x-stainless-lang/);
  assert.doesNotMatch((await asks('https://evil.example')).head, /access-control-allow/);
  assert.equal((await curl('v1/chat/completions', '-H', 'Origin: https://evil.example', '-d', chat())).status, 403);
});

test('a line of JSON in the log for each request, without its text', async () => {
  await curl('v1/chat/completions', '-H', 'X-Request-Id: mine', '-d', chat({ messages: [{ role: 'user', content: 'my secret' }] }));
  await server.saysOnStderr('"mine"');
  const lines = server.err.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  const line = lines.find(({ id }) => id === 'mine');
  assert.equal(line.status, 200);
  assert.equal(line.generated_tokens, 5);
  assert.ok(!server.err.includes('my secret'));
});
