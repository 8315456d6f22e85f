/**
 * Computes ids that may come next together with those that came, where one batch of several rows costs less than several of one.
 *
 * A1. The logits that answer a call are those after exactly the ids fed so far: what was computed after other ids is cut off first.
 * A2. A drafter's ids cost time only: those that cannot be fed are left out.
 *
 * @module
 */

import type { LogitSource } from './decode.ts';
import type { Sequence } from './sequences.ts';

/** Proposes ids that may come next. Never decides anything: a wrong proposal costs time only. One drafter serves one sequence. */
export type Drafter = {
  /**
   * @param ids - all ids of the sequence so far, prompt included
   * @param most - at least 1
   * @returns at most `most` ids, may be none
   */
  propose(ids: readonly number[], most: number): readonly number[];
  /** Told for each id that came where one was proposed whether it was the proposed one. */
  observe?(wasRight: boolean): void;
};

/** What was computed so far. */
export type AheadCounts = {
  /** Rows, prompt included. */
  readonly rows: number;
  /** Ids that were computed before they came, and those of them that came. */
  readonly proposed: number;
  readonly accepted: number;
  /** Batches. */
  readonly calls: number;
  /** Positions of the prompt that the sequence held at the start. */
  readonly reused: number;
};

/** A source that tells what it computed. */
export type AheadSource = LogitSource & { readonly counts: AheadCounts };

/** Most ids of one proposal: with the asked one as many rows as the engines compute at once. The logits of all are held until they are asked for. */
const MOST = 63;

/**
 * Logits over a sequence, valid until the next call; what the sequence holds of the prompt at the start is not fed again. Where the sequence has no `rows`, nothing is
 * computed ahead. The logits are the same bits with any drafter.
 *
 * @param sequence - empty, or as `open` gave it for the prompt that is fed first; closing it stays with the caller
 */
export function aheadSource(sequence: Sequence, options: aheadSource.Options = {}): AheadSource {
  return new Ahead(sequence, options);
}

export declare namespace aheadSource {
  type Options = {
    /** None by default. */
    readonly drafter?: Drafter;
    /** Positions that the sequence has room for; nothing is computed ahead where it is absent. The last one is never fed ahead: nobody asks what follows it. */
    readonly capacity?: number;
    /** Most ids of one proposal, 63 by default. */
    readonly most?: number;
  };
}

class Ahead implements AheadSource {
  readonly counts = { rows: 0, proposed: 0, accepted: 0, calls: 0, reused: 0 };
  readonly #sequence: Sequence;
  readonly #drafter: Drafter | undefined;
  readonly #capacity: number;
  readonly #most: number;
  /** All ids fed. */
  readonly #ids: number[] = [];
  /** Positions of the sequence before those of `#ahead`. */
  #settled: number;
  readonly #buffers: Float32Array[] = [];
  /** Proposed ids that the sequence holds, and the logits after each. */
  #ahead: readonly { readonly id: number; readonly logits: Float32Array }[] = [];

  constructor(sequence: Sequence, { drafter, capacity = 0, most = MOST }: aheadSource.Options) {
    this.#sequence = sequence;
    this.#drafter = drafter;
    this.#capacity = capacity;
    this.#most = most;
    this.#settled = sequence.length;
    this.counts.reused = sequence.length;
  }

  async feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    if (ids.length === 0) throw new TypeError('expected at least one id');
    this.#ids.push(...ids);
    const right = this.#settle(ids);
    if (right !== undefined) return right;
    const { rows } = this.#sequence;
    const start = Math.min(this.#settled, this.#ids.length - 1);
    if (this.#sequence.length > start) {
      if (rows === undefined) throw new TypeError('the sequence holds more than was fed');
      rows.truncate(start);
    }
    const asked = this.#ids.slice(start);
    const proposed = this.#propose();
    this.counts.rows += asked.length + proposed.length;
    this.counts.proposed += proposed.length;
    this.counts.calls += 1;
    this.#settled = this.#ids.length;
    if (rows === undefined || proposed.length === 0) return this.#sequence.feed(asked, signal);
    const answers: Float32Array[] = [];
    const wanted = proposed.length + 1;
    const keep = (logits: Float32Array) => answers.push(this.#copy(logits, answers.length)) > 0;
    await rows.feedRows([...asked, ...proposed], wanted, keep, signal);
    const [answer, ...others] = answers;
    if (answer === undefined) throw new TypeError('the sequence gave no logits');
    this.#ahead = others.map((logits, i) => ({ id: proposed[i] as number, logits }));
    return answer;
  }

  /** Keeps logits in the buffer of their place in the batch: those of the batch before are of no use any more. */
  #copy(logits: Float32Array, place: number): Float32Array {
    const buffer = this.#buffers[place] ?? new Float32Array(logits.length);
    this.#buffers[place] = buffer;
    buffer.set(logits);
    return buffer;
  }

  /** Compares what was computed ahead with what came; returns the logits if all of it was there, else forgets the rest. */
  #settle(ids: readonly number[]): Float32Array | undefined {
    const ahead = this.#ahead;
    let right = 0;
    for (const id of ids) {
      const next = ahead[right];
      if (next === undefined) break;
      this.#drafter?.observe?.(next.id === id);
      if (next.id !== id) break;
      right += 1;
    }
    this.counts.accepted += right;
    this.#settled += right;
    const isWhole = right === ids.length;
    this.#ahead = isWhole ? ahead.slice(right) : [];
    return isWhole ? ahead[right - 1]?.logits : undefined;
  }

  #propose(): readonly number[] {
    const { rows } = this.#sequence;
    const most = Math.min(this.#most, this.#capacity - 1 - this.#ids.length);
    if (rows === undefined || this.#drafter === undefined || !(most >= 1)) return [];
    const proposed = this.#drafter.propose(this.#ids, most).slice(0, most);
    const isId = (id: number) => Number.isSafeInteger(id) && id >= 0 && id < rows.vocabulary;
    const end = proposed.findIndex((id) => !isId(id));
    return end < 0 ? proposed : proposed.slice(0, end);
  }
}
