/**
 * What answers of all surfaces carry besides their words: the receipt, and the numbers of their tokens.
 *
 * @module
 */

import { z } from 'zod';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Answer } from '../answering.ts';
import { hex } from './fields.ts';

const tokenIds = z.array(z.int().min(0).max(0xffffffff));

/** `tracebond` in an answer: a receipt with everything that it is about. A reader checks it by `verify-receipt`. */
export const receiptDocumentSchema = z
  .looseObject({
    format: z.literal('tracebond/receipt@1'),
    id: z.string().describe('Under which `GET /v1/receipts/{id}` gives it again.'),
    receipt: z.unknown().meta({ type: 'object' }).describe('The signed fields and the signature.'),
    request: z.unknown().meta({ type: 'object' }).describe('The whole request in normal form.'),
    runSeed: hex(32),
    promptIds: tokenIds,
    outputIds: tokenIds,
    masks: hex(32).nullable().describe('Root over what was allowed at each place; null where all was.'),
    text: z.string().describe('The output, before it is read as content and calls.'),
  })
  .describe('The receipt and everything that it is about.');

/** The same as JSON. */
export function toReceiptBody({ receipt }: Answer): Json {
  return receipt as unknown as Json;
}

const count = z.int().nonnegative();

/** Numbers of tokens. */
export const usageSchema = z.looseObject({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.looseObject({ cached_tokens: count, audio_tokens: count }),
  completion_tokens_details: z.looseObject({
    reasoning_tokens: count,
    audio_tokens: count,
    accepted_prediction_tokens: count,
    rejected_prediction_tokens: count,
  }),
});

/** The numbers of an answer's tokens. What was computed before and kept is counted as all else. */
export function toUsage({ completion: { promptIds, outputIds } }: Answer): z.output<typeof usageSchema> {
  return {
    prompt_tokens: promptIds.length,
    completion_tokens: outputIds.length,
    total_tokens: promptIds.length + outputIds.length,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

/** Fields that the bodies and the chunks of chat and text completions share. */
export const headFields = {
  id: z.string(),
  created: z.int().describe('Seconds since 1970.'),
  model: z.string(),
  system_fingerprint: z.string().describe('Equal for two servers exactly when model, numerics and engine are.'),
} as const;
