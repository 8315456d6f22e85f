/**
 * Products of many rows, as arithmetic says.
 *
 * @module
 */

/** Extents and operands: activations `[rows, columns]`, weights `[columns, outputs]`. */
export type PlainProduct = {
  readonly rows: number;
  readonly columns: number;
  readonly outputs: number;
  readonly activations: Uint8Array;
  readonly weights: Int8Array;
};

/** Sums `[rows, outputs]` of (activation - 64) * weight. */
export function plainProduct({ rows, columns, outputs, activations, weights }: PlainProduct): Int32Array {
  const sums = new Int32Array(rows * outputs);
  for (let m = 0; m < rows; m++) {
    for (let n = 0; n < outputs; n++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) {
        sum += ((activations[m * columns + k] ?? 0) - 64) * (weights[k * outputs + n] ?? 0);
      }
      sums[m * outputs + n] = sum;
    }
  }
  return sums;
}
