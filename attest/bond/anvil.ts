/**
 * The anvil program: where npm put it, and one process of it.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { BondError } from './errors.ts';

/** Names that the makers give to platforms and processors. */
const PROCESSORS: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
const OUTPUT_CHARACTERS = 4096;

/** A running anvil. */
export type Anvil = {
  readonly pid: number;
  readonly port: number;
  /** Sends a signal without waiting, for the end of our own process. */
  kill(signal: NodeJS.Signals): void;
  /** Asks it to write its state and end; kills it if it does not. */
  stop(): Promise<void>;
};

/**
 * Finds the program that npm installed for this platform as an optional dependency of `@foundry-rs/anvil`.
 *
 * @throws {@link BondError} `CHAIN_BINARY_MISSING` with the package's name in `at.package`
 */
export function findAnvil(platform: string = process.platform, processor: string = process.arch): string {
  const name = `@foundry-rs/anvil-${platform}-${PROCESSORS[processor] ?? processor}`;
  const require = createRequire(import.meta.url);
  let folder: string;
  try {
    // npm may hoist it beside the wrapper or nest it below: look from there first.
    const wrapper = createRequire(require.resolve('@foundry-rs/anvil/package.json'));
    folder = dirname(wrapper.resolve(`${name}/package.json`));
  } catch (cause) {
    throw missing(name, `package ${name} is not installed; run npm install without --omit=optional`, cause);
  }
  const path = join(folder, 'bin', 'anvil');
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw missing(name, `package ${name} has no program that may be run`, cause);
  }
  return path;
}

/**
 * Starts anvil on a free port of 127.0.0.1, from a state file and into it.
 *
 * @param stateFile - read if it exists; written every second and at the end
 * @throws {@link BondError} `CHAIN_BINARY_MISSING`, `CHAIN_START_FAILED`
 */
export async function startAnvil(stateFile: string, chainId: bigint, program: string = findAnvil()): Promise<Anvil> {
  const args = [
    ...['--host', '127.0.0.1', '--port', '0', '--chain-id', chainId.toString(), '--threads', '1'],
    // Old states stay in memory: else they go to files in the user's home folder that nobody removes.
    ...['--prune-history', '64', '--state', stateFile, '--state-interval', '1', '--color', 'never'],
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const port = await new Promise<number>((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      const last = output.trim().slice(-1024);
      reject(new BondError('CHAIN_START_FAILED', `anvil ${why}`, { at: { output: last }, cause }));
    };
    const timer = setTimeout(() => fail(`did not start within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    const read = (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-OUTPUT_CHARACTERS);
      const found = /Listening on 127\.0\.0\.1:(\d+)/.exec(output);
      if (found === null) return;
      clearTimeout(timer);
      resolve(Number(found[1]));
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('error', (cause) => fail('cannot be run', cause));
    child.once('exit', (code, signal) => fail(`ended at once with ${signal ?? code}`));
  });
  const pid = child.pid as number;
  guardAgainstOurDeath(pid, exited);
  return {
    pid,
    port,
    kill: (signal) => void child.kill(signal),
    stop: () => stop(child, exited),
  };
}

/**
 * Makes anvil end when this process does, in whatever way: a shell waits for the end of a pipe that only we hold open.
 * It goes first when anvil ends, so that it never meets another process of the same number.
 */
function guardAgainstOurDeath(pid: number, exited: Promise<void>): void {
  const script = 'cat >/dev/null; kill -TERM "$1"';
  // Detached: Ctrl-C on the terminal reaches the whole group, and the guard must outlive us.
  const guard = spawn('sh', ['-c', script, 'sh', String(pid)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  // Without a shell there is no guard; the next start of the same folder stops what was left behind.
  guard.once('error', () => undefined);
  guard.unref();
  void exited.then(() => guard.kill('SIGKILL'));
}

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

function missing(name: string, message: string, cause: unknown): BondError {
  return new BondError('CHAIN_BINARY_MISSING', message, { at: { package: name }, cause });
}
