// The page that the real server serves, in a browser: the demo model's words, as they come. What the page does with a
// server that fails is in page_test.mjs. PHIDIAS_SCREENSHOTS=DIR also writes a picture there.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';
import { RealServer, textOfRun } from './real_server.mjs';

const timeout = 60_000; // machines that do other things as well

let browser;
let server;
let context;
let page;
let problems;

before(async () => {
  server = await new RealServer('--drain-seconds', '0').start();
  browser = await chromium.launch({
    executablePath: process.env.PHIDIAS_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
    timeout,
  });
});

after(async () => {
  await browser?.close();
  assert.equal(await server.stop(), 0, server.err);
});

beforeEach(async () => {
  problems = [];
  context = await browser.newContext({ viewport: { width: 1100, height: 720 }, colorScheme: 'dark' });
  context.setDefaultTimeout(timeout);
  page = await context.newPage();
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'demo' }).waitFor();
});

afterEach(async () => {
  await context.close();
  assert.deepEqual(problems, []);
});

const button = (name) => page.getByRole('button', { name, exact: true });
const lastAnswer = () => page.locator('.message.assistant').last();
const markdown = () => lastAnswer().locator('.markdown').innerText();
const complete = () => page.getByText('The answer is complete.').waitFor({ state: 'attached' });

async function say(text) {
  const box = page.getByRole('textbox', { name: 'Message' });
  await box.pressSequentially(text); // key by key, as a person does
  await box.press('Enter');
}

async function choose({ format, tokens, temperature = '0' }) {
  await button('Settings').click();
  await page.getByLabel('Prompt format').selectOption(format);
  await page.getByLabel('Temperature').fill(temperature);
  await page.getByLabel('Longest answer').fill(tokens);
  await button('Done').click();
}

test('an answer comes in as it is made, and is what run says', async () => {
  await choose({ format: 'raw', tokens: '200' });
  const lengths = new Set();
  await say('Once upon a time');
  const end = complete();
  for (let over = false; !over; ) {
    over = await Promise.race([end.then(() => true), new Promise((resolve) => setTimeout(resolve, 5, false))]);
    lengths.add((await lastAnswer().locator('.markdown').count()) > 0 ? (await markdown()).length : 0);
  }
  const all = (await markdown()).length;
  assert.ok([...lengths].some((length) => length > 0 && length < all), `seen with ${[...lengths]} characters of ${all}`);
  const words = (text) => text.split(/\s+/).filter(Boolean).join(' ');
  assert.equal(words(await markdown()), words(await textOfRun('-n', '200', 'Once upon a time')));
  assert.match(await lastAnswer().locator('.stats').innerText(), /tokens\/s · \d+ tokens · first after [\d.]+ s/);
  if (process.env.PHIDIAS_SCREENSHOTS) {
    await page.screenshot({ path: `${process.env.PHIDIAS_SCREENSHOTS}/chat-page.png` });
  }
});

test('stop ends the generation in the server, and the text stays', async () => {
  await page.route('**/v1/chat/completions', async (route) => {
    // The demo model's context is full in a moment: so many answers that there is time to stop them.
    await route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true, n: 64 }) });
  });
  await choose({ format: 'raw', tokens: '2000', temperature: '1' });
  await say('Once upon a time');
  await button('Stop').click();
  await lastAnswer().getByText('Stopped.').waitFor();
  await server.metricBecomes('phidias_requests_processing', 0);
  assert.equal(await server.metric('phidias_requests_total{endpoint="/chat/completions",status="499"}'), 1);
});

test('a reload keeps the chat, which goes on from there', async () => {
  await choose({ format: 'qa', tokens: '20' });
  await say('What is the sun?');
  await complete();
  const text = await markdown();
  await page.reload();
  await lastAnswer().waitFor();
  assert.equal(await markdown(), text);
  const cached = await server.metric('phidias_prompt_tokens_cached_total');
  await say('And the moon?');
  await complete();
  assert.equal(await page.locator('.message').count(), 4);
  assert.ok((await server.metric('phidias_prompt_tokens_cached_total')) > cached, 'the next turn finds its KV cache');
});
