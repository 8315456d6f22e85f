/**
 * Web Worker that runs the exact engine: takes one {@link BrowserJob}, answers with {@link BrowserAnswer}. Bundled for the
 * browser by `test/e2e/browser.test.ts`; a page's own thread may not block, so the engine's first thread is this worker.
 *
 * @module
 */

import { wasm } from '../../attest/core/webassembly.ts';
import type { ExactShape } from '../../inference/exact/exact-model.ts';
import { THREAD_SOURCE } from '../../inference/exact/wasm/kernels.ts';
import type { StartThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { type DecoderDigests, decoderDigests } from './decoder-digests.ts';

/** Tokens for a model whose file the server has; each number of threads opens an engine of its own. */
export type BrowserJob = {
  readonly kernels: string;
  readonly file: string;
  readonly shape: ExactShape;
  readonly tokens: readonly number[];
  readonly chunk: number;
  readonly threads: readonly number[];
};

/** Digests for each number of threads, and how many further workers were started for all of them. */
export type BrowserAnswer =
  | { readonly digests: readonly DecoderDigests[]; readonly started: number }
  | { readonly error: string };

type Message = { readonly data: unknown };

/** What this file uses of a browser's worker; the compiler's library here is Node's. */
type WorkerScope = {
  onmessage: (message: Message) => void;
  postMessage(answer: BrowserAnswer): void;
  readonly Worker: new (
    url: string,
  ) => {
    onmessage: (message: Message) => void;
    onerror: (event: { readonly message: string }) => void;
    postMessage(message: unknown): void;
    terminate(): void;
  };
};

const scope = globalThis as unknown as WorkerScope;

const WORKER_SOURCE = `onmessage = ({ data }) => (${THREAD_SOURCE})(data, () => postMessage('ready'));`;

let started = 0;

const startWebWorker: StartThread = (start) => {
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }));
  const worker = new scope.Worker(url);
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(`a thread of the engine: ${message}`));
    worker.onmessage = () => {
      started += 1;
      URL.revokeObjectURL(url);
      resolve({ terminate: async () => worker.terminate() });
    };
    worker.postMessage(start);
  });
};

async function fetchBytes(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function run({ kernels, file, shape, tokens, chunk, threads }: BrowserJob): Promise<BrowserAnswer> {
  const module = await wasm.compile(await fetchBytes(kernels));
  const bytes = await fetchBytes(file);
  const model = { shape, load: (into: Uint8Array, offset: number) => into.set(bytes, offset) };
  const digests: DecoderDigests[] = [];
  for (const count of threads) {
    const decoder = await openWasmDecoder(model, { module, startThread: startWebWorker, threads: count });
    digests.push(decoderDigests(decoder, tokens, chunk));
    await decoder.close();
  }
  return { digests, started };
}

scope.onmessage = ({ data }) => {
  run(data as BrowserJob).then(
    (answer) => scope.postMessage(answer),
    (error: unknown) => scope.postMessage({ error: error instanceof Error ? `${error.stack}` : String(error) }),
  );
};
