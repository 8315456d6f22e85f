/**
 * Computes what a receipt is about again, by prefill: prompt and claimed output go through the model together, and each place must choose
 * the token that is claimed for it.
 *
 * Spec: `inference/spec/receipt.md#verification`, step 6.
 *
 * @module
 */

import { fromHex } from '../../attest/core/bytes.ts';
import type { InferenceRequest } from '../../attest/trace/inference-request.ts';
import { computeInferenceSeed } from '../../attest/trace/run-seed.ts';
import type { InferenceObstacle } from '../../attest/verify/executor.ts';
import { cannot, compare, compareIds, diverged, MATCH, type Outcome } from '../../attest/verify/outcome.ts';
import { toCompletionRequest } from '../completion-request.ts';
import type { CheckingEngine, ModelIdentity } from '../engine.ts';
import { InferenceError } from '../errors.ts';
import { isRefusal } from '../refusals.ts';
import type { ReceiptDocument } from './receipt-document.ts';

/** Why a model does not do for a request, or undefined. */
export function obstacleOf(
  request: Pick<InferenceRequest, 'model' | 'profile' | 'engine'>,
  identity: Pick<ModelIdentity, 'model' | 'profile' | 'engine'>,
): InferenceObstacle | undefined {
  if (request.model !== identity.model) return 'MODEL_NOT_AT_HAND';
  if (request.profile !== identity.profile) return 'OTHER_NUMERICS';
  if (request.engine !== identity.engine) return 'ENGINE_MISMATCH';
  return undefined;
}

/**
 * Holds a document against what a model of one's own computes: tokens of the prompt, tokens of the output, what was allowed at each place, why
 * the output ended, its text; the first that differs is told.
 *
 * @param engine - of the request's model, profile and engine; with another the outcome is `CANNOT_RECOMPUTE`
 * @param document - untrusted, of one piece (`verifyReceiptDocument`)
 */
export async function recomputeReceipt(
  engine: Pick<CheckingEngine, 'identity' | 'check'>,
  document: ReceiptDocument,
  signal?: AbortSignal,
): Promise<Outcome> {
  const { request, receipt, outputIds } = document;
  const obstacle = obstacleOf(request, engine.identity);
  if (obstacle !== undefined) return cannot(obstacle);
  const seed = computeInferenceSeed(fromHex(document.runSeed, 32), BigInt(receipt.index), BigInt(request.seed));
  try {
    const found = await engine.check(toCompletionRequest(request, seed), outputIds, signal);
    const differs =
      compareIds('promptIds', document.promptIds, found.promptIds) ??
      compareIds('outputIds', outputIds, found.outputIds);
    if (differs !== undefined) return differs;
    // An answer that ended early and yet does not differ says nothing about what comes after it.
    if (found.finishReason === null) return cannot('HOST_FAULT');
    return (
      compare('masks', document.masks, found.masks) ??
      compare('receipt.finish', receipt.finish, found.finishReason) ??
      compare('text', document.text, found.text) ??
      MATCH
    );
  } catch (error) {
    if (isRefusal(error)) return diverged('outputIds', 'an output', error.code);
    if (error instanceof InferenceError && error.code !== 'CANCELLED') return cannot('HOST_FAULT');
    throw error;
  }
}
