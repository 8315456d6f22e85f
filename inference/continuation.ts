/**
 * The continuation of a prompt's ids: what `generate.ts` makes and what `check.ts` holds a claim against, so both follow one
 * rule.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { chooserOf, stopAt } from './completion-engine.ts';
import { decodeFree, type LogitSource } from './decode.ts';
import type { CompletionRequest } from './engine.ts';
import { InferenceError } from './errors.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** How a prompt is continued. */
export type ContinueOptions = {
  /** At least 1. */
  readonly maxTokens: number;
  /** Texts before which the text ends. */
  readonly stop?: readonly string[];
  /** Greedy by default. */
  readonly sampling?: NonNullable<CompletionRequest['sampling']>;
};

/** What came of it. */
export type Continuation = {
  /** Of `ids`, without control tokens, cut before the first stop text. */
  readonly text: string;
  /** With the token that ended the text, if one did. */
  readonly ids: readonly number[];
  readonly finishReason: 'stop' | 'length';
  /** SHA-256 over the logits of all positions of `ids`, each `[vocabulary]` binary32, little-endian, in order. */
  readonly logitsDigest: Hex;
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
 * @param source - empty sequence with room for prompt and `maxTokens`
 * @param options - passed {@link checkContinuation}
 * @throws {@link InferenceError} `CANCELLED`, `NUMERIC_FAULT`
 */
export async function continuePrompt(
  source: LogitSource,
  { decode, description: { endIds } }: ContinuationText,
  promptIds: readonly number[],
  { maxTokens, stop = [], sampling }: ContinueOptions,
  signal?: AbortSignal,
): Promise<Continuation> {
  const take = chooserOf(sampling);
  const digest = createHash('sha256');
  const options = {
    maxTokens,
    endIds,
    choose(logits: Float32Array, position: number) {
      digest.update(littleEndian(logits));
      return take(logits, position);
    },
    ...(stop.length > 0 ? { isStopped: (ids: readonly number[]) => stopAt(decode(ids), stop) >= 0 } : {}),
  };
  const { ids, finishReason } = await decodeFree(source, promptIds, options, signal);
  const text = decode(ids);
  const end = stopAt(text, stop);
  return {
    text: end < 0 ? text : text.slice(0, end),
    ids,
    finishReason: finishReason === 'length' ? 'length' : 'stop',
    logitsDigest: toHex(digest.digest()),
  };
}

/** Bytes of logits in the order of the digest, whatever this computer's order is. */
function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (IS_LITTLE_ENDIAN) return bytes;
  const swapped = bytes.slice();
  for (let i = 0; i < swapped.length; i += 4) swapped.subarray(i, i + 4).reverse();
  return swapped;
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
