/**
 * One text from one prompt, in this process: what `tracebond generate` prints and what benches and comparisons measure.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { encodePrompt } from './chat-template.ts';
import { chooserOf, stopAt } from './completion-engine.ts';
import { decodeFree } from './decode.ts';
import type { CompletionRequest } from './engine.ts';
import { InferenceError } from './errors.ts';
import type { OpenModel } from './model.ts';

/** What is asked. */
export type GenerateOptions = {
  readonly prompt: string;
  /** Whether the prompt is a user's message in the model's template; else it is given to the model as it is. */
  readonly chat?: boolean;
  /** At least 1. */
  readonly maxTokens: number;
  /** Texts before which the output ends. */
  readonly stop?: readonly string[];
  readonly sampling?: NonNullable<CompletionRequest['sampling']>;
};

/** What came out. */
export type Generated = {
  /** Of `tokens`, without control tokens, cut before the first stop text. */
  readonly text: string;
  readonly promptTokens: readonly number[];
  /** With the token that ended the text, if one did. */
  readonly tokens: readonly number[];
  readonly finishReason: 'stop' | 'length';
  /** SHA-256 over the logits of all generated positions, each `[vocabulary]` binary32, little-endian, in order. */
  readonly logitsDigest: Hex;
  /** Milliseconds from the start of the prompt to the logits behind it, and of all that came after. */
  readonly prefillMs: number;
  readonly decodeMs: number;
};

/**
 * Continues a prompt.
 *
 * @throws {@link InferenceError} `PROMPT_EMPTY`, `PROMPT_TOO_LONG`, `CONTEXT_EXCEEDED` (nothing is ever cut off), `STOP_EMPTY`,
 *   `SAMPLING_REFUSED`, `REQUEST_MALFORMED`
 */
export async function generate(model: OpenModel, options: GenerateOptions): Promise<Generated> {
  const { maxTokens, stop = [] } = options;
  const { tokenizer, sequences } = model;
  const context = sequences.contextLength;
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
    throw new InferenceError('REQUEST_MALFORMED', 'maxTokens is not a positive integer', {
      at: { field: 'maxTokens' },
    });
  }
  if (stop.some((text) => text.length === 0)) {
    throw new InferenceError('STOP_EMPTY', 'a stop text is empty', { at: { field: 'stop' } });
  }
  const promptTokens = encode(model, options);
  if (promptTokens.length === 0) throw new InferenceError('PROMPT_EMPTY', 'the prompt has no tokens');
  if (promptTokens.length >= context) {
    throw new InferenceError(
      'PROMPT_TOO_LONG',
      `the prompt has ${promptTokens.length} tokens, the context holds ${context}`,
      { at: { limit: context } },
    );
  }
  if (promptTokens.length + maxTokens > context) {
    throw new InferenceError(
      'CONTEXT_EXCEEDED',
      `${promptTokens.length} tokens of prompt and ${maxTokens} of answer do not fit a context of ${context}`,
      { at: { limit: context, prompt: promptTokens.length } },
    );
  }
  const take = chooserOf(options.sampling);
  const digest = createHash('sha256');
  const startedAt = performance.now();
  let prefilledAt = startedAt;
  const sequence = sequences.open(promptTokens.length + maxTokens);
  try {
    const { ids, finishReason } = await decodeFree(sequence, promptTokens, {
      maxTokens,
      endIds: tokenizer.description.endIds,
      choose(logits, position) {
        if (position === promptTokens.length) prefilledAt = performance.now();
        digest.update(littleEndian(logits));
        return take(logits, position);
      },
      ...(stop.length > 0 ? { isStopped: (ids: readonly number[]) => stopAt(tokenizer.decode(ids), stop) >= 0 } : {}),
    });
    const endedAt = performance.now();
    const text = tokenizer.decode(ids);
    const end = stopAt(text, stop);
    return {
      text: end < 0 ? text : text.slice(0, end),
      promptTokens,
      tokens: ids,
      finishReason: finishReason === 'length' ? 'length' : 'stop',
      logitsDigest: toHex(digest.digest()),
      prefillMs: prefilledAt - startedAt,
      decodeMs: endedAt - prefilledAt,
    };
  } finally {
    sequence.close();
  }
}

function encode({ tokenizer }: OpenModel, { prompt, chat }: GenerateOptions): readonly number[] {
  if (chat === true) return encodePrompt(tokenizer, [{ role: 'user', content: prompt }]);
  const { addBos, bosId } = tokenizer.description;
  const ids = tokenizer.encodeText(prompt);
  return addBos && bosId !== null ? [bosId, ...ids] : ids;
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
