/**
 * One text from one prompt, in this process: what `tracebond generate` prints and what benches and comparisons measure.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { AheadCounts } from './ahead.ts';
import { encodePrompt } from './chat-template.ts';
import { type ContinueOptions, checkContinuation, continuation } from './continuation.ts';
import { drive, type LogitSource } from './decode.ts';
import { LogitsDigest } from './logits-digest.ts';
import type { OpenModel } from './model.ts';
import { lookupSource } from './prompt-lookup.ts';

/** What is asked. */
export type GenerateOptions = ContinueOptions & {
  readonly prompt: string;
  /** Whether the prompt is a user's message in the model's template; else it is given to the model as it is. */
  readonly chat?: boolean;
  /** Whether ids that are likely are computed ahead, where the model's profile allows it; the bits are the same. True by default. */
  readonly speculate?: boolean;
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
  /** What was computed for it. */
  readonly counts: AheadCounts;
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
  const capacity = promptTokens.length + options.maxTokens;
  const sequence = sequences.open(capacity, promptTokens);
  const ahead = lookupSource(sequence, capacity, options.speculate);
  const source: LogitSource = {
    async feed(ids, signal) {
      const logits = await ahead.feed(ids, signal);
      prefilledAt ??= performance.now();
      return logits;
    },
  };
  try {
    const digest = new LogitsDigest();
    const observe = (logits: Float32Array) => digest.append(logits);
    const { ids, ...rest } = await drive(source, continuation(tokenizer, promptTokens, { ...options, observe }));
    const endedAt = performance.now();
    prefilledAt ??= endedAt;
    const { counts } = ahead;
    const [prefillMs, decodeMs] = [prefilledAt - startedAt, endedAt - prefilledAt];
    return { promptTokens, tokens: ids, ...rest, logitsDigest: digest.finish(), prefillMs, decodeMs, counts };
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
