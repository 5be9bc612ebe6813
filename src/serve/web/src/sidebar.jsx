import { useEffect, useRef } from 'preact/hooks';
import { Icon, IconButton } from './icons.jsx';
import { deleteChat, newChat, update } from './store.js';
import { runningChat, stop } from './talk.js';

function remove(chat) {
  if (confirm(`Delete the chat “${chat.title}”?`)) {
    if (runningChat() === chat.id) {
      stop();
    }
    deleteChat(chat.id);
  }
}

// On a phone it lies over the page, so that only there it has to be opened and closed.
export function Sidebar({ state, open, onClose }) {
  const closer = useRef(null);
  useEffect(() => {
    if (!open) {
      return undefined;
    }
    closer.current?.focus();
    const onKey = (event) => {
      if (event.key === 'Escape') {
        event.preventDefault();
        onClose();
      }
    };
    addEventListener('keydown', onKey, true);
    return () => removeEventListener('keydown', onKey, true);
  }, [open]);
  const choose = (action) => () => {
    action();
    onClose();
  };
  return (
    <>
      <nav class={open ? 'open' : ''} aria-label="Chats">
        <div class="nav-head">
          <button type="button" class="new-chat" onClick={choose(newChat)}>
            <Icon name="plus" /> New chat
          </button>
          <button type="button" class="icon-button close-button" aria-label="Close" ref={closer} onClick={onClose}>
            <Icon name="close" />
          </button>
        </div>
        <ul>
          {state.chats.map((chat) => (
            <li key={chat.id} class={chat.id === state.current ? 'current' : ''}>
              <button
                type="button"
                class="chat-name"
                aria-current={chat.id === state.current ? 'true' : undefined}
                onClick={choose(() => update({ current: chat.id }))}
              >
                {chat.title}
              </button>
              <IconButton icon="trash" label={`Delete “${chat.title}”`} onClick={() => remove(chat)} />
            </li>
          ))}
        </ul>
        <p class="nav-foot">Chats stay in this browser.</p>
      </nav>
      {open && <div class="shade" onClick={onClose} />}
    </>
  );
}
