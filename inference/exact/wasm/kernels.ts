/**
 * The WebAssembly module of the kernels, and one thread's instance of it. Nothing here is Node's own: the module runs in a browser too.
 *
 * @module
 */

import { type SharedWasmMemory, type WasmModule, wasm } from '../../../attest/core/webassembly.ts';

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
  /** Embeds the rows of the batch. */
  begin(count: number): void;
  /** Layers `[from, to)` of the batch. */
  run(from: number, to: number, count: number): void;
  /** Logits of rows `[first, first + count)`. */
  head(first: number, count: number): void;
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

/** Words of the command block: a sequence number, then the command; `STOP` as `count` ends a thread. */
export const COMMAND = { sequence: 0, count: 16, embed: 17, from: 18, to: 19, headFirst: 20, headCount: 21 } as const;

/** Instead of a number of rows: the thread ends. */
export const STOP = -1;

/** Times a thread looks for the next command before it sleeps. */
const SPINS = 50_000;

/** Makes the instance of a thread. */
export function instantiate(
  module: WasmModule,
  memory: SharedWasmMemory,
  place: { readonly configuration: number; readonly thread: number; readonly threads: number },
): Kernels {
  const fail = () => {
    throw new Error('a kernel gave up: another thread of the engine is gone');
  };
  const { exports } = new wasm.Instance(module, { env: { memory, abort: fail } });
  const kernels = exports as unknown as Kernels;
  kernels.configure(place.configuration, place.thread, place.threads);
  kernels.resetPhases();
  return kernels;
}

/** Runs a thread's part of a command. */
export function execute(kernels: Kernels, command: Command): void {
  const { count, embed, from, to, headFirst, headCount } = command;
  if (embed !== 0) kernels.begin(count);
  if (to > from) kernels.run(from, to, count);
  if (headCount > 0) kernels.head(headFirst, headCount);
}

/** Serves commands until it is told to stop: what every thread but the first does. Blocks its thread. */
export function serveCommands(kernels: Kernels, memory: SharedWasmMemory, block: number): void {
  const words = new Int32Array(memory.buffer, block, 64);
  const { sequence } = COMMAND;
  for (let seen = 0; ; ) {
    for (let spins = 0; Atomics.load(words, sequence) === seen; ) {
      if (++spins > SPINS) Atomics.wait(words, sequence, seen);
    }
    seen = Atomics.load(words, sequence);
    const count = words[COMMAND.count] as number;
    if (count === STOP) return;
    execute(kernels, {
      count,
      embed: words[COMMAND.embed] as number,
      from: words[COMMAND.from] as number,
      to: words[COMMAND.to] as number,
      headFirst: words[COMMAND.headFirst] as number,
      headCount: words[COMMAND.headCount] as number,
    });
  }
}
