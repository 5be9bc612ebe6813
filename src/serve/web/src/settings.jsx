import { useEffect, useRef } from 'preact/hooks';
import { IconButton } from './icons.jsx';
import { defaultSettings, setSetting, update } from './store.js';
import { readModel } from './talk.js';

const formats = [
  ['', "Server's choice"],
  ['qa', 'Instruct: … Output:'],
  ['chat', 'Alice: … Bob:'],
  ['raw', 'None: continue the text'],
];

const fields = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, step: 'any', help: '0: always the most probable token' },
  { name: 'max_tokens', label: 'Longest answer, in tokens', min: 1, max: 1000000, step: 1 },
  { name: 'top_p', label: 'Top-p', min: 0, max: 1, step: 'any' },
  { name: 'top_k', label: 'Top-k', min: 0, max: 100000, step: 1, help: '0: all' },
  { name: 'min_p', label: 'Min-p', min: 0, max: 1, step: 'any' },
  { name: 'repeat_penalty', label: 'Repeat penalty', min: 0, max: 100, step: 'any', help: '1: off' },
  { name: 'presence_penalty', label: 'Presence penalty', min: -2, max: 2, step: 'any' },
  { name: 'frequency_penalty', label: 'Frequency penalty', min: -2, max: 2, step: 'any' },
  { name: 'seed', label: 'Seed', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, help: 'the same seed gives the same answer' },
];

function NumberField({ field, value }) {
  const id = `set-${field.name}`;
  const onInput = (event) => {
    if (event.target.validity.valid) {
      setSetting(field.name, event.target.value);
    }
  };
  return (
    <div class="field">
      <label for={id}>{field.label}</label>
      <input
        id={id}
        type="number"
        inputmode="decimal"
        min={field.min}
        max={field.max}
        step={field.step}
        placeholder="Server's choice"
        aria-describedby={field.help ? `${id}-help` : undefined}
        defaultValue={value}
        onInput={onInput}
        onChange={(event) => event.target.reportValidity()}
      />
      {field.help && (
        <small id={`${id}-help`} class="help">
          {field.help}
        </small>
      )}
    </div>
  );
}

function TextField({ id, label, help, children }) {
  return (
    <div class="field wide">
      <label for={id}>{label}</label>
      {children}
      {help && (
        <small id={`${id}-help`} class="help">
          {help}
        </small>
      )}
    </div>
  );
}

const keys = [
  ['Enter', 'send'],
  ['Shift Enter', 'new line'],
  ['Esc', 'stop the answer'],
  ['↑', 'edit the last message'],
  ['/', 'to the message field'],
  ['Alt N', 'new chat'],
];

export function SettingsDialog({ state, onClose }) {
  const dialog = useRef(null);
  const { settings } = state;
  useEffect(() => dialog.current.showModal(), []);
  const reset = () => {
    update({ settings: { ...defaultSettings, theme: settings.theme } });
    dialog.current.close();
  };
  const closed = () => {
    readModel();
    onClose();
  };
  const outside = (event) => event.target === dialog.current && dialog.current.close();
  return (
    <dialog ref={dialog} aria-labelledby="settings-title" onClose={closed} onClick={outside}>
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id="settings-title">Settings</h2>
          <IconButton icon="close" label="Close" onClick={() => dialog.current.close()} />
        </div>
        <div class="fields">
          <TextField id="set-system" label="System prompt">
            <textarea
              id="set-system"
              rows="3"
              placeholder="None"
              value={settings.system}
              onInput={(event) => setSetting('system', event.target.value)}
            />
          </TextField>
          <TextField id="set-format" label="Prompt format">
            <select id="set-format" value={settings.format} onChange={(event) => setSetting('format', event.target.value)}>
              {formats.map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </TextField>
          {fields.map((field) => (
            <NumberField key={field.name} field={field} value={settings[field.name]} />
          ))}
          <TextField id="set-stop" label="Stop strings, one a line">
            <textarea id="set-stop" rows="2" value={settings.stop} onInput={(event) => setSetting('stop', event.target.value)} />
          </TextField>
          <TextField id="set-key" label="API key" help="Kept until this tab is closed.">
            <input
              id="set-key"
              type="password"
              autocomplete="off"
              aria-describedby="set-key-help"
              value={state.key}
              onInput={(event) => update({ key: event.target.value.trim() })}
            />
          </TextField>
        </div>
        <h3>Keys</h3>
        <dl class="keys">
          {keys.map(([key, what]) => (
            <div key={key}>
              <dt>
                {key.split(' ').map((part) => (
                  <kbd key={part}>{part}</kbd>
                ))}
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <div class="dialog-foot">
          <button type="button" onClick={reset}>
            Back to defaults
          </button>
          <button type="button" class="primary" onClick={() => dialog.current.close()}>
            Done
          </button>
        </div>
      </div>
    </dialog>
  );
}
