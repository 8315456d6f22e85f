/**
 * A process of runs that is about to be killed, seen from outside.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Without any word of a process for so long, something hangs. */
const SILENCE_MS = 40_000;

/** A process that was started. */
export type TrialProcess<To> = {
  readonly child: ChildProcess;
  /** Tells it something, if it still listens. */
  readonly say: (message: To) => void;
  /** Exit code and signal, once it is gone. */
  readonly gone: Promise<[number | null, NodeJS.Signals | null]>;
  /** The beginning of what it wrote on standard error. */
  complaint(): string;
  /** Whether it has told nothing for so long that something hangs. */
  isSilent(): boolean;
};

/** Starts a bundled program. */
export function startTrialProcess<To extends object, From>(
  program: string,
  hear: (message: From) => void,
): TrialProcess<To> {
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (complaint.length < 4000) complaint += text;
  });
  let heard = performance.now();
  child.on('message', (message: From) => {
    heard = performance.now();
    hear(message);
  });
  return {
    child,
    gone: once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>,
    say: (message) => {
      if (child.connected) child.send(message, () => undefined);
    },
    complaint: () => complaint,
    isSilent: () => performance.now() - heard > SILENCE_MS,
  };
}
