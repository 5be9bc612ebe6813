// Sending, streaming, stopping: what happens between a person's message and the last word of the answer.
import { answer, health, models } from './api.js';
import { currentChat, ensureChat, get, patchLast, setMessages, update } from './store.js';

let running = null; // {controller, chat}

export const runningChat = () => running?.chat ?? null;

export function stop() {
  running?.controller.abort();
}

export function send(text) {
  if (running || text.trim() === '') {
    return false;
  }
  const title = text.trim().replace(/\s+/g, ' ').slice(0, 60);
  const chat = ensureChat(title);
  setMessages(chat.id, (messages) => [...messages, { role: 'user', content: text }]);
  respond(chat.id);
  return true;
}

// Again from the user's message before `index`.
export function regenerate(index) {
  const chat = currentChat();
  if (!running && chat) {
    setMessages(chat.id, (messages) => messages.slice(0, index));
    respond(chat.id);
  }
}

export function edit(index, text) {
  const chat = currentChat();
  if (!running && chat && text.trim() !== '') {
    setMessages(chat.id, (messages) => [...messages.slice(0, index), { role: 'user', content: text }]);
    respond(chat.id);
  }
}

// Text goes into the page at most once per frame, however fast the tokens come. A hidden tab has no frames.
class Writer {
  constructor(chat) {
    this.chat = chat;
    this.text = '';
    this.tokens = 0;
    this.start = performance.now();
    this.first = null;
    this.last = null;
    this.timer = null;
  }

  add(text) {
    this.last = performance.now();
    this.first ??= this.last;
    this.text += text;
    this.tokens += 1;
    this.timer ??= setTimeout(() => this.flush(), 40);
  }

  // The first token is what the wait before it was for, so the rate is that of the ones after it.
  stats(usage) {
    if (this.first === null) {
      return {};
    }
    const tokens = usage?.completion_tokens ?? this.tokens;
    const seconds = (this.last - this.first) / 1000;
    return {
      tokens,
      wait: (this.first - this.start) / 1000,
      rate: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
      promptTokens: usage?.prompt_tokens ?? null,
    };
  }

  flush(changes = {}, usage = null) {
    clearTimeout(this.timer);
    this.timer = null;
    patchLast(this.chat, { content: this.text, stats: this.stats(usage), ...changes });
  }
}

const plain = (error) => ({
  kind: error.kind ?? 'server',
  title: error.title ?? 'Something went wrong in this page.',
  text: error.text ?? String(error.message ?? error),
  retryAfter: error.retryAfter ?? null,
  requestId: error.requestId ?? null,
});

async function stream(messages, writer, signal) {
  const { settings, model, key } = get();
  let finish = null;
  let usage = null;
  for await (const part of answer(messages, settings, { model, key, signal })) {
    if (part.text) {
      writer.add(part.text);
    }
    finish = part.finish ?? finish;
    usage = part.usage ?? usage;
  }
  writer.flush({ live: false, finish }, usage);
}

// A turn: a message of the user's, and what was answered. The oldest go when the context is too small for all.
export function withoutOldestTurn(messages) {
  const next = messages.findIndex((message, index) => index > 0 && message.role === 'user');
  return next < 0 ? null : messages.slice(next);
}

async function respond(id) {
  const controller = new AbortController();
  running = { controller, chat: id };
  let history = get().chats.find((chat) => chat.id === id).messages.filter((message) => message.content !== '');
  const complete = history.length;
  setMessages(id, (messages) => [...messages, { role: 'assistant', content: '', live: true }]);
  const writer = new Writer(id);
  try {
    while (true) {
      try {
        await stream(history, writer, controller.signal);
        break;
      } catch (error) {
        const shorter = error.kind === 'overflow' && writer.text === '' ? withoutOldestTurn(history) : null;
        if (!shorter) {
          throw error;
        }
        history = shorter;
        patchLast(id, { dropped: complete - history.length });
      }
    }
  } catch (error) {
    const stopped = error.name === 'AbortError';
    writer.flush({ live: false, ...(stopped ? { finish: 'stopped' } : { error: plain(error) }) });
    if (!stopped) {
      watchServer();
    }
  }
  running = null;
  update({});
}

let watching = false;

// Asks until the server is well, then for its model's name.
export async function watchServer() {
  if (watching) {
    return;
  }
  watching = true;
  for (let wait = 500; ; wait = Math.min(wait * 1.5, 5000)) {
    const server = await health();
    if (server !== get().server) {
      update({ server });
    }
    if (server === 'ok') {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  watching = false;
  await readModel();
}

export async function readModel() {
  try {
    update({ model: (await models(get().key))[0] ?? '' });
  } catch {
    // Without a key the name isn't known; the first question then says that one is needed.
  }
}
