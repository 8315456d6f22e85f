/**
 * Computes the vectors that a receipt is about again, and holds tokens and vectors against what was signed.
 *
 * Spec: `inference/spec/embeddings.md#verification`, step 6.
 *
 * @module
 */

import { toHex } from '../../attest/core/bytes.ts';
import { computeVectorsDigest } from '../../attest/sign/embedding-receipt.ts';
import { cannot, compareIds, diverged, MATCH, type Outcome } from '../../attest/verify/outcome.ts';
import type { CheckingEngine, Embeddings } from '../engine.ts';
import { InferenceError } from '../errors.ts';
import { isRefusal } from '../refusals.ts';
import type { EmbeddingDocument } from './embedding-document.ts';
import { obstacleOf } from './recheck.ts';

/** What computes vectors. */
export type EmbeddingEngine = Pick<CheckingEngine, 'identity' | 'embed'>;

type Vectors = Embeddings['vectors'];

/**
 * Holds a document against what a model of one's own computes: the tokens of each text, then the vectors; the first that differs is told.
 *
 * @param engine - of the request's model, profile and engine; with another the outcome is `CANNOT_RECOMPUTE`
 * @param document - untrusted, of one piece (`verifyEmbeddingDocument`)
 * @param signed - vectors of the receipt's digest, so that the one which is false can be named; null where nobody has them
 */
export async function recomputeEmbeddings(
  engine: EmbeddingEngine,
  document: EmbeddingDocument,
  signed: Vectors | null,
  signal?: AbortSignal,
): Promise<Outcome> {
  const found = await embedAgain(engine, document, signal);
  if ('verdict' in found) return found;
  for (const [i, ids] of document.ids.entries()) {
    const differs = compareIds(`ids.${i}`, ids, found.ids[i] ?? []);
    if (differs !== undefined) return differs;
  }
  const { vectors } = document.receipt;
  const recomputed = toHex(computeVectorsDigest(found.vectors));
  if (recomputed === vectors) return MATCH;
  const named = signed === null ? undefined : compareVectors(signed, found.vectors);
  return named ?? diverged('receipt.vectors', vectors, recomputed);
}

/**
 * Names the vector of an answer that is not the one which was signed.
 *
 * @param answered - vectors that do not have the receipt's digest
 * @returns undefined where the model at hand does not give the signed ones
 */
export async function locateVector(
  engine: EmbeddingEngine,
  document: EmbeddingDocument,
  answered: Vectors,
  signal?: AbortSignal,
): Promise<Outcome | undefined> {
  const found = await embedAgain(engine, document, signal);
  if ('verdict' in found || toHex(computeVectorsDigest(found.vectors)) !== document.receipt.vectors) return undefined;
  return compareVectors(answered, found.vectors);
}

async function embedAgain(
  engine: EmbeddingEngine,
  { request, receipt }: EmbeddingDocument,
  signal: AbortSignal | undefined,
): Promise<Embeddings | Outcome> {
  const obstacle = obstacleOf(request, engine.identity);
  if (obstacle !== undefined) return cannot(obstacle);
  try {
    const found = await engine.embed(request.input, signal);
    // Weights that overflow: such a vector has no digest, and nobody signed it.
    const hasDigest = found.vectors.every((vector) => vector.every(Number.isFinite));
    return hasDigest ? found : diverged('receipt.vectors', receipt.vectors, 'no finite vector');
  } catch (error) {
    if (isRefusal(error)) return diverged('receipt.vectors', receipt.vectors, error.code);
    if (error instanceof InferenceError && error.code !== 'CANCELLED') return cannot('HOST_FAULT');
    throw error;
  }
}

/** The first element at which an answer's vectors are not those that were computed. */
function compareVectors(answered: Vectors, recomputed: Vectors): Outcome | undefined {
  for (const [i, vector] of recomputed.entries()) {
    const differs = compareIds(`data.${i}.embedding`, answered[i] ?? [], vector);
    if (differs !== undefined) return differs;
  }
  return undefined;
}
