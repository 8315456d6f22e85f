/**
 * *product*: a matrix of int8 weights with a quantised row.
 *
 * Spec: `inference/spec/exact.md#operations`, 3.
 *
 * @module
 */

import { add, float, multiply } from '../arithmetic.ts';
import { type ExactMatrix, GROUP_SIZE } from '../exact-model.ts';
import type { Quantised } from './row-operations.ts';

/**
 * One number for each row of the matrix.
 *
 * @param input - integers `[columns]` in `-32768..32767`
 * @param bias - `[rows]`
 */
export function product(matrix: ExactMatrix, input: Quantised, bias?: Float32Array): Float32Array {
  const result = new Float32Array(matrix.rows);
  for (let row = 0; row < matrix.rows; row++) {
    const acc = exactSum(matrix, row, input.integers);
    const value = multiply(multiply(float(acc), matrix.scales[row] as number), input.scale);
    result[row] = bias === undefined ? value : add(value, bias[row] as number);
  }
  return result;
}

/** `sum c q a`: integers in binary64, exact below 2^53. */
function exactSum(matrix: ExactMatrix, row: number, a: Int16Array): number {
  const { columns, stride, weights, groupScales } = matrix;
  const groups = Math.ceil(columns / GROUP_SIZE);
  let acc = 0;
  for (let group = 0; group < groups; group++) {
    const c = groupScales === null ? 1 : (groupScales[row * groups + group] as number);
    const end = Math.min(columns, (group + 1) * GROUP_SIZE);
    let sum = 0;
    for (let k = group * GROUP_SIZE; k < end; k++) {
      sum += (weights[row * stride + k] as number) * (a[k] as number);
    }
    acc += c * sum;
  }
  return acc;
}
