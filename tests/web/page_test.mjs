// The page in a browser, against a server that can be told to fail: what a person types, sees and can undo.
// PHIDIAS_SCREENSHOTS=DIR also writes pictures there.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';
import { FakeServer } from './fake_server.mjs';

const pageFile = `${process.env.PHIDIAS_ROOT}/src/serve/web/dist/index.html`;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const timeout = 60_000; // machines that do other things as well

let browser;
let server;
let context;
let page;
let problems;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.PHIDIAS_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
    timeout,
  });
});

after(() => browser.close());

async function open(options = {}) {
  context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  context.setDefaultTimeout(timeout);
  page = await context.newPage();
  page.on('pageerror', (error) => problems.push(`error: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith('data:')) {
      problems.push(`request: ${request.url()}`);
    }
  });
  page.on('console', (message) => {
    // The browser logs each failed request by itself.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      problems.push(`console: ${message.text()}`);
    }
  });
  await page.goto(server.url);
  await page.getByText('phi-2').or(page.getByRole('heading', { name: 'Phidias' })).first().waitFor();
}

beforeEach(async () => {
  problems = [];
  server = new FakeServer(pageFile);
  await server.start();
});

afterEach(async () => {
  await context?.close();
  await server.stop();
  assert.deepEqual(problems, []);
});

const box = () => page.getByRole('textbox', { name: 'Message' });
const button = (name) => page.getByRole('button', { name, exact: true });
const answers = () => page.locator('.message.assistant');
const lastAnswer = () => answers().last();
const complete = () => page.getByText('The answer is complete.').waitFor({ state: 'attached' });

async function say(text) {
  await box().fill(text);
  await box().press('Enter');
}

async function ask(text) {
  await say(text);
  await complete();
}

const picture = async (name) => {
  if (process.env.PHIDIAS_SCREENSHOTS) {
    await page.screenshot({ path: `${process.env.PHIDIAS_SCREENSHOTS}/${name}.png` });
  }
};

test('an answer streams in, with its rate', async () => {
  await open();
  server.delay = 40;
  await say('words 60');
  await lastAnswer().getByText('word3', { exact: false }).waitFor();
  assert.ok(!(await lastAnswer().innerText()).includes('word59'), 'text is there before the end');
  await complete();
  assert.match(await lastAnswer().innerText(), /word0 word1 .* word59/);
  assert.match(await lastAnswer().locator('.stats').innerText(), /tokens\/s · 60 tokens · first after [\d.]+ s/);
  assert.deepEqual(server.bodies, [
    {
      stream: true,
      stream_options: { include_usage: true },
      model: 'phi-2',
      messages: [{ role: 'user', content: 'words 60' }],
    },
  ]);
});

test('stop keeps what is there and ends the request', async () => {
  await open();
  server.delay = 30;
  await say('words 2000');
  await lastAnswer().getByText('word3', { exact: false }).waitFor();
  await button('Stop').click();
  await lastAnswer().getByText('Stopped.').waitFor();
  assert.match(await lastAnswer().innerText(), /word0 word1 word2/);
  await say('words 2000'); // again, with the key this time
  await answers().nth(1).getByText('word3', { exact: false }).waitFor();
  await page.keyboard.press('Escape');
  await answers().nth(1).getByText('Stopped.').waitFor();
  await assert.doesNotReject(async () => {
    for (let i = 0; server.aborted < 2; ++i) {
      assert.ok(i < 100, 'the server sees both connections close');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  assert.equal(server.bodies[1].messages.length, 3, 'a stopped answer is part of the chat');
});

test('regenerate and edit begin again from there', async () => {
  await open();
  await ask('one');
  await ask('two');
  await lastAnswer().hover();
  await lastAnswer().getByRole('button', { name: 'Regenerate' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.message').length === 4);
  await complete();
  assert.deepEqual(server.bodies[2], server.bodies[1]);
  await box().press('ArrowUp');
  const editor = page.getByRole('textbox', { name: 'Edit the message' });
  assert.equal(await editor.inputValue(), 'two');
  await editor.press('Escape');
  assert.equal(await editor.count(), 0);
  await page.locator('.message.user').first().hover();
  await page.locator('.message.user').first().getByRole('button', { name: 'Edit' }).click();
  await editor.fill('three');
  await editor.press('Enter');
  await lastAnswer().getByText('You said: three').waitFor();
  assert.equal(await answers().count(), 1, 'what came after the edited message is gone');
  assert.deepEqual(server.bodies.at(-1).messages, [{ role: 'user', content: 'three' }]);
});

test('settings go with the request and stay', async () => {
  await open();
  await button('Settings').click();
  await page.getByLabel('System prompt').fill('Be brief.');
  await page.getByLabel('Prompt format').selectOption('chat');
  await page.getByLabel('Temperature').fill('0.7');
  await page.getByLabel('Seed').fill('5');
  await page.getByLabel('Top-p').fill('3'); // out of range: not taken
  await page.getByLabel('Longest answer').fill('64');
  await page.getByLabel('Stop strings').fill('END');
  await picture('settings');
  await button('Done').click();
  await ask('hello');
  const { messages, ...rest } = server.bodies[0];
  assert.equal(messages[0].content, 'Be brief.');
  assert.deepEqual(rest, {
    stream: true,
    stream_options: { include_usage: true },
    model: 'phi-2',
    temperature: 0.7,
    seed: 5,
    stop: ['END'],
    max_completion_tokens: 64,
    prompt_format: 'chat',
  });
  await page.reload();
  await button('Settings').click();
  assert.equal(await page.getByLabel('Temperature').inputValue(), '0.7');
  await button('Back to defaults').click();
  await ask('again');
  assert.equal(server.bodies[1].temperature, undefined);
});

test('chats outlive a reload, and can be chosen and deleted', async () => {
  await open();
  await ask('first chat');
  await button('New chat').click();
  await ask('second chat');
  await page.reload();
  await lastAnswer().getByText('You said: second chat').waitFor();
  await page.getByRole('navigation').getByRole('button', { name: 'first chat', exact: true }).click();
  await lastAnswer().getByText('You said: first chat').waitFor();
  page.on('dialog', (dialog) => dialog.accept());
  await page.getByRole('button', { name: 'Delete “first chat”' }).click();
  await lastAnswer().getByText('You said: second chat').waitFor();
  await page.waitForFunction(() => JSON.parse(localStorage.getItem('phidias.chats')).length === 1);
});

test('a reload in the middle of an answer keeps what had come', async () => {
  await open();
  server.delay = 30;
  await say('words 2000');
  await lastAnswer().getByText('word9', { exact: false }).waitFor();
  await page.reload();
  await lastAnswer().getByText('word9', { exact: false }).waitFor();
  assert.equal(await page.locator('[aria-busy]').count(), 0);
});

test('what is stored by somebody else does no harm', async () => {
  await open();
  await page.evaluate(() => {
    const chats = [7, null, { id: 'x' }, { id: 'a', title: 't', messages: [null, { role: 'root', content: 'x' }, { role: 'user', content: 5 }] }];
    addEventListener('pagehide', () => {
      localStorage.setItem('phidias.chats', JSON.stringify(chats));
      localStorage.setItem('phidias.settings', '{"theme":5,"stop":[]}');
    });
  });
  await page.reload();
  await ask('works');
});

test('Markdown is rendered, and nothing in it runs or loads', async () => {
  await open();
  await ask('hostile');
  const answer = lastAnswer();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await answer.locator('pre').getAttribute('tabindex'), '0', 'what scrolls can be reached');
  assert.equal(await answer.locator('.markdown').locator('img, script, style, svg, iframe, form').count(), 0);
  const links = await answer.locator('a').evaluateAll((all) => all.map((a) => [a.textContent, a.getAttribute('href')]));
  assert.deepEqual(links.filter(([, href]) => href !== null), [['fine', 'https://example.org/']]);
  assert.ok((await answer.innerText()).includes('<script>window.hacked=2</script>'), 'HTML is shown as text');
  const handlers = await answer.evaluate((node) => [...node.querySelectorAll('*')].flatMap((child) => child.getAttributeNames()).filter((name) => name.startsWith('on')));
  assert.deepEqual(handlers, []);
});

test('code is coloured and can be copied', async () => {
  await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  await ask('showcase');
  assert.equal(await lastAnswer().locator('.hljs-keyword').first().innerText(), 'def');
  await lastAnswer().locator('.copy-code').click();
  await lastAnswer().getByText('Copied').waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def is_palindrome/);
  assert.equal(await lastAnswer().locator('table td').count(), 4);
});

test('a busy server: how long to wait, then again', async () => {
  await open();
  server.failures = [{ status: 429, headers: { 'retry-after': '2' } }];
  await say('hello');
  await page.getByRole('alert').getByText('The server is busy.').waitFor();
  await page.getByRole('button', { name: /Try again in \d s/ }).waitFor();
  await button('Try again').click();
  await lastAnswer().getByText('You said: hello').waitFor();
  assert.equal(await page.getByRole('alert').count(), 0);
  assert.equal(server.bodies[1].messages.length, 1);
});

test('a server that is loading: said so, and gone when it is ready', async () => {
  server.health = 503;
  await open();
  await page.getByText('The model is still loading.').waitFor();
  server.failures = [{ status: 503 }];
  await say('hello');
  await page.getByRole('alert').getByText("The server isn't ready.").waitFor();
  server.health = 200;
  await page.getByRole('heading', { name: 'phi-2' }).waitFor();
  await button('Try again').click();
  await complete();
});

test('an answer that breaks off keeps its text', async () => {
  await open();
  await say('cut');
  await page.getByRole('alert').getByText('The connection was lost.').waitFor();
  assert.match(await lastAnswer().locator('.markdown').innerText(), /^You/);
  await say('fail later');
  await page.getByRole('alert').getByText('logits are not finite').waitFor();
});

test('a server that is gone, and comes back', async () => {
  await open();
  await ask('hello');
  const { port } = server;
  await server.stop();
  await say('anyone?');
  await page.getByRole('alert').getByText("The server can't be reached.").waitFor();
  await page.getByRole('status').getByText("The server can't be reached.").waitFor();
  await server.start(port);
  await page.getByRole('status').getByText("The server can't be reached.").waitFor({ state: 'detached' });
  await button('Try again').click();
  await lastAnswer().getByText('You said: anyone?').waitFor();
});

test('a key is asked for, used, and not kept for ever', async () => {
  server.key = 'secret';
  await open();
  await say('hello');
  await page.getByRole('alert').getByText('This server wants an API key.').waitFor();
  await picture('key');
  await page.getByRole('alert').getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('API key').fill('secret');
  await button('Done').click();
  await button('Try again').click();
  await lastAnswer().getByText('You said: hello').waitFor();
  assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes('secret'));
});

test('a full context: the oldest turns are left out, and it says so', async () => {
  await open();
  server.context = 3;
  for (const text of ['one', 'two', 'three', 'four']) {
    await ask(text);
  }
  await lastAnswer().getByText('the oldest 4 messages of this chat were left out').waitFor();
  assert.deepEqual(server.bodies.at(-1).messages.map(({ content }) => content), ['three', 'You said: three', 'four']);
  server.context = 0; // not even one
  await say('five');
  await page.getByRole('alert').getByText("This doesn't fit the model's context.").waitFor();
});

test('an error of the server names what it said', async () => {
  await open();
  server.failures = [{ status: 400, message: 'top_p is 7: must be in (0, 1]' }];
  await say('hello');
  await page.getByRole('alert').getByText('top_p is 7').waitFor();
  await page.getByText('Request req-test-1').waitFor();
});

test('the keyboard alone is enough', async () => {
  await open();
  await page.keyboard.press('Tab');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'message');
  await page.keyboard.type('line one');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('line two');
  assert.equal(server.bodies.length, 0);
  await page.keyboard.press('Enter');
  await complete();
  assert.equal(server.bodies[0].messages[0].content, 'line one\nline two');
  await page.keyboard.press('Alt+n');
  await page.getByText('What would you like to know?').waitFor();
  await page.keyboard.press('Shift+Tab');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, 'solid', 'focus can be seen');
});

test('the end stays in view unless the reader scrolls away', async () => {
  await open();
  server.delay = 8;
  const fromEnd = () => page.locator('main').evaluate((main) => main.scrollHeight - main.scrollTop - main.clientHeight);
  await say('words 1500');
  await lastAnswer().getByText('word900', { exact: false }).waitFor();
  assert.ok((await fromEnd()) < 60);
  await page.locator('main').evaluate((main) => (main.scrollTop = 0));
  await button('To the end').waitFor();
  await complete();
  assert.ok((await fromEnd()) > 100, 'it stays where the reader is');
  await button('To the end').click();
  await page.waitForFunction(() => {
    const main = document.querySelector('main');
    return main.scrollHeight - main.scrollTop - main.clientHeight < 60;
  });
});

for (const [name, options] of Object.entries({
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  phone: { colorScheme: 'light', viewport: { width: 375, height: 720 }, hasTouch: true, isMobile: true },
})) {
  test(`${name}: fits, and axe finds nothing to complain about`, async () => {
    await open({ bypassCSP: true, ...options });
    await ask('Explain why the sky is blue.');
    await ask('Write a Python function that checks whether a word is a palindrome.');
    server.failures = [{ status: 429 }];
    const check = async (what) => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 120))]), [], what);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(wide, 0, `${what}: nothing sticks out`);
    };
    await page.mouse.move(5, 5);
    await picture(name);
    await check('chat');
    await say('too much');
    await page.getByRole('alert').waitFor();
    await check('error');
    await picture(`${name}-error`);
    if (name === 'phone') {
      await button('Chats').click();
      await picture('phone-chats');
      await check('chats');
      await button('Close').click();
    }
    await button('Settings').click();
    await check('settings');
    await picture(`${name}-settings`);
    await page.keyboard.press('Escape');
    await button('New chat').or(button('Chats')).first().click();
    if (name === 'phone') {
      await button('New chat').click();
    }
    await page.getByText('What would you like to know?').waitFor();
    await check('empty');
    await picture(`${name}-empty`);
  });
}

test('the colours can be chosen', async () => {
  await open({ colorScheme: 'light' });
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  // A moment may pass until the page has its new colours.
  const changesFrom = (colour) =>
    page.waitForFunction((old) => getComputedStyle(document.body).backgroundColor !== old, colour);
  const light = await back();
  await page.emulateMedia({ colorScheme: 'dark' });
  await changesFrom(light);
  const dark = await back();
  await page.getByRole('button', { name: /^Colours/ }).click();
  await changesFrom(dark);
  assert.equal(await back(), light);
  await page.getByRole('button', { name: /^Colours/ }).click();
  await changesFrom(light);
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await back(), dark);
});
