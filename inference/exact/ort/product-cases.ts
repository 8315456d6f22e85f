/**
 * Products that a wrong implementation of MatMulInteger gets wrong: extremes that leave 16 bits where pairs or fours of products are
 * added in lanes of 16, or the range in which binary32 holds integers; every shape of a tail; zeros; noise. Sums are computed here with
 * plain integer arithmetic. Deterministic, made anew by each call: about 20 ms, 1 MB.
 *
 * @module
 */

import { ZERO_POINT } from './product-graph.ts';

/** One call of a product session, and what it has to answer. Cases with the same weights share the array, and follow each other. */
export type ProductCase = {
  readonly rows: number;
  readonly columns: number;
  readonly outputs: number;
  /** `[rows, columns]`, 0..127. */
  readonly activations: Uint8Array;
  /** `[columns, outputs]`. */
  readonly weights: Int8Array;
  /** `[rows, outputs]`. */
  readonly expected: Int32Array;
};

/** Kernels compute blocks of 4, 6, 8, 16 or 32 rows: what is left over is every number below, and none. */
const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64] as const;

/**
 * Matrices: columns, then the outputs that go with them. Blocks of 4 to 128 columns, among them panels that a kernel of 256 or more
 * columns does not fill; blocks of 4 to 256 outputs. Long sums have fewer rows, for time.
 */
const MATRICES: readonly (readonly [columns: number, outputs: readonly number[], mostRows: number])[] = [
  [32, [1, 4, 15, 16, 17, 31, 48, 63, 64, 65, 192, 257], 64],
  [64, [1, 4, 15, 16, 17, 31, 48, 63, 64, 65, 192], 64],
  [96, [1, 15, 16, 17, 31, 33, 65, 192], 64],
  [576, [1, 17, 48, 64], 33],
  [1536, [4, 16, 31], 17],
  [2080, [1, 15, 17], 17],
];

/** Patterns of rows and of outputs: no block is a multiple of them, so that each meets each lane. */
const PATTERNS = 7;

/** All cases. */
export function productCases(): ProductCase[] {
  const draw = generator(0x7ac3b04d);
  return MATRICES.flatMap(([columns, widths, mostRows]) => {
    const activations = makeActivations(mostRows, columns, draw);
    return widths.flatMap((outputs) => {
      const weights = makeWeights(columns, outputs, draw);
      const expected = multiply(activations, weights, columns, outputs);
      return ROWS.filter((rows) => rows <= mostRows).map((rows): ProductCase => {
        // The last rows, so that the very last one, which a tail begins or ends with, is noise.
        const skipped = mostRows - rows;
        return {
          rows,
          columns,
          outputs,
          activations: activations.subarray(skipped * columns),
          weights,
          expected: expected.subarray(skipped * outputs),
        };
      });
    });
  });
}

function makeActivations(rows: number, columns: number, draw: Generator): Uint8Array {
  const activations = new Uint8Array(rows * columns);
  for (let m = 0; m < rows; m++) {
    const pattern = (rows - 1 - m) % PATTERNS;
    for (let k = 0; k < columns; k++) activations[m * columns + k] = activation(pattern, k, draw);
  }
  return activations;
}

function activation(pattern: number, k: number, draw: Generator): number {
  switch (pattern) {
    case 1:
      return 127;
    case 2:
      // With the weights of pattern 2: an odd sum above 2^24 at 2,080 columns.
      return k === 0 ? 1 : 0;
    case 3:
      return ZERO_POINT;
    case 4:
      return k & 1 ? 0 : 127;
    case 5:
      return k & 2 ? 127 : 0;
    default:
      return draw() & 127;
  }
}

function makeWeights(columns: number, outputs: number, draw: Generator): Int8Array {
  const weights = new Int8Array(columns * outputs);
  for (let n = 0; n < outputs; n++) {
    const pattern = (outputs - 1 - n) % PATTERNS;
    for (let k = 0; k < columns; k++) weights[k * outputs + n] = weight(pattern, k, draw);
  }
  return weights;
}

function weight(pattern: number, k: number, draw: Generator): number {
  switch (pattern) {
    case 1:
      return 127;
    case 2:
      return k === 0 ? -127 : -128;
    case 3:
      return k & 1 ? -128 : 127;
    case 4:
      return k & 2 ? 127 : -128;
    case 5:
      return draw() & 1 ? 127 : -128;
    default:
      return (draw() & 255) - 128;
  }
}

/** Sums of (activation - 64) * weight; none leaves int32. Four columns at a time, for time; their number is a multiple of 32. */
function multiply(activations: Uint8Array, weights: Int8Array, columns: number, outputs: number): Int32Array {
  const rows = activations.length / columns;
  const sums = new Int32Array(rows * outputs);
  const at = (i: number) => (activations[i] as number) - ZERO_POINT;
  const by = (i: number) => weights[i] as number;
  for (let m = 0; m < rows; m++) {
    for (let k = 0, a = m * columns; k < columns; k += 4, a += 4) {
      const [f0, f1, f2, f3] = [at(a), at(a + 1), at(a + 2), at(a + 3)];
      for (let n = 0, s = m * outputs, w = k * outputs; n < outputs; n++, s++, w++) {
        const sum = f0 * by(w) + f1 * by(w + outputs) + f2 * by(w + 2 * outputs) + f3 * by(w + 3 * outputs);
        sums[s] = ((sums[s] as number) + sum) | 0;
      }
    }
  }
  return sums;
}

type Generator = () => number;

/** The upper half of a linear congruential generator (Numerical Recipes): integers in `[0, 2^16)`. */
function generator(seed: number): Generator {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state >>> 16;
  };
}
