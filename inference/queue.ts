/**
 * Lets requests into an engine one at a time, in order, and never lets one wait for ever.
 *
 * Q1. At most one request is in the engine; the next enters when the engine has answered or given up, not before.
 * Q2. A request that is cancelled, timed out or closed while it waits leaves at once and never reaches the engine.
 * Q3. At most `maxWaiting` requests wait, so memory is bounded by that many bodies.
 *
 * @module
 */

import type { Completion, CompletionRequest, Engine } from './engine.ts';
import { InferenceError } from './errors.ts';
import { ServerError } from './server-errors.ts';

type Job = {
  readonly request: CompletionRequest;
  /** Aborted, with the caller's error as its reason, when nobody waits for the answer any more. */
  readonly stop: AbortController;
  readonly resolve: (completion: Completion) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * An engine behind a queue; {@link Engine.close} refuses those that wait, cancels the one that runs, and then closes the
 * engine.
 *
 * @param engine - closed by the queue's `close`
 */
export function openQueue(engine: Engine, options: openQueue.Options = {}): Engine {
  return new QueuedEngine(engine, options);
}

export declare namespace openQueue {
  type Options = {
    /** Requests that may wait besides the one that runs; 32 by default. Beyond: `QUEUE_FULL`. */
    readonly maxWaiting?: number;
    /** Most milliseconds from arrival to answer; 240,000 by default, below what HTTP clients bear. */
    readonly timeoutMs?: number;
    /** Milliseconds of a monotonic clock, for the advice when to come again. */
    readonly now?: () => number;
  };
}

class QueuedEngine implements Engine {
  readonly #engine: Engine;
  readonly #maxWaiting: number;
  readonly #timeoutMs: number;
  readonly #now: () => number;
  readonly #waiting: Job[] = [];
  #running: Job | undefined;
  /** Running mean of the time that an answer takes. */
  #meanMs = 1000;
  #closed = false;

  constructor(engine: Engine, options: openQueue.Options) {
    this.#engine = engine;
    this.#maxWaiting = options.maxWaiting ?? 32;
    this.#timeoutMs = options.timeoutMs ?? 240_000;
    this.#now = options.now ?? (() => performance.now());
  }

  get identity() {
    return this.#engine.identity;
  }

  async complete(request: CompletionRequest, signal?: AbortSignal): Promise<Completion> {
    if (this.#closed) throw new ServerError('SERVER_CLOSED', 'server is closing');
    if (signal?.aborted) throw cancelled();
    if (this.#running !== undefined && this.#waiting.length >= this.#maxWaiting) {
      const retryAfterSeconds = Math.max(1, Math.ceil(((this.#waiting.length + 1) * this.#meanMs) / 1000));
      throw new ServerError('QUEUE_FULL', `${this.#waiting.length} requests wait already`, {
        at: { retryAfterSeconds },
      });
    }
    const stop = new AbortController();
    const onCancel = () => stop.abort(cancelled());
    const timer = setTimeout(() => {
      stop.abort(new ServerError('REQUEST_TIMEOUT', `no answer within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    signal?.addEventListener('abort', onCancel, { once: true });
    try {
      return await new Promise<Completion>((resolve, reject) => {
        const job: Job = { request, stop, resolve, reject };
        stop.signal.addEventListener('abort', () => this.#drop(job), { once: true });
        this.#waiting.push(job);
        this.#next();
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onCancel);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const closing = new ServerError('SERVER_CLOSED', 'server is closing');
    for (const job of [...this.#waiting]) job.stop.abort(closing);
    this.#running?.stop.abort(closing);
    await this.#engine.close();
  }

  #drop(job: Job): void {
    const at = this.#waiting.indexOf(job);
    if (at >= 0) this.#waiting.splice(at, 1);
    job.reject(job.stop.signal.reason);
  }

  #next(): void {
    if (this.#running !== undefined) return;
    const job = this.#waiting.shift();
    if (job === undefined) return;
    this.#running = job;
    const startedMs = this.#now();
    this.#engine
      .complete(job.request, job.stop.signal)
      .then((completion) => {
        this.#meanMs += (this.#now() - startedMs - this.#meanMs) / 8;
        job.resolve(completion);
      }, job.reject)
      .finally(() => {
        this.#running = undefined;
        this.#next();
      });
  }
}

function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the request was cancelled');
}
