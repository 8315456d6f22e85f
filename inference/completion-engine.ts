/**
 * Answers completion requests with a loaded model, one at a time, in the order in which they came.
 *
 * @module
 */

import { fromHex } from '../attest/core/bytes.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import { encodePrompt } from './chat-template.ts';
import { ClaimBreak, followClaim } from './claim.ts';
import { amongChoices, argmax, type Decoding, drive, freely, throwIfCancelled } from './decode.ts';
import type { CheckingEngine, Completion, CompletionRequest, ModelIdentity } from './engine.ts';
import { InferenceError } from './errors.ts';
import { checkSampling, chooseToken } from './exact/sampler.ts';
import { exponentialTable } from './exact/tables.ts';
import { lookupSource } from './prompt-lookup.ts';
import type { Sequence, Sequences } from './sequences.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** Most choices of one request. */
const MAX_CHOICES = 1024;

/** Most stop texts of one request. */
const MAX_STOPS = 16;

/** A {@link CheckingEngine} over a loaded model; owns it. */
export class CompletionEngine implements CheckingEngine {
  readonly identity: ModelIdentity;
  readonly #tokenizer: TextTokenizer;
  readonly #sequences: Sequences;
  readonly #speculate: boolean;
  /** Requests run one after the other, in the order in which they came. */
  #last: Promise<unknown> = Promise.resolve();
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
  }

  async complete(request: CompletionRequest, signal?: AbortSignal): Promise<Completion> {
    return this.#inTurn(request, signal, (sequence, plan) =>
      drive(lookupSource(sequence, plan.capacity, this.#speculate), this.#continue(plan), signal),
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
      return { promptIds, outputIds: found.ids, text: null, finishReason: null };
    });
  }

  /** Waits for the request that runs, refuses those that wait, and frees the model. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#sequences.close();
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new InferenceError('ENGINE_CLOSED', 'the engine is closed');
  }

  /** Everything that can be refused is refused here, before any work of the model. */
  #plan(request: CompletionRequest): Plan {
    const { messages, maxTokens, choices, stop = [], sampling } = request;
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
      throw new InferenceError('REQUEST_MALFORMED', 'maxTokens is not a positive integer', {
        at: { field: 'maxTokens' },
      });
    }
    if (messages.length === 0) throw new InferenceError('PROMPT_EMPTY', 'no messages', { at: { field: 'messages' } });
    if (choices !== undefined && stop.length > 0) {
      throw new InferenceError('REQUEST_MALFORMED', 'stop and choices exclude each other', { at: { field: 'stop' } });
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
    const context = this.#sequences.contextLength;
    const length = messages.reduce((sum, { content, name = '' }) => sum + content.length + name.length, 0);
    const tooLong = (count: string) =>
      new InferenceError('PROMPT_TOO_LONG', `the prompt has ${count} tokens, the context holds ${context}`, {
        at: { limit: context },
      });
    // Before tokenising: no token of a vocabulary spells more than its longest entry.
    if (length > context * this.#longestToken()) throw tooLong('too many');
    const promptIds = encodePrompt(this.#tokenizer, messages);
    if (promptIds.length === 0)
      throw new InferenceError('PROMPT_EMPTY', 'the prompt has no tokens', { at: { field: 'messages' } });
    if (promptIds.length >= context) throw tooLong(String(promptIds.length));
    const choiceIds = choices === undefined ? undefined : this.#encodeChoices(choices, maxTokens);
    const most = choiceIds === undefined ? maxTokens : Math.max(...choiceIds.map((ids) => ids.length));
    if (promptIds.length + most > context) {
      throw new InferenceError(
        'CONTEXT_EXCEEDED',
        `${promptIds.length} tokens of prompt and ${most} of answer do not fit a context of ${context}`,
        { at: { limit: context, prompt: promptIds.length } },
      );
    }
    return { promptIds, maxTokens, capacity: promptIds.length + most, choiceIds, stop, sampling };
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

  /** Answers with a sequence for the request, after all requests that came before. */
  async #inTurn<T>(
    request: CompletionRequest,
    signal: AbortSignal | undefined,
    answer: (sequence: Sequence, plan: Plan) => Promise<T>,
  ): Promise<T> {
    this.#throwIfClosed();
    throwIfCancelled(signal);
    const plan = this.#plan(request);
    const turn = this.#last.then(async () => {
      this.#throwIfClosed();
      const sequence = this.#sequences.open(plan.capacity, plan.promptIds);
      try {
        return await answer(sequence, plan);
      } finally {
        sequence.close();
      }
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  *#continue({ promptIds, maxTokens, choiceIds, stop, sampling }: Plan): Decoding<Completion> {
    const { endIds } = this.#tokenizer.description;
    if (choiceIds !== undefined) {
      const { ids, finishReason } = yield* amongChoices(promptIds, choiceIds, endIds);
      return { promptIds, outputIds: ids, text: this.#tokenizer.decode(ids), finishReason };
    }
    const options = {
      maxTokens,
      endIds,
      choose: chooserOf(sampling),
      ...(stop.length > 0
        ? { isStopped: (ids: readonly number[]) => stopAt(this.#tokenizer.decode(ids), stop) >= 0 }
        : {}),
    };
    const { ids, finishReason } = yield* freely(promptIds, options);
    const text = this.#tokenizer.decode(ids);
    const end = stopAt(text, stop);
    return { promptIds, outputIds: ids, text: end < 0 ? text : text.slice(0, end), finishReason };
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

/** Where the first of some texts begins, -1 where none of them occurs. */
export function stopAt(text: string, stop: readonly string[]): number {
  const places = stop.map((word) => text.indexOf(word)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/**
 * How the next token is chosen: greedily unless a temperature is given.
 *
 * @throws {@link InferenceError} `SAMPLING_REFUSED`
 */
export function chooserOf(sampling: CompletionRequest['sampling']): (logits: Float32Array, position: number) => number {
  if (sampling !== undefined) checkSampling(sampling);
  if (sampling === undefined || sampling.temperature === 0) return (logits) => argmax(logits);
  const seed = fromHex(sampling.seed, 32);
  const table = exponentialTable();
  return (logits, position) => chooseToken(logits, sampling, { seed, position }, table);
}

type Plan = {
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  /** Positions that the sequence may come to. */
  readonly capacity: number;
  readonly choiceIds: readonly (readonly number[])[] | undefined;
  readonly stop: readonly string[];
  readonly sampling: CompletionRequest['sampling'];
};
