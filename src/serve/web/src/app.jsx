import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Composer } from './composer.jsx';
import { IconButton } from './icons.jsx';
import { Messages } from './messages.jsx';
import { SettingsDialog } from './settings.jsx';
import { Sidebar } from './sidebar.jsx';
import { get, newChat, setSetting, useStore } from './store.js';
import { runningChat, stop } from './talk.js';

const themes = { auto: 'light', light: 'dark', dark: 'auto' };
const themeIcons = { auto: 'auto', light: 'sun', dark: 'moon' };
const themeNames = { auto: 'as the system', light: 'light', dark: 'dark' };

const serverTexts = {
  loading: 'The model is still loading. This page goes on by itself when it is ready.',
  down: "The server can't be reached. This page goes on by itself when it is back.",
};

function Banner({ state }) {
  const text = serverTexts[state.server] ?? (state.full ? "The browser's storage is full: chats are no longer kept. Delete some." : '');
  return (
    <div role="status" class={text ? 'banner' : 'sr'}>
      {text}
    </div>
  );
}

function Header({ state, onMenu, onSettings }) {
  const theme = themes[state.settings.theme] ? state.settings.theme : 'auto';
  return (
    <header>
      <IconButton icon="menu" label="Chats" class="icon-button menu-button" onClick={onMenu} />
      <h1>
        <span class={`dot ${state.server}`} aria-hidden="true" />
        {state.model || 'Phidias'}
      </h1>
      <IconButton
        icon={themeIcons[theme]}
        label={`Colours: ${themeNames[theme]}. Change to ${themeNames[themes[theme]]}`}
        onClick={() => setSetting('theme', themes[theme])}
      />
      <IconButton icon="settings" label="Settings" onClick={onSettings} />
    </header>
  );
}

const typing = (target) => target instanceof Element && target.closest('input, textarea, select, dialog') !== null;

function useKeys(composer) {
  useEffect(() => {
    const onKey = (event) => {
      if (event.defaultPrevented || event.isComposing) {
        return;
      }
      if (event.key === 'Escape' && !event.target.closest?.('dialog, .editor') && runningChat()) {
        stop();
      } else if (event.key === '/' && !typing(event.target)) {
        composer.current?.focus();
      } else if (event.altKey && event.code === 'KeyN') {
        newChat();
        composer.current?.focus();
      } else {
        return;
      }
      event.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
}

// The style knows light and dark; `auto` is one of them, and follows the system while the page is open.
function useTheme(theme) {
  useLayoutEffect(() => {
    const system = matchMedia('(prefers-color-scheme: dark)');
    const apply = () => {
      const dark = theme === 'dark' || (theme !== 'light' && system.matches);
      document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    };
    apply();
    system.addEventListener('change', apply);
    return () => system.removeEventListener('change', apply);
  }, [theme]);
}

export function App() {
  const state = useStore();
  const [menu, setMenu] = useState(false);
  const [settings, setSettings] = useState(false);
  const [editing, setEditing] = useState(null);
  const composer = useRef(null);
  useKeys(composer);
  useTheme(state.settings.theme);
  useEffect(() => setEditing(null), [state.current]);

  const chat = state.chats.find((candidate) => candidate.id === state.current);
  const messages = chat?.messages ?? [];
  const editLast = () => {
    const index = get().chats.find((candidate) => candidate.id === state.current)?.messages.findLastIndex(({ role }) => role === 'user');
    if (index >= 0 && !runningChat()) {
      setEditing(index);
    }
  };
  return (
    <div class="shell">
      <Sidebar state={state} open={menu} onClose={() => setMenu(false)} />
      <div class="column">
        <Header state={state} onMenu={() => setMenu(true)} onSettings={() => setSettings(true)} />
        <Banner state={state} />
        <Messages
          chat={chat?.id ?? ''}
          messages={messages}
          busy={runningChat() !== null}
          editing={editing}
          setEditing={setEditing}
          openSettings={() => setSettings(true)}
        />
        <Composer input={composer} busy={runningChat() !== null} editLast={editLast} />
      </div>
      {settings && <SettingsDialog state={state} onClose={() => setSettings(false)} />}
    </div>
  );
}
