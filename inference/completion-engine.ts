/**
 * Answers completion requests with a loaded model, several at a time where the model's profile allows it.
 *
 * Spec: `inference/spec/tools.md`, `inference/spec/structured.md`.
 *
 * @module
 */

import { toHex } from '../attest/core/bytes.ts';
import { type Digest, sha256 } from '../attest/core/hash.ts';
import { computeMasksRoot } from '../attest/sign/receipt.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import { maskDigest } from './answer-form.ts';
import { AnswerText } from './answer-text.ts';
import { chooserOf } from './choose.ts';
import { ClaimBreak, followClaim } from './claim.ts';
import { CompletionPlanner, encodePlain, type Plan } from './completion-plan.ts';
import {
  amongChoices,
  type Decoded,
  type Decoding,
  drive,
  freely,
  type TokenMask,
  throwIfCancelled,
  withinForm,
} from './decode.ts';
import type {
  CheckingEngine,
  Completion,
  CompletionRequest,
  Delta,
  Embeddings,
  ModelIdentity,
  TokenLogprobs,
} from './engine.ts';
import { InferenceError } from './errors.ts';
import { lookupSource } from './prompt-lookup.ts';
import type { Sequence, Sequences } from './sequences.ts';
import { computeLogprobs } from './token-logprobs.ts';
import { TokenTable } from './token-table.ts';
import type { TextTokenizer } from './tokenizer.ts';
import { readWholeAnswer } from './tools/answer-reader.ts';

/** A {@link CheckingEngine} over a loaded model; owns it. */
export class CompletionEngine implements CheckingEngine {
  readonly identity: ModelIdentity;
  readonly #tokenizer: TextTokenizer;
  readonly #sequences: Sequences;
  readonly #speculate: boolean;
  readonly #tokens: TokenTable;
  readonly #planner: CompletionPlanner;
  /** Requests run one after the other, in the order in which they came, where the engine takes one sequence at a time. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #running = new Set<Promise<unknown>>();
  /** Requests that hold a sequence, and those that wait for room for one. */
  #holding = 0;
  readonly #waiting: (() => void)[] = [];
  #closed = false;

  constructor(
    identity: ModelIdentity,
    tokenizer: TextTokenizer,
    sequences: Sequences,
    options: CompletionEngine.Options = {},
  ) {
    this.identity = identity;
    this.#tokenizer = tokenizer;
    this.#sequences = sequences;
    this.#speculate = options.speculate ?? true;
    this.#tokens = new TokenTable(tokenizer);
    this.#planner = new CompletionPlanner(tokenizer, this.#tokens, sequences.contextLength);
  }

  async complete(
    request: CompletionRequest,
    signal?: AbortSignal,
    onDelta?: (delta: Delta) => void,
  ): Promise<Completion> {
    return this.#inTurn(request, signal, (sequence, plan) =>
      drive(lookupSource(sequence, plan.capacity, this.#speculate), this.#continue(plan, onDelta), signal),
    );
  }

  async check(
    request: CompletionRequest,
    claim: readonly number[],
    signal?: AbortSignal,
  ): Promise<Completion | PartialAnswer> {
    return this.#inTurn(request, signal, async (sequence, plan) => {
      const { promptIds, capacity } = plan;
      const room = { promptLength: promptIds.length, maxTokens: capacity - promptIds.length };
      const found = await followClaim(sequence, { ids: claim, ...room }, this.#continue(plan), signal);
      if (!(found instanceof ClaimBreak)) return found;
      return { promptIds, outputIds: found.ids, text: null, finishReason: null, masks: null };
    });
  }

