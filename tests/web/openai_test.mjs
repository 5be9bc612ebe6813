// OpenAI's own client for JavaScript against the real server on the demo model. Oracles: `phidias run` for texts, the
// client's classes for errors.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { RealServer, textOfRun, withServer } from './real_server.mjs';

let server;
let client;

const clientOf = (of, options = {}) => new OpenAI({ baseURL: `${of.url}v1`, apiKey: 'unused', maxRetries: 0, ...options });

before(async () => {
  server = await new RealServer('--drain-seconds', '1').start();
  client = clientOf(server);
});

after(async () => {
  assert.equal(await server.stop(), 0, server.err);
});

const story = { model: 'demo', prompt: 'Once upon a time', temperature: 0 };
const question = { model: 'demo', messages: [{ role: 'user', content: 'Who is Tom?' }], temperature: 0, max_tokens: 30 };
const endless = { ...story, max_tokens: 100_000, stream: true, n: 8, ignore_eos: true };

test('models', async () => {
  const ids = [];
  for await (const model of client.models.list()) {
    ids.push(model.id);
  }
  assert.deepEqual(ids, ['demo']);
  assert.equal((await client.models.retrieve('demo')).owned_by, 'phidias');
  await assert.rejects(client.models.retrieve('org/none'), OpenAI.NotFoundError);
});

test('a completion is what run says, whole and streamed', async () => {
  const expected = await textOfRun('-n', '40', story.prompt);
  const whole = await client.completions.create({ ...story, max_tokens: 40 });
  assert.equal(whole.choices[0].text, expected);
  assert.equal(whole.usage.completion_tokens, 40);
  assert.match(whole._request_id, /^req-/);
  const stream = await client.completions.create({ ...story, max_tokens: 40, stream: true });
  let text = '';
  for await (const piece of stream) {
    text += piece.choices[0].text;
  }
  assert.equal(text, expected);
});

test('a chat is what run says, whole, streamed and by the helper that puts it together', async () => {
  const expected = await textOfRun('-n', '30', '--prompt-format', 'qa', question.messages[0].content);
  const whole = await client.chat.completions.create(question);
  assert.equal(whole.choices[0].message.content, expected.trim());
  const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } });
  let text = '';
  let usage;
  for await (const piece of stream) {
    text += piece.choices[0]?.delta.content ?? '';
    usage = piece.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [whole.usage.prompt_tokens, whole.usage.completion_tokens]);
  const pieces = [];
  const helper = client.chat.completions.stream(question).on('content', (piece) => pieces.push(piece));
  assert.equal((await helper.finalMessage()).content, text);
  assert.equal(pieces.join(''), text);
});

test('answers, alternatives and scores of tokens', async () => {
  const { choices } = await client.chat.completions.create({ ...question, temperature: 1, n: 3, seed: 5, logprobs: true, top_logprobs: 2 });
  assert.deepEqual(choices.map(({ index }) => index), [0, 1, 2]);
  for (const { message, logprobs } of choices) {
    assert.ok(logprobs.content.every(({ logprob, top_logprobs }) => logprob <= 0 && top_logprobs.length === 2));
    assert.ok(logprobs.content.map(({ token }) => token).join('').trim().startsWith(message.content));
  }
  const again = await client.chat.completions.create({ ...question, temperature: 1, n: 3, seed: 5 });
  assert.deepEqual(again.choices.map(({ message }) => message.content), choices.map(({ message }) => message.content));
  const scored = await client.completions.create({ ...story, max_tokens: 0, echo: true, logprobs: 1 });
  assert.equal(scored.choices[0].text, story.prompt);
  assert.equal(scored.choices[0].logprobs.tokens.join(''), story.prompt);
  assert.equal(scored.choices[0].logprobs.token_logprobs[0], null);
  const batch = await client.completions.create({ ...story, prompt: [[454, 402], [464]], max_tokens: 2 });
  assert.equal(batch.choices.length, 2);
});

