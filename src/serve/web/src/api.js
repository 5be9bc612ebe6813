// What the page asks of the server: OpenAI's API.
import { readEvents } from './sse.js';

// `title` and `text` are for a person; `kind` is for the page: network, cut, busy, loading, key, overflow, server.
export class ApiError extends Error {
  constructor(kind, title, text, more = {}) {
    super(`${title} ${text}`);
    Object.assign(this, { kind, title, text, retryAfter: null, requestId: null, ...more });
  }
}

function headers(key) {
  return { 'Content-Type': 'application/json', ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

// Seconds of a retry-after header, which may also be a date.
export function parseRetryAfter(value, now = Date.now()) {
  if (!/^\s*[\da-z]/i.test(value ?? '')) {
    return null; // Date.parse takes "-5" for a date
  }
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 0), 3600) : null;
}

// The error that belongs to a status and the server's own {error: {message, type, param, code}}.
export function errorOf(status, body, more = {}) {
  const error = body && typeof body.error === 'object' && body.error !== null ? body.error : {};
  const message = typeof error.message === 'string' ? error.message : '';
  if (status === 401) {
    return new ApiError('key', 'This server wants an API key.', 'Enter it under Settings, then try again.', more);
  }
  if (status === 429) {
    return new ApiError('busy', 'The server is busy.', 'Too many requests are waiting. Try again in a moment.', more);
  }
  if (status === 503) {
    return new ApiError('loading', "The server isn't ready.", 'It is loading its model or shutting down.', more);
  }
  if (error.code === 'context_length_exceeded') {
    return new ApiError('overflow', "This doesn't fit the model's context.", message, more);
  }
  if (status === 413) {
    return new ApiError('overflow', 'This is too large for the server.', message, more);
  }
  const title = status >= 500 ? 'The server failed.' : "The server didn't accept the request.";
  return new ApiError('server', title, message || `It answered with status ${status}.`, more);
}

async function request(path, key, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(key) });
  } catch (error) {
    if (error.name === 'AbortError') {
      throw error;
    }
    const text = 'Is it still running? Nothing is lost: try again when it is back.';
    throw new ApiError('network', "The server can't be reached.", text);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw errorOf(response.status, body, {
      retryAfter: parseRetryAfter(response.headers.get('retry-after')),
      requestId: response.headers.get('x-request-id'),
    });
  }
  return response;
}

// 'ok', 'loading' or 'down'.
export async function health() {
  try {
    const response = await fetch('/health', { cache: 'no-store' });
    return response.ok ? 'ok' : 'loading';
  } catch {
    return 'down';
  }
}

// Names of the models, the one that is served first.
export async function models(key) {
  const response = await request('/v1/models', key, {});
  const body = await response.json();
  return Array.isArray(body.data) ? body.data.map((model) => String(model.id)) : [];
}

const numbers = [
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'presence_penalty',
  'frequency_penalty',
  'repeat_penalty',
  'seed',
];

// Only what was set: everything else is the server's choice.
export function bodyOf(messages, settings, model) {
  const body = { stream: true, stream_options: { include_usage: true } };
  if (model) {
    body.model = model;
  }
  for (const name of numbers) {
    if (settings[name] !== '' && Number.isFinite(Number(settings[name]))) {
      body[name] = Number(settings[name]);
    }
  }
  const stops = settings.stop.split('\n').filter((line) => line !== '');
  if (stops.length > 0) {
    body.stop = stops;
  }
  if (Number(settings.max_tokens) > 0) {
    body.max_completion_tokens = Number(settings.max_tokens);
  }
  if (settings.format) {
    body.prompt_format = settings.format;
  }
  body.messages = messages.map(({ role, content }) => ({ role, content }));
  if (settings.system.trim()) {
    body.messages.unshift({ role: 'system', content: settings.system });
  }
  return body;
}

// Streams an answer: yields {text}, {finish} and {usage} as they come. Throws ApiError, or AbortError when stopped.
export async function* answer(messages, settings, { model, key, signal }) {
  const body = JSON.stringify(bodyOf(messages, settings, model));
  const response = await request('/v1/chat/completions', key, { method: 'POST', body, signal });
  const requestId = response.headers.get('x-request-id');
  const cut = () => new ApiError('cut', 'The connection was lost.', 'The answer ends in the middle.', { requestId });
  try {
    for await (const data of readEvents(response.body)) {
      if (data === '[DONE]') {
        return;
      }
      yield* partsOf(JSON.parse(data), requestId);
    }
  } catch (error) {
    // fetch tells of a broken stream with a TypeError; a SyntaxError is an event that is no JSON.
    throw error instanceof TypeError || error instanceof SyntaxError ? cut() : error;
  }
  throw cut();
}

function* partsOf(chunk, requestId) {
  if (chunk.error) {
    throw errorOf(chunk.error.code === 'context_length_exceeded' ? 400 : 500, chunk, { requestId });
  }
  const choice = chunk.choices?.[0];
  const text = choice?.delta?.content;
  if (text) {
    yield { text };
  }
  if (choice?.finish_reason) {
    yield { finish: choice.finish_reason };
  }
  if (chunk.usage) {
    yield { usage: chunk.usage };
  }
}
