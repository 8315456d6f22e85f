/**
 * Node's threads for the kernels. A browser starts Web Workers with the same message instead.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { childEntry } from '../../../attest/core/entry.ts';
import { type SharedWasmMemory, type WasmModule, wasm } from '../../../attest/core/webassembly.ts';

/** What a thread is started with. */
export type ThreadStart = {
  readonly module: WasmModule;
  readonly memory: SharedWasmMemory;
  readonly configuration: number;
  readonly command: number;
  /** 1 and up; the caller is thread 0. */
  readonly thread: number;
  readonly threads: number;
};

/** A thread that serves commands. */
export type KernelThread = { terminate(): Promise<unknown> };

/** Starts a thread; resolves once it waits for commands. */
export type StartThread = (start: ThreadStart) => Promise<KernelThread>;

/** Compiles the module of the kernels that lies beside this file. */
export async function loadKernels(): Promise<WasmModule> {
  return wasm.compile(await readFile(new URL('./kernels.wasm', import.meta.url)));
}

/** Starts a worker thread of Node. It does not keep the process alive. */
export const startNodeThread: StartThread = async (start) => {
  const { url, execArgv } = childEntry(import.meta.url, './kernel-worker.ts');
  const worker = new Worker(url, { workerData: start, execArgv, name: `kernels ${start.thread}` });
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a thread of the engine ended with code ${code}`)));
  });
  worker.removeAllListeners();
  // A fault inside a kernel: the barrier's patience ends the others.
  worker.on('error', () => {});
  worker.unref();
  return worker;
};
