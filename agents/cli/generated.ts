/**
 * What `tracebond generate --json` prints, read back by whoever checks it: every field untrusted.
 *
 * @module
 */

import { z } from 'zod';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { ZERO_DIGEST } from '../../attest/core/hash.ts';
import { parseJson } from '../../attest/encoding/canonical-json.ts';
import { computeInferenceSeed } from '../../attest/trace/run-seed.ts';
import type { CompletionClaim } from '../../inference/check.ts';
import type { CompletionRequest } from '../../inference/engine.ts';
import { parseSampling, type Sampling } from '../../inference/exact/sampler.ts';

/** Greatest length of the JSON in bytes: many times the longest context's. */
export const MAX_GENERATED_BYTES = 16 * 1024 * 1024;

export type GeneratedErrorCode = 'MALFORMED_FIELD';

/** JSON that `generate` does not print; the dotted path is in `at.field`. */
export class GeneratedError extends RuntimeError<GeneratedErrorCode> {
  override readonly name = 'GeneratedError';
}

const digest = z
  .string()
  .regex(/^0x[0-9a-f]{64}$/, 'expected 32 bytes as lower-case 0x hexadecimal')
  .transform((text) => text as Hex);

const ids = z.array(z.int().min(0).max(0xffffffff));

const schema = z.strictObject({
  text: z.string(),
  finishReason: z.enum(['stop', 'length']),
  promptTokens: ids,
  tokens: ids,
  logitsDigest: digest.optional(),
  commitment: digest.nullable(),
  model: z.string(),
  profile: z.enum(['exact', 'float-same-isa']),
  engine: z.enum(['reference', 'wasm', 'ort']),
  threads: z.int().min(1).max(64),
  seed: z.union([
    z.int().nonnegative().transform(BigInt),
    // Only what a number does not hold is a text.
    z
      .string()
      .regex(/^[1-9][0-9]{15,19}$/, 'expected a uint64')
      .transform((text) => BigInt(text))
      .refine((value) => value > BigInt(Number.MAX_SAFE_INTEGER) && value < 1n << 64n, 'expected a uint64'),
  ]),
  temperature: z.number(),
  topP: z.number(),
  topK: z.number(),
  maxTokens: z
    .int()
    .min(1)
    .max(2 ** 31),
  stop: z.array(z.string().min(1)).max(1024),
  /** How long it took is nobody's to check. */
  timing: z.looseObject({}),
});

/** A claim of a model, told by its commitment, with what besides the tokens follows from it. */
export type GeneratedClaim = {
  readonly profile: 'exact' | 'float-same-isa';
  /** Null under `float-same-isa`. */
  readonly commitment: Hex | null;
  readonly completion: CompletionClaim;
  readonly text: string;
  readonly finishReason: 'stop' | 'length';
  readonly logitsDigest?: Hex;
};

/**
 * Reads the JSON.
 *
 * @param bytes - untrusted
 * @throws {@link EncodingError} if it is no JSON, {@link GeneratedError} if it is another JSON, {@link InferenceError}
 *   `SAMPLING_REFUSED` for sampling that there is not
 */
export function parseGenerated(bytes: Uint8Array): GeneratedClaim {
  const parsed = schema.safeParse(parseJson(bytes, { maxBytes: MAX_GENERATED_BYTES, maxDepth: 4 }));
  if (!parsed.success) throw malformed(parsed.error.issues[0]);
  const { promptTokens, tokens, maxTokens, stop, seed, temperature, topP, topK, ...rest } = parsed.data;
  const { profile, commitment, text, finishReason, logitsDigest } = rest;
  if ((commitment === null) !== (profile === 'float-same-isa')) {
    throw new GeneratedError('MALFORMED_FIELD', 'commitment: the profile exact has one, and no other', {
      at: { field: 'commitment' },
    });
  }
  const sampling = samplingOf(parseSampling({ temperature, topP, topK }), seed);
  return {
    profile,
    commitment,
    completion: { promptIds: promptTokens, outputIds: tokens, maxTokens, stop, sampling },
    text,
    finishReason,
    ...(logitsDigest === undefined ? {} : { logitsDigest }),
  };
}

/** The sampling of a completion outside any run, from the seed of one's own, a uint64. */
export function samplingOf(sampling: Sampling, seed: bigint): NonNullable<CompletionRequest['sampling']> {
  return { ...sampling, seed: toHex(computeInferenceSeed(ZERO_DIGEST, 0n, seed)) };
}

function malformed(issue: z.core.$ZodIssue | undefined): GeneratedError {
  const unknown = issue?.code === 'unrecognized_keys' ? [issue.keys[0] ?? ''] : [];
  const field = [...(issue?.path ?? []), ...unknown].map(String).join('.').slice(0, 64);
  return new GeneratedError('MALFORMED_FIELD', `${field || 'the whole'}: ${issue?.message ?? 'not understood'}`, {
    at: { field },
  });
}
