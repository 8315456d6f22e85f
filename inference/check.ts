/**
 * Checks a claimed output in one pass over prompt and output: the logits of each position must choose the token that is claimed for
 * it, by the rule that chose it when it was made.
 *
 * Under the profile `exact` a row's bits do not depend on how many rows are computed together, so this costs a prefill. Under
 * `float-same-isa` they do: there the answer is decoded again, one token after the other, up to the first wrong one.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import { ClaimBreak, firstDifference, followClaim } from './claim.ts';
import { type ContinuationText, type ContinueOptions, checkContinuation, continuation } from './continuation.ts';
import type { ModelIdentity } from './engine.ts';
import { InferenceError } from './errors.ts';
import { LogitsDigest } from './logits-digest.ts';
import type { Sequences } from './sequences.ts';

/** A model, as far as a check needs it. */
export type CheckingModel = {
  readonly identity: Pick<ModelIdentity, 'vocabularySize'>;
  readonly tokenizer: ContinuationText;
  readonly sequences: Sequences;
};

/** An output that is said to follow from a prompt. Everything is untrusted. */
export type CompletionClaim = Omit<ContinueOptions, 'observe'> & {
  readonly promptIds: readonly number[];
  /** With the token that ended the text, if one did. Anything may be in it: what is no token is wrong at its place. */
  readonly outputIds: readonly number[];
  /** Whether the digest of all logits is computed, a twentieth of the time; true by default. */
  readonly hashLogits?: boolean;
};

/** The first place at which an output is false. */
export type WrongToken = {
  /** In the output. */
  readonly index: number;
  /** In the whole sequence, prompt included. */
  readonly position: number;
  /** Null: the claimed output ends before it. */
  readonly claimed: number | null;
  /** Null: the output ends before it, by an end token, a stop text or its greatest length. */
  readonly correct: number | null;
};

/** What a check found: the first wrong token, or else all that follows from the right ones. */
export type CheckedCompletion = {
  /** Output tokens that were computed; the wrong one is the last of them. */
  readonly positions: number;
} & (
  | { readonly firstWrong: WrongToken; readonly text: null; readonly finishReason: null; readonly logitsDigest: null }
  | {
      readonly firstWrong: null;
      /** The right ones, as `generate` gives them; the caller compares. */
      readonly text: string;
      readonly finishReason: 'stop' | 'length';
      /** Null if not asked for. */
      readonly logitsDigest: Hex | null;
    }
);

/**
 * Checks an output.
 *
 * @param model - whoever checks says which model is meant: compare its commitment first
 * @throws {@link InferenceError} what `generate` refuses of such a request: `PROMPT_EMPTY`, `PROMPT_TOO_LONG`, `CONTEXT_EXCEEDED`,
 *   `STOP_EMPTY`, `SAMPLING_REFUSED`, `REQUEST_MALFORMED` (also a prompt with an id that is no token; `at.field`, `at.index`)
 * @throws {@link InferenceError} `CANCELLED` when `signal` fires, `OUT_OF_MEMORY`, `NUMERIC_FAULT`, `ENGINE_CLOSED`
 */
export async function checkCompletion(
  model: CheckingModel,
  claim: CompletionClaim,
  signal?: AbortSignal,
): Promise<CheckedCompletion> {
  const { promptIds, outputIds, maxTokens } = claim;
  const { sequences, tokenizer } = model;
  const { vocabularySize: vocabulary } = model.identity;
  checkContinuation(promptIds.length, claim, sequences.contextLength);
  const strange = promptIds.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
  if (strange >= 0) {
    throw new InferenceError('REQUEST_MALFORMED', `id ${strange} of the prompt is no token of the model`, {
      at: { field: 'promptIds', index: strange },
    });
  }
  const promptLength = promptIds.length;
  const digest = claim.hashLogits === false ? undefined : new LogitsDigest();
  const options = { ...claim, observe: (logits: Float32Array) => digest?.append(logits) };
  const sequence = sequences.open(promptLength + maxTokens, promptIds);
  try {
    const made = continuation(tokenizer, promptIds, options);
    const found = await followClaim(sequence, { ids: outputIds, promptLength, maxTokens }, made, signal);
    const { ids } = found;
    const index = firstDifference(outputIds, ids);
    if (index !== undefined) {
      const firstWrong = {
        index,
        position: promptLength + index,
        claimed: outputIds[index] ?? null,
        correct: ids[index] ?? null,
      };
      return { positions: ids.length, firstWrong, text: null, finishReason: null, logitsDigest: null };
    }
    // A break is a difference.
    if (found instanceof ClaimBreak) throw new TypeError('expected ids that differ from the claim');
    const { text, finishReason } = found;
    return { positions: ids.length, firstWrong: null, text, finishReason, logitsDigest: digest?.finish() ?? null };
  } finally {
    sequence.close();
  }
}
