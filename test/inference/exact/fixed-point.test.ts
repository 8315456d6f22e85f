import { describe, expect, it } from 'vitest';
import {
  type Approximation,
  BINARY32,
  bitLength,
  cosineSine,
  exponential,
  type Fraction,
  fixed,
  logarithm,
  minus,
  over,
  pi,
  plus,
  power,
  rounded,
  roundedInteger,
  scaled,
  times,
  toFraction,
  withEnoughBits,
} from '../../../inference/exact/fixed-point.ts';
import { seededRandom } from '../../support/random.ts';

const ratio = (numerator: bigint, denominator = 1n): Fraction => ({ numerator, denominator });
const exact = (mid: bigint, bits: number): Approximation => ({ mid, error: 0n, bits });

/** floor(value * 2^200), from mpmath 1.3 at 400 bits. */
const KNOWN: readonly (readonly [name: string, value: bigint, of: (bits: number) => Approximation])[] = [
  ['pi', 5048344754617993871973410141242436836214643421488662971535368n, pi],
  ['e', 4368110485168730244370696643561179479687259917244808728041127n, (bits) => exponential(fixed(ratio(1n), bits))],
  ['ln 10', 3700111586075757022815855548858213034251116522195805159045647n, (bits) => logarithm(ratio(10n), bits)],
  [
    'cos 1000000',
    1505302631773559920716130603170577062066265410089178255878952n,
    (bits) => cosineSine(fixed(ratio(1_000_000n), bits)).cos,
  ],
  [
    'sin 1000000',
    -562417873882492162992165614496306575951486493491777562189432n,
    (bits) => cosineSine(fixed(ratio(1_000_000n), bits)).sin,
  ],
  ['e^-70', 638830142367096028650166079138n, (bits) => exponential(fixed(ratio(-70n), bits))],
  [
    '7.5^(-1/3)',
    820941187058475438915819793609591257555929203981102048979491n,
    (bits) => power(ratio(15n, 2n), ratio(-1n, 3n), bits),
  ],
];

describe('functions', () => {
  it.each(KNOWN)('give %s at 200 bits, nearly all of them good', (_, value, of) => {
    const { mid, error, bits } = of(200);
    expect(bits).toBe(200);
    expect(mid - error <= value + 1n && value <= mid + error).toBe(true);
    expect(bitLength(error)).toBeLessThan(32);
  });

  it('keep the promised error: few bits agree with many', () => {
    const random = seededRandom(1);
    for (let n = 0; n < 400; n++) {
      const x = ratio(BigInt(random.below(2_000_001) - 1_000_000), BigInt(1 + random.below(50_000)));
      const y = ratio(BigInt(1 + random.below(1_000_000)), BigInt(1 + random.below(1_000)));
      const exponent = ratio(BigInt(-random.below(9)), 8n);
      const forms: readonly ((bits: number) => Approximation)[] = [
        (bits) => cosineSine(fixed(x, bits)).cos,
        (bits) => cosineSine(fixed(x, bits)).sin,
        (bits) => logarithm(y, bits),
        (bits) => exponential(scaled(fixed(x, bits), ratio(1n, 40_000n))),
        (bits) => power(y, exponent, bits),
        (bits) => over(fixed(x, bits), plus(fixed(y, bits), pi(bits))),
        (bits) => times(minus(fixed(x, bits), pi(bits)), logarithm(y, bits)),
        (bits) => times(cosineSine(fixed(x, bits)).cos, cosineSine(fixed(x, bits)).sin),
      ];
      for (const [index, form] of forms.entries()) {
        for (const bits of [24, 61, 100])
          expect(agrees(form(bits), form(320)), `form ${index}, ${bits} bits`).toBe(true);
      }
    }
  });

  it('know identities: cos^2 + sin^2, e^(ln y), base^a base^-a', () => {
    const bits = 256;
    for (const n of [0n, 1n, -1n, 355n, -99_999n, 123_456_789_012n]) {
      const { cos, sin } = cosineSine(fixed(ratio(n, 113n), bits));
      expect(contains(plus(times(cos, cos), times(sin, sin)), 1n)).toBe(true);
      expect(contains(exponential(logarithm(ratio(n * n + 1n), bits)), n * n + 1n)).toBe(true);
      const there = power(ratio(n * n + 2n), ratio(5n, 7n), bits);
      const back = power(ratio(n * n + 2n), ratio(-5n, 7n), bits);
      expect(contains(times(there, back), 1n)).toBe(true);
    }
  });

  it('take an angle known badly without becoming wrong', () => {
    const angle = { mid: 1n << 64n, error: 1n << 60n, bits: 64 };
    for (const end of [-1n, 0n, 1n]) {
      const inside = cosineSine(exact((1n << 64n) + end * (1n << 60n), 64));
      expect(agrees(cosineSine(angle).cos, inside.cos)).toBe(true);
      expect(agrees(cosineSine(angle).sin, inside.sin)).toBe(true);
    }
  });

  it('refuse what has no value', () => {
    expect(() => logarithm(ratio(0n), 64)).toThrow(RangeError);
    expect(() => logarithm(ratio(-1n), 64)).toThrow(RangeError);
    expect(() => over(exact(1n, 64), exact(0n, 64))).toThrow(RangeError);
    expect(() => over(exact(1n, 64), { mid: -5n, error: 5n, bits: 64 })).toThrow(RangeError);
    expect(() => exponential({ mid: 0n, error: 1n << 62n, bits: 64 })).toThrow('known too badly');
    expect(() => exponential(fixed(ratio(10_000_000n), 64))).toThrow('exponent beyond');
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(() => toFraction(value)).toThrow(RangeError);
    }
  });
});

