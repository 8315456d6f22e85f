/**
 * Room for the caches of sequences behind the model: first fit over a list of free ranges, growing the memory where none fits.
 *
 * @module
 */

import type { SharedWasmMemory } from '../../../attest/core/webassembly.ts';
import { InferenceError } from '../../errors.ts';

const PAGE = 65_536;
const ALIGNMENT = 64;

type Range = { from: number; to: number };

/** Bytes `[start, …)` of a memory, given out in pieces. */
export class CacheMemory {
  readonly #memory: SharedWasmMemory;
  /** Sorted, apart from each other. */
  readonly #free: Range[] = [];
  #end: number;

  constructor(memory: SharedWasmMemory, start: number) {
    this.#memory = memory;
    this.#end = Math.ceil(start / ALIGNMENT) * ALIGNMENT;
    this.#free.push({ from: this.#end, to: memory.buffer.byteLength });
    this.#end = memory.buffer.byteLength;
  }

  /**
   * Address of `bytes` fresh bytes; what lies in them is undefined.
   *
   * @throws {@link InferenceError} `OUT_OF_MEMORY` if the memory cannot grow that far
   */
  take(bytes: number): number {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    let range = this.#free.find(({ from, to }) => to - from >= size);
    if (range === undefined) range = this.#grow(size);
    const at = range.from;
    range.from += size;
    if (range.from === range.to) this.#free.splice(this.#free.indexOf(range), 1);
    return at;
  }

  /** Takes a piece back. */
  give(at: number, bytes: number): void {
    const to = at + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const index = this.#free.findIndex(({ from }) => from >= to);
    const place = index === -1 ? this.#free.length : index;
    const before = this.#free[place - 1];
    const after = this.#free[place];
    if (before?.to === at && after?.from === to) {
      before.to = after.to;
      this.#free.splice(place, 1);
    } else if (before?.to === at) before.to = to;
    else if (after?.from === to) after.from = at;
    else this.#free.splice(place, 0, { from: at, to });
  }

  #grow(size: number): Range {
    const last = this.#free.at(-1);
    const tail = last?.to === this.#end ? last : undefined;
    const missing = size - (tail === undefined ? 0 : tail.to - tail.from);
    try {
      this.#memory.grow(Math.ceil(missing / PAGE));
    } catch (cause) {
      throw new InferenceError('OUT_OF_MEMORY', `no room for a cache of ${size} bytes`, { at: { bytes: size }, cause });
    }
    const from = this.#end;
    this.#end = this.#memory.buffer.byteLength;
    if (tail !== undefined) {
      tail.to = this.#end;
      return tail;
    }
    const range = { from, to: this.#end };
    this.#free.push(range);
    return range;
  }
}
