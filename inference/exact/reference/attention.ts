/**
 * *attention* of one row: every reduction runs over the positions up to the row's own, of its own sequence; there is no
 * mask.
 *
 * Spec: `inference/spec/exact.md#operations`, 7.
 *
 * @module
 */

import { divide, float, multiply, roundClipped, roundEven, subtract } from '../arithmetic.ts';
import { ACTIVATION_MAX, ATTENTION_MAX, type ExactShape, type ExactTables } from '../exact-model.ts';
import type { KeptRows } from './kept-rows.ts';
import { quantise } from './row-operations.ts';

/** `B`, attention weights for each unit of the exponential table. */
const WEIGHT_UNIT = Math.fround(ATTENTION_MAX / 65_535);

/** Keys and values of one sequence and layer. */
export type Kept = { readonly keys: KeptRows; readonly values: KeptRows };

/**
 * The attended row, `[heads * headSize]`.
 *
 * @param query - rotated, `[heads * headSize]`
 * @param position - of the row; its own key and value are kept already
 * @param scoreConstant - `C`
 */
export function attention(
  query: Float32Array,
  { keys, values }: Kept,
  position: number,
  { heads, kvHeads, headSize }: Pick<ExactShape, 'heads' | 'kvHeads' | 'headSize'>,
  scoreConstant: number,
  { exponential }: Pick<ExactTables, 'exponential'>,
): Float32Array {
  const count = position + 1;
  const result = new Float32Array(heads * headSize);
  for (let h = 0; h < heads; h++) {
    const shared = Math.floor(h / (heads / kvHeads));
    const { integers: a, scale: s } = quantise(query.subarray(h * headSize, (h + 1) * headSize), ACTIVATION_MAX);
    const f = multiply(s, scoreConstant);

    const t = scores(a, f, keys.integers(shared, count), keys.scales(shared, count));
    const m = maximum(t);
    const e = t.map((tj) => exponential[roundClipped(subtract(m, tj), 0, 32_767)] as number);
    let z = 0;
    for (const ej of e) z += ej;

    const vs = values.scales(shared, count);
    const vm = maximum(vs);
    const p = e.map((ej, j) => roundEven(multiply(multiply(float(ej), WEIGHT_UNIT), divide(vs[j] as number, vm))));
    const divisor = multiply(float(z), WEIGHT_UNIT);
    const sums = weightedSums(p, values.integers(shared, count), headSize);
    for (let k = 0; k < headSize; k++) {
      result[h * headSize + k] = divide(multiply(float(sums[k] as number), vm), divisor);
    }
  }
  return result;
}

/** `t_j` for each position. A dot product is below 256 * 8127 * 2047 < 2^53. */
function scores(a: Int16Array, f: number, k: Int16Array, ks: Float32Array): Float32Array {
  return ks.map((scale, j) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (k[j * a.length + i] as number);
    return multiply(multiply(float(sum), f), scale);
  });
}

/** `sum p_j v_jk` for each k, below 131,072 * 16,383 * 511 < 2^53. */
function weightedSums(p: Float32Array, v: Int16Array, headSize: number): Float64Array {
  const sums = new Float64Array(headSize);
  p.forEach((weight, j) => {
    for (let k = 0; k < headSize; k++) {
      sums[k] = (sums[k] as number) + weight * (v[j * headSize + k] as number);
    }
  });
  return sums;
}

/** Largest of at least one number. */
function maximum(values: Float32Array): number {
  let largest = values[0] as number;
  for (const value of values) if (value > largest) largest = value;
  return largest;
}
