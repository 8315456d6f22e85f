/**
 * One text from one prompt, in this process: what `tracebond generate` prints and what benches and comparisons measure.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import { encodePrompt } from './chat-template.ts';
import { type ContinueOptions, checkContinuation, continuePrompt } from './continuation.ts';
import type { LogitSource } from './decode.ts';
import type { OpenModel } from './model.ts';

/** What is asked. */
export type GenerateOptions = ContinueOptions & {
  readonly prompt: string;
  /** Whether the prompt is a user's message in the model's template; else it is given to the model as it is. */
  readonly chat?: boolean;
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
  const { tokenizer, sequences } = model;
  const promptTokens = encode(model, options);
  checkContinuation(promptTokens.length, options, sequences.contextLength);
  const startedAt = performance.now();
  let prefilledAt: number | undefined;
  const sequence = sequences.open(promptTokens.length + options.maxTokens);
  const source: LogitSource = {
    async feed(ids, signal) {
      const logits = await sequence.feed(ids, signal);
      prefilledAt ??= performance.now();
      return logits;
    },
  };
  try {
    const { ids, ...rest } = await continuePrompt(source, tokenizer, promptTokens, options);
    const endedAt = performance.now();
    prefilledAt ??= endedAt;
    return { promptTokens, tokens: ids, ...rest, prefillMs: prefilledAt - startedAt, decodeMs: endedAt - prefilledAt };
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
