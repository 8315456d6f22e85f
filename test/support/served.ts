/**
 * `tracebond serve inference` in a process of its own, as a user starts it.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A server that listens, until {@link Served.close}. */
export type Served = {
  /** Without a path, as `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** Of the command; the inference process is below it. */
  readonly pid: number;
  /** Bytes of resident memory of the command and all processes below it; undefined where the system does not tell. */
  residentBytes(): number | undefined;
  /** Pids of the processes below the command; empty where the system does not tell. */
  descendants(): number[];
  /** True until the command has ended. */
  isAlive(): boolean;
  /** What it wrote on both outputs, the last {@link OUTPUT_TAIL} characters. */
  output(): string;
  close(): Promise<void>;
};

export type ServedOptions = {
  /** After `serve inference --port 0`. */
  readonly args?: readonly string[];
  /** Beside this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until it must listen; a checkout may have to be compiled before. */
  readonly startMs?: number;
};

/** Characters of output kept. */
const OUTPUT_TAIL = 8192;

const START_MS = 180_000;
/** Milliseconds between asking it to end and ending it. */
const STOP_MS = 10_000;

const COMMAND = fileURLToPath(new URL('../../agents/cli/tracebond.mjs', import.meta.url));
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LISTENING = /^listening (http:\/\/\S+?)\/?$/m;

/**
 * Starts it on a free port of this computer's own address.
 *
 * @throws Error if it ends before it listens, or does not listen in time; with what it wrote
 */
export async function startServed({ args = [], env = {}, startMs = START_MS }: ServedOptions = {}): Promise<Served> {
  const child = spawn(process.execPath, [COMMAND, 'serve', 'inference', '--port', '0', ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      kill();
      reject(new Error(`the server did not listen within ${startMs} ms: ${output}`));
    }, startMs);
    const read = (text: string) => {
      output = (output + text).slice(-OUTPUT_TAIL);
      const found = LISTENING.exec(output)?.[1];
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`the server ended (${signal ?? code}) before it listened: ${output}`));
    });
  });
  const { pid } = child;
  if (pid === undefined) throw new TypeError('a listening server has a process');
  return {
    url,
    pid,
    residentBytes: () => residentBytes([pid, ...descendantsOf(pid)]),
    descendants: () => descendantsOf(pid),
    isAlive: () => isRunning(child),
    output: () => output,
    close: () => stop(child),
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function stop(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}

function descendantsOf(pid: number): number[] {
  if (!existsSync('/proc/self/stat')) return [];
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = readProcess(Number(name), 'status', /^PPid:\s+(\d+)$/m);
    if (parent !== undefined) parents.set(Number(name), parent);
  }
  const found: number[] = [];
  for (let next = [pid]; next.length > 0; ) {
    next = [...parents].flatMap(([child, parent]) => (next.includes(parent) ? [child] : []));
    found.push(...next);
  }
  return found;
}

function residentBytes(pids: readonly number[]): number | undefined {
  if (!existsSync('/proc/self/status')) return undefined;
  return pids.reduce((sum, pid) => sum + 1024 * (readProcess(pid, 'status', /^VmRSS:\s+(\d+) kB$/m) ?? 0), 0);
}

/** Undefined when the process is gone. */
function readProcess(pid: number, file: string, field: RegExp): number | undefined {
  try {
    const value = field.exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1];
    return value === undefined ? undefined : Number(value);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
