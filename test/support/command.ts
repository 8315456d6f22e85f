/**
 * The `tracebond` command in a process of its own, as a user starts it in a checkout: it compiles what has changed by itself, and starts
 * several times as fast as from the source.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const COMMAND = fileURLToPath(new URL('../../agents/cli/tracebond.mjs', import.meta.url));

/** A command that was started; it is killed with the test. */
export type StartedCommand = {
  readonly child: ChildProcess;
  /** What it wrote so far. */
  readonly out: () => string;
  readonly err: () => string;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  /** Resolves when it has written something; rejects when it ends before. */
  waitFor(pattern: RegExp): Promise<RegExpExecArray>;
};

/** Starts a command. */
export function startCommand(
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly input?: string } = {},
): StartedCommand {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.end(options.input ?? '');
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    child,
    out: () => out,
    err: () => err,
    ended,
    waitFor: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(out) ?? pattern.exec(err);
          if (found !== null) resolve(found);
        };
        child.stdout.on('data', look);
        child.stderr.on('data', look);
        child.once('close', (code) => reject(new Error(`ended with ${code} before ${pattern}: ${out}${err}`)));
        look();
      }),
  };
}
