/**
 * The WebAssembly module of the kernels, and one thread's instance of it. Nothing here is Node's own: the module runs in a browser
 * too.
 *
 * @module
 */

import { type SharedWasmMemory, type WasmModule, wasm } from '../../../attest/core/webassembly.ts';
import type { Product, ProductPlan } from '../ort/products.ts';

/** What the module exports (`assembly/index.ts`); addresses and counts are 32-bit integers. */
export type Kernels = {
  /** Reads the configuration block; every thread calls it once, with its number and the number of threads. */
  configure(block: number, thread: number, threads: number): void;
  resetPhases(): void;
  /** Lays out a matrix for the kernels, in place. */
  interleave(weights: number, rows: number, columns: number, scratch: number): void;
  interleaveGroups(scales: number, rows: number, groups: number, scratch: number): void;
  /** Bytes of a cache for each layer. */
  layerBytes(capacity: number): number;
  /** Runs a thread's part of a command, see {@link Command}. */
  execute(count: number, embed: number, from: number, to: number, headFirst: number, headCount: number): void;
  /** Serves commands until one is {@link STOP}; blocks its thread. */
  serve(block: number): void;
};

/** One command to all threads. */
export type Command = {
  /** Rows of the batch. */
  readonly count: number;
  /** Whether the rows are embedded first: 1 or 0. */
  readonly embed: number;
  /** Layers `[from, to)`. */
  readonly from: number;
  readonly to: number;
  readonly headFirst: number;
  /** Rows whose logits are computed; 0 for none. */
  readonly headCount: number;
};

/** Words of the command block: a number that grows with each command, then its arguments. */
export const COMMAND = { sequence: 0, count: 16, embed: 17, from: 18, to: 19, headFirst: 20, headCount: 21 } as const;

/** Instead of a number of rows: the thread ends. */
export const STOP = -1;

/** Makes the instance of a thread. */
export function instantiate(
  module: WasmModule,
  memory: SharedWasmMemory,
  place: { readonly configuration: number; readonly thread: number; readonly threads: number },
  product: Product = noProduct,
): Kernels {
  const { exports } = new wasm.Instance(module, { env: { memory, product } });
  const kernels = exports as unknown as Kernels;
  kernels.configure(place.configuration, place.thread, place.threads);
  kernels.resetPhases();
  return kernels;
}

/** Where the host computes no products none is asked for. */
function noProduct(): void {
  throw new TypeError('the host computes no products');
}

/** What every other thread is started with. */
export type ThreadStart = {
  readonly module: WasmModule;
  readonly memory: SharedWasmMemory;
  readonly configuration: number;
  readonly command: number;
  /** 1 and up; the caller is thread 0. */
  readonly thread: number;
  readonly threads: number;
  /** Products of the host; undefined where it computes none. */
  readonly products: ProductPlan | undefined;
};

/**
 * JavaScript of a function of a {@link ThreadStart} and a function to call when it is ready: makes the thread's instance and serves commands. A
 * text, because a thread must start without a compiler or loader, from source, from `dist` and in a browser alike.
 */
export const THREAD_SOURCE = `({ module, memory, configuration, command, thread, threads }, ready) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory, product() { throw new TypeError('the host computes no products'); } } });
  exports.configure(configuration, thread, threads);
  exports.resetPhases();
  ready();
  exports.serve(command);
}`;
