import { describe, expect, it } from 'vitest';
import type { ExactMatrix } from '../../../../inference/exact/exact-model.ts';
import { product } from '../../../../inference/exact/reference/product.ts';
import { seededRandom } from '../../../support/random.ts';

describe('product', () => {
  it('rounds the integer, then each product, then the sum with the bias', () => {
    const matrix = filled(1, 2, () => 0);
    matrix.weights.set([127, 1]);
    matrix.scales[0] = Math.fround(0.1);
    const input = { integers: Int16Array.of(8127, -1), scale: Math.fround(0.3) };
    const acc = 127 * 8127 - 1;
    const expected = Math.fround(Math.fround(acc * Math.fround(0.1)) * Math.fround(0.3));
    expect(product(matrix, input)[0]).toBe(expected);
    expect(product(matrix, input, Float32Array.of(-1e5))[0]).toBe(Math.fround(expected - 1e5));
  });

  it.each([
    [2 ** 24 - 1, 2 ** 24 - 1],
    [2 ** 24 + 1, 2 ** 24],
    [2 ** 24 + 3, 2 ** 24 + 4],
    [-(2 ** 24) - 1, -(2 ** 24)],
    [2 ** 25 + 2, 2 ** 25],
    [2 ** 25 + 6, 2 ** 25 + 8],
  ])('rounds the sum %d to %d', (sum, rounded) => {
    // sum = 64 * columns of 64 + rest, so that each activation stays in its range
    const matrix = filled(1, 100, () => 127);
    const integers = new Int16Array(100);
    let rest = Math.abs(sum);
    for (let k = 0; k < 99; k++) {
      const a = Math.min(8127, Math.floor(rest / 127));
      integers[k] = Math.sign(sum) * a;
      rest -= 127 * a;
    }
    matrix.weights[99] = 1;
    integers[99] = Math.sign(sum) * rest;
    expect(rest).toBeLessThan(127);
    expect(product(matrix, { integers, scale: 1 })[0]).toBe(rounded);
  });

  it.each([2080, 131_072])('sums %d columns of extremes', (columns) => {
    const plain = filled(2, columns, (row) => (row === 0 ? 127 : -127));
    const integers = new Int16Array(columns).fill(-8127);
    const sum = columns * 127 * 8127;
    expect([...product(plain, { integers, scale: 1 })]).toEqual([Math.fround(-sum), Math.fround(sum)]);
    const grouped = { ...plain, groupScales: new Uint8Array(2 * (columns / 32)).fill(255) };
    expect([...product(grouped, { integers, scale: 1 })]).toEqual([Math.fround(-255 * sum), Math.fround(255 * sum)]);
  });

  it('gives +0 for a row of zeros and for a row of weights against zeros', () => {
    const matrix = filled(2, 40, (row) => (row === 0 ? 0 : -5));
    const sums = [
      ...product(matrix, { integers: new Int16Array(40).fill(-3), scale: 1 }).subarray(0, 1),
      ...product(matrix, { integers: new Int16Array(40), scale: 1 }),
    ];
    for (const value of sums) expect(Object.is(value, 0)).toBe(true);
  });

  it('keeps a subnormal result and rounds it to even', () => {
    const matrix = filled(1, 2, () => 1);
    matrix.scales[0] = 2 ** -149;
    const at = (a: number, scale: number) => product(matrix, { integers: Int16Array.of(a, 0), scale })[0];
    expect(at(3, 1)).toBe(3 * 2 ** -149);
    expect(at(3, 0.5)).toBe(2 * 2 ** -149);
    expect(at(1, 0.5)).toBe(0);
    expect(Object.is(at(-1, 0.5), -0)).toBe(true);
  });

  it('agrees with sums of big integers for any length, groups of their own scale', () => {
    const random = seededRandom(4);
    for (const columns of [1, 2, 31, 32, 33, 63, 64, 65, 500]) {
      const matrix = filled(3, columns, () => random.below(255) - 127);
      const groups = Math.ceil(columns / 32);
      const groupScales = Uint8Array.from({ length: 3 * groups }, () => 1 + random.below(255));
      const integers = Int16Array.from({ length: columns }, () => random.below(2 * 8127 + 1) - 8127);
      const result = product({ ...matrix, groupScales }, { integers, scale: 1 });
      for (let row = 0; row < 3; row++) {
        let acc = 0n;
        integers.forEach((a, k) => {
          const c = groupScales[row * groups + Math.floor(k / 32)] ?? 0;
          acc += BigInt(c) * BigInt(matrix.weights[row * matrix.stride + k] ?? 0) * BigInt(a);
        });
        expect(result[row]).toBe(Math.fround(Number(acc)));
      }
    }
  });
});

/** Scales 1; what lies between the rows is not zero, and must not be read. */
function filled(rows: number, columns: number, weight: (row: number) => number): ExactMatrix {
  const stride = Math.ceil(columns / 32) * 32;
  const weights = new Int8Array(rows * stride).fill(99);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < columns; k++) weights[row * stride + k] = weight(row);
  }
  return { rows, columns, stride, weights, scales: new Float32Array(rows).fill(1), groupScales: null };
}
