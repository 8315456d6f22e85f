/**
 * An exact decoder as sequences for decoding: what is fed to several of them at the same time is computed together (`batch-loop.ts`), and between
 * batches the event loop gets its turn. A beginning of a prompt that was computed before is not computed again.
 *
 * @module
 */

import { BatchTimes } from '../batch-times.ts';
import { InferenceError } from '../errors.ts';
import type { RowAccess, Sequence, Sequences } from '../sequences.ts';
import { BatchLoop } from './batch-loop.ts';
import { MOST_BESIDE } from './batch-rows.ts';
import type { ExactDecoder } from './exact-decoder.ts';
import { type HeldSequence, PrefixCache, type PrefixCacheLimits } from './prefix-cache.ts';
import { isIndex } from './rows.ts';

/** Sequences over a decoder; owns it. */
export function exactSequences(decoder: ExactDecoder, options: exactSequences.Options = {}): Sequences {
  const { prefixCache = true } = options;
  const limits = typeof prefixCache === 'object' ? prefixCache : prefixCache ? {} : { sequences: 0 };
  const cache = new PrefixCache(decoder, limits);
  const times = new BatchTimes();
  const engine: Engine = { decoder, cache, times, loop: new BatchLoop(decoder, times) };
  return {
    contextLength: decoder.shape.context,
    isConcurrent: true,
    open: (capacity, prompt = []) => new ExactSequence(engine, cache.open(capacity, prompt)),
    close: () => decoder.close(),
  };
}

export declare namespace exactSequences {
  type Options = {
    /** Whether sequences are kept after they are closed, and how many; true by default. */
    readonly prefixCache?: boolean | PrefixCacheLimits;
  };
}

/** What all sequences of a decoder share. */
type Engine = {
  readonly decoder: ExactDecoder;
  readonly cache: PrefixCache;
  readonly times: BatchTimes;
  readonly loop: BatchLoop;
};

/** A sequence in use; after `close` its handle is not its own any more. */
class ExactSequence implements Sequence {
  readonly rows: RowAccess;
  readonly #engine: Engine;
  readonly #held: HeldSequence;
  /** What `feed` hands out, used again. */
  #last: Float32Array | undefined;
  #isFeeding = false;
  #isIntact = true;
  #isClosed = false;

  constructor(engine: Engine, held: HeldSequence) {
    this.#engine = engine;
    this.#held = held;
    this.rows = {
      vocabulary: engine.decoder.shape.vocabulary,
      feedRows: (...args) => this.#feedRows(...args),
      truncate: (length) => this.#truncate(length),
      costOf: (rows) => this.#costOf(rows),
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
    this.#engine.cache.close(this.#held, this.#isIntact);
  }

  async #feedRows(
    ids: readonly number[],
    wanted: number,
    visit: (logits: Float32Array, index: number) => boolean | undefined,
    signal?: AbortSignal,
  ): Promise<void> {
    this.#check(ids, wanted);
    this.#isFeeding = true;
    try {
      await this.#engine.loop.feed({
        held: this.#held,
        ids,
        wanted,
        visit,
        signal,
        assertOpen: () => this.#throwIfClosed(),
        onFault: () => {
          this.#isIntact = false;
        },
      });
    } finally {
      this.#isFeeding = false;
    }
  }

  /** What the decoder would refuse is refused here: a batch is shared with others. */
  #check(ids: readonly number[], wanted: number): void {
    this.#throwIfClosed();
    if (this.#isFeeding) throw new TypeError('the sequence is being fed');
    if (ids.length === 0) throw new TypeError('expected at least one id');
    if (!Number.isSafeInteger(wanted) || wanted < 0 || wanted > ids.length) {
      throw new RangeError(`expected 0 to ${ids.length} rows with logits, got ${wanted}`);
    }
    const { vocabulary } = this.rows;
    const stranger = ids.find((id) => !isIndex(id, vocabulary));
    if (stranger !== undefined) {
      throw new InferenceError('REQUEST_MALFORMED', `token ${stranger} is outside a vocabulary of ${vocabulary}`);
    }
    const { capacity } = this.#held;
    if (this.length + ids.length > capacity) {
      throw new InferenceError('CONTEXT_EXCEEDED', `the sequence has room for ${capacity} positions`);
    }
  }

  /** What is computed ahead has its room in a batch, and its logits are kept: all sequences share both. */
  #costOf(rows: number): number {
    const { times, loop } = this.#engine;
    const beside = loop.beside(this.#held.handle);
    if (beside.sequences > 0 && rows - 1 > MOST_BESIDE / (beside.sequences + 1)) return Number.POSITIVE_INFINITY;
    return times.costOf(rows, beside.rows);
  }

  #truncate(length: number): void {
    this.#throwIfClosed();
    if (this.#isFeeding) throw new TypeError('the sequence is being fed');
    this.#engine.decoder.truncate(this.#held.handle, length);
    this.#held.ids.length = length;
  }

  #throwIfClosed(): void {
    if (this.#isClosed) throw new TypeError('the sequence is closed');
  }
}
