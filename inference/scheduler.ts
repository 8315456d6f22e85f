/**
 * Lets requests into an engine, several at once, in fair order, and never lets one wait for ever.
 *
 * Q1. At most `maxActive` requests are in the engine; the place of one is free when its work has ended, not when its caller has gone.
 * Q2. A request that is cancelled, timed out or closed while it waits leaves at once and never reaches the engine.
 * Q3. At most `maxWaiting` requests wait, so memory is bounded by that many bodies. Where they are full, whoever waits for fewer than another
 *     takes the place of the other's newest.
 * Q4. Keys take turns, and within a key requests are in order: a key's first request waits for none but the first ones of others and a place.
 * Q5. What does not fit the engine's memory waits until something else has ended, and nothing enters before it.
 *
 * @module
 */

import { InferenceError } from './errors.ts';
import { ServerError } from './server-errors.ts';

/** Most requests of one key. */
export type KeyLimits = {
  /** In the engine at once; what comes beyond waits. */
  readonly active: number;
  /** Waiting; beyond: `RATE_LIMITED`. */
  readonly waiting: number;
};

/** A request that wants its turn. */
export type Turn = {
  /** Whose it is; requests of one key stand in one line. */
  readonly key: string;
  /** Positions that it may take; 0 by default. */
  readonly positions?: number;
  /** Those of all keys by default. */
  readonly limits?: Partial<KeyLimits>;
  /** Fires when nobody waits for the answer any more. */
  readonly signal?: AbortSignal;
};

