/**
 * An engine whose model lies in a child process, and which comes back after that process dies.
 *
 * E1. A request that was in a process when it ended fails with `ENGINE_DIED`; it is never sent again by itself, for it
 *     may be what killed the process.
 * E2. A new process starts at once, but after {@link MAX_DEATHS} deaths without one answer only when the next request
 *     comes, so that a broken machine is not kept busy.
 * E3. A new process must have the digests of the first: receipts of one server never speak of two models.
 *
 * @module
 */

import { type ChildEntry, childEntry } from '../attest/core/entry.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { ModelLocation } from './child-messages.ts';
import {
  type CheckingEngine,
  type Completion,
  type CompletionRequest,
  type Delta,
  type Embeddings,
  isSameModel,
  type ModelIdentity,
} from './engine.ts';
import { EngineProcess, type ProcessOptions } from './engine-process.ts';
import { ServerError } from './server-errors.ts';

/** Deaths in a row, without one answer between, after which a process is started on demand only. */
export const MAX_DEATHS = 3;

/** An engine in a child process. How many requests it gets at once is the caller's to bound, see `scheduler.ts`. */
export type ChildEngine = CheckingEngine & {
  /** Whether a process is up with its model open. */
  readonly isReady: boolean;
  /** Process id of that process. */
  readonly pid: number | undefined;
};

/**
 * Starts the process and opens the model in it.
 *
 * @throws {@link ModelError} why the model cannot be served
 * @throws {@link ServerError} `ENGINE_UNAVAILABLE` if the process does not start
 */
export async function openChildEngine(
  model: ModelLocation,
  options: openChildEngine.Options = {},
): Promise<ChildEngine> {
  const closing = new AbortController();
  options.signal?.addEventListener('abort', () => closing.abort(), { once: true });
  if (options.signal?.aborted) closing.abort();
  const settings: ProcessOptions = {
    model,
    entry: options.entry ?? childEntry(import.meta.url, './child-main.ts'),
    startTimeoutMs: options.startTimeoutMs ?? 600_000,
    cancelGraceMs: options.cancelGraceMs ?? 10_000,
    onProgress: options.onProgress ?? (() => {}),
    closing: closing.signal,
  };
  return new RestartingEngine(settings, await EngineProcess.start(settings), closing);
}

export declare namespace openChildEngine {
  type Options = {
    /** What to run; `child-main.ts` by default. */
    readonly entry?: ChildEntry;
    /** Most milliseconds until the model is open; ten minutes by default, since the first start converts the model. */
    readonly startTimeoutMs?: number;
    /** Milliseconds that a cancelled request has to end before its process is killed; 10,000 by default. */
    readonly cancelGraceMs?: number;
    readonly onProgress?: (message: string) => void;
    /** Ends a process that is not ready yet, and keeps others from being started. */
    readonly signal?: AbortSignal;
  };
}

class RestartingEngine implements ChildEngine {
  readonly identity: ModelIdentity;
  readonly #settings: ProcessOptions;
  /** The process that is up, or one that starts; undefined after a death that nothing follows. */
  #next: Promise<EngineProcess> | undefined;
  #up: EngineProcess | undefined;
  #deaths = 0;
  readonly #closing: AbortController;

  constructor(settings: ProcessOptions, first: EngineProcess, closing: AbortController) {
    this.#settings = settings;
    this.#closing = closing;
    this.identity = first.identity;
    this.#next = Promise.resolve(first);
    this.#watch(first);
  }

  get isReady(): boolean {
    return this.#up !== undefined;
  }

  get pid(): number | undefined {
    return this.#up?.pid;
  }

  async complete(
    request: CompletionRequest,
    signal?: AbortSignal,
    onDelta?: (delta: Delta) => void,
  ): Promise<Completion> {
    return this.#ask((process) => process.complete(request, signal, onDelta));
  }

  async embed(texts: readonly string[], signal?: AbortSignal): Promise<Embeddings> {
    return this.#ask((process) => process.embed(texts, signal));
  }

  async check(
    request: CompletionRequest,
    claim: readonly number[],
    signal?: AbortSignal,
  ): Promise<Completion | PartialAnswer> {
    return this.#ask((process) => process.check(request, claim, signal));
  }

  async #ask<T>(question: (process: EngineProcess) => Promise<T>): Promise<T> {
    if (this.#closing.signal.aborted) throw new ServerError('SERVER_CLOSED', 'server is closing');
    this.#next ??= this.#restart();
    const answer = await question(await this.#next);
    this.#deaths = 0;
    return answer;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const last = this.#next;
    this.#next = undefined;
    // A start that fails now has nobody left to tell.
    const running = await last?.catch(() => undefined);
    await running?.close();
  }

  #watch(running: EngineProcess): void {
    this.#up = running;
    void running.ended.then(() => {
      this.#up = undefined;
      this.#next = undefined;
      this.#deaths += 1;
      if (!this.#closing.signal.aborted && this.#deaths < MAX_DEATHS) this.#next = this.#restart();
    });
  }

  #restart(): Promise<EngineProcess> {
    const starting = EngineProcess.start(this.#settings).then(async (fresh) => {
      if (this.#closing.signal.aborted || !isSameModel(fresh.identity, this.identity)) {
        await fresh.close();
        if (this.#closing.signal.aborted) throw new ServerError('SERVER_CLOSED', 'server is closing');
        throw new ServerError('ENGINE_CHANGED', 'the model file is not the one this server was started with');
      }
      this.#watch(fresh);
      return fresh;
    });
    // The failure reaches whoever asks; the next request starts anew.
    starting.catch(() => {
      if (this.#next === starting) this.#next = undefined;
    });
    return starting;
  }
}
