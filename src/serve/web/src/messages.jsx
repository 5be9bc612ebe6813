import { memo } from 'preact/compat';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { fit, isSend } from './composer.jsx';
import { Icon, IconButton } from './icons.jsx';
import { renderMarkdown } from './markdown.js';
import { edit, regenerate, send } from './talk.js';

const examples = [
  'Write a Python function that checks whether a word is a palindrome.',
  'Explain why the sky is blue.',
  'Tell me a short story about a lighthouse.',
];

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS, other than on this machine, there is no clipboard API.
    const area = Object.assign(document.createElement('textarea'), { value: text });
    area.setAttribute('aria-hidden', 'true');
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

function CopyButton({ text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (await copyText(text)) {
      setDone(true);
      setTimeout(() => setDone(false), 1500);
    }
  };
  return <IconButton icon={done ? 'check' : 'copy'} label={done ? 'Copied' : 'Copy'} onClick={copy} />;
}

// The buttons of code blocks are part of the rendered Markdown, so their clicks are caught here.
async function onMarkdownClick(event) {
  const button = event.target.closest('.copy-code');
  const code = button?.closest('.code').querySelector('code').textContent;
  if (button && (await copyText(code))) {
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 1500);
  }
}

function Markdown({ text }) {
  const html = useMemo(() => renderMarkdown(text), [text]);
  return <div class="markdown" onClick={onMarkdownClick} dangerouslySetInnerHTML={{ __html: html }} />;
}

function Retry({ error, onRetry, disabled }) {
  const [left, setLeft] = useState(error.retryAfter ?? 0);
  useEffect(() => {
    if (left <= 0) {
      return undefined;
    }
    const timer = setTimeout(() => setLeft(left - 1), 1000);
    return () => clearTimeout(timer);
  }, [left]);
  return (
    <button type="button" disabled={disabled || left > 0} onClick={onRetry}>
      {left > 0 ? `Try again in ${left} s` : 'Try again'}
    </button>
  );
}

function Failure({ error, onRetry, busy, openSettings }) {
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{error.title}</strong> {error.text}
      </p>
      {error.requestId && <p class="request-id">Request {error.requestId}</p>}
      <div class="failure-actions">
        {onRetry && <Retry error={error} onRetry={onRetry} disabled={busy} />}
        {error.kind === 'key' && (
          <button type="button" onClick={openSettings}>
            Settings
          </button>
        )}
      </div>
    </div>
  );
}

const finishTexts = {
  stopped: 'Stopped.',
  length: 'Ended at the limit of tokens.',
};

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

function Stats({ stats }) {
  if (!stats?.tokens) {
    return null;
  }
  const parts = [plural(stats.tokens, 'token')];
  if (stats.rate !== null) {
    parts.unshift(`${stats.rate < 10 ? stats.rate.toFixed(1) : Math.round(stats.rate)} tokens/s`);
  }
  parts.push(`first after ${stats.wait.toFixed(stats.wait < 10 ? 2 : 1)} s`);
  return <span class="stats">{parts.join(' · ')}</span>;
}

function Editor({ text, onSave, onCancel }) {
  const [value, setValue] = useState(text);
  const area = useRef(null);
  useLayoutEffect(() => fit(area.current), [value]);
  useLayoutEffect(() => {
    area.current.focus();
    area.current.setSelectionRange(text.length, text.length);
  }, []);
  const onKeyDown = (event) => {
    if (isSend(event) && value.trim() !== '') {
      event.preventDefault();
      onSave(value);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      onCancel();
    }
  };
  return (
    <div class="editor">
      <textarea
        ref={area}
        aria-label="Edit the message"
        value={value}
        onInput={(event) => setValue(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div class="editor-actions">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="button" class="primary" disabled={value.trim() === ''} onClick={() => onSave(value)}>
          Send
        </button>
      </div>
    </div>
  );
}

const UserMessage = memo(function UserMessage({ message, index, busy, editing, setEditing }) {
  const leave = () => {
    setEditing(null);
    document.getElementById('message').focus();
  };
  if (editing) {
    const save = (text) => {
      leave();
      edit(index, text);
    };
    return (
      <li class="message user">
        <Editor text={message.content} onSave={save} onCancel={leave} />
      </li>
    );
  }
  return (
    <li class="message user">
      <h2 class="sr">You</h2>
      <div class="bubble">{message.content}</div>
      <div class="actions">
        <CopyButton text={message.content} />
        <IconButton icon="edit" label="Edit" disabled={busy} onClick={() => setEditing(index)} />
      </div>
    </li>
  );
});

const AssistantMessage = memo(function AssistantMessage({ message, index, busy, openSettings }) {
  const again = () => regenerate(index);
  return (
    <li class="message assistant" aria-busy={message.live ? 'true' : undefined}>
      <h2 class="sr">Answer</h2>
      {message.dropped > 0 && (
        <p class="note">
          The context is full: the oldest {plural(message.dropped, 'message')} of this chat {message.dropped === 1 ? 'was' : 'were'} left out.
        </p>
      )}
      {message.live && message.content === '' ? (
        <div class="waiting" aria-hidden="true">
          <span />
          <span />
          <span />
        </div>
      ) : (
        <Markdown text={message.content} />
      )}
      {finishTexts[message.finish] && <p class="note">{finishTexts[message.finish]}</p>}
      {message.error && <Failure error={message.error} onRetry={again} busy={busy} openSettings={openSettings} />}
      <div class="actions">
        {!message.live && message.content !== '' && <CopyButton text={message.content} />}
        {!message.live && <IconButton icon="again" label="Regenerate" disabled={busy} onClick={again} />}
        <Stats stats={message.stats} />
      </div>
    </li>
  );
});

function Welcome() {
  return (
    <div class="welcome">
      <h2>What would you like to know?</h2>
      <ul>
        {examples.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => send(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

// Tells a screen reader that an answer began or ended; every single word would be too much.
function Announcer({ last }) {
  let text = '';
  if (last?.role === 'assistant' && !last.error) {
    text = last.live ? 'Answering.' : last.finish === 'stopped' ? 'Stopped.' : 'The answer is complete.';
  }
  return (
    <div role="status" class="sr">
      {text}
    </div>
  );
}

export function Messages({ chat, messages, busy, editing, setEditing, openSettings }) {
  const view = useRef(null);
  const follow = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = () => {
    view.current.scrollTop = view.current.scrollHeight;
  };
  // Stays at the end while text comes, unless the reader has scrolled up.
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = view.current;
    follow.current = scrollHeight - scrollTop - clientHeight < 40;
    setAway(!follow.current);
  };
  useLayoutEffect(() => {
    follow.current = true;
    toEnd();
  }, [chat, messages.length]);
  useLayoutEffect(() => {
    if (follow.current && editing === null) {
      toEnd();
    }
  }, [messages, editing]);
  return (
    <main class="messages" ref={view} onScroll={onScroll} tabindex="-1">
      {messages.length === 0 ? (
        <Welcome />
      ) : (
        <ol>
          {messages.map((message, index) =>
            message.role === 'user' ? (
              <UserMessage
                key={index}
                message={message}
                index={index}
                busy={busy}
                editing={editing === index}
                setEditing={setEditing}
              />
            ) : (
              <AssistantMessage key={index} message={message} index={index} busy={busy} openSettings={openSettings} />
            ),
          )}
        </ol>
      )}
      <Announcer last={messages.at(-1)} />
      {away && (
        <button type="button" class="to-end" aria-label="To the end" title="To the end" onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
    </main>
  );
}
