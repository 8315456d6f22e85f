/**
 * One process with a model in it, from start to end: never restarted here.
 *
 * The model is computed apart from the HTTP event loop, so that a long prompt never stops health checks, and a fault of
 * native code takes one request with it, not the server.
 *
 * @module
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ChildEntry } from '../attest/core/entry.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import { type FromChild, fromWireError, type ModelLocation, type ToChild } from './child-messages.ts';
import type { Completion, CompletionRequest, Delta, Embeddings, ModelIdentity } from './engine.ts';
import { InferenceError } from './errors.ts';
import { ServerError } from './server-errors.ts';

/** Variables of the environment that the engine's process may see: no key and no password of the server's. */
const ENVIRONMENT = ['HOME', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'PATH', 'TMPDIR', 'TZ'];

/** Characters of standard error that are kept for the message when a process does not start. */
const STDERR_TAIL = 2048;

/** How to start a process. */
export type ProcessOptions = {
  readonly model: ModelLocation;
  readonly entry: ChildEntry;
  /** Most milliseconds until the model is open. */
  readonly startTimeoutMs: number;
  /** Milliseconds that a cancelled request has to end before the process is killed. */
  readonly cancelGraceMs: number;
  readonly onProgress: (message: string) => void;
  /** Aborted when nobody wants the process any more, which ends one that is not ready yet. */
  readonly closing: AbortSignal;
};

type Answer = Completion | PartialAnswer | Embeddings;

type Pending = {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly onDelta: ((delta: Delta) => void) | undefined;
};

/** A process whose model is open. */
export class EngineProcess {
  readonly identity: ModelIdentity;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #cancelGraceMs: number;
  readonly #pending = new Map<number, Pending>();
  #jobs = 0;
  #end: string | undefined;

