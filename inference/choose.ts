/**
 * How the next token is chosen: greedily, or by a draw that follows from the inference's seed and the place alone.
 *
 * @module
 */

import { fromHex } from '../attest/core/bytes.ts';
import { argmax, argmaxOfMask, maskIds, type TokenMask } from './decode.ts';
import type { CompletionRequest } from './engine.ts';
import { checkSampling, chooseToken } from './exact/sampler.ts';
import { exponentialTable } from './exact/tables.ts';

/** Takes a token from the logits of a position; of those of a mask, where there is one. */
export type Choose = (logits: Float32Array, position: number, mask?: TokenMask) => number;

/**
 * The rule of a request: greedy unless a temperature is given.
 *
 * @throws {@link InferenceError} `SAMPLING_REFUSED`
 */
export function chooserOf(sampling: CompletionRequest['sampling']): Choose {
  if (sampling !== undefined) checkSampling(sampling);
  if (sampling === undefined || sampling.temperature === 0) {
    return (logits, _position, mask) => (mask === undefined ? argmax(logits) : argmaxOfMask(logits, mask));
  }
  const seed = fromHex(sampling.seed, 32);
  const table = exponentialTable();
  return (logits, position, mask) =>
    chooseToken(logits, sampling, { seed, position }, table, mask === undefined ? undefined : maskIds(mask));
}
