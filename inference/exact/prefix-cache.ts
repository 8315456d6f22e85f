/**
 * Sequences that were closed, kept for prompts that begin as they do, and those in use as long as they are. The bits of a row never depend on
 * how the rows before it were computed, so a prompt that starts with a copy gives the same logits.
 *
 * P1. The ids of a kept sequence are exactly those its cache was computed from.
 * P2. A kept sequence belongs to nobody: it is handed out once, or copied. One in use is copied only.
 * P3. Kept sequences never are the reason why a new one finds no room.
 *
 * Who may ask the engine can tell from the time of an answer whether its prompt's beginning was asked before.
 *
 * @module
 */

import { InferenceError } from '../errors.ts';
import type { ExactDecoder } from './exact-decoder.ts';
import type { ExactShape } from './exact-model.ts';

/** A sequence of the decoder, and the ids fed to it. */
export type HeldSequence = { readonly handle: number; readonly capacity: number; readonly ids: number[] };

/** How much is kept; 0 of either keeps nothing. */
export type PrefixCacheLimits = {
  /** 8 by default. */
  readonly sequences?: number;
  /** 64 MiB by default. */
  readonly bytes?: number;
};

const SEQUENCES = 8;
const BYTES = 64 * 2 ** 20;

/** Closed sequences of one decoder. */
export class PrefixCache {
  readonly #decoder: ExactDecoder;
  readonly #sequences: number;
  readonly #bytes: number;
  /** The least recently closed first. */
  readonly #kept: HeldSequence[] = [];
  readonly #inUse = new Set<HeldSequence>();

  constructor(decoder: ExactDecoder, limits: PrefixCacheLimits = {}) {
    this.#decoder = decoder;
    this.#sequences = limits.sequences ?? SEQUENCES;
    this.#bytes = limits.bytes ?? BYTES;
  }

