/**
 * A reader who does what the pages say: one shell after the other in one folder, servers in terminals of their own, words in capitals
 * replaced by what was printed before.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command, WrittenFile } from './pages.ts';

/** Longest time of one command that ends by itself: the first one installs everything. */
const COMMAND_MS = 900_000;
/** Longest time until a server answers. */
const READY_MS = 180_000;
/** Time between asking a server to end and killing it. */
const END_MS = 20_000;
/** Characters of what was printed that stand in a failure. */
const SHOWN = 4_000;

/** Commands that go on until they are ended, and how one sees that they answer: a path to ask for (none: the address as printed), or a port. */
const SERVERS: readonly { readonly command: RegExp; readonly asked: string | number }[] = [
  { command: /\btracebond inspect /, asked: '' },
  { command: /\btracebond serve worker /, asked: '/health' },
  { command: /\btracebond serve |\bnpm start\b/, asked: '/healthz' },
  { command: /\bnpx anvil /, asked: 8545 },
  { command: /^redis-server /, asked: 6379 },
];

/** Words of the pages that stand for what was printed, latest first; each with what it is made of. */
const PRINTED: Readonly<Record<string, RegExp>> = {
  OPERATOR: /^\s*operator +(0x[0-9a-f]{40})$|--signer (0x[0-9a-f]{40})$/gim,
  SIGNER: /receipts signed by (0x[0-9a-f]{40})/gim,
  WALLET: /^(0x[0-9a-f]{40})$/gim,
};

/** What a command came to. */
export type Outcome = {
  /** Why it is not what the page says; undefined if it is. */
  readonly failure: string | undefined;
  readonly seconds: number;
};

/** A server that was started and has not been ended. */
type Server = { readonly child: ChildProcess; readonly section: string; readonly text: string };

/**
 * Opens a reader, who owns the folder and the servers that were started.
 *
 * @param folder - empty; holds the reader's home and what is cloned
 * @param repository - what REPOSITORY stands for
 */
export function openReader(folder: string, repository: string): Reader {
  return new Reader(folder, repository);
}

class Reader {
  readonly #folder: string;
  readonly #repository: string;
  readonly #state: string;
  readonly #servers: Server[] = [];
  #printed = '';

  constructor(folder: string, repository: string) {
    this.#folder = folder;
    this.#repository = repository;
    this.#state = join(folder, 'state.sh');
    const [home, start] = [join(folder, 'home'), join(folder, 'start')];
    mkdirSync(home);
    mkdirSync(start);
    writeFileSync(this.#state, `cd ${quote(start)}\n`);
  }

  /** Writes a file of a page into the folder where its commands run. */
  write(file: WrittenFile): void {
    const [, place = ''] = /^cd '(.*)'$/m.exec(readFileSync(this.#state, 'utf8')) ?? [];
    writeFileSync(join(place, file.name), file.text);
  }

  /** Does what one command says, and looks whether it comes to what its comment says. */
  async run(command: Command): Promise<Outcome> {
    const startedAt = performance.now();
    const failure = await this.#attempt(command);
    return { failure, seconds: (performance.now() - startedAt) / 1000 };
  }

  /** Ends the servers of all other sections than this one, or all. */
  async endServers(except?: string): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      if (server.section === except) this.#servers.push(server);
      else await end(server.child);
    }
  }

  async #attempt(command: Command): Promise<string | undefined> {
    await this.endServers(`${command.page} ${command.section}`);
    let text: string;
    try {
      text = this.#fill(command.text);
    } catch (error) {
      return (error as Error).message;
    }
    const server = SERVERS.find((candidate) => candidate.command.test(text));
    return server === undefined ? await this.#finish(command, text) : await this.#serve(command, text, server.asked);
  }

  #fill(text: string): string {
    return text.replace(/\b(?:REPOSITORY|OPERATOR|SIGNER|WALLET)\b/g, (word) => {
      if (word === 'REPOSITORY') return quote(this.#repository);
      const found = [...this.#printed.matchAll(PRINTED[word] ?? /$^/g)].at(-1);
      const value = found?.slice(1).find((group) => group !== undefined);
      if (value === undefined) throw new Error(`no command before printed what ${word} stands for`);
      return value;
    });
  }

  async #finish(command: Command, text: string): Promise<string | undefined> {
    const script = `source ${quote(this.#state)}\n${text}\nstatus=$?\n{ echo "cd '$PWD'"; export -p; } > ${quote(this.#state)}\nexit $status`;
    const child = this.#start(script);
    let printed = '';
    keep(child, (part) => {
      printed += part;
    });
    const timer = setTimeout(() => kill(child, 'SIGKILL'), COMMAND_MS);
    const code = await ended(child);
    clearTimeout(timer);
    this.#printed += printed;
    const told = `\n${printed.slice(-SHOWN)}`;
    if (code !== command.exitCode) return `ended with ${code}, not with ${command.exitCode}${told}`;
    const missing = command.verdicts.find((verdict) => !new RegExp(`\\b${verdict}\\b`).test(printed));
    return missing === undefined ? undefined : `does not print ${missing}${told}`;
  }

  async #serve(command: Command, text: string, asked: string | number): Promise<string | undefined> {
    const child = this.#start(`source ${quote(this.#state)}\n${text}`);
    let printed = '';
    keep(child, (part) => {
      printed += part;
      this.#printed += part;
    });
    this.#servers.push({ child, section: `${command.page} ${command.section}`, text });
    const until = performance.now() + READY_MS;
    while (performance.now() < until) {
      const address = /http:\/\/127\.0\.0\.1:\d+\S*/.exec(printed)?.[0];
      if (child.exitCode !== null) break;
      if (
        typeof asked === 'number'
          ? await accepts(asked)
          : address !== undefined && (await answers(new URL(asked, address)))
      ) {
        return undefined;
      }
      await sleep(200);
    }
    const why = child.exitCode === null ? `does not answer after ${READY_MS / 1000} s` : `ended with ${child.exitCode}`;
    return `${why}\n${printed.slice(-SHOWN)}`;
  }

  #start(script: string): ChildProcess {
    return spawn('bash', ['-c', script], {
      cwd: this.#folder,
      env: environment(join(this.#folder, 'home')),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
  }
}

export type { Reader };

/** The environment of somebody else: another home, and nothing of the program that runs this one. */
function environment(home: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:npm_|TRACEBOND_|XDG_|VITEST|NODE_|INIT_CWD$|CI$|DISPLAY$|WAYLAND_DISPLAY$|REDIS_URL$)/.test(name),
  );
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !/node_modules\/|node-gyp-bin/.test(folder));
  return { ...Object.fromEntries(kept), HOME: home, PATH: path.join(':') };
}

function keep(child: ChildProcess, take: (part: string) => void): void {
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', take);
}

async function ended(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
}

/** Ctrl-C, as a terminal sends it: to everything that the command started. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const over = ended(child);
  kill(child, 'SIGINT');
  const timer = setTimeout(() => kill(child, 'SIGKILL'), END_MS);
  await over;
  clearTimeout(timer);
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-(child.pid ?? 0), signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function answers(address: URL): Promise<boolean> {
  try {
    return (await fetch(address, { signal: AbortSignal.timeout(5_000) })).ok;
  } catch {
    // Not listening yet: asked again until the time is over.
    return false;
  }
}

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}

function quote(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`;
}
