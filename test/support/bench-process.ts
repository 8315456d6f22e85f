/**
 * The bench's side of an engine in a process of its own.
 *
 * @module
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { childEntry } from '../../attest/core/entry.ts';
import { type BenchModel, EngineAbsent, type FromEngine, type Logit, type ToEngine } from './bench-engine.ts';

/** Characters of standard error that are kept for the message when a process ends. */
const STDERR_TAIL = 2048;

/** The entries of engines, `bench-NAME-child.ts`. */
export type BenchEntry = 'own' | 'llama';

type Answer<Type extends FromEngine['type']> = Extract<FromEngine, { readonly type: Type }>;

/** An open engine; one question at a time. */
export class BenchProcess {
  /** Milliseconds from the start of the process until its model was open. */
  readonly readyMs: number;
  /** Milliseconds of it in which the model was opened. */
  readonly openMs: number;
  readonly #child: ChildProcess;
  readonly #ask: Ask;

  private constructor(child: ChildProcess, ask: Ask, readyMs: number, openMs: number) {
    this.#child = child;
    this.#ask = ask;
    this.readyMs = readyMs;
    this.openMs = openMs;
  }

  /**
   * Starts a process and opens the model in it.
   *
   * @throws {@link EngineAbsent} if this installation does not have the engine
   * @throws Error if it does not open the model
   */
  static async start(name: BenchEntry, model: BenchModel): Promise<BenchProcess> {
    const start = performance.now();
    const entry = childEntry(import.meta.url, `./bench-${name}-child.ts`);
    const child = fork(fileURLToPath(entry.url), {
      execArgv: entry.execArgv,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const ask = asker(child, name);
    try {
      const { ms } = await ask('done', { type: 'open', model });
      return new BenchProcess(child, ask, performance.now() - start, ms);
    } catch (error) {
      child.kill();
      throw error;
    }
  }

  /** Computes `ids` as a new sequence; the milliseconds it took. */
  async prefill(ids: readonly number[]): Promise<number> {
    return (await this.#ask('done', { type: 'prefill', ids })).ms;
  }

  /** Computes the prompt as a new sequence, its last id apart, then times `count` greedy ids from that last one on. */
  async decode(
    prompt: readonly number[],
    count: number,
  ): Promise<{ readonly ms: number; readonly ids: readonly number[] }> {
    await this.prefill(prompt.slice(0, -1));
    return this.#ask('ids', { type: 'decode', ids: prompt.slice(-1), count });
  }

  /** Continues the prompt by `count` greedy ids, prompt included in the time. */
  make(prompt: readonly number[], count: number): Promise<{ readonly ms: number; readonly ids: readonly number[] }> {
    return this.#ask('ids', { type: 'make', prompt, count });
  }

  /** Checks what {@link make} gave; the milliseconds it took. */
  async check(prompt: readonly number[], output: readonly number[]): Promise<number> {
    return (await this.#ask('done', { type: 'check', prompt, output })).ms;
  }

  /** The two greatest logits after `ids`, which are computed as a new sequence. */
  async topTwo(ids: readonly number[]): Promise<readonly [Logit, Logit]> {
    await this.prefill(ids.slice(0, -1));
    return (await this.#ask('logits', { type: 'topTwo', ids: ids.slice(-1) })).logits;
  }

  /** Bytes of resident memory of the process, now and at most. */
  memory(): Promise<{ readonly rssBytes: number; readonly peakBytes: number }> {
    return this.#ask('memory', { type: 'memory' });
  }

  /** Ends the process. */
  close(): void {
    this.#child.kill();
  }
}

type Ask = <Type extends FromEngine['type']>(type: Type, question: ToEngine) => Promise<Answer<Type>>;

function asker(child: ChildProcess, name: string): Ask {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_TAIL);
  });
  let pending: { resolve(answer: FromEngine): void; reject(error: Error): void } | undefined;
  child.on('message', (answer: FromEngine) => pending?.resolve(answer));
  child.once('exit', (code, signal) => {
    pending?.reject(new Error(`the process of ${name} ended with ${signal ?? code}: ${stderr.trim()}`));
  });
  return async <Type extends FromEngine['type']>(type: Type, question: ToEngine): Promise<Answer<Type>> => {
    const answer = await new Promise<FromEngine>((resolve, reject) => {
      pending = { resolve, reject };
      child.send(question, (error) => error !== null && reject(error));
    });
    if (answer.type === 'failed') throw new (answer.isAbsent ? EngineAbsent : Error)(answer.message);
    if (answer.type !== type) throw new Error(`${name} answered ${answer.type} where ${type} was expected`);
    return answer as Answer<Type>;
  };
}
