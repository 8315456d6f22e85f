/**
 * Node's threads for the kernels. A browser starts Web Workers with the same source instead.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { type WasmModule, wasm } from '../../../attest/core/webassembly.ts';
import { THREAD_SOURCE, type ThreadStart } from './kernels.ts';

/** A thread that serves commands. */
export type KernelThread = {
  terminate(): Promise<unknown>;
  /** Whether it serves no more; a host that cannot tell leaves it out. */
  hasEnded?(): boolean;
};

/** Starts a thread; resolves once it waits for commands. */
export type StartThread = (start: ThreadStart) => Promise<KernelThread>;

const WORKER_SOURCE = `const { parentPort, workerData } = require('node:worker_threads');
(${THREAD_SOURCE})(workerData, () => parentPort.postMessage('ready'));`;

/** Compiles the module of the kernels that lies beside this file. */
export async function loadKernels(): Promise<WasmModule> {
  return wasm.compile(await readFile(new URL('./kernels.wasm', import.meta.url)));
}

/** Starts a worker thread of Node. It does not keep the process alive. */
export const startNodeThread: StartThread = (start) =>
  threadOf(
    new Worker(WORKER_SOURCE, {
      eval: true,
      workerData: start,
      name: `kernels ${start.thread}`,
      execArgv: [],
      // The heap of a thread holds next to nothing.
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 },
    }),
  );

/** A worker as a thread of the kernels, once it has sent its first message: that it waits for commands. */
export async function threadOf(worker: Worker): Promise<KernelThread> {
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a thread of the engine ended with code ${code}`)));
  });
  worker.removeAllListeners();
  // A fault inside a kernel: the patience of the others at the barrier ends them too.
  worker.on('error', () => {});
  let ended = false;
  worker.once('exit', () => {
    ended = true;
  });
  worker.unref();
  return { terminate: () => worker.terminate(), hasEnded: () => ended };
}
