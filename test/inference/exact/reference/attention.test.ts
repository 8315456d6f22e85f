import { describe, expect, it } from 'vitest';
import { scoreConstant } from '../../../../inference/exact/operations.ts';
import { attention } from '../../../../inference/exact/reference/attention.ts';
import { KeptRows } from '../../../../inference/exact/reference/kept-rows.ts';

// of this table only its first entry and its fall matter; the literals were computed with exact rational numbers
const exponential = Uint16Array.from({ length: 32_768 }, (_, i) => Math.floor((65_535 * 1024) / (1024 + i)));
exponential[32_767] = 0;

/** One head of 2; keys and values are given as what `keep` shall find. */
function attend(query: number[], keys: number[][], values: number[][], position: number, heads = query.length / 2) {
  const kept = { keys: new KeptRows(1, 2, 64), values: new KeptRows(1, 2, 64) };
  keys.forEach((key, j) => {
    kept.keys.keep(j, Float32Array.from(key), 2047);
  });
  values.forEach((value, j) => {
    kept.values.keep(j, Float32Array.from(value), 511);
  });
  const shape = { heads, kvHeads: 1, headSize: 2 };
  return [...attention(Float32Array.from(query), kept, position, shape, scoreConstant(2), { exponential })];
}

describe('attention', () => {
  it('of one position gives its value as the cache holds it', () => {
    expect(attend([1, 2], [[3, -4]], [[511, -17]], 0)).toEqual([511, -17]);
    expect(attend([0, 0], [[0, 0]], [[-5.11, 0]], 0)[0]).toBeCloseTo(-5.11, 6);
  });

  it('reads no position after its own', () => {
    const alone = attend([1, 2], [[3, -4]], [[511, -17]], 0);
    const loud = [1e30, -1e30];
    expect(attend([1, 2], [[3, -4], loud], [[511, -17], loud], 0)).toEqual(alone);
  });

  it('of equal keys gives the mean, of far keys the nearest alone', () => {
    const values = [
      [511, 0],
      [-511, 511],
    ];
    const [a, b] = attend(
      [1, 1],
      [
        [1, 1],
        [1, 1],
      ],
      values,
      1,
    );
    expect(a).toBe(0);
    expect(b).toBeCloseTo(255.5, 2);
    expect(
      attend(
        [1, 0],
        [
          [100, 0],
          [-100, 0],
        ],
        values,
        1,
      ),
    ).toEqual([511, 0]);
    expect(
      attend(
        [-1, 0],
        [
          [100, 0],
          [-100, 0],
        ],
        values,
        1,
      ),
    ).toEqual([-511, 511]);
  });

  it('gives zeros of values that are zeros, whatever the sign', () => {
    for (const value of attend(
      [1, 1],
      [
        [1, 1],
        [2, 2],
      ],
      [
        [0, -0],
        [-0, 0],
      ],
      1,
    ))
      expect(Object.is(value, 0)).toBe(true);
  });

  it('weighs each value by its own scale', () => {
    // the second value's scale is 1/100 of the first: its weight rounds to 164 of 16,383
    const [a] = attend(
      [0, 0],
      [
        [1, 1],
        [1, 1],
      ],
      [
        [511, 0],
        [5.11, 0],
      ],
      1,
    );
    const unit = Math.fround(16_383 / 65_535);
    const sum = 16_383 * 511 + 164 * 511;
    expect(a).toBe(Math.fround(sum / Math.fround(2 * 65_535 * unit)));
  });

  it('equals literals for two heads that share keys, with scales of their own', () => {
    const keys = kept(
      [
        [2047, -3],
        [100, 2000],
        [-2047, 1500],
      ],
      [0.001, 0.002, 0.0003],
    );
    const values = kept(
      [
        [511, -511],
        [3, -7],
        [200, 100],
      ],
      [0.01, 0.5, 0.02],
    );
    const full = exponential.slice();
    full[32_767] = Math.floor((65_535 * 1024) / (1024 + 32_767));
    const shape = { heads: 2, kvHeads: 1, headSize: 2 };
    const result = attention(Float32Array.of(1, -2, 0.5, 3), { keys, values }, 2, shape, scoreConstant(2), {
      exponential: full,
    });
    expect([...result]).toEqual([4.7671685218811035, -4.073461532592773, 1.8302268981933594, -3.297046184539795]);
  });

  // Each of these results changes if operations of the formula trade places, or one rounding is left out.
  it.each<[string, number[], number[][], number, number[], number[]]>([
    [
      't: the query scale with the key scale first',
      [784694, 550066],
      [
        [2047, 2000],
        [2046, 1999],
        [2047, 2000],
      ],
      8.2e-8,
      [0.5, 0.25, 0.125],
      [76.58782958984375, 8.38145637512207],
    ],
    [
      't: the query scale and C one after the other',
      [771983, 102286],
      [
        [2047, 2000],
        [2046, 1999],
        [2046, 2000],
      ],
      9.2e-8,
      [0.5, 0.25, 0.125],
      [77.26199340820312, 7.956536293029785],
    ],
    [
      'p: divided at the end, or rounded once',
      [1, 1],
      [
        [2047, 2047],
        [2041, 2047],
        [2047, 2014],
      ],
      0.001,
      [0.171, 0.587, 0.901],
      [10.476434707641602, 232.3617706298828],
    ],
    [
      'p: B at the end, or with the value scale first',
      [1, 1],
      [
        [2047, 2047],
        [2025, 2047],
        [2047, 1993],
      ],
      0.001,
      [0.722, 0.077, 0.583],
      [136.22418212890625, 33.87919998168945],
    ],
    [
      'out: divided first, or by z and B one after the other',
      [1, 1],
      [
        [2047, 2047],
        [2043, 2047],
        [2047, 2011],
      ],
      0.001,
      [0.868, 0.822, 0.783],
      [111.51226806640625, 182.0587158203125],
    ],
  ])('keeps the order of roundings: %s', (_, query, keyIntegers, keyScale, valueScales, expected) => {
    const keys = kept(keyIntegers, [keyScale, keyScale, keyScale]);
    const values = kept(
      [
        [511, -300],
        [-211, 509],
        [77, 511],
      ],
      valueScales,
    );
    const shape = { heads: 1, kvHeads: 1, headSize: 2 };
    const result = attention(Float32Array.from(query), { keys, values }, 2, shape, scoreConstant(2), { exponential });
    expect([...result]).toEqual(expected);
  });

  it.each(Array.from({ length: 128 }, (_, i) => 2 * i + 2))('has the binary32 nearest to 2048 / sqrt(%d)', (d) => {
    // c is nearest if (c - half ulp)^2 < 2^22 / d < (c + half ulp)^2; squares of 25-bit numbers are exact in BigInt
    const c = scoreConstant(d);
    expect(Math.fround(c)).toBe(c);
    const ulp = 2 ** (Math.floor(Math.log2(c)) - 23);
    const twice = BigInt(Math.round((2 * c) / ulp));
    // in units of ulp / 2
    const target = BigInt(Math.round(2 ** 22 * (2 / ulp) ** 2));
    expect((twice - 1n) ** 2n * BigInt(d) < target).toBe(true);
    expect((twice + 1n) ** 2n * BigInt(d) > target).toBe(true);
  });
});

/** Rows that hold exactly these integers and scales. */
function kept(integers: number[][], scales: number[]): KeptRows {
  const rows = new KeptRows(1, 2, integers.length);
  rows.integers(0, integers.length).set(integers.flat());
  rows.scales(0, scales.length).set(scales);
  return rows;
}