  /** Sequences kept, and their bytes in the engine. */
  get size(): { readonly sequences: number; readonly bytes: number } {
    return { sequences: this.#kept.length, bytes: this.#bytesKept() };
  }

  /**
   * Starts a sequence with the longest beginning of a prompt that is kept, always without its last id: somebody wants the logits after it.
   *
   * @throws {@link InferenceError} as `openSequence` of the decoder; `OUT_OF_MEMORY` only when nothing is kept any more
   */
  open(capacity: number, prompt: readonly number[]): HeldSequence {
    const held = this.#start(capacity, prompt);
    this.#inUse.add(held);
    return held;
  }

  #start(capacity: number, prompt: readonly number[]): HeldSequence {
    const most = Math.min(capacity, prompt.length - 1);
    let source: HeldSequence | undefined;
    let length = 0;
    for (const kept of this.#kept) {
      const common = Math.min(most, commonLength(kept.ids, prompt));
      if (common > 0 && common >= length) {
        source = kept;
        length = common;
      }
    }
    // Many requests at once with one beginning: it is computed for the first of them.
    for (const used of this.#isOff ? [] : this.#inUse) {
      const common = Math.min(most, commonLength(used.ids, prompt));
      if (common > length && this.#isExact(used)) {
        source = used;
        length = common;
      }
    }
    const isKept = source !== undefined && !this.#inUse.has(source);
    // Nothing of it is lost.
    if (isKept && source?.ids.length === length && source.capacity >= capacity) return this.#take(source);
    const handle = this.#openSequence(capacity, source);
    if (typeof handle !== 'number') {
      const taken = this.#take(handle);
      this.#cut(taken, length);
      return taken;
    }
    if (source === undefined || (isKept && !this.#kept.includes(source))) return { handle, capacity, ids: [] };
    this.#decoder.copy(source.handle, handle, length);
    return { handle, capacity, ids: source.ids.slice(0, length) };
  }

  /**
   * Ends a sequence that `open` gave; it is kept if it can be of use.
   *
   * @param isIntact - whether every call that grew it was answered
   */
  close(held: HeldSequence, isIntact: boolean): void {
    const { handle, ids } = held;
    this.#inUse.delete(held);
    if (
      !isIntact ||
      ids.length === 0 ||
      !this.#isExact(held) ||
      this.#isOff ||
      this.#bytesOf(ids.length) > this.#bytes
    ) {
      this.#decoder.closeSequence(handle);
      return;
    }
    const known = this.#kept.find((kept) => commonLength(kept.ids, ids) === ids.length);
    if (known !== undefined) {
      this.#decoder.closeSequence(handle);
      this.#kept.push(this.#take(known));
      return;
    }
    for (const kept of this.#kept.filter((one) => commonLength(one.ids, ids) === one.ids.length)) this.#drop(kept);
    const fitting = this.#fitting(held);
    while (this.#kept.length >= this.#sequences || this.#bytesKept() + this.#bytesOf(fitting.capacity) > this.#bytes) {
      const victim = this.#victim(fitting);
      if (victim === undefined) {
        this.#decoder.closeSequence(fitting.handle);
        return;
      }
      this.#drop(victim);
    }
    this.#kept.push(fitting);
  }

  /**
   * A handle, or the kept `source` itself where only its room is left for the new sequence.
   *
   * @throws {@link InferenceError} as `openSequence`
   */
  #openSequence(capacity: number, source: HeldSequence | undefined): number | HeldSequence {
    for (;;) {
      try {
        return this.#decoder.openSequence(capacity);
      } catch (error) {
        const isFull = error instanceof InferenceError && error.code === 'OUT_OF_MEMORY';
        const victim = this.#kept.find((kept) => kept !== source) ?? this.#kept[0];
        if (!isFull || victim === undefined) throw error;
        if (victim === source && victim.capacity >= capacity) return victim;
        this.#drop(victim);
      }
    }
  }

  /** The sequence in room for its own positions, where it has much more than it uses and a smaller one can be had. */
  #fitting(held: HeldSequence): HeldSequence {
    const { handle, ids } = held;
    if (this.#bytesOf(held.capacity) < 2 * this.#bytesOf(ids.length)) return held;
    let smaller: number;
    try {
      smaller = this.#decoder.openSequence(ids.length);
    } catch (error) {
      if (error instanceof InferenceError && error.code === 'OUT_OF_MEMORY') return held;
      throw error;
    }
    this.#decoder.copy(handle, smaller, ids.length);
    this.#decoder.closeSequence(handle);
    return { handle: smaller, capacity: ids.length, ids };
  }

  get #isOff(): boolean {
    return this.#sequences < 1 || this.#bytes < 1;
  }

  /** Whether its cache holds what its ids say (P1). */
  #isExact({ handle, ids }: HeldSequence): boolean {
    return this.#decoder.lengthOf(handle) === ids.length;
  }

  /** The oldest of which a newer one holds more than half, else the oldest. */
  #victim(newest: HeldSequence): HeldSequence | undefined {
    const all = [...this.#kept, newest];
    const isCovered = (kept: HeldSequence, at: number) =>
      all.slice(at + 1).some((newer) => 2 * commonLength(kept.ids, newer.ids) > kept.ids.length);
    return this.#kept.find(isCovered) ?? this.#kept[0];
  }

  #take(kept: HeldSequence): HeldSequence {
    this.#kept.splice(this.#kept.indexOf(kept), 1);
    return kept;
  }

  #drop(kept: HeldSequence): void {
    this.#decoder.closeSequence(this.#take(kept).handle);
  }

  #cut({ handle, ids }: HeldSequence, length: number): void {
    this.#decoder.truncate(handle, length);
    ids.length = length;
  }

  #bytesKept(): number {
    return this.#kept.reduce((sum, { capacity }) => sum + this.#bytesOf(capacity), 0);
  }

  #bytesOf(positions: number): number {
    return cacheBytes(this.#decoder.shape, positions);
  }
}

/** Bytes of keys, values and scales of so many positions as the engines hold them, who round positions and heads up to eights. */
export function cacheBytes({ layers, kvHeads, headSize }: ExactShape, positions: number): number {
  const up = (n: number) => Math.ceil(n / 8) * 8;
  return 2 * layers * kvHeads * up(positions) * (2 * up(headSize) + 4);
}

/** How many ids two texts have in common at their beginnings. */
function commonLength(one: readonly number[], other: readonly number[]): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one[length] === other[length]) length++;
  return length;
}
