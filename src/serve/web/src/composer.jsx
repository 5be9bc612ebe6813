import { useLayoutEffect, useState } from 'preact/hooks';
import { Icon } from './icons.jsx';
import { send, stop } from './talk.js';

// As high as its text, up to what the style allows.
export function fit(area) {
  area.style.height = 'auto';
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

// Enter sends; with Shift it is a new line, and while an input method composes it is the method's.
export const isSend = (event) => event.key === 'Enter' && !event.shiftKey && !event.isComposing;

export function Composer({ input, busy, editLast }) {
  const [text, setText] = useState('');
  useLayoutEffect(() => fit(input.current), [text]);
  useLayoutEffect(() => {
    // A phone's keyboard would cover half of the page right away.
    if (matchMedia('(hover: hover)').matches) {
      input.current.focus();
    }
  }, []);
  const submit = (event) => {
    event.preventDefault();
    if (send(text)) {
      setText('');
    }
  };
  const onKeyDown = (event) => {
    if (isSend(event)) {
      submit(event);
    } else if (event.key === 'ArrowUp' && text === '' && !event.isComposing) {
      event.preventDefault();
      editLast();
    }
  };
  return (
    <form class="composer" aria-label="Your message" onSubmit={submit}>
      <div class="composer-box">
        <label class="sr" for="message">
          Message
        </label>
        <textarea
          id="message"
          rows="1"
          ref={input}
          value={text}
          placeholder="Write a message"
          onInput={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
        />
        {busy ? (
          <button type="button" class="round stop" aria-label="Stop" title="Stop (Esc)" onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="round" aria-label="Send" title="Send (Enter)" disabled={text.trim() === ''}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="hint">A small model makes mistakes: check what matters.</p>
    </form>
  );
}