  private constructor(child: ChildProcess, identity: ModelIdentity, cancelGraceMs: number) {
    this.#child = child;
    this.identity = identity;
    this.#cancelGraceMs = cancelGraceMs;
    child.on('message', (message: FromChild) => this.#take(message));
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#end = describeEnd(code, signal);
        for (const { reject } of this.#pending.values()) reject(this.#died());
        this.#pending.clear();
        resolve();
      });
    });
  }

  /**
   * Starts a process and waits until its model is open.
   *
   * @throws {@link ModelError} why the model cannot be served
   * @throws {@link ServerError} `ENGINE_UNAVAILABLE` if the process ends or says nothing before that, `SERVER_CLOSED`
   *   if it is not wanted any more
   */
  static async start(options: ProcessOptions): Promise<EngineProcess> {
    const child = fork(fileURLToPath(options.entry.url), {
      execArgv: options.entry.execArgv,
      env: Object.fromEntries(ENVIRONMENT.map((name) => [name, process.env[name]])),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_TAIL);
    });
    try {
      const identity = await handshake(child, options);
      return new EngineProcess(child, identity, options.cancelGraceMs);
    } catch (error) {
      child.kill('SIGKILL');
      if (!(error instanceof ServerError) || stderr === '') throw error;
      throw new ServerError(error.code, `${error.message}: ${stderr.trim()}`, { at: error.at, cause: error });
    }
  }

  /** Process id. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Whether the process still runs. */
  get isAlive(): boolean {
    return this.#end === undefined;
  }

  /**
   * Computes one completion.
   *
   * @throws {@link InferenceError} what the engine refuses
   * @throws {@link ServerError} `ENGINE_DIED` if the process ends first
   */
  async complete(
    request: CompletionRequest,
    signal?: AbortSignal,
    onDelta?: (delta: Delta) => void,
  ): Promise<Completion> {
    const deltas = onDelta !== undefined;
    return this.#ask<Completion>((job) => ({ type: 'complete', job, request, deltas }), signal, onDelta);
  }

  /** Computes one completion along a claimed output; throws as {@link EngineProcess.complete}. */
  async check(
    request: CompletionRequest,
    claim: readonly number[],
    signal?: AbortSignal,
  ): Promise<Completion | PartialAnswer> {
    // What lies beyond the longest answer is found by whoever compares.
    const part = claim.slice(0, request.maxTokens);
    return this.#ask<Completion | PartialAnswer>((job) => ({ type: 'check', job, request, claim: part }), signal);
  }

  /** Computes the vectors of texts; throws as {@link EngineProcess.complete}. */
  async embed(texts: readonly string[], signal?: AbortSignal): Promise<Embeddings> {
    return this.#ask<Embeddings>((job) => ({ type: 'embed', job, texts }), signal);
  }

  /** The answer to a message is of the message's own kind: both ends are one release. */
  async #ask<A extends Answer>(
    question: (job: number) => ToChild,
    signal: AbortSignal | undefined,
    onDelta?: (delta: Delta) => void,
  ): Promise<A> {
    if (signal?.aborted) throw new InferenceError('CANCELLED', 'the request was cancelled');
    if (!this.isAlive) throw this.#died();
    const job = this.#jobs++;
    let grace: NodeJS.Timeout | undefined;
    const onAbort = () => {
      this.#send({ type: 'cancel', job });
      grace = setTimeout(() => this.kill(), this.#cancelGraceMs);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const answer = await new Promise<Answer>((resolve, reject) => {
        this.#pending.set(job, { resolve, reject, onDelta });
        this.#send(question(job));
      });
      return answer as A;
    } finally {
      this.#pending.delete(job);
      clearTimeout(grace);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Ends the process: asks first, kills after `graceMs`. */
  async close(graceMs = 5000): Promise<void> {
    if (!this.isAlive) return;
    this.#send({ type: 'close' });
    const timer = setTimeout(() => this.kill(), graceMs);
    await this.ended;
    clearTimeout(timer);
  }

  /** Ends the process at once. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #send(message: ToChild): void {
    // A channel that broke is followed by `exit`, which settles what waits.
    this.#child.send(message, () => {});
  }

  #take(message: FromChild): void {
    // Nothing more reaches whoever cancelled.
    if (message.type === 'delta') this.#pending.get(message.job)?.onDelta?.(message.delta);
    if (message.type === 'done') this.#pending.get(message.job)?.resolve(message.answer);
    if (message.type === 'refused') this.#pending.get(message.job)?.reject(fromWireError(message.error));
  }

  #died(): ServerError {
    return new ServerError('ENGINE_DIED', `the engine's process ended (${this.#end ?? 'unknown'}); try again`);
  }
}

function handshake(child: ChildProcess, options: ProcessOptions): Promise<ModelIdentity> {
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: unknown) =>
      settle(() => reject(new ServerError('ENGINE_UNAVAILABLE', message, { cause })));
    const onClosing = () => settle(() => reject(new ServerError('SERVER_CLOSED', 'server is closing')));
    const timer = setTimeout(
      () => fail(`the engine's process was not ready within ${options.startTimeoutMs} ms`),
      options.startTimeoutMs,
    );
    const onMessage = (message: FromChild) => {
      if (message.type === 'progress') options.onProgress(message.message);
      if (message.type === 'ready') settle(() => resolve(message.identity));
      if (message.type === 'failed') settle(() => reject(fromWireError(message.error)));
    };
    const onExit = (code: number | null, signal: string | null) =>
      fail(`the engine's process ended before it was ready (${describeEnd(code, signal)})`);
    const onError = (error: Error) => fail(`the engine's process does not start: ${error.message}`, error);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      options.closing.removeEventListener('abort', onClosing);
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      // An `error` after the handshake (a failed kill or send) is followed by `exit`.
      child.on('error', () => {});
      act();
    };
    child.on('message', onMessage).on('exit', onExit).on('error', onError);
    options.closing.addEventListener('abort', onClosing, { once: true });
    child.send({ type: 'open', model: options.model } satisfies ToChild, (error) => {
      if (error !== null) onError(error);
    });
  });
}

function describeEnd(code: number | null, signal: string | null): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
