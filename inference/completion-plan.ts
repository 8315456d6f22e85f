/**
 * What a completion request asks of a model, in tokens. Everything that can be refused is refused here, before any work of the model.
 *
 * @module
 */

import { AnswerForms } from './answer-form.ts';
import { encodePrompt } from './chat-template.ts';
import type { MaskedPlace } from './decode.ts';
import type { CompletionRequest } from './engine.ts';
import { InferenceError } from './errors.ts';
import { checkSampling } from './exact/sampler.ts';
import type { TokenTable } from './token-table.ts';
import type { TextTokenizer } from './tokenizer.ts';
import { writeTools } from './tools/tool-prompt.ts';

/** Most choices of one request. */
const MAX_CHOICES = 1024;

/** Most stop texts of one request. */
const MAX_STOPS = 16;

/** Most alternatives of a token. */
const MAX_LOGPROBS = 20;

/** A request that a model can answer. */
export type Plan = {
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

/** Makes {@link Plan}s for one model. */
export class CompletionPlanner {
  readonly #tokenizer: TextTokenizer;
  readonly #contextLength: number;
  readonly #forms: AnswerForms;
  #longest = 0;

  /** @param contextLength - positions that a sequence may have at most */
  constructor(tokenizer: TextTokenizer, tokens: TokenTable, contextLength: number) {
    this.#tokenizer = tokenizer;
    this.#contextLength = contextLength;
    this.#forms = new AnswerForms(tokens.bytes, tokenizer.description.endIds);
  }

  /**
   * Reads a request.
   *
   * @throws {@link InferenceError} any code of a refusal, with the field in `at.field`
   */
  plan(request: CompletionRequest): Plan {
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
    const contextLength = this.#contextLength;
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
    const contextLength = this.#contextLength;
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

  #longestToken(): number {
    if (this.#longest === 0) {
      this.#longest = this.#tokenizer.description.tokens.reduce((most, token) => Math.max(most, token.length), 1);
    }
    return this.#longest;
  }
}

/** Ids of a text without a template, with the model's start token where it wants one. */
export function encodePlain(tokenizer: TextTokenizer, text: string): readonly number[] {
  const ids = tokenizer.encodeText(text);
  const { addBos, bosId } = tokenizer.description;
  return addBos && bosId !== null && ids.length > 0 ? [bosId, ...ids] : ids;
}
