import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BINARY32,
  type Fraction,
  fixed,
  rounded,
  roundedInteger,
  toFraction,
  withEnoughBits,
} from '../../../inference/exact/fixed-point.ts';
import { allFinite, notFinite, type QuantisedRows, quantiseRow } from '../../../inference/exact/quantise-weights.ts';

type Quantised = { readonly scale: number; readonly c: number[]; readonly q: number[] };

const SMALLEST = 2 ** -149;

describe('quantiseRow', () => {
  it('agrees with rational numbers, rounded step by step', () => {
    fc.assert(
      fc.property(rows(), fc.boolean(), (values, grouped) => {
        expect(quantise(values, grouped)).toEqual(slowly(values, grouped));
      }),
      { numRuns: 400 },
    );
  });

  it('scales by the largest magnitude', () => {
    expect(quantise([1, -127, 63.5, 62.5], false)).toEqual({ scale: 1, c: [], q: [1, -127, 64, 62] });
  });

  it('gives ties to the even integer, on both sides', () => {
    const halves = [-127, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5];
    expect(quantise(halves, false).q).toEqual([-127, -2, -2, 0, 0, 2, 2, 4]);
  });

  it.each([false, true])('a row of zeros has scale 1 (grouped: %s)', (grouped) => {
    expect(quantise([0, -0, 0], grouped)).toEqual({ scale: 1, c: grouped ? [1] : [], q: [0, 0, 0] });
  });

  it('a row whose scale would round to zero has scale 1 and zeros', () => {
    expect(quantise([63 * SMALLEST, -SMALLEST], false)).toEqual({ scale: 1, c: [], q: [0, 0] });
  });

  it('cuts what a subnormal scale makes larger than 127', () => {
    expect(quantise([190 * SMALLEST, -190 * SMALLEST, SMALLEST], false)).toEqual({
      scale: SMALLEST,
      c: [],
      q: [127, -127, 1],
    });
  });

  it('every group has its own integer, at least 1 and at most 255', () => {
    const values = new Array(70).fill(0).map((_, k) => (k < 32 ? 127 * 255 : k < 64 ? 127 : -254));
    const { scale, c, q } = quantise(values, true);
    expect(scale).toBe(1);
    expect(c).toEqual([255, 1, 2]);
    expect(q.slice(0, 32).concat(q.slice(32, 64), q.slice(64))).toEqual(new Array(70).fill(127).fill(-127, 64));
    expect(quantise([...new Array(32).fill(1), ...new Array(32).fill(0)], true).c).toEqual([255, 1]);
  });

  it('rounds a group scale up, so that no weight of the group is cut', () => {
    const { c, q } = quantise([...new Array(32).fill(127 * 255), 127 * 2 + 1, 100], true);
    expect(c).toEqual([255, 3]);
    expect(q.slice(32)).toEqual([85, 33]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuses %s and writes nothing', (bad) => {
    for (const grouped of [false, true]) {
      const out = emptyRows(3, grouped);
      expect(quantiseRow(Float32Array.of(1, bad, 2), 0, out, 0)).toBe(false);
      expect(out).toEqual(emptyRows(3, grouped));
    }
    expect(allFinite(Float32Array.of(1, bad))).toBe(false);
  });

  it('takes a row out of many and puts it where it belongs, and no byte elsewhere', () => {
    const out: QuantisedRows = {
      columns: 3,
      stride: 32,
      weights: new Int8Array(96).fill(9),
      scales: new Float32Array(3),
      groupScales: null,
    };
    expect(quantiseRow(Float32Array.of(5, 5, 5, 127, -127, 1, 5), 3, out, 1)).toBe(true);
    expect([...out.weights.subarray(30, 37)]).toEqual([9, 9, 127, -127, 1, 9, 9]);
    expect([...out.scales]).toEqual([0, 1, 0]);
  });

  it('the fault names tensor, layer and row', () => {
    expect(notFinite('query', 3, 7)).toMatchObject({
      code: 'WEIGHT_NOT_FINITE',
      at: { tensor: 'query', layer: 3, row: 7 },
    });
    expect(notFinite('embedding', undefined, 0).at).toEqual({ tensor: 'embedding', layer: null, row: 0 });
  });
});

/** Rows of any finite binary32 numbers: of one size, of all sizes, or subnormal. */
function rows(): fc.Arbitrary<number[]> {
  const any = fc.float({ noNaN: true, noDefaultInfinity: true });
  const near = fc.float({ min: -2, max: 2, noNaN: true });
  const tiny = fc.integer({ min: -1000, max: 1000 }).map((n) => n * SMALLEST);
  const halves = fc.integer({ min: -254, max: 254 }).map((n) => n / 2);
  const even = fc.integer({ min: -1_000_000, max: 1_000_000 }).map((n) => Math.fround(n / 999_983));
  return fc.oneof(
    ...[any, near, tiny, halves, even, even].map((value) =>
      fc.array(value, { minLength: 1, maxLength: 70, size: 'max' }),
    ),
  );
}

function emptyRows(columns: number, grouped: boolean): QuantisedRows {
  const groupScales = grouped ? new Uint8Array(Math.ceil(columns / 32)) : null;
  return { columns, stride: columns, weights: new Int8Array(columns), scales: new Float32Array(1), groupScales };
}

function quantise(values: readonly number[], grouped: boolean): Quantised {
  const out = emptyRows(values.length, grouped);
  expect(quantiseRow(Float32Array.from(values), 0, out, 0)).toBe(true);
  return { scale: out.scales[0] as number, c: [...(out.groupScales ?? [])], q: [...out.weights] };
}

/** The specification's formulas over rationals; every `fl` rounds once. */
function slowly(values: readonly number[], grouped: boolean): Quantised {
  const whole = divide(largest(values), 127);
  if (!grouped) {
    const scale = whole === 0 ? 1 : whole;
    return { scale, c: [], q: values.map((w) => weight(w, scale)) };
  }
  const parts = divide(whole, 255);
  const scale = parts === 0 ? 1 : parts;
  const c: number[] = [];
  const q: number[] = [];
  for (let at = 0; at < values.length; at += 32) {
    const group = values.slice(at, at + 32);
    const own = Math.min(255, Math.max(1, Math.ceil(divide(divide(largest(group), 127), scale))));
    c.push(own);
    const step = round(product(toFraction(scale), toFraction(own)));
    q.push(...group.map((w) => weight(w, step)));
  }
  return { scale, c, q };
}

function weight(w: number, scale: number): number {
  const nearest = withEnoughBits((bits) => roundedInteger(fixed(toFraction(divide(w, scale)), bits)), 256);
  return Math.max(-127, Math.min(127, Number(nearest)));
}

function largest(values: readonly number[]): number {
  return Math.max(...values.map(Math.abs));
}

function divide(a: number, b: number): number {
  const [x, y] = [toFraction(a), toFraction(b)];
  return round({ numerator: x.numerator * y.denominator, denominator: x.denominator * y.numerator });
}

function product(a: Fraction, b: Fraction): Fraction {
  return { numerator: a.numerator * b.numerator, denominator: a.denominator * b.denominator };
}

function round(value: Fraction): number {
  return withEnoughBits((bits) => rounded(fixed(value, bits), BINARY32), 512);
}