  async embed(texts: readonly string[], signal?: AbortSignal): Promise<Embeddings> {
    this.#throwIfClosed();
    const { contextLength } = this.#sequences;
    if (this.#sequences.embed === undefined) {
      throw new InferenceError('REQUEST_MALFORMED', 'this profile has no embeddings', { at: { field: 'model' } });
    }
    const ids = texts.map((text, index) => {
      const at = { field: 'input', index };
      const found = encodePlain(this.#tokenizer, text);
      if (found.length === 0) throw new InferenceError('PROMPT_EMPTY', `text ${index} has no tokens`, { at });
      if (found.length > contextLength) {
        const sizes = `has ${found.length} tokens, the context holds ${contextLength}`;
        throw new InferenceError('PROMPT_TOO_LONG', `text ${index} ${sizes}`, { at: { ...at, limit: contextLength } });
      }
      return found;
    });
    const vectors: (readonly number[])[] = [];
    for (const each of ids) {
      throwIfCancelled(signal);
      vectors.push(unit(await this.#track(this.#sequences.embed(each, signal))));
    }
    return { ids, vectors };
  }

  /** Waits for the requests that run, refuses those that wait, and frees the model. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled([this.#last, ...this.#running]);
    await this.#sequences.close();
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new InferenceError('ENGINE_CLOSED', 'the engine is closed');
  }

  /** Answers with a sequence for the request; after all requests that came before, where the engine takes one at a time. */
  async #inTurn<T>(
    request: CompletionRequest,
    signal: AbortSignal | undefined,
    answer: (sequence: Sequence, plan: Plan) => Promise<T>,
  ): Promise<T> {
    this.#throwIfClosed();
    throwIfCancelled(signal);
    const plan = this.#planner.plan(request);
    const run = async () => {
      const sequence = await this.#open(plan, signal);
      try {
        return await answer(sequence, plan);
      } finally {
        sequence.close();
        this.#holding -= 1;
        for (const look of this.#waiting.splice(0)) look();
      }
    };
    if (this.#sequences.isConcurrent === true) return this.#track(run());
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** A sequence, counted as held. Where there is no room, waits for as long as other requests hold some. */
  async #open({ capacity, promptIds }: Plan, signal: AbortSignal | undefined): Promise<Sequence> {
    for (;;) {
      this.#throwIfClosed();
      throwIfCancelled(signal);
      try {
        const sequence = this.#sequences.open(capacity, promptIds);
        // Before anybody else gets a turn, who may find no room.
        this.#holding += 1;
        return sequence;
      } catch (error) {
        const isFull = error instanceof InferenceError && error.code === 'OUT_OF_MEMORY';
        if (!isFull || this.#holding === 0) throw error;
      }
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        signal?.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => {},
      () => {},
    );
    this.#running.add(settled);
    void settled.then(() => this.#running.delete(settled));
    return work;
  }

  *#continue(plan: Plan, onDelta?: (delta: Delta) => void): Decoding<Completion> {
    const { promptIds, maxTokens, form, stop, sampling, logprobs } = plan;
    if (plan.choiceIds !== undefined) return yield* this.#choose(promptIds, plan.choiceIds, onDelta);
    const { endIds } = this.#tokenizer.description;
    const text = new AnswerText(this.#tokens, stop);
    const found: TokenLogprobs[] = [];
    const masks: Digest[] = [];
    const take = chooserOf(sampling);
    const choose = (logits: Float32Array, position: number, mask?: TokenMask) => {
      const id = take(logits, position, mask);
      if (logprobs !== undefined)
        found.push(computeLogprobs(logits, id, logprobs, (one) => this.#tokens.describe(one)));
      return id;
    };
    const options = {
      maxTokens,
      endIds,
      choose,
      /** Told of every id. */
      isStopped: (ids: readonly number[]) => {
        const id = ids[ids.length - 1] as number;
        const piece = text.push(id);
        onDelta?.({
          text: piece,
          ids: [id],
          ...(logprobs === undefined ? {} : { logprobs: found.slice(ids.length - 1) }),
        });
        return text.isStopped;
      },
    };
    const decoded: Decoded = yield* form === undefined
      ? freely(promptIds, options)
      : withinForm(promptIds, {
          ...options,
          start: form,
          asksAlways: logprobs !== undefined,
          onMask: (mask) => masks.push(maskDigest(mask)),
        });
    const rest = text.end();
    if (rest !== '') onDelta?.({ text: rest, ids: [] });
    return {
      promptIds,
      outputIds: decoded.ids,
      text: text.text,
      finishReason: this.#whyEnded(plan, decoded.finishReason, text),
      masks: form === undefined ? null : toHex(computeMasksRoot(masks)),
      ...(logprobs === undefined ? {} : { logprobs: found }),
    };
  }

  /** An answer of a given form is whole wherever it ends; free text that may hold calls is cut off where its tokens are spent. */
  #whyEnded(plan: Plan, reason: Decoded['finishReason'], text: AnswerText): 'stop' | 'length' {
    if (reason !== 'length' || text.isStopped) return 'stop';
    if (plan.form === undefined) return 'length';
    const hasCalls = readWholeAnswer(text.text, true, String).calls.length > 0;
    return plan.hasContent || hasCalls ? 'stop' : 'length';
  }

  *#choose(
    promptIds: readonly number[],
    choiceIds: readonly (readonly number[])[],
    onDelta?: (delta: Delta) => void,
  ): Decoding<Completion> {
    const { endIds } = this.#tokenizer.description;
    const masks: Digest[] = [];
    const decoded = yield* amongChoices(promptIds, choiceIds, endIds, (allowed) => {
      masks.push(digestOfAllowed(allowed, this.identity.vocabularySize));
    });
    const text = this.#tokenizer.decode(decoded.ids);
    onDelta?.({ text, ids: decoded.ids });
    const { ids: outputIds, finishReason } = decoded;
    return { promptIds, outputIds, text, finishReason, masks: toHex(computeMasksRoot(masks)) };
  }
}

export declare namespace CompletionEngine {
  type Options = {
    /** Whether ids that are likely are computed ahead, where the model's profile allows it; the answers are the same. True by default. */
    readonly speculate?: boolean;
  };
}

/** A vector of length 1; the zero vector stays what it is. Has no -0, which JSON would lose. */
function unit(vector: Float32Array): readonly number[] {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares);
  return Array.from(vector, (value) => (length === 0 ? 0 : Math.fround(value / length) + 0));
}

function digestOfAllowed(allowed: ReadonlySet<number>, vocabulary: number): Digest {
  const bits = new Uint8Array(4 * Math.ceil(vocabulary / 32));
  for (const id of allowed) bits[id >> 3] = (bits[id >> 3] as number) | (1 << (id & 7));
  return sha256(bits);
}
