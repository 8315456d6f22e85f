/**
 * An exact decoder as sequences for decoding: prompts go in as many rows at once as the engine takes, and between them the event loop
 * gets its turn. A beginning of a prompt that was computed before is not computed again.
 *
 * @module
 */

import { BatchTimes } from '../batch-times.ts';
import { throwIfCancelled } from '../decode.ts';
import type { RowAccess, Sequence, Sequences } from '../sequences.ts';
import type { ExactDecoder } from './exact-decoder.ts';
import { type HeldSequence, PrefixCache, type PrefixCacheLimits } from './prefix-cache.ts';

/** Sequences over a decoder; owns it. */
export function exactSequences(decoder: ExactDecoder, options: exactSequences.Options = {}): Sequences {
  const { prefixCache = true } = options;
  const limits = typeof prefixCache === 'object' ? prefixCache : prefixCache ? {} : { sequences: 0 };
  const cache = new PrefixCache(decoder, limits);
  const times = new BatchTimes();
  return {
    contextLength: decoder.shape.context,
    open: (capacity, prompt = []) => new ExactSequence(decoder, cache, times, cache.open(capacity, prompt)),
    close: () => decoder.close(),
  };
}

export declare namespace exactSequences {
  type Options = {
    /** Whether sequences are kept after they are closed, and how many; true by default. */
    readonly prefixCache?: boolean | PrefixCacheLimits;
  };
}

/** A sequence in use; after `close` its handle is not its own any more. */
class ExactSequence implements Sequence {
  readonly rows: RowAccess;
  readonly #decoder: ExactDecoder;
  readonly #cache: PrefixCache;
  readonly #times: BatchTimes;
  readonly #held: HeldSequence;
  /** What `feed` hands out, used again. */
  #last: Float32Array | undefined;
  #isIntact = true;
  #isClosed = false;

  constructor(decoder: ExactDecoder, cache: PrefixCache, times: BatchTimes, held: HeldSequence) {
    this.#decoder = decoder;
    this.#cache = cache;
    this.#times = times;
    this.#held = held;
    this.rows = {
      vocabulary: decoder.shape.vocabulary,
      feedRows: (...args) => this.#feedRows(...args),
      truncate: (length) => this.#truncate(length),
      costOf: (rows) => times.costOf(rows),
    };
  }

  get length(): number {
    return this.#held.ids.length;
  }

  async feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    this.#last ??= new Float32Array(this.rows.vocabulary);
    const last = this.#last;
    const keep = (logits: Float32Array) => {
      last.set(logits);
      return true;
    };
    await this.#feedRows(ids, 1, keep, signal);
    return last;
  }

  close(): void {
    this.#throwIfClosed();
    this.#isClosed = true;
    this.#cache.close(this.#held, this.#isIntact);
  }

  async #feedRows(
    ids: readonly number[],
    wanted: number,
    visit: (logits: Float32Array, index: number) => boolean | undefined,
    signal?: AbortSignal,
  ): Promise<void> {
    if (ids.length === 0) throw new TypeError('expected at least one id');
    if (!Number.isSafeInteger(wanted) || wanted < 0 || wanted > ids.length) {
      throw new RangeError(`expected 0 to ${ids.length} rows with logits, got ${wanted}`);
    }
    const { maxRows } = this.#decoder;
    for (let at = 0; at < ids.length; at += maxRows) {
      // The kernels block this thread: a cancellation that came meanwhile is waiting in the queue.
      await turn();
      throwIfCancelled(signal);
      this.#throwIfClosed();
      const part = ids.slice(at, at + maxRows);
      const first = Math.min(part.length, Math.max(0, ids.length - wanted - at));
      if (!this.#forward(part, first, (logits, row) => visit(logits, at + row))) return;
    }
  }

  /** Shows the logits of the rows from `first` on; returns whether all were seen. */
  #forward(
    ids: readonly number[],
    first: number,
    visit: (logits: Float32Array, row: number) => boolean | undefined,
  ): boolean {
    const { handle } = this.#held;
    const rows = ids.map((token) => ({ sequence: handle, token }));
    const wanted = Array.from({ length: ids.length - first }, (_, i) => first + i);
    let seen = 0;
    let visiting = 0;
    // What a visitor throws comes after the rows are in.
    let fault: { readonly error: unknown } | undefined;
    const show = (logits: Float32Array, index: number) => {
      const startedAt = performance.now();
      try {
        if (visit(logits, first + index) === false) return false;
      } catch (error) {
        fault = { error };
        return false;
      }
      seen += 1;
      visiting += performance.now() - startedAt;
      return true;
    };
    const startedAt = performance.now();
    try {
      this.#decoder.forwardEach(rows, wanted, show);
    } catch (error) {
      this.#isIntact = false;
      throw error;
    }
    this.#held.ids.push(...ids);
    if (fault !== undefined) throw fault.error;
    const isWhole = seen === wanted.length;
    if (isWhole) this.#times.record(ids.length, seen, performance.now() - startedAt - visiting);
    return isWhole;
  }

  #truncate(length: number): void {
    this.#throwIfClosed();
    this.#decoder.truncate(this.#held.handle, length);
    this.#held.ids.length = length;
  }

  #throwIfClosed(): void {
    if (this.#isClosed) throw new TypeError('the sequence is closed');
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
