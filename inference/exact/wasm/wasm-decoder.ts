/**
 * The exact decoder over WebAssembly SIMD kernels, on one or more threads over one shared memory.
 *
 * W1. The first thread is the caller's: `forward` blocks it until all threads have met at the last barrier.
 * W2. Nothing of a batch is written before all of it was checked.
 * W3. A sequence's cache is written only at positions of its own rows, and read only below them.
 * W4. An engine one of whose threads faulted or ended answers nothing any more: the others no longer agree on where they are.
 *
 * @module
 */

import { type SharedWasmMemory, type WasmModule, wasm } from '../../../attest/core/webassembly.ts';
import { InferenceError } from '../../errors.ts';
import type { CacheView, ExactDecoder, Row } from '../exact-decoder.ts';
import type { ExactShape } from '../exact-model.ts';
import { type OpenProduct, openProducts } from '../ort/products.ts';
import { checkCapacity, checkCopy, positionsOf } from '../rows.ts';
import { cacheLayerBytes, copyCache } from './cache-copy.ts';
import { CacheMemory } from './cache-memory.ts';
import { COMMAND, type Command, instantiate, type Kernels, STOP } from './kernels.ts';
import { type MemoryPlan, planMemory } from './memory-plan.ts';
import type { KernelThread, StartThread } from './threads.ts';

/** A model in the exact form whose file can be copied into memory. */
export type LoadableModel = {
  readonly shape: ExactShape;
  /** Copies the whole file (`file-layout.ts`) to `offset` of `into`. */
  load(into: Uint8Array, offset: number): void;
};

const PAGE = 65_536;
const MOST_PAGES = 65_536;
const MOST_THREADS = 64;

const NO_HEAD = { headFirst: 0, headCount: 0 } as const;

type Sequence = { readonly cache: number; readonly bytes: number; readonly capacity: number; length: number };

/**
 * Loads a model and starts the threads.
 *
 * @throws {@link InferenceError} `OUT_OF_MEMORY` if model and buffers do not fit 4 GiB, or the host gives no such memory
 */
export async function openWasmDecoder(model: LoadableModel, options: openWasmDecoder.Options): Promise<ExactDecoder> {
  const { module, startThread, threads = 1, maxRows = 64, logitRows = 16, products } = options;
  if (!Number.isSafeInteger(threads) || threads < 1 || threads > MOST_THREADS) {
    throw new RangeError(`expected 1 to ${MOST_THREADS} threads, got ${threads}`);
  }
  const plan = planMemory(model.shape, { threads, maxRows, logitRows, hostRows: products?.from ?? 0 });
  const pages = Math.ceil(plan.end / PAGE);
  if (pages > MOST_PAGES) {
    throw new InferenceError('OUT_OF_MEMORY', `the model takes ${plan.end} bytes, the engine has 4 GiB`, {
      at: { bytes: plan.end },
    });
  }
  const memory = newMemory(pages);
  model.load(new Uint8Array(memory.buffer), plan.file);
  const words = new Int32Array(memory.buffer);
  for (const [address, value] of plan.words) words[address / 4] = value;
  let own: ReturnType<typeof openProducts> | undefined;
  const place = { configuration: plan.configuration, thread: 0, threads };
  const kernels = instantiate(module, memory, place, (...call) => own?.product(...call));
  for (const { weights, groupScales, rows, stride } of plan.layout.matrices) {
    kernels.interleave(plan.file + weights.offset, rows, stride, plan.scratch);
    if (groupScales !== null) {
      kernels.interleaveGroups(plan.file + groupScales.offset, rows, stride / 32, plan.scratch);
    }
  }
  const { configuration, command } = plan;
  const starting = Promise.allSettled(
    Array.from({ length: threads - 1 }, (_, i) =>
      startThread({ module, memory, configuration, command, thread: i + 1, threads, products: plan.products }),
    ),
  );
  let fault: unknown;
  try {
    if (products !== undefined && plan.products !== undefined) {
      own = openProducts(memory, plan.products, place, products.open);
    }
  } catch (error) {
    fault = error;
  }
  const started = await starting;
  const others = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  fault ??= started.find((one) => one.status === 'rejected')?.reason;
  if (fault !== undefined) {
    own?.close();
    await Promise.all(others.map((thread) => thread.terminate()));
    throw fault;
  }
  return new WasmDecoder(model.shape, { maxRows, logitRows }, memory, plan, kernels, others, own);
}

