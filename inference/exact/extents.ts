/**
 * The few numbers of a matrix or vector that bound what can be made with it.
 *
 * @module
 */

import { type ExactModel, GROUP_SIZE } from './exact-model.ts';
import type { QuantisedRows } from './quantise-weights.ts';

/** Largest over all rows of a matrix; `c` is 1 where there are no groups. */
export type MatrixExtent = {
  /** Of `sum c * |q|` of a row: an exact integer. */
  readonly sum: number;
  /** Of a row's `scale * sum c * |q|`: times the largest input, no output is larger. */
  readonly reach: number;
  /** Of `c * |q|`: an exact integer. */
  readonly integer: number;
  /** Of `c * |q| * scale`. */
  readonly value: number;
};

/** What range analysis needs of a model's weights, by the ids of the operation list. */
export type ModelExtents = {
  readonly matrices: readonly MatrixExtent[];
  /** Largest magnitude of each vector. */
  readonly vectors: readonly number[];
};

/** The extent of no rows. */
export const NO_EXTENT: MatrixExtent = { sum: 0, reach: 0, integer: 0, value: 0 };

/** Takes rows `[0, count)` into an extent; which rows come together, and in which order, makes no difference. */
export function extend(extent: MatrixExtent, rows: QuantisedRows, count: number): MatrixExtent {
  const { columns, stride, weights, scales, groupScales } = rows;
  const groups = Math.ceil(columns / GROUP_SIZE);
  let { sum, reach, integer, value } = extent;
  for (let row = 0; row < count; row++) {
    let rowSum = 0;
    let rowLargest = 0;
    for (let group = 0; group < groups; group++) {
      const end = row * stride + Math.min(columns, (group + 1) * GROUP_SIZE);
      let groupSum = 0;
      let groupLargest = 0;
      for (let i = row * stride + group * GROUP_SIZE; i < end; i++) {
        const magnitude = Math.abs(weights[i] as number);
        groupSum += magnitude;
        if (magnitude > groupLargest) groupLargest = magnitude;
      }
      const c = groupScales === null ? 1 : (groupScales[row * groups + group] as number);
      rowSum += c * groupSum;
      rowLargest = Math.max(rowLargest, c * groupLargest);
    }
    const scale = scales[row] as number;
    sum = Math.max(sum, rowSum);
    reach = Math.max(reach, scale * rowSum);
    integer = Math.max(integer, rowLargest);
    value = Math.max(value, scale * rowLargest);
  }
  return { sum, reach, integer, value };
}

/** The extents of a model in memory. */
export function modelExtents({ matrices, vectors }: ExactModel): ModelExtents {
  return {
    matrices: matrices.map((matrix) => extend(NO_EXTENT, matrix, matrix.rows)),
    vectors: vectors.map(largestOf),
  };
}

/** Largest magnitude of a vector. */
export function largestOf(vector: Float32Array): number {
  let largest = 0;
  for (const value of vector) largest = Math.max(largest, Math.abs(value));
  return largest;
}
