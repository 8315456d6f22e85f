/**
 * How tokens are chosen and where an answer ends, as the surfaces of the API say it. By default decoding is greedy.
 *
 * @module
 */

import { z } from 'zod';
import { isJsonObject, type LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { REQUEST_LIMITS, type Sampling } from '../../attest/trace/inference-request.ts';
import { MAX_TOP_K, parseSampling, SAMPLING_UNITS } from '../exact/sampler.ts';
import { decimal, text, UINT64 } from './fields.ts';

/** The fields that decide what is drawn. */
export const samplingFields = {
  temperature: z
    .number()
    .min(0)
    .max(2)
    .nullish()
    .describe('0 to 2, rounded to 1/10,000; 0 (default) takes the most probable token always.'),
  top_p: z.number().min(0.0001).max(1).nullish().describe('0.0001 to 1, rounded to 1/10,000; 1 by default.'),
} as const;

/** Extension of this server. */
export const topK = z
  .int()
  .min(0)
  .max(MAX_TOP_K)
  .nullish()
  .describe('So many of the most probable tokens stay; 0 (default) for all. An extension of this server.');

/** A seed of a request. */
export const seed = z
  .union([z.int().nonnegative(), decimal(UINT64)])
  .nullish()
  .describe('A uint64: as a number, or as a text for readers that round numbers beyond 2^53; 0 by default.');

/** Texts before which an answer ends. */
export const stop = z
  .union([text(1, REQUEST_LIMITS.stopText), z.array(text(1, REQUEST_LIMITS.stopText)).max(REQUEST_LIMITS.stop)])
  .nullish()
  .describe('Texts before which an answer of free text ends.');

/** Most tokens of an answer. */
export const maxTokens = z.int().min(1).max(REQUEST_LIMITS.maxTokens).nullish();

/** Fields of OpenAI's samplers that this server has only the neutral value of. */
export const neutralSamplingFields = {
  n: z.literal(1).nullish(),
  frequency_penalty: z.literal(0).nullish(),
  presence_penalty: z.literal(0).nullish(),
  logit_bias: z
    .record(z.string(), z.unknown())
    .refine((biases) => Object.keys(biases).length === 0, 'expected {}')
    .nullish(),
} as const;

/**
 * A sampling in normal form. What is finer than 1/10,000, as sums of binary64 are, is rounded to it; the receipt says to what.
 */
export function readSampling(fields: {
  readonly temperature?: number | null | undefined;
  readonly top_p?: number | null | undefined;
  readonly top_k?: number | null | undefined;
}): Sampling {
  const { temperature, top_p, top_k } = fields;
  return parseSampling({ temperature: rounded(temperature ?? 0), topP: rounded(top_p ?? 1), topK: top_k ?? 0 });
}

/** The nearest multiple of 1/10,000. */
function rounded(value: number): number {
  return Math.round(value * SAMPLING_UNITS) / SAMPLING_UNITS;
}

/** Texts to stop at, as a list. */
export function readStop(value: z.output<typeof stop>): readonly string[] {
  if (value === null || value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

/** The body with a seed beyond 2^53 as a text, which says it exactly. */
export function withExactSeed(body: LosslessJson): LosslessJson {
  if (!isJsonObject(body) || typeof body['seed'] !== 'bigint') return body;
  return { ...body, seed: body['seed'].toString() };
}