test('an aborted stream stops its generation', async () => {
  const before = await server.metric('phidias_requests_total{endpoint="/completions",status="499"}');
  const controller = new AbortController();
  const stream = await client.completions.create(endless, { signal: controller.signal });
  let pieces = 0;
  for await (const piece of stream) {
    assert.equal(piece.object, 'text_completion');
    if (++pieces === 10) {
      controller.abort();
    }
  }
  assert.ok(pieces >= 10);
  await server.metricBecomes('phidias_requests_processing', 0);
  await server.metricBecomes('phidias_requests_total{endpoint="/completions",status="499"}', before + 1);
  const left = await client.completions.create(endless);
  for await (const piece of left) {
    assert.ok(piece.id);
    break; // leaving the loop closes the connection as well
  }
  await server.metricBecomes('phidias_requests_total{endpoint="/completions",status="499"}', before + 2);
});

test('what is wrong with a request is told, by class, field and code', async () => {
  const rejects = async (request, kind, fields) => {
    const error = await client.chat.completions.create({ ...question, ...request }).then(() => assert.fail('no error'), (error) => error);
    assert.ok(error instanceof kind, `${error}`);
    assert.match(error.requestID, /^req-/);
    for (const [name, value] of Object.entries(fields)) {
      assert.equal(error[name], value);
    }
  };
  await rejects({ model: 'gpt-4' }, OpenAI.NotFoundError, { code: 'model_not_found', param: 'model' });
  await rejects({ temperature: 'hot' }, OpenAI.BadRequestError, { param: 'temperature' });
  await rejects({ messages: [] }, OpenAI.BadRequestError, { param: 'messages' });
  await rejects({ tools: [{ type: 'function', function: { name: 'f' } }] }, OpenAI.BadRequestError, { param: 'tools' });
  await rejects({ response_format: { type: 'json_object' } }, OpenAI.BadRequestError, { param: 'response_format' });
  await rejects(
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }] },
    OpenAI.BadRequestError,
    { param: 'messages[0].content[0].type' },
  );
  await rejects({ messages: [{ role: 'user', content: 'word '.repeat(5000) }] }, OpenAI.BadRequestError, {
    code: 'context_length_exceeded',
  });
});

test('keys', () =>
  withServer(['--api-key', 'first,second'], async (locked) => {
    await assert.rejects(clientOf(locked).models.list(), OpenAI.AuthenticationError);
    assert.equal((await clientOf(locked, { apiKey: 'second' }).models.list()).data.length, 1);
    assert.ok(await locked.isWell(), 'who watches needs no key');
  }));

test('a busy server is asked again after retry-after', () =>
  withServer(['--parallel', '1', '--queue', '0', '--drain-seconds', '0'], async (small) => {
    const controller = new AbortController();
    const running = await clientOf(small).completions.create({ ...endless, n: 64 }, { signal: controller.signal });
    await running[Symbol.asyncIterator]().next();
    const error = await clientOf(small).completions.create(story).catch((error) => error);
    assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
    assert.ok(Number(error.headers.get('retry-after')) >= 1);
    const refused = await small.metric('phidias_requests_total{endpoint="/completions",status="429"}');
    const patient = clientOf(small, { maxRetries: 20 }).completions.create({ ...story, max_tokens: 3 });
    await small.metricBecomes('phidias_requests_total{endpoint="/completions",status="429"}', refused + 1);
    controller.abort();
    assert.equal((await patient).usage.completion_tokens, 3);
  }));

test('a server that is still loading is asked again', async () => {
  const early = await new RealServer().start({ ready: false });
  try {
    const answer = await clientOf(early, { maxRetries: 20 }).completions.create({ ...story, max_tokens: 3 });
    assert.equal(answer.usage.completion_tokens, 3);
  } finally {
    await early.stop();
  }
});

test('a stream that a shutdown cuts ends in an error, not as if it were complete', () =>
  withServer(['--drain-seconds', '0'], async (ending) => {
    const stream = await clientOf(ending).completions.create({ ...endless, n: 64 });
    let stopped;
    const read = async () => {
      for await (const piece of stream) {
        assert.ok(piece.id);
        stopped ??= ending.stop();
      }
    };
    await assert.rejects(read(), /shutting down/);
    assert.equal(await stopped, 0);
  }));
