// `phidias serve` on the demo model, as a process of its own.
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';

const root = process.env.PHIDIAS_ROOT;
const program = process.env.PHIDIAS_PROGRAM ?? `${root}/build/release/phidias`;
const demo = `${root}/models/demo`;
const run = promisify(execFile);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Flags that whoever runs the tests has set by variables are not what is tested.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PHIDIAS_')));

// What `phidias run` writes to stdout: the oracle for texts.
export async function textOfRun(...flags) {
  return (await run(program, ['run', '-m', demo, '-q', ...flags], { env: environment })).stdout;
}

// None outlives the tests, whatever becomes of them.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

// Runs a test's body with a server of its own.
export async function withServer(flags, body) {
  const server = await new RealServer(...flags).start();
  try {
    return await body(server);
  } finally {
    await server.stop();
  }
}

export class RealServer {
  constructor(...flags) {
    this.flags = flags;
    this.err = '';
  }

  // Returns when it listens; `ready` false: perhaps before the model is loaded.
  async start({ ready = true } = {}) {
    this.process = spawn(program, ['serve', '-m', demo, '--port', '0', '-t', '1', ...this.flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
    });
    running.add(this.process);
    this.ended = new Promise((resolve) => {
      this.process.on('exit', (code, signal) => resolve(signal ?? code));
      this.process.on('error', (error) => resolve((this.err += error.message)));
    });
    this.ended.then(() => running.delete(this.process));
    this.process.stderr.setEncoding('utf8').on('data', (text) => (this.err += text));
    await this.saysOnStderr(ready ? 'ready: ' : ', loading');
    this.port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.err)[1]);
    this.url = `http://127.0.0.1:${this.port}/`;
    return this;
  }

  async saysOnStderr(text) {
    let over = false;
    this.ended.then(() => (over = true));
    while (!this.err.includes(text)) {
      if (over) {
        throw new Error(`${program} serve has ended without "${text}": ${this.err}`);
      }
      await sleep(5);
    }
  }

  // The value of a metric, by its name and labels as Prometheus writes them; 0 if there is none.
  async metric(name) {
    const text = await (await fetch(`${this.url}metrics`)).text();
    const line = text.split('\n').find((line) => line.startsWith(`${name} `));
    return line ? Number(line.split(' ').at(-1)) : 0;
  }

  async metricBecomes(name, value) {
    while ((await this.metric(name)) !== value) {
      await sleep(10);
    }
  }

  async isWell() {
    const response = await fetch(`${this.url}health`);
    return response.status === 200 && (await response.json()).status === 'ok';
  }

  // As an operator does. Returns the exit code, or the signal that ended it.
  async stop() {
    this.process.kill('SIGTERM');
    return this.ended;
  }
}
