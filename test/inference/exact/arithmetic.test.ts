import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  add,
  divide,
  float,
  floor,
  multiply,
  roundClipped,
  roundEven,
  squareRoot,
  subtract,
  toInt32,
} from '../../../inference/exact/arithmetic.ts';
import { describeVectors, filesBelow } from '../../support/vectors.ts';

const FAULT = expect.objectContaining({ name: 'InferenceError', code: 'NUMERIC_FAULT' });

/** Operations by file; operands come as binary32, flags are the last word. */
const BINARY: { readonly [file: string]: (a: number, b: number) => number } = {
  f32_add: add,
  f32_sub: subtract,
  f32_mul: multiply,
  f32_div: divide,
};
const UNARY: { readonly [file: string]: (v: number) => number } = {
  f32_sqrt: squareRoot,
  f32_floor: floor,
  f32_rne: roundEven,
};
const COMPARISON: { readonly [file: string]: (a: number, b: number) => boolean } = {
  f32_eq: (a, b) => a === b,
  f32_le: (a, b) => a <= b,
  f32_lt: (a, b) => a < b,
};
const CONVERSION = ['f32_to_i32', 'i32_to_f32'];

describeVectors('testfloat', (folder) => {
  it('has a test for every list', () => {
    const lists = filesBelow(folder)
      .map((path) => basename(path))
      .filter((name) => /^[fi]32_.*\.txt$/.test(name));
    const known = [...Object.keys(BINARY), ...Object.keys(UNARY), ...Object.keys(COMPARISON), ...CONVERSION];
    expect(lists).toEqual(known.map((name) => `${name}.txt`).sort());
  });

  // a result that is finite equals bit for bit, whatever the operands; one that is not is a fault
  it.each(Object.entries(BINARY))('%s: finite results bit for bit, all others a fault', (name, operation) => {
    const cases = read(folder, name);
    expect(cases.length).toBe(6000);
    const wrong = cases.filter(([a, b, want]) => !matches(() => operation(value(a), value(b)), want));
    expect(wrong).toEqual([]);
  });

  it.each(Object.entries(UNARY))('%s: finite results bit for bit, all others a fault', (name, operation) => {
    const cases = read(folder, name);
    expect(cases.length).toBe(600);
    const wrong = cases.filter(([v, want]) => !matches(() => operation(value(v)), want));
    expect(wrong).toEqual([]);
  });

  it.each(Object.entries(COMPARISON))('%s', (name, compare) => {
    const cases = read(folder, name);
    expect(cases.length).toBe(6000);
    const wrong = cases.filter(([a, b, want]) => compare(value(a), value(b)) !== (want === '1'));
    expect(wrong).toEqual([]);
  });

  it('f32_to_i32: what fits bit for bit, all others a fault', () => {
    const cases = read(folder, 'f32_to_i32');
    expect(cases.length).toBe(600);
    const wrong = cases.filter(([v, want, flags]) => {
      if (flags === '10') return !faults(() => toInt32(value(v)));
      const whole = toInt32(value(v));
      return Object.is(whole, -0) || whole !== (Number.parseInt(want ?? '', 16) | 0);
    });
    expect(wrong).toEqual([]);
  });

  it('i32_to_f32', () => {
    const cases = read(folder, 'i32_to_f32');
    expect(cases.length).toBe(372);
    const wrong = cases.filter(([v, want]) => image(float(Number.parseInt(v ?? '', 16) | 0)) !== want);
    expect(wrong).toEqual([]);
  });
});