function newMemory(pages: number): SharedWasmMemory {
  try {
    return new wasm.Memory({ initial: pages, maximum: MOST_PAGES, shared: true });
  } catch (cause) {
    const bytes = pages * PAGE;
    throw new InferenceError('OUT_OF_MEMORY', `the host has no memory of ${bytes} bytes that can grow to 4 GiB`, {
      at: { bytes },
      cause,
    });
  }
}

export declare namespace openWasmDecoder {
  type Options = {
    readonly module: WasmModule;
    readonly startThread: StartThread;
    /** 1 by default. */
    readonly threads?: number;
    /** Most rows of one batch; 64 by default. */
    readonly maxRows?: number;
    /** Rows whose logits are computed at a time; 16 by default. */
    readonly logitRows?: number;
    /** Products of `from` and more rows (at least 1) through the host; `startThread` must do the same. */
    readonly products?: { readonly from: number; readonly open: OpenProduct };
  };
}

class WasmDecoder implements ExactDecoder {
  readonly name: 'wasm' | 'ort';
  readonly shape: ExactShape;
  readonly maxRows: number;
  readonly #logitRows: number;
  readonly #memory: SharedWasmMemory;
  readonly #plan: MemoryPlan;
  readonly #kernels: Kernels;
  readonly #others: readonly KernelThread[];
  readonly #products: { close(): void } | undefined;
  readonly #caches: CacheMemory;
  readonly #sequences = new Map<number, Sequence>();
  #words: Int32Array;
  #floats: Float32Array;
  #lastHandle = 0;
  #closed = false;
  /** Why no batch can be computed any more (W4). */
  #fault: unknown;

  constructor(
    shape: ExactShape,
    sizes: { readonly maxRows: number; readonly logitRows: number },
    memory: SharedWasmMemory,
    plan: MemoryPlan,
    kernels: Kernels,
    others: readonly KernelThread[],
    products: { close(): void } | undefined,
  ) {
    this.name = products === undefined ? 'wasm' : 'ort';
    this.shape = shape;
    this.maxRows = sizes.maxRows;
    this.#logitRows = sizes.logitRows;
    this.#memory = memory;
    this.#plan = plan;
    this.#kernels = kernels;
    this.#others = others;
    this.#products = products;
    this.#caches = new CacheMemory(memory, plan.end);
    this.#words = new Int32Array(memory.buffer);
    this.#floats = new Float32Array(memory.buffer);
  }

  openSequence(capacity: number): number {
    this.#throwIfClosed();
    checkCapacity(capacity, this.shape.context);
    const room = roomOf(capacity);
    const bytes = cacheLayerBytes(this.shape, room) * this.shape.layers;
    const cache = this.#caches.take(bytes);
    this.#words = new Int32Array(this.#memory.buffer);
    this.#floats = new Float32Array(this.#memory.buffer);
    const handle = ++this.#lastHandle;
    this.#sequences.set(handle, { cache, bytes, capacity, length: 0 });
    return handle;
  }

  closeSequence(handle: number): void {
    const { cache, bytes } = this.#sequence(handle);
    this.#sequences.delete(handle);
    this.#caches.give(cache, bytes);
  }

  lengthOf(handle: number): number {
    return this.#sequence(handle).length;
  }

  truncate(handle: number, length: number): void {
    const sequence = this.#sequence(handle);
    if (!Number.isSafeInteger(length) || length < 0 || length > sequence.length) {
      throw malformed(`cannot cut a sequence of ${sequence.length} positions to ${length}`, { sequence: handle });
    }
    sequence.length = length;
  }

