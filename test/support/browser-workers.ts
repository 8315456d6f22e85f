/**
 * Web Workers that start each other, for engines in a browser; the compiler's library here is Node's.
 *
 * @module
 */

import type { PublicOrt } from '../../inference/exact/ort/public-runtime.ts';
import { connectPartner, newPartnerBlock, type Partner } from '../../inference/exact/ort/web-partner.ts';

type Message = { readonly data: unknown };

/** What a browser's worker has that is used here. */
type WorkerScope = {
  onmessage: (message: Message) => void;
  postMessage(answer: unknown): void;
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

/** Takes the one message that this worker is started with. */
export function onStart(body: (data: unknown, answer: (message: unknown) => void) => Promise<void>): void {
  scope.onmessage = ({ data }) => {
    // an error of a promise does not reach the one that started the worker: one that is thrown does
    body(data, (message) => scope.postMessage(message)).catch((error: unknown) => {
      setTimeout(() => {
        throw error;
      });
    });
  };
}

/** Starts a worker with a message; resolves with its first answer. */
export function startWebWorker(url: string, message: unknown): Promise<{ readonly terminate: () => void }> {
  const worker = new scope.Worker(url);
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(`${url}: ${event.message}`));
    worker.onmessage = () => resolve({ terminate: () => worker.terminate() });
    worker.postMessage(message);
  });
}

/** Where the files are that the workers of an engine with partners are made of. */
export type PartnerFiles = {
  /** Bundle of `browser-thread-child.ts`. */
  readonly thread: string;
  /** Bundle of `browser-partner-child.ts`. */
  readonly partner: string;
  /** Folder of the runtime's own files, ending in a slash. */
  readonly runtime: string;
};

/** What a partner is started with. */
export type PartnerStart = { readonly block: SharedArrayBuffer; readonly runtime: string };

/** Starts a partner for this worker. */
export async function startWebPartner(files: PartnerFiles): Promise<Partner & { terminate(): void }> {
  const start: PartnerStart = { block: newPartnerBlock(), runtime: files.runtime };
  const { terminate } = await startWebWorker(files.partner, start);
  return { ...connectPartner(start.block), terminate };
}

/** ONNX Runtime for the web, on the one thread of this worker. */
export async function loadOrtWeb(folder: string): Promise<PublicOrt> {
  const ort = (await import(`${folder}ort.wasm.min.mjs`)) as PublicOrt & {
    readonly env: { readonly wasm: { numThreads: number; wasmPaths: string } };
  };
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = folder;
  return ort;
}