describe('roundEven', () => {
  it('rounds ties to even and keeps the sign of zero', () => {
    const cases: readonly (readonly [number, number])[] = [
      [0, 0],
      [-0, -0],
      [0.5, 0],
      [-0.5, -0],
      [1.5, 2],
      [2.5, 2],
      [-1.5, -2],
      [-2.5, -2],
      [0.49999999999999994, 0],
      [0.5000000000000001, 1],
      [-0.5000000000000001, -1],
      [8126.5, 8126],
      [8127.5, 8128],
      [Number.MIN_VALUE, 0],
      [-Number.MIN_VALUE, -0],
    ];
    for (const [v, want] of cases) expect(Object.is(roundEven(v), want), `${v}`).toBe(true);
  });

  it('is exact up to 2^53 and beyond', () => {
    for (const whole of [2 ** 24 + 1, 2 ** 31, 2 ** 51 - 1, 2 ** 52 - 1, 2 ** 52 + 1, 2 ** 53 - 1, 2 ** 100]) {
      expect(roundEven(whole)).toBe(whole);
      expect(roundEven(-whole)).toBe(-whole);
    }
    // the last place below 2^52 is 1/2
    expect(roundEven(2 ** 52 - 0.5)).toBe(2 ** 52);
    expect(roundEven(2 ** 52 - 1.5)).toBe(2 ** 52 - 2);
    expect(roundEven(-(2 ** 51) - 0.5)).toBe(-(2 ** 51));
    expect(roundEven(-(2 ** 51) - 1.5)).toBe(-(2 ** 51) - 2);
  });

  it('agrees with quarters counted by integers', () => {
    for (let quarters = -4000; quarters <= 4000; quarters++) {
      const below = Math.floor(quarters / 4);
      const rest = quarters - 4 * below;
      const want = rest > 2 || (rest === 2 && below % 2 !== 0) ? below + 1 : below;
      expect(roundEven(quarters / 4) + 0).toBe(want);
    }
  });
});

describe('faults', () => {
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

  it('come from every operation whose result is not finite', () => {
    for (const v of bad) {
      for (const operation of [
        () => add(v, 1),
        () => subtract(1, v),
        () => multiply(v, 2),
        () => divide(v, 2),
        () => squareRoot(v),
        () => floor(v),
        () => roundEven(v),
        () => roundClipped(v, -1, 1),
        () => toInt32(v),
      ]) {
        expect(operation).toThrow(FAULT);
      }
    }
  });

  it('come from overflow, division by zero and roots below zero', () => {
    const most = 3.4028234663852886e38;
    expect(() => add(most, most)).toThrow(FAULT);
    expect(() => subtract(-most, most)).toThrow(FAULT);
    expect(() => multiply(most, 1.0000001192092896)).toThrow(FAULT);
    expect(() => divide(1, 0)).toThrow(FAULT);
    expect(() => divide(0, 0)).toThrow(FAULT);
    expect(() => squareRoot(-1)).toThrow(FAULT);
    expect(() => toInt32(2147483648)).toThrow(FAULT);
    expect(() => toInt32(-2147483904)).toThrow(FAULT);
    expect(() => toInt32(2147483647.5)).toThrow(FAULT);
    expect(toInt32(-2147483648)).toBe(-2147483648);
  });

  it('do not come from the last finite results, nor from the first subnormal ones', () => {
    const most = 3.4028234663852886e38;
    expect(add(most, 1e30)).toBe(most);
    expect(multiply(2 ** -75, 2 ** -74)).toBe(2 ** -149);
    expect(Object.is(multiply(2 ** -75, -(2 ** -76)), -0)).toBe(true);
  });
});

it('clips to integers without -0', () => {
  expect([-9.5, -8.5, -0.5, 0.5, 1.5, 6.5, 7.5, 1e30].map((v) => roundClipped(v, -8, 7))).toEqual([
    -8, -8, 0, 0, 2, 6, 7, 7,
  ]);
  expect(Object.is(roundClipped(-0.25, -8, 7), 0)).toBe(true);
});

it('rounds integers beyond 2^24 once, half to even', () => {
  expect([2 ** 24 - 1, 2 ** 24, 2 ** 24 + 1, 2 ** 24 + 3, 2 ** 53].map(float)).toEqual([
    2 ** 24 - 1,
    2 ** 24,
    2 ** 24,
    2 ** 24 + 4,
    2 ** 53,
  ]);
});

function read(folder: string, name: string): readonly (readonly string[])[] {
  return readFileSync(join(folder, `${name}.txt`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
}

/** Whether the operation gives `want`, or faults where `want` is no finite number. */
function matches(operation: () => number, want: string | undefined): boolean {
  if (!Number.isFinite(value(want))) return faults(operation);
  return image(operation()) === want;
}

function faults(operation: () => unknown): boolean {
  try {
    operation();
    return false;
  } catch (error) {
    return (error as { code?: unknown }).code === 'NUMERIC_FAULT';
  }
}

function value(word: string | undefined): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, Number.parseInt(word ?? '', 16));
  return view.getFloat32(0);
}

/** The binary32 image of a number that is one; anything else has none. */
function image(v: number): string | undefined {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, v);
  return Object.is(view.getFloat32(0), v) ? view.getUint32(0).toString(16).toUpperCase().padStart(8, '0') : undefined;
}
