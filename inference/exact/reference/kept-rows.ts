/**
 * What a sequence keeps of one *keep* operation: for each head and position the quantised key or value.
 *
 * Spec: `inference/spec/exact.md#operations`, 6.
 *
 * @module
 */

import { quantise } from './row-operations.ts';

/** Quantised heads by position; a position is written before it is read. */
export class KeptRows {
  readonly #heads: number;
  readonly #headSize: number;
  readonly #capacity: number;
  /** `[heads, capacity, headSize]` */
  readonly #integers: Int16Array;
  /** `[heads, capacity]` */
  readonly #scales: Float32Array;

  constructor(heads: number, headSize: number, capacity: number) {
    this.#heads = heads;
    this.#headSize = headSize;
    this.#capacity = capacity;
    this.#integers = new Int16Array(heads * capacity * headSize);
    this.#scales = new Float32Array(heads * capacity);
  }

  /** *keep*: quantises the heads of a row `[heads * headSize]` to `-largest..largest`. */
  keep(position: number, row: Float32Array, largest: number): void {
    for (let head = 0; head < this.#heads; head++) {
      const at = head * this.#capacity + position;
      const kept = quantise(row.subarray(head * this.#headSize, (head + 1) * this.#headSize), largest);
      this.#integers.set(kept.integers, at * this.#headSize);
      this.#scales[at] = kept.scale;
    }
  }

  /** Integers of a head at positions `0..count-1`, `[count, headSize]`, a view. */
  integers(head: number, count: number): Int16Array {
    const at = head * this.#capacity * this.#headSize;
    return this.#integers.subarray(at, at + count * this.#headSize);
  }

  /** Scales of a head at positions `0..count-1`, a view. */
  scales(head: number, count: number): Float32Array {
    return this.#scales.subarray(head * this.#capacity, head * this.#capacity + count);
  }

  /** Takes over positions `0..count-1` of another of the same heads. */
  take(other: KeptRows, count: number): void {
    for (let head = 0; head < this.#heads; head++) {
      this.#integers.set(other.integers(head, count), head * this.#capacity * this.#headSize);
      this.#scales.set(other.scales(head, count), head * this.#capacity);
    }
  }

  /** Copies of both for all heads, `[heads, count, headSize]` and `[heads, count]`. */
  copy(count: number): { readonly integers: Int16Array; readonly scales: Float32Array } {
    const integers = new Int16Array(this.#heads * count * this.#headSize);
    const scales = new Float32Array(this.#heads * count);
    for (let head = 0; head < this.#heads; head++) {
      integers.set(this.integers(head, count), head * count * this.#headSize);
      scales.set(this.scales(head, count), head * count);
    }
    return { integers, scales };
  }
}
