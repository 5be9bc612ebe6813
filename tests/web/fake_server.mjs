// An OpenAI-like server that says what a test wants to hear. What it does depends on the last user message; every
// request's body is kept.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const hostile = [
  '<img src=x onerror="window.hacked=1"> <script>window.hacked=2</script>',
  '[link](javascript:window.hacked=3) [fine](https://example.org/ "t") ![picture](https://example.org/leak.png)',
  '<a href="javascript:window.hacked=4">raw</a> <svg onload="window.hacked=5"></svg> <style>body{display:none}</style>',
  '```html" onmouseover="window.hacked=6\n</code></pre><script>window.hacked=7</script>\n```',
].join('\n\n');

export const showcase = `A word is a **palindrome** if it reads the same from both ends.

\`\`\`python
def is_palindrome(word: str) -> bool:
    """Letters count, blanks and case don't."""
    letters = [c for c in word.lower() if c.isalpha()]
    return letters == letters[::-1]
\`\`\`

| word | answer |
|---|---|
| Level | \`True\` |
| Lighthouse | \`False\` |

1. It takes the letters alone,
2. and compares them with themselves *reversed*.`;

export class FakeServer {
  constructor(page) {
    this.page = page;
    this.bodies = []; // of chat completions
    this.aborted = 0; // streams that the client left
    this.health = 200;
    this.failures = []; // answers to the next requests: {status, body, headers}
    this.context = Infinity; // messages that fit
    this.key = null;
    this.delay = 5; // ms between words
  }

  async start(port = 0) {
    this.server = createServer((request, response) => this.handle(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}/`;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  json(response, status, body, headers = {}) {
    response.writeHead(status, { 'Content-Type': 'application/json', 'x-request-id': 'req-test-1', ...headers });
    response.end(JSON.stringify(body));
  }

  error(response, status, message, more = {}, headers = {}) {
    this.json(response, status, { error: { message, type: 'error', param: null, code: null, ...more } }, headers);
  }

  async handle(request, response) {
    if (request.url === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
      return response.end(readFileSync(this.page));
    }
    if (request.url === '/health') {
      return this.json(response, this.health, { status: this.health === 200 ? 'ok' : 'loading' });
    }
    if (this.key && request.headers.authorization !== `Bearer ${this.key}`) {
      return this.error(response, 401, 'no such key');
    }
    if (request.url === '/v1/models') {
      return this.json(response, 200, { object: 'list', data: [{ id: 'phi-2', object: 'model' }] });
    }
    if (request.url === '/v1/chat/completions' && request.method === 'POST') {
      let text = '';
      for await (const piece of request) {
        text += piece;
      }
      return this.chat(JSON.parse(text), response);
    }
    return this.error(response, 404, `nothing at ${request.url}`);
  }

  async chat(body, response) {
    this.bodies.push(body);
    const failure = this.failures.shift();
    if (failure) {
      return this.error(response, failure.status, failure.message ?? 'failed', failure, failure.headers);
    }
    if (body.messages.length > this.context) {
      return this.error(response, 400, 'too many tokens', { code: 'context_length_exceeded', param: 'messages' });
    }
    return this.stream(body.messages.at(-1).content, response);
  }

  answerTo(text) {
    const [first, count] = text.split(' ');
    if (first === 'words') {
      return Array.from({ length: Number(count) }, (_, i) => `word${i}`).join(' ');
    }
    return { hostile, showcase }[first] ?? (text.includes('palindrome') ? showcase : `You said: ${text}`);
  }

  async stream(text, response) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'x-request-id': 'req-test-1' });
    response.on('close', () => (this.aborted += response.writableFinished ? 0 : 1));
    const chunk = (choices, more = {}) =>
      response.write(`data: ${JSON.stringify({ object: 'chat.completion.chunk', choices, ...more })}\n\n`);
    chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]);
    const words = this.answerTo(text).match(/\s*\S+/g);
    for (const [index, content] of words.entries()) {
      await sleep(this.delay);
      if (response.destroyed) {
        return;
      }
      chunk([{ index: 0, delta: { content }, finish_reason: null }]);
      if (text === 'cut' && index === 1) {
        await sleep(200); // what is still on its way when a connection is reset is lost
        return response.destroy();
      }
      if (text === 'fail later' && index === 1) {
        response.write(`data: ${JSON.stringify({ error: { message: 'logits are not finite', type: 'server_error' } })}\n\n`);
        return response.end();
      }
    }
    chunk([{ index: 0, delta: {}, finish_reason: text === 'too long' ? 'length' : 'stop' }]);
    chunk([], { usage: { prompt_tokens: 7, completion_tokens: words.length, total_tokens: 7 + words.length } });
    response.end('data: [DONE]\n\n');
  }
}