  copy(from: number, to: number, length: number): void {
    const source = this.#sequence(from);
    const target = this.#sequence(to);
    checkCopy(source, target, length);
    const place = ({ cache, capacity }: Sequence) => ({ address: cache, room: roomOf(capacity) });
    copyCache(new Uint8Array(this.#memory.buffer), this.shape, place(source), place(target), length);
    target.length = length;
  }

  forward(
    rows: readonly Row[],
    logitsOf: readonly number[],
    onLayer?: (layer: number, hidden: Float32Array) => void,
  ): Float32Array {
    const { vocabulary } = this.shape;
    let logits: Float32Array | undefined;
    this.#compute(rows, logitsOf, onLayer, (from, index) => {
      logits ??= new Float32Array(logitsOf.length * vocabulary);
      logits.set(this.#floats.subarray(from, from + vocabulary), index * vocabulary);
      return true;
    });
    return logits ?? new Float32Array(0);
  }

  forwardEach(
    rows: readonly Row[],
    logitsOf: readonly number[],
    visit: (logits: Float32Array, index: number) => boolean | undefined,
  ): void {
    const { vocabulary } = this.shape;
    // A view of the shared memory: the next batch writes over it.
    this.#compute(rows, logitsOf, undefined, (from, index) => {
      return visit(this.#floats.subarray(from, from + vocabulary), index) !== false;
    });
  }

