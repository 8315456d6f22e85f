/**
 * `POST /v1/embeddings`: the request as OpenAI's clients write it, and the vectors as they read them.
 *
 * @module
 */

import { z } from 'zod';
import type { Json, LosslessJson } from '../../attest/encoding/canonical-json.ts';
import type { Embedded } from '../embed.ts';
import { type KnownElsewhere, refuse } from '../protocol-faults.ts';
import { EMBEDDING_LIMITS } from '../receipts/embedding-document.ts';
import { neutralFields, text } from './fields.ts';

const one = text(1, EMBEDDING_LIMITS.text);

/** Body of a request. Lists of token ids, which OpenAI takes too, are refused: what they spell depends on the vocabulary. */
export const embeddingRequestSchema = z
  .strictObject({
    model: text(1, 256).describe('Name of the model, or its digest.'),
    input: z
      .union([one, z.array(one).min(1).max(EMBEDDING_LIMITS.texts)])
      .describe(`A text, or up to ${EMBEDDING_LIMITS.texts} of them, none empty.`),
    encoding_format: z
      .enum(['float', 'base64'])
      .nullish()
      .describe('`float` by default; base64 is of little-endian binary32.'),
    user: neutralFields.user,
  })
  .meta({ id: 'EmbeddingRequest' });

/** Body of a response. */
export const embeddingResponseSchema = z
  .looseObject({
    object: z.literal('list'),
    data: z.array(
      z.strictObject({
        object: z.literal('embedding'),
        index: z.int().nonnegative(),
        embedding: z
          .union([z.array(z.number()), z.string()])
          .describe('The mean over the tokens of the last hidden state, of unit length; binary32.'),
      }),
    ),
    model: z.string(),
    usage: z.strictObject({ prompt_tokens: z.int().nonnegative(), total_tokens: z.int().nonnegative() }),
    tracebond: z.looseObject({ format: z.string(), id: z.string() }).describe('The signed receipt.'),
  })
  .meta({ id: 'EmbeddingResponse' });

/** Of OpenAI's API, and not of this server's. */
const ELSEWHERE: KnownElsewhere = {
  parameters: new Set(['dimensions']),
  values: {
    // More texts than one request may have here.
    input: (value) => Array.isArray(value) && value.length > 0,
    'input[]': (value) => typeof value === 'number' || Array.isArray(value),
  },
};

/** A request, read. */
export type EmbeddingAsked = {
  readonly model: string;
  readonly texts: readonly string[];
  readonly encoding: 'float' | 'base64';
};

/**
 * Reads a body.
 *
 * @param body - untrusted
 * @throws {@link ApiError} with the parameter in `at.param`
 */
export function parseEmbeddingRequest(body: LosslessJson): EmbeddingAsked {
  const parsed = embeddingRequestSchema.safeParse(body);
  if (!parsed.success) throw refuse(parsed.error.issues, body, ELSEWHERE);
  const { model, input, encoding_format } = parsed.data;
  return { model, texts: typeof input === 'string' ? [input] : input, encoding: encoding_format ?? 'float' };
}

/** Writes the body of a response. */
export function toEmbeddingResponse(
  { identity, embeddings, receipt }: Embedded,
  encoding: EmbeddingAsked['encoding'],
): { readonly [key: string]: Json } {
  const tokens = embeddings.ids.reduce((sum, ids) => sum + ids.length, 0);
  return {
    object: 'list',
    data: embeddings.vectors.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: encoding === 'float' ? vector : toBase64(vector),
    })),
    model: identity.id,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    tracebond: receipt as unknown as Json,
  };
}

/** Little-endian binary32, as OpenAI's clients read it. */
function toBase64(vector: readonly number[]): string {
  const bytes = Buffer.alloc(4 * vector.length);
  for (const [i, value] of vector.entries()) bytes.writeFloatLE(value, 4 * i);
  return bytes.toString('base64');
}
