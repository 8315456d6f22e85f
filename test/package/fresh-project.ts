/**
 * A project that knows nothing of this checkout: an empty home, an empty cache, an environment of its own, and what `npm install`
 * puts there.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { StepFailed } from './steps.ts';

/** How a command ended. */
export type Ended = { readonly code: number | null; readonly out: string; readonly err: string };

/** What may reach the project of the environment: where its packages come from, and by which way. */
const PASSED =
  /^(https?_proxy|no_proxy|npm_config_(registry|cafile|proxy|https_proxy|noproxy)|node_extra_ca_certs|ssl_cert_file|pip_\w+)$/i;

const LIMIT_MS = 300_000;
const MAX_OUTPUT = 32 << 20;

/** One project, in a folder of its own. */
export class FreshProject {
  readonly folder: string;
  readonly home: string;
  readonly #env: Readonly<Record<string, string>>;

  /**
   * @param parent - folder for the project and its home
   * @param name - of the project
   * @param home - another project's home, whose cache it shares
   * @param more - variables that its user sets
   */
  constructor(parent: string, name: string, home: string, more: Readonly<Record<string, string>> = {}) {
    this.folder = join(parent, name);
    this.home = home;
    mkdirSync(this.folder);
    mkdirSync(this.home, { recursive: true });
    const passed = Object.entries(process.env).filter(([key]) => PASSED.test(key));
    this.#env = {
      ...(Object.fromEntries(passed) as Record<string, string>),
      PATH: ownPath(),
      HOME: this.home,
      LANG: 'C.UTF-8',
      // A notice of a newer npm is no output of the package's.
      npm_config_update_notifier: 'false',
      ...more,
    };
  }

  /** Writes a file of the project. */
  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  /** Runs a command to its end, within five minutes. */
  async run(
    command: string,
    args: readonly string[],
    options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Ended> {
    const child = this.#spawn(command, args, options.env);
    child.stdin?.end(options.input ?? '');
    return await collect(child);
  }

  /** Runs a command that must end with `code`. */
  async expect(
    code: number,
    command: string,
    args: readonly string[],
    options?: Parameters<this['run']>[2],
  ): Promise<Ended> {
    const ended = await this.run(command, args, options);
    if (ended.code === code) return ended;
    const tail = `${ended.out}\n${ended.err}`.trim().split('\n').slice(-12).join('\n  ');
    throw new StepFailed(`${command} ${args.join(' ')} ended with ${ended.code}, not ${code}\n  ${tail}`);
  }

  /** Starts a server, waits for the line that says where it is, and ends it after `body`. */
  async serve<T>(args: readonly string[], pattern: RegExp, body: (address: string) => Promise<T>): Promise<T> {
    const child = this.#spawn('npx', ['tracebond', ...args]);
    child.stdin?.end();
    const ended = collect(child);
    try {
      return await body(await waitFor(child, pattern, ended));
    } finally {
      endGroup(child, 'SIGTERM');
      await ended;
    }
  }

  #spawn(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    // A group of its own, since npx does not pass every signal on.
    return spawn(command, args, { cwd: this.folder, env: { ...this.#env, ...env }, detached: true });
  }
}

/** Without the commands of the checkout's packages, which `npm run` puts before the others. */
function ownPath(): string {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((entry) => !/node_modules|node-gyp-bin/.test(entry))
    .join(delimiter);
}

function collect(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const [out, err]: [string[], string[]] = [[], []];
    let length = 0;
    const take = (list: string[]) => (text: string) => {
      length += text.length;
      if (length <= MAX_OUTPUT) list.push(text);
    };
    child.stdout?.setEncoding('utf8').on('data', take(out));
    child.stderr?.setEncoding('utf8').on('data', take(err));
    const timer = setTimeout(() => endGroup(child, 'SIGKILL'), LIMIT_MS);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, out: out.join(''), err: err.join('') });
    });
  });
}

function waitFor(child: ChildProcess, pattern: RegExp, ended: Promise<Ended>): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = '';
    const look = (text: string) => {
      seen += text;
      const [, address] = pattern.exec(seen) ?? [];
      if (address !== undefined) resolve(address);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    ended.then(({ code, err }) => reject(new StepFailed(`the server ended with ${code}: ${err.slice(-2000)}`)), reject);
  });
}

function endGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // It has ended by itself.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
