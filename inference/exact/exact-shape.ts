/**
 * From a decoder's description to its shape in the exact form.
 *
 * Spec: `inference/spec/exact.md#shape`.
 *
 * @module
 */

import type { DecoderConfig } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { type ExactShape, MAX_CONTEXT } from './exact-model.ts';

/** Largest extent of one head: a dot product of two heads and a sum of values fit int32. */
export const MAX_HEAD_SIZE = 256;

/** Largest of any other count: rows and columns of matrices are u32, with room for sums of squares. */
const MAX_COUNT = 2 ** 27;

/** Every layer costs 19 or more operations in lists that are held in memory. */
const MAX_LAYERS = 4096;

/**
 * Takes what decides the arithmetic. A context above 131,072 positions is lowered to that.
 *
 * @param config - untrusted
 * @throws {@link ModelError} `MALFORMED_METADATA` if a count is no positive integer or too large, the number of heads no
 *   multiple of that of key heads, or epsilon not above zero in binary32
 * @throws {@link ModelError} `UNSUPPORTED_FEATURE` if the extent of a head is odd or above 256
 */
export function exactShape(config: DecoderConfig): ExactShape {
  const { layers, embedding, feedForward, heads, kvHeads, headSize, vocabulary, contextLength } = config;
  const counts = { layers, embedding, feedForward, heads, kvHeads, headSize, vocabulary, contextLength };
  for (const [field, count] of Object.entries(counts)) {
    if (!Number.isSafeInteger(count) || count < 1 || count > MAX_COUNT) {
      throw malformed(field, `expected an integer in 1..${MAX_COUNT}, got ${count}`);
    }
  }
  if (layers > MAX_LAYERS) throw malformed('layers', `expected at most ${MAX_LAYERS}, got ${layers}`);
  if (heads % kvHeads !== 0) throw malformed('kvHeads', `${heads} heads do not share ${kvHeads} key heads evenly`);
  if (headSize % 2 !== 0 || headSize > MAX_HEAD_SIZE) {
    throw new ModelError(
      'UNSUPPORTED_FEATURE',
      `extent of a head must be even and at most ${MAX_HEAD_SIZE}, got ${headSize}`,
      {
        at: { field: 'headSize' },
      },
    );
  }
  if (heads * headSize > MAX_COUNT) throw malformed('heads', `${heads} heads of ${headSize} are too many`);
  const epsilon = Math.fround(config.normEpsilon);
  if (!(epsilon > 0 && Number.isFinite(epsilon))) {
    throw malformed('normEpsilon', `expected a number above zero, got ${config.normEpsilon}`);
  }
  return {
    layers,
    embedding,
    feedForward,
    heads,
    kvHeads,
    headSize,
    vocabulary,
    context: Math.min(contextLength, MAX_CONTEXT),
    epsilon,
    biases: config.attentionBias,
    headNorms: config.headNorm,
    separateOutput: !config.tiedOutput,
  };
}

function malformed(field: string, reason: string): ModelError {
  return new ModelError('MALFORMED_METADATA', `${field} of the decoder: ${reason}`, { at: { field } });
}
