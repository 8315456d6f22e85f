import { describe, expect, it } from 'vitest';
import type { ExactMatrix } from '../../../../inference/exact/exact-model.ts';
import {
  addRows,
  embed,
  gate,
  headNorm,
  normalise,
  quantise,
  rotate,
} from '../../../../inference/exact/reference/row-operations.ts';
import { seededRandom } from '../../../support/random.ts';

// literals with many digits were computed with exact rational numbers and one rounding each, outside of this project

const SUBNORMAL = 2 ** -149;
const EPSILON = Math.fround(1e-5);
const row = (...values: number[]) => Float32Array.from(values);

describe('quantise', () => {
  it.each<[string, number[], number, number[], number]>([
    [
      'a tie to the even integer below and above',
      [1, -0.5, 0.25, 0.1],
      8127,
      [8127, -4064, 2032, 813],
      0.0001230466295965016,
    ],
    ['every tie', [8127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 8127, [8127, 0, 2, 2, 0, -2, -2], 1],
    ['zeros of both signs', [0, -0], 8127, [0, 0], 1.1191025768903418e-16],
    ['no element', [], 511, [], 2 ** -40 / 511],
    ['less than 2^-40', [2 ** -41, -(2 ** -41), SUBNORMAL], 8127, [4064, -4064, 0], 1.1191025768903418e-16],
    ['values', [3, -7, 2.9], 511, [219, -511, 212], 0.013698630034923553],
    ['2^100', [2 ** 100, -(2 ** 99), 1], 2047, [2047, -1024, 0], 6.192723986715464e26],
  ])('%s', (_, y, largest, integers, scale) => {
    const quantised = quantise(row(...y), largest);
    expect([...quantised.integers]).toEqual(integers);
    expect(quantised.scale).toBe(Math.fround(scale));
  });

  it('reaches the largest integer and never exceeds it', () => {
    const random = seededRandom(1);
    for (let i = 0; i < 3000; i++) {
      const size = 2 ** (random.below(200) - 99);
      const y = Float32Array.from({ length: 4 }, () => (random.below(2 ** 30) / 2 ** 29 - 1) * size);
      const largest = random.pick([511, 1023, 2047, 8127]);
      const { integers } = quantise(y, largest);
      const reached = Math.max(...integers.map(Math.abs));
      if (Math.max(...y.map(Math.abs)) >= 2 ** -40) expect(reached).toBe(largest);
      else expect(reached).toBeLessThanOrEqual(largest);
    }
  });
});

describe('embed', () => {
  const matrix: ExactMatrix = {
    rows: 2,
    columns: 33,
    stride: 64,
    weights: new Int8Array(128),
    scales: row(1, 0.001),
    groupScales: Uint8Array.of(1, 2, 3, 255),
  };
  matrix.weights[64] = -127;
  matrix.weights[64 + 32] = 127;
  matrix.weights[1] = 5;

  it('multiplies by the scale of the group and of the row', () => {
    const embedded = embed(matrix, 1);
    expect(embedded.length).toBe(33);
    expect(embedded[0]).toBe(-0.38100001215934753);
    expect(embedded[32]).toBe(32.38500213623047);
    expect(Object.is(embedded[1], 0)).toBe(true);
  });

  it('without groups by that of the row', () => {
    expect(embed({ ...matrix, groupScales: null }, 0)[1]).toBe(5);
    expect(embed({ ...matrix, groupScales: null }, 1)[0]).toBe(Math.fround(-127 * Math.fround(0.001)));
  });
});

describe('normalise', () => {
  it.each<[string, number[], number[], number[]]>([
    ['two elements', [3, 4], [1, 0.5], [0.8485404253005981, 0.5656936168670654]],
    [
      'gains of both signs',
      [0.1, -0.7, 1.3],
      [1.1, -2, 0.3],
      [0.12874504923820496, 1.638573169708252, 0.4564596712589264],
    ],
    [
      'near epsilon',
      [1e-3, 2e-3, -5e-4, 0],
      [1, 1, 1, 1],
      [0.29731667041778564, 0.5946333408355713, -0.14865833520889282, 0],
    ],
    ['subnormals', [SUBNORMAL, -SUBNORMAL], [1, 1000], [4.428103147266422e-43, -4.428103147266422e-40]],
    ['zeros', [0, -0, 0], [1, 1, -1], [0, -0, -0]],
  ])('%s', (_, x, gain, y) => {
    const result = normalise(row(...x), row(...gain), EPSILON);
    expect([...result]).toEqual(y);
  });

  it('takes each head by itself', () => {
    const gain = row(1, 0.5);
    const heads = headNorm(row(3, 4, 0, 0, -300, 7), gain, EPSILON);
    expect([...heads.slice(0, 2)]).toEqual([0.8485404253005981, 0.5656936168670654]);
    expect([...heads.slice(2, 4)]).toEqual([0, 0]);
    expect([...heads.slice(4)]).toEqual([...normalise(row(-300, 7), gain, EPSILON)]);
  });
});

describe('rotate', () => {
  const tables = {
    exponential: new Uint16Array(),
    sigmoid: new Float32Array(),
    cos: row(1, 1, 0.5403022766113281, 1),
    sin: row(0, 0, 0.8414709568023682, 0),
  };

  it('takes element i with i + d/2, at the position of the row', () => {
    const rotated = rotate(row(0.3, 8, -1.7, 9, SUBNORMAL, 0, 3 * SUBNORMAL, -0), tables, 4, 1);
    const kept = [8, 9];
    expect([...rotated.slice(0, 4)]).toEqual([1.5925912857055664, kept[0], -0.6660726070404053, kept[1]]);
    expect([rotated[4], rotated[6]]).toEqual([-2 * SUBNORMAL, 3 * SUBNORMAL]);
  });

  it('changes nothing at position 0 but the sign of a zero', () => {
    expect([...rotate(row(1, -0, 3, -0), tables, 4, 0)]).toEqual([1, 0, 3, -0]);
  });
});

describe('gate', () => {
  const sigmoid = new Float32Array(65_536);
  sigmoid[0] = 2 ** -24;
  sigmoid[32_768] = 0.5;
  sigmoid[32_768 + 2] = 0.25;
  sigmoid[32_768 + 3072] = 0.8175745010375977;
  sigmoid[65_535] = 1;

  it.each<[string, number, number, number]>([
    ['an entry of the table', 1.5, 0.7, 0.8584532141685486],
    ['beyond the largest index', 20, 3, 60],
    ['beyond the smallest index', -(2 ** 100), 2, -(2 ** 77)],
    ['exactly the smallest index', -16, 2, -(2 ** -19)],
    ['a tie to the even index 0', 0.5 / 2048, 2, 0.5 / 2048],
    ['a tie to the even index 2', 1.5 / 2048, 4, 1.5 / 2048],
    ['-0', -0, 5, -0],
  ])('%s', (_, g, u, expected) => {
    expect(gate(row(g), row(u), sigmoid)[0]).toBe(expected);
  });
});

describe('add', () => {
  it('rounds once, ties to even, and keeps subnormals and -0', () => {
    const x = row(1, 1, 2 ** 24, 2 ** 24, -0, SUBNORMAL, -1);
    const y = row(2 ** -24, 3 * 2 ** -24, 1, 3, -0, SUBNORMAL, 1);
    expect([...addRows(x, y)]).toEqual([1, 1 + 2 ** -22, 2 ** 24, 2 ** 24 + 4, -0, 2 * SUBNORMAL, 0]);
  });

  it('faults instead of giving an infinity', () => {
    const largest = row((2 - 2 ** -23) * 2 ** 127);
    expect(() => addRows(largest, largest)).toThrow(expect.objectContaining({ code: 'NUMERIC_FAULT' }));
  });
});
