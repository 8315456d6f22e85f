/**
 * Entry of a sandbox process, bundled and started by `process-pool.ts`: keeps one worker thread, carries messages between
 * it and the pipes, and ends when the host is gone. The guest runs in the thread, because only there is the stack of a fixed
 * size; this one stays free to notice the end of the host.
 *
 * @module
 */

import { Worker } from 'node:worker_threads';
import { FrameReader, frame } from './frames.ts';

/** The first message: what the thread runs, and how much it may take. */
export type Setup = { readonly program: string; readonly stackMib: number; readonly heapMib: number };

/** The host is trusted, and frames are 32 bits long. */
const MAX_COMMAND_BYTES = 2 ** 32;

let setup: Setup | undefined;
let worker: Worker | undefined;

function say(payload: Uint8Array): void {
  for (const piece of frame(payload)) process.stdout.write(piece);
}

/** A copy with a buffer of its own: a message to the thread carries the whole buffer. */
function own(payload: Uint8Array): Uint8Array {
  return Uint8Array.from(payload);
}

/** Reports a thread that is lost; the process has no more use then. */
function lose(code: 'HOST_OUT_OF_MEMORY' | 'WORKER_LOST', message: string): void {
  say(new TextEncoder().encode(JSON.stringify({ type: 'fault', code, message })));
  process.stdout.end(() => process.exit(1));
}

function open({ program, stackMib, heapMib }: Setup, engine: Uint8Array): Worker {
  const thread = new Worker(program, {
    eval: true,
    env: {},
    execArgv: [],
    resourceLimits: { stackSizeMb: stackMib, maxOldGenerationSizeMb: heapMib },
    workerData: engine,
  });
  thread.on('message', say);
  thread.on('error', (error: Error & { code?: unknown }) => {
    lose(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'HOST_OUT_OF_MEMORY' : 'WORKER_LOST', error.message);
  });
  return thread;
}

const reader = new FrameReader(MAX_COMMAND_BYTES);
process.stdin.on('data', (piece: Buffer) => {
  for (const payload of reader.push(piece)) {
    if (setup === undefined) setup = JSON.parse(new TextDecoder().decode(payload)) as Setup;
    else if (worker === undefined) worker = open(setup, own(payload));
    else worker.postMessage(own(payload));
  }
});
// The host has closed the pipe or is dead, whatever the thread is doing.
process.stdin.on('close', () => process.exit(0));
