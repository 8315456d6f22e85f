/**
 * Answers completion requests with the binary32 graph, one at a time, in the order in which they came.
 *
 * @module
 */

import { encodePrompt } from '../chat-template.ts';
import { decodeChoice, decodeGreedy, throwIfCancelled } from '../decode.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import type { Completion, CompletionRequest, Engine, ModelIdentity } from '../engine.ts';
import { InferenceError } from '../errors.ts';
import type { GraphSession } from '../session.ts';
import type { TextTokenizer } from '../tokenizer.ts';
import { startSequence } from './decoder.ts';

/** Most choices of one request. */
const MAX_CHOICES = 1024;

/** Most stop texts of one request. */
const MAX_STOPS = 16;

/** An {@link Engine} over a session of the binary32 graph; owns the session. */
export class FloatEngine implements Engine {
  readonly identity: ModelIdentity;
  readonly #config: DecoderConfig;
  readonly #tokenizer: TextTokenizer;
  readonly #session: GraphSession;
  /** Requests run one after the other, in the order in which they came. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(identity: ModelIdentity, config: DecoderConfig, tokenizer: TextTokenizer, session: GraphSession) {
    this.identity = identity;
    this.#config = config;
    this.#tokenizer = tokenizer;
    this.#session = session;
  }

  async complete(request: CompletionRequest, signal?: AbortSignal): Promise<Completion> {
    this.#throwIfClosed();
    throwIfCancelled(signal);
    const plan = this.#plan(request);
    const turn = this.#last.then(() => {
      this.#throwIfClosed();
      return this.#answer(plan, signal);
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Waits for the request that runs, refuses those that wait, and frees the session. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#session.close();
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new InferenceError('ENGINE_CLOSED', 'the engine is closed');
  }

  /** Everything that can be refused is refused here, before any work of the model. */
  #plan(request: CompletionRequest): Plan {
    const { messages, maxTokens, choices, stop = [] } = request;
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
      throw new InferenceError('REQUEST_MALFORMED', 'maxTokens is not a positive integer', {
        at: { field: 'maxTokens' },
      });
    }
    if (messages.length === 0) throw new InferenceError('PROMPT_EMPTY', 'no messages', { at: { field: 'messages' } });
    if (choices !== undefined && stop.length > 0) {
      throw new InferenceError('REQUEST_MALFORMED', 'stop and choices exclude each other', { at: { field: 'stop' } });
    }
    if (stop.length > MAX_STOPS || stop.some((text) => text.length === 0)) {
      throw new InferenceError('STOP_EMPTY', `expected up to ${MAX_STOPS} stop texts, none empty`, {
        at: { field: 'stop' },
      });
    }
    const context = this.#config.contextLength;
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
    return { promptIds, maxTokens, choiceIds, stop };
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

  async #answer({ promptIds, maxTokens, choiceIds, stop }: Plan, signal: AbortSignal | undefined): Promise<Completion> {
    const sequence = startSequence(this.#session, this.#config);
    const { endIds } = this.#tokenizer.description;
    if (choiceIds !== undefined) {
      const { ids, finishReason } = await decodeChoice(sequence, promptIds, choiceIds, endIds, signal);
      return { promptIds, outputIds: ids, text: this.#tokenizer.decode(ids), finishReason };
    }
    const stopAt = (text: string) => Math.min(...stop.map((word) => text.indexOf(word)).filter((at) => at >= 0));
    const isStopped = (ids: readonly number[]) =>
      stop.length > 0 && Number.isFinite(stopAt(this.#tokenizer.decode(ids)));
    const { ids, finishReason } = await decodeGreedy(sequence, promptIds, { maxTokens, endIds, isStopped }, signal);
    const text = this.#tokenizer.decode(ids);
    return { promptIds, outputIds: ids, text: text.slice(0, stopAt(text)), finishReason };
  }

  #longest = 0;

  #longestToken(): number {
    if (this.#longest === 0) {
      this.#longest = this.#tokenizer.description.tokens.reduce((most, token) => Math.max(most, token.length), 1);
    }
    return this.#longest;
  }
}

type Plan = {
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  readonly choiceIds: readonly (readonly number[])[] | undefined;
  readonly stop: readonly string[];
};
