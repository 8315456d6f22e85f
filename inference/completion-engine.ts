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
import { AnswerForms, maskDigest } from './answer-form.ts';
import { AnswerText } from './answer-text.ts';
import { encodePrompt } from './chat-template.ts';
import { chooserOf } from './choose.ts';
import { ClaimBreak, followClaim } from './claim.ts';
import {
  amongChoices,
  type Decoded,
  type Decoding,
  drive,
  freely,
  type MaskedPlace,
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
import { checkSampling } from './exact/sampler.ts';
import { lookupSource } from './prompt-lookup.ts';
import type { Sequence, Sequences } from './sequences.ts';
import { computeLogprobs } from './token-logprobs.ts';
import { TokenTable } from './token-table.ts';
import type { TextTokenizer } from './tokenizer.ts';
import { readWholeAnswer } from './tools/answer-reader.ts';
import { writeTools } from './tools/tool-prompt.ts';

/** Most choices of one request. */
const MAX_CHOICES = 1024;

/** Most stop texts of one request. */
const MAX_STOPS = 16;

/** Most alternatives of a token. */
const MAX_LOGPROBS = 20;

/** A {@link CheckingEngine} over a loaded model; owns it. */
export class CompletionEngine implements CheckingEngine {
  readonly identity: ModelIdentity;
  readonly #tokenizer: TextTokenizer;
  readonly #sequences: Sequences;
  readonly #speculate: boolean;
  readonly #tokens: TokenTable;
  readonly #forms: AnswerForms;
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
    this.#forms = new AnswerForms(this.#tokens.bytes, tokenizer.description.endIds);
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

  /** Everything that can be refused is refused here, before any work of the model. */
  #plan(request: CompletionRequest): Plan {
    const { messages, prompt, maxTokens, choices, format, toolUse, stop = [], sampling, logprobs } = request;
    const malformed = (field: string, message: string) =>
      new InferenceError('REQUEST_MALFORMED', message, { at: { field } });
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
      throw malformed('maxTokens', 'maxTokens is not a positive integer');
    }
    if (messages.length === 0 && prompt === undefined) {
      throw new InferenceError('PROMPT_EMPTY', 'no messages', { at: { field: 'messages' } });
    }
    const isFree = choices === undefined && format === undefined && toolUse === undefined;
    if (!isFree && stop.length > 0) throw malformed('stop', 'stop and an answer of a given form exclude each other');
    if (choices !== undefined && (format !== undefined || toolUse !== undefined || logprobs !== undefined)) {
      throw malformed('choices', 'choices exclude formats, tools and log-probabilities');
    }
    if (logprobs !== undefined && !(Number.isSafeInteger(logprobs) && logprobs >= 0 && logprobs <= MAX_LOGPROBS)) {
      throw malformed('logprobs', `expected up to ${MAX_LOGPROBS} alternatives`);
    }
    if (sampling !== undefined) {
      checkSampling(sampling);
      if (choices !== undefined && sampling.temperature !== 0) {
        throw new InferenceError('SAMPLING_REFUSED', 'one of the choices is taken greedily, temperature must be 0', {
          at: { field: 'temperature' },
        });
      }
    }
    if (stop.length > MAX_STOPS || stop.some((text) => text.length === 0)) {
      throw new InferenceError('STOP_EMPTY', `expected up to ${MAX_STOPS} stop texts, none empty`, {
        at: { field: 'stop' },
      });
    }
    const promptIds = this.#encode(request);
    const { contextLength } = this.#sequences;
    const choiceIds = choices === undefined ? undefined : this.#encodeChoices(choices, maxTokens);
    const most = choiceIds === undefined ? maxTokens : Math.max(...choiceIds.map((ids) => ids.length));
    if (promptIds.length + most > contextLength) {
      throw new InferenceError(
        'CONTEXT_EXCEEDED',
        `${promptIds.length} tokens of prompt and ${most} of answer do not fit a context of ${contextLength}`,
        { at: { limit: contextLength, prompt: promptIds.length } },
      );
    }
    const form = this.#forms.begin(request);
    const hasContent = format !== undefined;
    const capacity = promptIds.length + most;
    return { promptIds, maxTokens, capacity, choiceIds, form, hasContent, stop, sampling, logprobs };
  }

  #encode({ messages, prompt, toolUse }: CompletionRequest): readonly number[] {
    const field = prompt === undefined ? 'messages' : 'prompt';
    const written = writeTools(messages, toolUse);
    const length =
      (prompt ?? '').length + written.reduce((sum, { content, name = '' }) => sum + content.length + name.length, 0);
    const { contextLength } = this.#sequences;
    const tooLong = (count: string) =>
      new InferenceError('PROMPT_TOO_LONG', `the prompt has ${count} tokens, the context holds ${contextLength}`, {
        at: { field, limit: contextLength },
      });
    // Before tokenising: no token of a vocabulary spells more than its longest entry.
    if (length > contextLength * this.#longestToken()) throw tooLong('too many');
    const ids = prompt === undefined ? encodePrompt(this.#tokenizer, written) : encodePlain(this.#tokenizer, prompt);
    if (ids.length === 0) throw new InferenceError('PROMPT_EMPTY', 'the prompt has no tokens', { at: { field } });
    if (ids.length >= contextLength) throw tooLong(String(ids.length));
    return ids;
  }

  #encodeChoices(choices: readonly string[], maxTokens: number): readonly (readonly number[])[] {
    if (choices.length > MAX_CHOICES) {
      throw new InferenceError('TOO_MANY_CHOICES', `${choices.length} choices, at most ${MAX_CHOICES}`, {
        at: { field: 'choices' },
      });
    }
    if (choices.length === 0) throw new InferenceError('CHOICE_EMPTY', 'no choices', { at: { field: 'choices' } });
    const seen = new Set<string>();
    return choices.map((choice, index) => {
      const at = { field: 'choices', index };
      const ids = this.#tokenizer.encodeText(choice);
      if (ids.length === 0) throw new InferenceError('CHOICE_EMPTY', `choice ${index} is empty`, { at });
      if (this.#tokenizer.decode(ids) !== choice) {
        throw new InferenceError('CHOICE_UNWRITABLE', `the vocabulary cannot write choice ${index}`, { at });
      }
      if (ids.length > maxTokens) {
        throw new InferenceError(
          'CHOICE_TOO_LONG',
          `choice ${index} has ${ids.length} tokens, at most ${maxTokens} are wanted`,
          { at },
        );
      }
      // Two texts may have one spelling in tokens; then neither could be told from the other.
      if (seen.has(ids.join()))
        throw new InferenceError('CHOICE_DUPLICATE', `choice ${index} is there already`, { at });
      seen.add(ids.join());
      return ids;
    });
  }

  /** Answers with a sequence for the request; after all requests that came before, where the engine takes one at a time. */
  async #inTurn<T>(
    request: CompletionRequest,
    signal: AbortSignal | undefined,
    answer: (sequence: Sequence, plan: Plan) => Promise<T>,
  ): Promise<T> {
    this.#throwIfClosed();
    throwIfCancelled(signal);
    const plan = this.#plan(request);
    const run = async () => {
      const sequence = await this.#open(plan, signal);
      this.#holding += 1;
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

  /** Where there is no room, waits for as long as other requests hold some. */
  async #open({ capacity, promptIds }: Plan, signal: AbortSignal | undefined): Promise<Sequence> {
    for (;;) {
      this.#throwIfClosed();
      throwIfCancelled(signal);
      try {
        return this.#sequences.open(capacity, promptIds);
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

  #longest = 0;

  #longestToken(): number {
    if (this.#longest === 0) {
      this.#longest = this.#tokenizer.description.tokens.reduce((most, token) => Math.max(most, token.length), 1);
    }
    return this.#longest;
  }
}

export declare namespace CompletionEngine {
  type Options = {
    /** Whether ids that are likely are computed ahead, where the model's profile allows it; the answers are the same. True by default. */
    readonly speculate?: boolean;
  };
}

/** Ids of a text without a template, with the model's start token where it wants one. */
function encodePlain(tokenizer: TextTokenizer, text: string): readonly number[] {
  const ids = tokenizer.encodeText(text);
  const { addBos, bosId } = tokenizer.description;
  return addBos && bosId !== null && ids.length > 0 ? [bosId, ...ids] : ids;
}

/** A vector of length 1; the zero vector stays what it is. */
function unit(vector: Float32Array): readonly number[] {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares);
  return Array.from(vector, (value) => (length === 0 ? 0 : Math.fround(value / length)));
}

function digestOfAllowed(allowed: ReadonlySet<number>, vocabulary: number): Digest {
  const bits = new Uint8Array(4 * Math.ceil(vocabulary / 32));
  for (const id of allowed) bits[id >> 3] = (bits[id >> 3] as number) | (1 << (id & 7));
  return sha256(bits);
}

type Plan = {
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  /** Positions that the sequence may come to. */
  readonly capacity: number;
  readonly choiceIds: readonly (readonly number[])[] | undefined;
  /** Where an answer of a given form begins; undefined where it is free. */
  readonly form: MaskedPlace | undefined;
  /** Whether content must be JSON, so that an answer without calls is whole too. */
  readonly hasContent: boolean;
  readonly stop: readonly string[];
  readonly sampling: CompletionRequest['sampling'];
  readonly logprobs: number | undefined;
};
