/**
 * The continuation of a prompt's ids: what `generate.ts` makes and what `check.ts` holds a claim against, so both follow one
 * rule.
 *
 * @module
 */

import { chooserOf } from './choose.ts';
import { type Decoding, freely } from './decode.ts';
import type { CompletionRequest } from './engine.ts';
import { InferenceError } from './errors.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** Where the first of some texts begins, -1 where none of them occurs. */
export function stopAt(text: string, stop: readonly string[]): number {
  const places = stop.map((word) => text.indexOf(word)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** How a prompt is continued. */
export type ContinueOptions = {
  /** At least 1. */
  readonly maxTokens: number;
  /** Texts before which the text ends. */
  readonly stop?: readonly string[];
  /** Greedy by default. */
  readonly sampling?: NonNullable<CompletionRequest['sampling']>;
  /** Gets the logits of each position, `[vocabulary]`, valid during the call only. */
  readonly observe?: (logits: Float32Array) => void;
};

/** What came of it. */
export type Continuation = {
  /** Of `ids`, without control tokens, cut before the first stop text. */
  readonly text: string;
  /** With the token that ended the text, if one did. */
  readonly ids: readonly number[];
  readonly finishReason: 'stop' | 'length';
};

/** What of a tokenizer decides where a continuation ends and what it says. */
export type ContinuationText = Pick<TextTokenizer, 'decode'> & {
  readonly description: { readonly endIds: readonly number[] };
};

/**
 * Refuses what no model continues, before any work.
 *
 * @param promptLength - ids of the prompt
 * @param context - most positions of one sequence
 * @throws {@link InferenceError} `REQUEST_MALFORMED`, `STOP_EMPTY`, `PROMPT_EMPTY`, `PROMPT_TOO_LONG`, `CONTEXT_EXCEEDED` (nothing is
 *   ever cut off), `SAMPLING_REFUSED`
 */
export function checkContinuation(promptLength: number, options: ContinueOptions, context: number): void {
  const { maxTokens, stop = [], sampling } = options;
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
    throw new InferenceError('REQUEST_MALFORMED', 'maxTokens is not a positive integer', {
      at: { field: 'maxTokens' },
    });
  }
  if (stop.some((text) => text.length === 0)) {
    throw new InferenceError('STOP_EMPTY', 'a stop text is empty', { at: { field: 'stop' } });
  }
  if (promptLength === 0) throw new InferenceError('PROMPT_EMPTY', 'the prompt has no tokens');
  if (promptLength >= context) {
    throw new InferenceError('PROMPT_TOO_LONG', `the prompt has ${promptLength} tokens, the context holds ${context}`, {
      at: { limit: context },
    });
  }
  if (promptLength + maxTokens > context) {
    throw new InferenceError(
      'CONTEXT_EXCEEDED',
      `${promptLength} tokens of prompt and ${maxTokens} of answer do not fit a context of ${context}`,
      { at: { limit: context, prompt: promptLength } },
    );
  }
  chooserOf(sampling);
}

/**
 * Continues a prompt.
 *
 * @param options - passed {@link checkContinuation}
 */
export function* continuation(
  { decode, description: { endIds } }: ContinuationText,
  promptIds: readonly number[],
  { maxTokens, stop = [], sampling, observe }: ContinueOptions,
): Decoding<Continuation> {
  const take = chooserOf(sampling);
  const options = {
    maxTokens,
    endIds,
    choose(logits: Float32Array, position: number) {
      observe?.(logits);
      return take(logits, position);
    },
    ...(stop.length > 0 ? { isStopped: (ids: readonly number[]) => stopAt(decode(ids), stop) >= 0 } : {}),
  };
  const { ids, finishReason } = yield* freely(promptIds, options);
  const text = decode(ids);
  const end = stopAt(text, stop);
  return {
    text: end < 0 ? text : text.slice(0, end),
    ids,
    finishReason: finishReason === 'length' ? 'length' : 'stop',
  };
}
