/**
 * Computes the rows of all sequences that are fed at the same time together: the weights are read once for all of them.
 *
 * B1. What a feed gets never depends on its neighbours: the bits of a row do not, and what a visitor does concerns its own feed alone.
 * B2. Between two batches the event loop gets its turn: whoever got logits may ask for the next before the next batch is made.
 * B3. A feed that was cancelled or whose sequence was closed is not in the next batch; nothing else ends it early.
 * B4. A batch that the decoder refuses is computed again feed by feed where it changed nothing, so that the refusal comes to its cause alone.
 *
 * @module
 */

import type { BatchTimes } from '../batch-times.ts';
import { throwIfCancelled } from '../decode.ts';
import { dealRows } from './batch-rows.ts';
import type { ExactDecoder, Row } from './exact-decoder.ts';
import type { HeldSequence } from './prefix-cache.ts';

/** Ids to append to a sequence, one feed of it at a time. */
export type Feed = {
  /** Its `ids` grow as rows are computed. */
  readonly held: HeldSequence;
  /** At least one. */
  readonly ids: readonly number[];
  /** Rows at the end whose logits are wanted. */
  readonly wanted: number;
  /** As in `RowAccess`. */
  readonly visit: (logits: Float32Array, index: number) => boolean | undefined;
  readonly signal: AbortSignal | undefined;
  /** Asked before each batch; what it throws ends the feed. */
  readonly assertOpen: () => void;
  /** Told when the decoder failed with rows of this feed. */
  readonly onFault: () => void;
};

type Job = Feed & {
  /** Ids whose rows are computed. */
  done: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/** A job's rows in a batch. */
type Part = {
  readonly job: Job;
  /** Indices in its ids. */
  readonly from: number;
  readonly to: number;
  /** Its first wanted row from `from` on, at most `to`. */
  readonly first: number;
  isEnded: boolean;
  /** What its visitor threw. */
  fault?: { readonly error: unknown };
};

/** The batches of one decoder. */
export class BatchLoop {
  readonly #decoder: ExactDecoder;
  readonly #times: BatchTimes;
  /** Oldest first. */
  #jobs: Job[] = [];
  #isScheduled = false;
  /** Rows of each sequence in the last batch, by handle. */
  #last: ReadonlyMap<number, number> = new Map();

  constructor(decoder: ExactDecoder, times: BatchTimes) {
    this.#decoder = decoder;
    this.#times = times;
  }

  /**
   * Computes the rows of a feed, in as many batches as it takes; ends early where `visit` says so.
   *
   * @throws InferenceError `CANCELLED`; what `visit` and `assertOpen` throw; what the decoder throws
   */
  feed(feed: Feed): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ ...feed, done: 0, resolve, reject });
      this.#schedule();
    });
  }

  /**
   * Others than this sequence in the last batch: their rows, and how many they are. Those that wait, where it was not in it itself, for then it
   * computed alone or for the first time.
   */
  beside(handle: number): { readonly rows: number; readonly sequences: number } {
    if (!this.#last.has(handle)) {
      const waiting = Math.min(this.#jobs.length, this.#decoder.maxRows - 1);
      return { rows: waiting, sequences: waiting };
    }
    let rows = 0;
    for (const [other, count] of this.#last) if (other !== handle) rows += count;
    return { rows, sequences: this.#last.size - 1 };
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
      if (this.#jobs.length > 0) this.#schedule();
    });
  }

  #turn(): void {
    this.#jobs = this.#jobs.filter(isWanted);
    if (this.#jobs.length === 0) return;
    const needs = this.#jobs.map(({ ids, done, wanted }) => ({
      rows: ids.length - done,
      isDecoding: wanted === ids.length,
    }));
    const dealt = dealRows(needs, this.#decoder.maxRows);
    const parts = this.#jobs.flatMap((job, i) => {
      const rows = dealt[i] ?? 0;
      return rows > 0 ? [partOf(job, rows)] : [];
    });
    this.#last = new Map(parts.map(({ job, from, to }) => [job.held.handle, to - from]));
    const ended = new Set(this.#computeAll(parts));
    this.#jobs = this.#jobs.filter((job) => !ended.has(job));
  }

  /** Returns the jobs that ended. */
  #computeAll(parts: readonly Part[]): Job[] {
    try {
      this.#compute(parts);
    } catch (error) {
      if (parts.length > 1 && parts.every(({ job }) => this.#isUnchanged(job))) {
        return parts.flatMap((part) => this.#computeAll([part]));
      }
      return parts.map(({ job }) => {
        job.onFault();
        job.reject(error);
        return job;
      });
    }
    return parts.flatMap((part) => (settle(part) ? [part.job] : []));
  }

  #isUnchanged({ held }: Job): boolean {
    try {
      return this.#decoder.lengthOf(held.handle) === held.ids.length;
    } catch {
      // An engine that is closed tells nothing; the error that is handed on is the first one.
      return false;
    }
  }

  #compute(parts: readonly Part[]): void {
    const rows: Row[] = [];
    const append = ({ job }: Part, from: number, to: number) => {
      for (let i = from; i < to; i++) rows.push({ sequence: job.held.handle, token: job.ids[i] as number });
    };
    // Rows with logits lie side by side: engines compute those in one go.
    for (const part of parts) append(part, part.from, part.first);
    const start = rows.length;
    for (const part of parts) append(part, part.first, part.to);
    const places = parts.flatMap((part) =>
      Array.from({ length: part.to - part.first }, (_, i) => ({ part, index: part.first + i })),
    );
    const wanted = places.map((_, i) => start + i);
    let left = places.length;
    let isWhole = true;
    let visiting = 0;
    const startedAt = performance.now();
    this.#decoder.forwardEach(rows, wanted, (logits, i) => {
      const shownAt = performance.now();
      const place = places[i];
      if (place !== undefined && !place.part.isEnded) {
        left -= 1;
        if (!show(place.part, logits, place.index)) {
          left -= place.part.to - place.index - 1;
          isWhole = false;
        }
      }
      visiting += performance.now() - shownAt;
      return left > 0;
    });
    for (const { job, from, to } of parts) {
      for (let i = from; i < to; i++) job.held.ids.push(job.ids[i] as number);
      job.done = to;
    }
    if (isWhole) this.#times.record(rows.length, places.length, performance.now() - startedAt - visiting);
  }
}

/** Whether a job is to be computed; else it has been ended. */
function isWanted(job: Job): boolean {
  try {
    throwIfCancelled(job.signal);
    job.assertOpen();
    return true;
  } catch (error) {
    job.reject(error);
    return false;
  }
}

function partOf(job: Job, rows: number): Part {
  const from = job.done;
  const to = from + rows;
  return { job, from, to, first: Math.min(to, Math.max(from, job.ids.length - job.wanted)), isEnded: false };
}

/** Shows a row to its visitor; whether more of this part is wanted. */
function show(part: Part, logits: Float32Array, index: number): boolean {
  try {
    part.isEnded = part.job.visit(logits, index) === false;
  } catch (error) {
    part.isEnded = true;
    part.fault = { error };
  }
  return !part.isEnded;
}

/** Answers a job whose rows are in; whether that was the last of it. */
function settle({ job, isEnded, fault }: Part): boolean {
  if (fault !== undefined) job.reject(fault.error);
  else if (isEnded || job.done === job.ids.length) job.resolve();
  else return false;
  return true;
}
