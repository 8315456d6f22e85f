/**
 * The child's side of an inference bench: an engine keeps its model open in a process of its own and computes only when
 * it is told to, so that engines take turns on the same cores.
 *
 * @module
 */

import type { ProfileName } from '../../inference/engine.ts';

/** What an engine of a bench must do, until its process ends. One sequence at a time. */
export type BenchEngine = {
  readonly threads: number;
  /** Starts a new sequence with `ids`, and returns when they are computed. */
  prefill(ids: readonly number[]): void | Promise<void>;
  /** Appends `ids` to the sequence, then `count` times the most probable id, which it returns; end ids do not end it. */
  decodeGreedy(ids: readonly number[], count: number): Promise<number[]>;
  /** Continues the prompt by `count` greedy ids as a new sequence, nothing of it computed ahead; end ids do not end it. */
  make?(prompt: readonly number[], count: number): Promise<readonly number[]>;
  /** Checks that the output is what {@link make} gives; fails where it is not. */
  check?(prompt: readonly number[], output: readonly number[]): Promise<void>;
  /** Appends `ids`; the two greatest logits after the last, greatest first. Where it is absent, nobody asks. */
  topTwo?(ids: readonly number[]): Promise<readonly [Logit, Logit]>;
};

export type Logit = { readonly id: number; readonly logit: number };

/** What an engine is opened with. */
export type BenchModel = {
  /** GGUF file. */
  readonly path: string;
  /** Folder of files made from models. */
  readonly cacheDir: string;
  readonly threads: number;
  /** Profile of our own engines; `exact` by default. */
  readonly profile?: ProfileName;
  /** Folder with the `node_modules` of llama.cpp's binding. */
  readonly packages?: string;
  /** Keys and values of llama.cpp in binary32 instead of its usual binary16. */
  readonly wideCache?: boolean;
};

/** An engine that this installation does not have; the bench says so and measures the others. */
export class EngineAbsent extends Error {
  override readonly name = 'EngineAbsent';
}

/** From the bench; `open` comes first and once. */
export type ToEngine =
  | { readonly type: 'open'; readonly model: BenchModel }
  | { readonly type: 'prefill'; readonly ids: readonly number[] }
  | { readonly type: 'decode'; readonly ids: readonly number[]; readonly count: number }
  | { readonly type: 'make'; readonly prompt: readonly number[]; readonly count: number }
  | { readonly type: 'check'; readonly prompt: readonly number[]; readonly output: readonly number[] }
  | { readonly type: 'topTwo'; readonly ids: readonly number[] }
  | { readonly type: 'memory' };

/** Answers in the order of the questions. `ms` is the engine's own time, without the channel. */
export type FromEngine =
  | { readonly type: 'done'; readonly ms: number }
  | { readonly type: 'ids'; readonly ms: number; readonly ids: readonly number[] }
  | { readonly type: 'logits'; readonly logits: readonly [Logit, Logit] }
  | { readonly type: 'memory'; readonly rssBytes: number; readonly peakBytes: number }
  | { readonly type: 'failed'; readonly message: string; readonly isAbsent: boolean };

/** Serves an engine to the bench that started this process. */
export function answerBench(open: (model: BenchModel) => Promise<BenchEngine>): void {
  let opened: BenchEngine | undefined;
  const answer = async (message: ToEngine): Promise<FromEngine> => {
    const start = performance.now();
    if (message.type === 'open') {
      opened = await open(message.model);
      return { type: 'done', ms: performance.now() - start };
    }
    if (message.type === 'memory') {
      return { type: 'memory', rssBytes: process.memoryUsage().rss, peakBytes: process.resourceUsage().maxRSS * 1024 };
    }
    if (opened === undefined) throw new TypeError('no model is open');
    switch (message.type) {
      case 'prefill':
        await opened.prefill(message.ids);
        return { type: 'done', ms: performance.now() - start };
      case 'decode': {
        const ids = await opened.decodeGreedy(message.ids, message.count);
        return { type: 'ids', ms: performance.now() - start, ids };
      }
      case 'make': {
        if (opened.make === undefined) throw new TypeError('the engine makes no outputs');
        const ids = await opened.make(message.prompt, message.count);
        return { type: 'ids', ms: performance.now() - start, ids };
      }
      case 'check':
        if (opened.check === undefined) throw new TypeError('the engine checks no outputs');
        await opened.check(message.prompt, message.output);
        return { type: 'done', ms: performance.now() - start };
      case 'topTwo':
        if (opened.topTwo === undefined) throw new TypeError('the engine shows no logits');
        return { type: 'logits', logits: await opened.topTwo(message.ids) };
    }
  };
  process.on('disconnect', () => process.exit(0));
  process.on('message', (message: ToEngine) => {
    answer(message).then(
      (reply) => process.send?.(reply),
      (error: unknown) =>
        process.send?.({
          type: 'failed',
          message: error instanceof Error ? error.message : String(error),
          isAbsent: error instanceof EngineAbsent,
        } satisfies FromEngine),
    );
  });
}

/** The two greatest of a row of logits, the lower id first among equals. */
export function twoGreatest(logits: Float32Array): readonly [Logit, Logit] {
  let first: Logit = { id: -1, logit: Number.NEGATIVE_INFINITY };
  let second = first;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (logit > first.logit) {
      second = first;
      first = { id, logit };
    } else if (logit > second.logit) second = { id, logit };
  }
  return [first, second];
}
