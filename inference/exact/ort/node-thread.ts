/**
 * Node's threads for the kernels with ONNX Runtime beside them.
 *
 * @module
 */

import { Worker } from 'node:worker_threads';
import { childEntry } from '../../../attest/core/entry.ts';
import { type StartThread, threadOf } from '../wasm/threads.ts';

/** Starts a worker thread of Node that computes products too. It does not keep the process alive. */
export const startOrtThread: StartThread = (start) => {
  const { url, execArgv } = childEntry(import.meta.url, './thread-main.ts');
  return threadOf(new Worker(url, { workerData: start, name: `kernels ${start.thread}`, execArgv }));
};
