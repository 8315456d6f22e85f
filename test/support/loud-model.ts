/**
 * A model in which some tokens have keys and values, in its first layer, a thousand times larger than those of all others.
 *
 * @module
 */

import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { operationList } from '../../inference/exact/operations.ts';
import { randomExactModel } from './random-exact-model.ts';

/** The model and its tokens of both kinds. */
export type LoudModel = {
  readonly model: ExactModel;
  readonly quiet: readonly number[];
  readonly loud: readonly number[];
};

/**
 * The first element of the residual is 0 for quiet tokens, in every layer, and all that loud ones start with; the gain before
 * the keys and values raises it, and each of their rows weighs it.
 */
export function loudModel(): LoudModel {
  const model = randomExactModel({ separateOutput: true, seed: 5 });
  const { matrices, vectors } = operationList(model.shape);
  const quiet: number[] = [];
  const loud: number[] = [];
  for (const { id, tensor, rows } of matrices) {
    const matrix = model.matrices[id];
    if (matrix === undefined) throw new TypeError(`no matrix ${id}`);
    const { weights, stride } = matrix;
    if (tensor === 'attentionOutput' || tensor === 'down') weights.fill(0, 0, stride);
    if (tensor === 'key' || tensor === 'value') for (let row = 0; row < rows; row++) weights[row * stride] = 127;
    if (tensor !== 'embedding') continue;
    for (let token = 0; token < rows; token++) {
      const isLoud = token % 2 === 1;
      (isLoud ? loud : quiet).push(token);
      // a loud token has nothing else, so that the norm leaves all of it in the first element
      if (isLoud) weights.fill(0, token * stride, (token + 1) * stride);
      weights[token * stride] = isLoud ? 127 : 0;
    }
  }
  for (const { id, tensor } of vectors) {
    const vector = model.vectors[id];
    if (tensor === 'attentionNorm' && vector !== undefined) vector[0] = 100_000;
  }
  return { model, quiet, loud };
}