  readCache(handle: number, layer: number): CacheView {
    const { cache, capacity, length } = this.#sequence(handle);
    const { layers, kvHeads, headSize } = this.shape;
    if (!Number.isSafeInteger(layer) || layer < 0 || layer >= layers) {
      throw malformed(`no layer ${layer} of ${layers}`, { layer });
    }
    const room = roomOf(capacity);
    const stride = Math.ceil(headSize / 8) * 8;
    const base = cache + layer * cacheLayerBytes(this.shape, room);
    const elementBytes = 2 * kvHeads * room * stride;
    const scaleBytes = 4 * kvHeads * room;
    const integers = new Int16Array(this.#memory.buffer);
    const keys = new Int16Array(kvHeads * length * headSize);
    const values = new Int16Array(kvHeads * length * headSize);
    const keyScales = new Float32Array(kvHeads * length);
    const valueScales = new Float32Array(kvHeads * length);
    const valueBase = base + elementBytes + scaleBytes;
    for (let g = 0; g < kvHeads; g++) {
      for (let t = 0; t < length; t++) {
        const row = g * length + t;
        keyScales[row] = this.#floats[(base + elementBytes) / 4 + g * room + t] as number;
        valueScales[row] = this.#floats[(valueBase + elementBytes) / 4 + g * room + t] as number;
        for (let i = 0; i < headSize; i++) {
          keys[row * headSize + i] = integers[base / 2 + (g * room + t) * stride + i] as number;
          const slab = valueBase / 2 + (g * stride + (i & ~7)) * room;
          values[row * headSize + i] = integers[slab + (t & ~1) * 8 + (i & 7) * 2 + (t & 1)] as number;
        }
      }
    }
    return { keys, keyScales, values, valueScales };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#send({ count: STOP, embed: 0, from: 0, to: 0, ...NO_HEAD });
    await Promise.all(this.#others.map((thread) => thread.terminate()));
    this.#products?.close();
  }

  /** Appends rows; `take` gets where the logits of each wanted row begin, and may end it. */
  #compute(
    rows: readonly Row[],
    logitsOf: readonly number[],
    onLayer: ((layer: number, hidden: Float32Array) => void) | undefined,
    take: (from: number, index: number) => boolean,
  ): void {
    this.#placeRows(rows, logitsOf);
    const count = rows.length;
    const runs = this.#runsOf(logitsOf);
    const { layers, vocabulary } = this.shape;
    const [first] = runs;
    // One command where one run of logits is wanted and nobody looks between the layers.
    const whole = onLayer === undefined && first !== undefined && runs.length === 1;
    const head = whole ? { headFirst: first.row, headCount: first.count } : NO_HEAD;
    if (onLayer === undefined) this.#command({ count, embed: 1, from: 0, to: layers, ...head });
    else {
      this.#command({ count, embed: 1, from: 0, to: 0, ...NO_HEAD });
      onLayer(-1, this.#hidden(count));
      for (let layer = 0; layer < layers; layer++) {
        this.#command({ count, embed: 0, from: layer, to: layer + 1, ...NO_HEAD });
        onLayer(layer, this.#hidden(count));
      }
    }
    for (const { sequence } of rows) this.#sequence(sequence).length += 1;
    const stride = Math.ceil(vocabulary / 8) * 8;
    for (const run of runs) {
      if (!whole) this.#command({ count, embed: 0, from: 0, to: 0, headFirst: run.row, headCount: run.count });
      for (let i = 0; i < run.count; i++) if (!take(this.#plan.logits / 4 + i * stride, run.at + i)) return;
    }
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new InferenceError('ENGINE_CLOSED', 'the engine is closed');
    if (this.#fault !== undefined) {
      throw new InferenceError('ENGINE_CLOSED', 'a thread of the engine failed', { cause: this.#fault });
    }
  }

  #sequence(handle: number): Sequence {
    this.#throwIfClosed();
    const sequence = this.#sequences.get(handle);
    if (sequence === undefined) throw malformed(`no sequence ${handle}`, { sequence: handle });
    return sequence;
  }

  /** Checks a batch whole, then writes its rows (W2). */
  #placeRows(rows: readonly Row[], logitsOf: readonly number[]): void {
    this.#throwIfClosed();
    const { maxRows } = this;
    const limits = {
      maxRows,
      vocabulary: this.shape.vocabulary,
      sequence: (handle: number) => this.#sequences.get(handle),
    };
    const positions = positionsOf(rows, logitsOf, limits);
    const { rowTokens, rowPositions, rowCaches, rowCapacities } = this.#plan;
    rows.forEach(({ sequence, token }, row) => {
      const { cache, capacity } = this.#sequence(sequence);
      this.#words[rowTokens / 4 + row] = token;
      this.#words[rowPositions / 4 + row] = positions[row] as number;
      this.#words[rowCaches / 4 + row] = cache;
      this.#words[rowCapacities / 4 + row] = roomOf(capacity);
    });
  }

  /** Wanted rows as runs of neighbours that the buffer of logits holds. */
  #runsOf(logitsOf: readonly number[]): { row: number; count: number; readonly at: number }[] {
    const runs: { row: number; count: number; at: number }[] = [];
    logitsOf.forEach((row, at) => {
      const last = runs.at(-1);
      if (last !== undefined && last.row + last.count === row && last.count < this.#logitRows) last.count += 1;
      else runs.push({ row, count: 1, at });
    });
    return runs;
  }

  #hidden(count: number): Float32Array {
    const { embedding } = this.shape;
    const stride = Math.ceil(embedding / 8) * 8;
    const hidden = new Float32Array(count * embedding);
    for (let row = 0; row < count; row++) {
      const from = this.#plan.residual / 4 + row * stride;
      hidden.set(this.#floats.subarray(from, from + embedding), row * embedding);
    }
    return hidden;
  }

  #command(command: Command): void {
    // The others would wait at the barrier for it, and this thread with them.
    if (this.#others.some((thread) => thread.hasEnded?.() === true)) {
      this.#fault = new TypeError('a thread of the kernels has ended');
      this.#throwIfClosed();
    }
    this.#send(command);
    const { count, embed, from, to, headFirst, headCount } = command;
    try {
      this.#kernels.execute(count, embed, from, to, headFirst, headCount);
    } catch (cause) {
      this.#fault = cause;
      this.#throwIfClosed();
    }
  }

  #send(command: Command): void {
    if (this.#others.length === 0) return;
    const at = this.#plan.command / 4;
    this.#words[at + COMMAND.count] = command.count;
    this.#words[at + COMMAND.embed] = command.embed;
    this.#words[at + COMMAND.from] = command.from;
    this.#words[at + COMMAND.to] = command.to;
    this.#words[at + COMMAND.headFirst] = command.headFirst;
    this.#words[at + COMMAND.headCount] = command.headCount;
    Atomics.add(this.#words, at + COMMAND.sequence, 1);
    Atomics.notify(this.#words, at + COMMAND.sequence);
  }
}

/** Positions that a cache has room for: kernels read keys and values in fours and pairs. */
function roomOf(capacity: number): number {
  return Math.ceil(capacity / 8) * 8;
}

function malformed(message: string, at: Record<string, number>): InferenceError {
  return new InferenceError('REQUEST_MALFORMED', message, { at });
}
