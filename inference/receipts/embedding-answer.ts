/**
 * What an answer with embeddings says besides its receipt, and whether the receipt says the same. Nobody signed the answer: its vectors count
 * where they have the digest that was signed.
 *
 * Spec: `inference/spec/embeddings.md#verification`.
 *
 * @module
 */

import { z } from 'zod';
import { toHex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { computeVectorsDigest } from '../../attest/sign/embedding-receipt.ts';
import { compare, diverged, type Outcome } from '../../attest/verify/outcome.ts';
import { malformed, readPart } from './carrier-error.ts';
import { EMBEDDING_LIMITS, type EmbeddingDocument } from './embedding-document.ts';

/** What an answer with embeddings says besides its receipt. */
export type CarriedEmbeddings = {
  readonly surface: 'embeddings';
  readonly isStream: false;
  /** One for each text in the order in which they stand, binary32. */
  readonly vectors: readonly (readonly number[])[];
  /** The number that each vector has in the answer. */
  readonly indexes: readonly number[];
  /** A name of the server's, or the model's digest; undefined where it is not said. */
  readonly model: string | undefined;
  readonly promptTokens: number | undefined;
  readonly totalTokens: number | undefined;
};

const count = z.number().int().nonnegative();
// attacker-controlled: elements are read one by one, for a schema would list the fault of each of millions
const answerBody = z.looseObject({
  data: z.array(z.unknown()).max(EMBEDDING_LIMITS.texts),
  model: z.string().optional(),
  usage: z.looseObject({ prompt_tokens: count, total_tokens: count }).optional(),
});
const item = z.looseObject({
  object: z.literal('embedding'),
  index: count,
  embedding: z.union([z.string(), z.array(z.unknown())]),
});

/**
 * Reads the body of an answer; vectors as lists of numbers, or as base64 of little-endian binary32.
 *
 * @param body - untrusted
 * @throws {@link CarrierError} `MALFORMED_ANSWER`, also for a number that is no finite binary32
 */
export function readEmbeddingAnswer(body: Json): CarriedEmbeddings {
  const { data, model, usage } = readPart(answerBody, body);
  const items = data.map((one, i) => readPart(item, one as Json, `data.${i}`));
  return {
    surface: 'embeddings',
    isStream: false,
    vectors: items.map(({ embedding }, i) => readVector(embedding, `data.${i}.embedding`)),
    indexes: items.map(({ index }) => index),
    model,
    promptTokens: usage?.prompt_tokens,
    totalTokens: usage?.total_tokens,
  };
}

function readVector(embedding: string | readonly unknown[], field: string): readonly number[] {
  const values = typeof embedding === 'string' ? fromBase64(embedding, field) : embedding;
  return values.map((value, i) => {
    if (typeof value === 'number' && Number.isFinite(value) && Math.fround(value) === value) return value;
    throw malformed(`${field}.${i}`, 'expected a finite binary32');
  });
}

function fromBase64(text: string, field: string): readonly number[] {
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips what is no base64.
  if (bytes.length % 4 !== 0 || bytes.toString('base64') !== text)
    throw malformed(field, 'expected base64 of binary32');
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

/**
 * Whether an answer says of everything but its vectors what its receipt says: their number and order, the model, the numbers of tokens.
 *
 * @param document - of one piece (`verifyEmbeddingDocument`)
 * @returns the first field of the answer that differs, or undefined
 */
export function compareEmbeddingAnswer(answer: CarriedEmbeddings, document: EmbeddingDocument): Outcome | undefined {
  const { request, ids } = document;
  if (answer.vectors.length !== request.input.length) {
    return diverged('data', `${answer.vectors.length} vectors`, `${request.input.length} texts`);
  }
  const place = answer.indexes.findIndex((index, i) => index !== i);
  if (place !== -1) return compare(`data.${place}.index`, answer.indexes[place] ?? null, place);
  const model = answer.model?.toLowerCase();
  const tokens = sumOf(ids);
  const saysTokens = (name: string, claimed: number | undefined) =>
    claimed === undefined ? undefined : compare(`usage.${name}`, claimed, tokens);
  return (
    // A name is the server's own and says nothing about the weights.
    (model === undefined || !/^0x[0-9a-f]{64}$/.test(model) ? undefined : compare('model', model, request.model)) ??
    saysTokens('prompt_tokens', answer.promptTokens) ??
    saysTokens('total_tokens', answer.totalTokens)
  );
}

/**
 * Whether an answer's vectors are those that were signed. The receipt has one digest for all: which one differs is known only by computing them.
 *
 * @returns the difference of `data`, or undefined
 */
export function compareSignedVectors({ vectors }: CarriedEmbeddings, document: EmbeddingDocument): Outcome | undefined {
  return compare('data', toHex(computeVectorsDigest(vectors)), document.receipt.vectors);
}

/** Tokens of all texts. */
export function sumOf(ids: EmbeddingDocument['ids']): number {
  return ids.reduce((sum, { length }) => sum + length, 0);
}
