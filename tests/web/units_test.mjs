// The page's parts that need no browser: the reader of events and what the server's errors become.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const sources = `${process.env.PHIDIAS_ROOT}/src/serve/web/src`;
const { bodyOf, errorOf, parseRetryAfter } = await import(`${sources}/api.js`);
const { readEvents } = await import(`${sources}/sse.js`);

const streamOf = (pieces) =>
  new ReadableStream({
    start(controller) {
      pieces.forEach((piece) => controller.enqueue(piece));
      controller.close();
    },
  });

async function eventsOf(bytes, size) {
  const pieces = [];
  for (let i = 0; i < bytes.length; i += size) {
    pieces.push(bytes.subarray(i, i + size));
  }
  const events = [];
  for await (const event of readEvents(streamOf(pieces))) {
    events.push(event);
  }
  return events;
}

test('events come whole, wherever the bytes are cut and however lines end', async () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = [': comment', 'data: {"a":"é😀"}', '', 'event: x', 'data:two', 'data: lines', 'id: 1', '', '', 'data: cut off'].join(end);
    const bytes = new TextEncoder().encode(text);
    for (const size of [1, 2, 3, 7, 1000]) {
      assert.deepEqual(await eventsOf(bytes, size), ['{"a":"é😀"}', 'two\nlines'], `${JSON.stringify(end)} in pieces of ${size}`);
    }
  }
});

test('leaving the loop cancels the stream', async () => {
  let cancelled = false;
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
    cancel: () => {
      cancelled = true;
    },
  });
  for await (const event of readEvents(stream)) {
    assert.equal(event, '1');
    break;
  }
  assert.ok(cancelled);
});

test('retry-after: seconds or a date, within reason', () => {
  const now = Date.parse('2024-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('3'), 3);
  assert.equal(parseRetryAfter('Mon, 01 Jan 2024 00:00:10 GMT', now), 10);
  assert.equal(parseRetryAfter('Sun, 31 Dec 2023 00:00:00 GMT', now), 0);
  assert.equal(parseRetryAfter('999999'), 3600);
  for (const nonsense of [null, '', 'soon', '-5']) {
    assert.equal(parseRetryAfter(nonsense, now), null, String(nonsense));
  }
});

test('errors have words for a person', () => {
  const kinds = [
    [401, null, 'key'],
    [429, null, 'busy'],
    [503, null, 'loading'],
    [413, null, 'overflow'],
    [400, { error: { message: 'm', code: 'context_length_exceeded' } }, 'overflow'],
    [400, { error: { message: 'top_p is 7' } }, 'server'],
    [500, 'no json', 'server'],
    [502, { error: 'text' }, 'server'],
  ];
  for (const [status, body, kind] of kinds) {
    const error = errorOf(status, body);
    assert.equal(error.kind, kind, String(status));
    assert.ok(error.title.endsWith('.'), error.title);
  }
  assert.equal(errorOf(400, { error: { message: 'top_p is 7' } }).text, 'top_p is 7');
  assert.equal(errorOf(502, null).text, 'It answered with status 502.');
});

test('a request says only what was set', () => {
  const none = { temperature: '', top_p: '', seed: '', stop: '', max_tokens: '', format: '', system: ' ' };
  const messages = [{ role: 'user', content: 'hi', stats: {} }];
  assert.deepEqual(bodyOf(messages, none, ''), {
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: 'user', content: 'hi' }],
  });
  const all = { ...none, temperature: '0', seed: '7', stop: 'a\n\nb', max_tokens: '9', format: 'qa', system: 'Be brief.' };
  assert.deepEqual(bodyOf(messages, all, 'phi-2'), {
    stream: true,
    stream_options: { include_usage: true },
    model: 'phi-2',
    temperature: 0,
    seed: 7,
    stop: ['a', 'b'],
    max_completion_tokens: 9,
    prompt_format: 'qa',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'hi' },
    ],
  });
});
