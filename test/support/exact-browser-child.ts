/**
 * Web Worker that runs the exact engine: takes one {@link BrowserJob}, answers with {@link BrowserAnswer}. Bundled for the
 * browser by `test/e2e/browser.test.ts`; a page's own thread may not block, so the engine's first thread is this worker.
 *
 * @module
 */

import { wasm } from '../../attest/core/webassembly.ts';
import type { ExactShape } from '../../inference/exact/exact-model.ts';
import { testProducts } from '../../inference/exact/ort/product-test.ts';
import { THREAD_SOURCE } from '../../inference/exact/wasm/kernels.ts';
import type { StartThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { onStart, type PartnerFiles, startWebPartner, startWebWorker } from './browser-workers.ts';
import { type DecoderDigests, decoderDigests } from './decoder-digests.ts';

/** Tokens for a model whose file the server has; each number of threads opens an engine of its own. */
export type BrowserJob = {
  readonly kernels: string;
  readonly file: string;
  readonly shape: ExactShape;
  readonly tokens: readonly number[];
  readonly chunk: number;
  readonly threads: readonly number[];
  /** Products of all batches go through ONNX Runtime, in a partner for each thread, if it is given. */
  readonly partners?: PartnerFiles;
};

/** Digests for each number of threads, and how many further workers were started for all of them. */
export type BrowserAnswer =
  | { readonly engine: string; readonly digests: readonly DecoderDigests[]; readonly started: number }
  | { readonly error: string };

const WORKER_SOURCE = `onmessage = ({ data }) => (${THREAD_SOURCE})(data, () => postMessage('ready'));`;

let started = 0;

const startWebThread: StartThread = async (start) => {
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }));
  const { terminate } = await startWebWorker(url, start);
  started += 1;
  URL.revokeObjectURL(url);
  return { terminate: async () => terminate() };
};

/** With products of its own. */
const startOrtThread =
  (files: PartnerFiles): StartThread =>
  async (start) => {
    const { terminate } = await startWebWorker(files.thread, { start, files });
    started += 1;
    return { terminate: async () => terminate() };
  };

async function fetchBytes(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function run({ kernels, file, shape, tokens, chunk, threads, partners }: BrowserJob): Promise<BrowserAnswer> {
  const module = await wasm.compile(await fetchBytes(kernels));
  const bytes = await fetchBytes(file);
  const model = { shape, load: (into: Uint8Array, offset: number) => into.set(bytes, offset) };
  const partner = partners === undefined ? undefined : await startWebPartner(partners);
  if (partner !== undefined) testProducts(partner.open);
  const host =
    partners === undefined || partner === undefined
      ? { startThread: startWebThread }
      : { startThread: startOrtThread(partners), products: { from: 1, open: partner.open } };
  const digests: DecoderDigests[] = [];
  let engine = '';
  for (const count of threads) {
    const decoder = await openWasmDecoder(model, { module, threads: count, ...host });
    engine = decoder.name;
    digests.push(decoderDigests(decoder, tokens, chunk));
    await decoder.close();
  }
  partner?.stop();
  partner?.terminate();
  return { engine, digests, started };
}

onStart(async (data, answer) => {
  try {
    answer(await run(data as BrowserJob));
  } catch (error) {
    answer({ error: error instanceof Error ? `${error.stack}` : String(error) });
  }
});