export type Scheduler = {
  /** Requests in the engine and before it, now. */
  readonly counts: { readonly active: number; readonly waiting: number };
  /**
   * Does a work when its turn has come.
   *
   * @param work - ends soon after its signal fires. It is done again where it failed for want of memory, so it has shown nothing of itself before
   * @throws {@link ServerError} `QUEUE_FULL` and `RATE_LIMITED` with `at.retryAfterSeconds`, `REQUEST_TIMEOUT`, `SERVER_CLOSED`
   * @throws {@link InferenceError} `CANCELLED`
   * @throws what `work` throws
   */
  run<T>(turn: Turn, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Refuses all that wait and all that come, and cancels those that run. */
  close(): void;
};

type Job = {
  readonly turn: Turn;
  readonly limits: KeyLimits;
  /** Aborted, with the caller's error as its reason, when nobody waits for the answer any more. */
  readonly stop: AbortController;
  /** Does the work; true where it is to be done again. */
  readonly attempt: (isLast: () => boolean) => Promise<boolean>;
};

/** Requests of one key. */
type Line = { readonly waiting: Job[]; active: number };

/** A key without limits of its own is held by those of the scheduler. */
const NO_LIMITS: KeyLimits = { active: Number.POSITIVE_INFINITY, waiting: Number.POSITIVE_INFINITY };

/** Answers that a new one counts for in the mean. */
const MEAN_OF = 8;

/** Opens a scheduler. */
export function openScheduler(options: openScheduler.Options = {}): Scheduler {
  return new FairScheduler(options);
}

export declare namespace openScheduler {
  type Options = {
    /** Requests in the engine at once; 32 by default. */
    readonly maxActive?: number;
    /** Requests that may wait besides; 256 by default. Beyond: `QUEUE_FULL`. */
    readonly maxWaiting?: number;
    /** Positions of the requests in the engine together; no limit by default. One that alone has more enters when no other is there. */
    readonly maxPositions?: number;
    /** Most milliseconds from arrival to answer; 240,000 by default, below what HTTP clients bear. */
    readonly timeoutMs?: number;
    /** Limits of a key that has none of its own: by default those of the scheduler. */
    readonly perKey?: Partial<KeyLimits>;
    /** Milliseconds of a monotonic clock, for the advice when to come again. */
    readonly now?: () => number;
  };
}

class FairScheduler implements Scheduler {
  readonly #maxActive: number;
  readonly #maxWaiting: number;
  readonly #maxPositions: number;
  readonly #timeoutMs: number;
  readonly #perKey: Partial<KeyLimits>;
  readonly #now: () => number;
  /** By key, the one whose turn is next first; a key that has nothing here is not kept. */
  readonly #lines = new Map<string, Line>();
  readonly #running = new Set<Job>();
  /** Did not fit, and are next (Q5). */
  readonly #unfit: Job[] = [];
  /** Until something has ended. */
  #isFull = false;
  #positions = 0;
  #waiting = 0;
  /** Running mean of the time that an answer takes. */
  #meanMs = 1000;
  #isClosed = false;

  constructor(options: openScheduler.Options) {
    this.#maxActive = options.maxActive ?? 32;
    this.#maxWaiting = options.maxWaiting ?? 256;
    this.#maxPositions = options.maxPositions ?? Number.POSITIVE_INFINITY;
    this.#timeoutMs = options.timeoutMs ?? 240_000;
    this.#perKey = options.perKey ?? {};
    this.#now = options.now ?? (() => performance.now());
  }

  get counts() {
    return { active: this.#running.size, waiting: this.#waiting + this.#unfit.length };
  }

  async run<T>(turn: Turn, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = turn;
    if (this.#isClosed) throw closing();
    if (signal?.aborted) throw cancelled(signal);
    const limits = { ...NO_LIMITS, ...this.#perKey, ...turn.limits };
    const stop = new AbortController();
    const onCancel = () => stop.abort(cancelled(signal));
    const timer = setTimeout(() => {
      stop.abort(new ServerError('REQUEST_TIMEOUT', `no answer within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    signal?.addEventListener('abort', onCancel, { once: true });
    try {
      return await new Promise<T>((resolve, reject) => {
        const attempt = async (isLast: () => boolean): Promise<boolean> => {
          try {
            resolve(await work(stop.signal));
          } catch (error) {
            if (!stop.signal.aborted && isOutOfMemory(error) && !isLast()) return true;
            reject(error);
          }
          return false;
        };
        const job: Job = { turn, limits, stop, attempt };
        stop.signal.addEventListener(
          'abort',
          () => {
            this.#forget(job);
            reject(stop.signal.reason);
          },
          { once: true },
        );
        this.#enter(job);
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onCancel);
    }
  }

  close(): void {
    this.#isClosed = true;
    const waiting = [...this.#lines.values()].flatMap((line) => line.waiting);
    for (const job of [...waiting, ...this.#unfit, ...this.#running]) job.stop.abort(closing());
  }

  /** @throws {@link ServerError} `QUEUE_FULL`, `RATE_LIMITED` */
  #enter(job: Job): void {
    const { key } = job.turn;
    const line = this.#lines.get(key) ?? { waiting: [], active: 0 };
    // It does not wait where it may go in at once: nobody is before it but keys at their own limits.
    const isNext = line.waiting.length === 0 && this.#unfit.length === 0 && this.#first() === undefined;
    const isImmediate = isNext && line.active < job.limits.active && this.#hasRoom(job);
    if (!isImmediate) {
      if (line.waiting.length >= job.limits.waiting) {
        const message = `${line.waiting.length} requests of this key wait already`;
        throw new ServerError('RATE_LIMITED', message, {
          at: { retryAfterSeconds: this.#adviceFor(line.waiting.length, Math.min(this.#maxActive, job.limits.active)) },
        });
      }
      if (this.#waiting >= this.#maxWaiting) this.#makeRoom(line);
    }
    this.#lines.set(key, line);
    line.waiting.push(job);
    this.#waiting += 1;
    this.#next();
  }

  /** Refuses the newest request of the longest line, where that is longer than the given one will be (Q3). */
  #makeRoom(line: Line): void {
    const full = () =>
      new ServerError('QUEUE_FULL', `${this.#waiting} requests wait already`, {
        at: { retryAfterSeconds: this.#adviceFor(this.#waiting, this.#maxActive) },
      });
    let longest = line;
    for (const other of this.#lines.values()) if (other.waiting.length > longest.waiting.length) longest = other;
    const newest = longest.waiting.at(-1);
    if (newest === undefined || longest.waiting.length <= line.waiting.length + 1) throw full();
    newest.stop.abort(full());
  }

  /** Seconds until so many have been answered, and one more. */
  #adviceFor(waiting: number, atOnce: number): number {
    return Math.max(1, Math.ceil(((waiting + 1) * this.#meanMs) / (1000 * Math.max(1, atOnce))));
  }

  /** Takes out a job that waits. */
  #forget(job: Job): void {
    const unfit = this.#unfit.indexOf(job);
    if (unfit >= 0) {
      this.#unfit.splice(unfit, 1);
      this.#next();
      return;
    }
    const { key } = job.turn;
    const line = this.#lines.get(key);
    const at = line?.waiting.indexOf(job) ?? -1;
    if (line === undefined || at < 0) return;
    line.waiting.splice(at, 1);
    this.#waiting -= 1;
    this.#tidy(key, line);
    // It may have been what the others waited for.
    this.#next();
  }

  #tidy(key: string, line: Line): void {
    if (line.waiting.length === 0 && line.active === 0) this.#lines.delete(key);
  }

  #hasRoom({ turn }: Job): boolean {
    if (this.#running.size === 0) return true;
    if (this.#isFull || this.#running.size >= this.#maxActive) return false;
    return this.#positions + (turn.positions ?? 0) <= this.#maxPositions;
  }

  #next(): void {
    for (;;) {
      const unfit = this.#unfit[0];
      const turn = unfit === undefined ? this.#first() : undefined;
      const job = unfit ?? turn?.job;
      if (job === undefined || !this.#hasRoom(job)) return;
      if (turn === undefined) this.#unfit.shift();
      else {
        turn.line.waiting.shift();
        this.#waiting -= 1;
        // Behind all others.
        this.#lines.delete(job.turn.key);
        this.#lines.set(job.turn.key, turn.line);
      }
      this.#start(job);
    }
  }

  /** The first request of the first key that may have one more in the engine. */
  #first(): { readonly line: Line; readonly job: Job } | undefined {
    for (const line of this.#lines.values()) {
      const [job] = line.waiting;
      if (job !== undefined && line.active < job.limits.active) return { line, job };
    }
    return undefined;
  }

  #start(job: Job): void {
    const { key, positions = 0 } = job.turn;
    const line = this.#lines.get(key) ?? { waiting: [], active: 0 };
    this.#lines.set(key, line);
    line.active += 1;
    this.#running.add(job);
    this.#positions += positions;
    const startedMs = this.#now();
    const isAlone = () => this.#running.size === 1;
    void job.attempt(isAlone).then((isUnfit) => {
      line.active -= 1;
      this.#running.delete(job);
      this.#positions -= positions;
      this.#isFull = isUnfit;
      if (isUnfit) this.#unfit.push(job);
      else if (!job.stop.signal.aborted) this.#meanMs += (this.#now() - startedMs - this.#meanMs) / MEAN_OF;
      this.#tidy(key, line);
      this.#next();
    });
  }
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof InferenceError && error.code === 'OUT_OF_MEMORY';
}

function cancelled(signal: AbortSignal | undefined): InferenceError {
  return new InferenceError('CANCELLED', 'the request was cancelled', { cause: signal?.reason });
}

function closing(): ServerError {
  return new ServerError('SERVER_CLOSED', 'server is closing');
}