describe('rounding', () => {
  it('reads binary64 exactly', () => {
    expect(toFraction(0).numerator).toBe(0n);
    expect(toFraction(-0).numerator).toBe(0n);
    expect(toFraction(-3)).toEqual(ratio(-3n << 51n, 1n << 51n));
    expect(toFraction(Number.MIN_VALUE)).toEqual(ratio(1n, 1n << 1074n));
    expect(toFraction(Number.MAX_VALUE)).toEqual(ratio(((1n << 53n) - 1n) << 971n));
    expect(toFraction(2 ** -1022)).toEqual(ratio(1n << 52n, 1n << 1074n));
  });

  it('equals Math.fround for every binary64, subnormal results included', () => {
    const random = seededRandom(2);
    const view = new DataView(new ArrayBuffer(8));
    for (let n = 0; n < 3000; n++) {
      const exponent = random.below(290) - 160;
      view.setUint32(0, (random.below(2) * 0x800 + exponent + 1023) * 0x100000 + random.below(0x100000));
      // every other one on or beside a tie of two binary32 numbers
      view.setUint32(
        4,
        n % 2 === 0 ? random.below(2 ** 32) : 0x10000000 + 0x20000000 * random.below(8) + random.below(3) - 1,
      );
      const value = view.getFloat64(0);
      if (Math.abs(value) >= 2 ** 127.999) continue;
      // + 0: the promise of +0
      expect(rounded(fixed(toFraction(value), 1100), BINARY32)).toBe(Math.fround(value) + 0);
    }
  });

  it('rounds a known tie to even and leaves an unknown one open', () => {
    const tie = (1n << 24n) + 1n;
    expect(rounded(exact(tie, 1), BINARY32)).toBe(2 ** 23);
    expect(rounded(exact(tie + 2n, 1), BINARY32)).toBe(2 ** 23 + 2);
    expect(rounded({ mid: tie << 50n, error: 1n, bits: 51 }, BINARY32)).toBeUndefined();
    expect(rounded({ mid: (tie << 50n) + 2n, error: 1n, bits: 51 }, BINARY32)).toBe(2 ** 23 + 1);
    expect(roundedInteger(exact(5n, 1))).toBe(2n);
    expect(roundedInteger(exact(7n, 1))).toBe(4n);
    expect(roundedInteger(exact(-5n, 1))).toBe(-2n);
    expect(roundedInteger({ mid: 5n << 9n, error: 1n, bits: 10 })).toBeUndefined();
    expect(roundedInteger({ mid: (5n << 9n) + 2n, error: 1n, bits: 10 })).toBe(3n);
  });

  it('gives +0 on both sides of zero, and nothing where zero is in doubt', () => {
    expect(Object.is(rounded(exact(-1n, 151), BINARY32), 0)).toBe(true);
    expect(Object.is(rounded({ mid: 0n, error: 1n, bits: 151 }, BINARY32), 0)).toBe(true);
    expect(rounded({ mid: 0n, error: 1n, bits: 149 }, BINARY32)).toBeUndefined();
    expect(rounded(exact(-3n, 151), BINARY32)).toBe(-(2 ** -149));
  });

  it('refuses a value beyond the format', () => {
    expect(rounded(exact(((1n << 24n) - 1n) << 105n, 1), BINARY32)).toBe(3.4028234663852886e38);
    // the tie between the greatest number and 2^128 goes to the even one, beyond
    expect(() => rounded(exact(((1n << 25n) - 1n) << 104n, 1), BINARY32)).toThrow(RangeError);
    expect(() => rounded(exact(-1n << 2000n, 1), BINARY32)).toThrow(RangeError);
    // so wide an interval says nothing
    expect(rounded({ mid: 0n, error: 1n << 2000n, bits: 1 }, BINARY32)).toBeUndefined();
    expect(rounded({ mid: 1n << 1999n, error: 1n << 2000n, bits: 1 }, BINARY32)).toBeUndefined();
  });

  it('asks with more bits until it is decided, and gives up on a boundary', () => {
    const asked: number[] = [];
    const answer = withEnoughBits((bits) => {
      asked.push(bits);
      return bits >= 512 ? bits : undefined;
    });
    expect([answer, asked]).toEqual([512, [128, 256, 512]]);
    // e^0 / 2 is exactly between 0 and 1, and no interval shows it
    const half = (bits: number) => roundedInteger(scaled(exponential(fixed(ratio(0n), bits)), ratio(1n, 2n)));
    expect(() => withEnoughBits(half)).toThrow('rounding boundary');
  });

  it('counts bits', () => {
    for (const length of [1, 2, 3, 4, 5, 63, 64, 65, 300]) {
      expect(bitLength(1n << BigInt(length - 1))).toBe(length);
      expect(bitLength(-((1n << BigInt(length)) - 1n))).toBe(length);
    }
    expect(bitLength(0n)).toBe(0);
  });
});

/** Whether two intervals meet, as those of one value must. */
function agrees(a: Approximation, b: Approximation): boolean {
  const shift = BigInt(Math.abs(a.bits - b.bits));
  const [few, many] = a.bits <= b.bits ? [a, b] : [b, a];
  const gap = (few.mid << shift) - many.mid;
  return (gap < 0n ? -gap : gap) <= (few.error << shift) + many.error;
}

function contains(x: Approximation, integer: bigint): boolean {
  return agrees(x, exact(integer << BigInt(x.bits), x.bits));
}
