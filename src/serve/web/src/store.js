// The page's state: conversations and settings, kept in localStorage; the API key only as long as the tab lives.
import { useEffect, useState } from 'preact/hooks';

const chatsName = 'phidias.chats';
const settingsName = 'phidias.settings';
const keyName = 'phidias.key';

export const defaultSettings = {
  theme: 'auto',
  system: '',
  format: '',
  temperature: '',
  top_p: '',
  top_k: '',
  min_p: '',
  max_tokens: '',
  seed: '',
  presence_penalty: '',
  frequency_penalty: '',
  repeat_penalty: '',
  stop: '',
};

const newId = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

// What is stored may be of another version, or anybody's: only what has the right shape is taken.
export function validSettings(stored) {
  const settings = { ...defaultSettings };
  for (const name of Object.keys(settings)) {
    if (typeof stored?.[name] === 'string') {
      settings[name] = stored[name];
    }
  }
  return settings;
}

export function validChats(stored) {
  const chats = [];
  for (const chat of Array.isArray(stored) ? stored : []) {
    if (typeof chat?.id === 'string' && typeof chat.title === 'string' && Array.isArray(chat.messages)) {
      const messages = chat.messages.filter(
        (message) => ['user', 'assistant'].includes(message?.role) && typeof message.content === 'string',
      );
      chats.push({ id: chat.id, title: chat.title, messages: messages.map((message) => ({ ...message, live: false })) });
    }
  }
  return chats;
}

function initialState() {
  const chats = validChats(read(chatsName));
  let key = '';
  try {
    key = sessionStorage.getItem(keyName) ?? '';
  } catch {
    // Storage is switched off: the page works, and forgets.
  }
  return {
    chats,
    current: chats[0]?.id ?? null,
    settings: validSettings(read(settingsName)),
    key,
    model: '',
    server: 'unknown', // ok, loading, down
    full: false, // the browser's storage took no more
  };
}

let state = initialState();
const listeners = new Set();
let saving = null;

function save() {
  saving = null;
  try {
    localStorage.setItem(settingsName, JSON.stringify(state.settings));
    localStorage.setItem(chatsName, JSON.stringify(state.chats.filter((chat) => chat.messages.length > 0)));
    if (state.key) {
      sessionStorage.setItem(keyName, state.key);
    } else {
      sessionStorage.removeItem(keyName);
    }
    if (state.full) {
      update({ full: false });
    }
  } catch {
    if (!state.full) {
      update({ full: true });
    }
  }
}

// Leaving the page must not lose the last half second.
addEventListener('pagehide', () => {
  if (saving !== null) {
    clearTimeout(saving);
    save();
  }
});

export const get = () => state;

export function update(changes) {
  state = { ...state, ...changes };
  if (saving === null && !('full' in changes)) {
    saving = setTimeout(save, 500);
  }
  for (const listener of listeners) {
    listener(state);
  }
}

export function useStore() {
  const [value, setValue] = useState(state);
  useEffect(() => {
    listeners.add(setValue);
    setValue(state);
    return () => listeners.delete(setValue);
  }, []);
  return value;
}

export const currentChat = () => state.chats.find((chat) => chat.id === state.current);

export function setSetting(name, value) {
  update({ settings: { ...state.settings, [name]: value } });
}

export function newChat() {
  update({ current: null });
}

// The current chat, made if there is none.
export function ensureChat(title) {
  const existing = currentChat();
  if (existing) {
    return existing;
  }
  const chat = { id: newId(), title, messages: [] };
  update({ chats: [chat, ...state.chats], current: chat.id });
  return chat;
}

export function deleteChat(id) {
  const chats = state.chats.filter((chat) => chat.id !== id);
  update({ chats, current: state.current === id ? (chats[0]?.id ?? null) : state.current });
}

export function setMessages(id, change) {
  const chats = state.chats.map((chat) => (chat.id === id ? { ...chat, messages: change(chat.messages) } : chat));
  update({ chats });
}

export function patchLast(id, changes) {
  setMessages(id, (messages) => [...messages.slice(0, -1), { ...messages.at(-1), ...changes }]);
}
