import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type ProductCase, productCases } from '../../../../inference/exact/ort/product-cases.ts';
import { plainProduct } from '../../../support/plain-product.ts';

const cases = productCases();
const matrices = [...new Map(cases.map((one) => [one.weights, one])).values()];
const values = (pick: (one: ProductCase) => number) => [...new Set(cases.map(pick))].sort((x, y) => x - y);

describe('productCases', () => {
  it('are the same each time, and pinned', () => {
    const digest = (list: readonly ProductCase[]) => {
      const hash = createHash('sha256');
      for (const { rows, columns, outputs, activations, weights, expected } of list) {
        hash
          .update(Int32Array.of(rows, columns, outputs))
          .update(activations)
          .update(weights)
          .update(expected);
      }
      return hash.digest('hex');
    };
    expect(digest(productCases())).toBe(digest(cases));
    expect(digest(cases)).toBe('2e6af2fa5861e4085930ef53c32c6f97ed48d8584e8ba4f0860c4b58ecb29afe');
  });

  it('expect what arithmetic says', () => {
    for (const one of cases) expect(one.expected).toEqual(plainProduct(one));
  });

  it('have every tail', () => {
    expect(values(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64]);
    expect(values(({ columns }) => columns)).toEqual([32, 64, 96, 576, 1536, 2080]);
    expect(values(({ outputs }) => outputs)).toEqual([1, 4, 15, 16, 17, 31, 33, 48, 63, 64, 65, 192, 257]);
  });

  it('have activations in 0..127 and weights of all int8', () => {
    const seen = (list: readonly ArrayLike<number>[]) => new Set(list.flatMap((one) => Array.from(one)));
    expect([...seen(cases.map(({ activations }) => activations))].sort((x, y) => x - y)).toEqual(
      Array.from({ length: 128 }, (_, i) => i),
    );
    expect(seen(matrices.map(({ weights }) => weights)).size).toBe(256);
  });

  it('leave int16 in pairs of unsigned weights, in fours, and the integers of binary32', () => {
    let [pair, four, odd] = [0, 0, 0];
    for (const { activations, weights, columns, outputs, rows, expected } of matrices) {
      for (const sum of expected) if (Math.abs(sum) > 2 ** 24 && sum % 2 !== 0) odd += 1;
      for (let m = 0; m < rows; m++) {
        for (let n = 0; n < outputs; n++) {
          const a = (k: number) => activations[m * columns + k] ?? 0;
          const w = (k: number) => weights[k * outputs + n] ?? 0;
          if (a(2) * (w(2) + 128) + a(3) * (w(3) + 128) > 32767) pair += 1;
          if (Math.abs(a(4) * w(4) + a(5) * w(5) + a(6) * w(6) + a(7) * w(7)) > 32768) four += 1;
        }
      }
    }
    expect(Math.min(pair, four)).toBeGreaterThan(1000);
    expect(odd).toBeGreaterThan(0);
  });

  it('are small, with the cases of a matrix side by side', () => {
    const buffers = new Set(cases.flatMap((one) => [one.activations.buffer, one.weights.buffer, one.expected.buffer]));
    const bytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(bytes).toBeLessThan(2_000_000);
    expect(cases.filter(({ weights }, i) => weights !== cases[i - 1]?.weights)).toHaveLength(matrices.length);
  });

  it('take milliseconds, not seconds', () => {
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      productCases();
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(80);
  });
});
