import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { RotaryConfig } from '../../../inference/exact/rotary-frequency.ts';
import {
  exponentialEntry,
  exponentialTable,
  MAX_ROTARY_ENTRIES,
  type RotaryTables,
  rotaryEntry,
  rotaryTables,
  sigmoidEntry,
  sigmoidTable,
} from '../../../inference/exact/tables.ts';
import { seededRandom } from '../../support/random.ts';

// Spot values and the whole exp and sigmoid tables were compared with mpmath 1.3 at 300 bits, rounded as fractions.

const exp = exponentialTable();
const sigmoid = sigmoidTable();

describe('exponentials', () => {
  it('have one digest', () => {
    expect(digest(exp)).toBe('092abaae7ad033f17d51234503e99d475e281fa6a3c1873ada6392943c7adc08');
  });

  it('hold independent values', () => {
    expect([0, 1, 100, 2048, 24132, 24133, 24135, 32767].map((i) => exp[i])).toEqual([
      65535, 65503, 62412, 24109, 1, 0, 0, 0,
    ]);
  });

  it('fall and never rise', () => {
    expect(exp.length).toBe(32768);
    expect(exp.findIndex((value, i) => value > (exp[i - 1] ?? value))).toBe(-1);
  });

  it('are what integers alone give, all of them', () => {
    const different = exp.findIndex((value, i) => value !== exponentialEntry(i));
    expect(different).toBe(-1);
  });
});

describe('sigmoid', () => {
  it('has one digest', () => {
    expect(digest(sigmoid)).toBe('be98db4312a57774155894a52a28ea97cfc23dc49fa7efe50585bd82337a2383');
  });

  it('holds independent values', () => {
    const bits = new Uint32Array(sigmoid.buffer);
    expect([0, 1, 32767, 32768, 32769, 34816, 65535].map((i) => bits[i])).toEqual([
      0x33f1aadc, 0x33f1c913, 0x3efff000, 0x3f000000, 0x3f000800, 0x3f3b26a8, 0x3f7ffffe,
    ]);
  });

  it('rises and never falls', () => {
    expect(sigmoid.length).toBe(65536);
    expect(sigmoid.findIndex((value, i) => value < (sigmoid[i - 1] ?? value))).toBe(-1);
  });

  it('is symmetric about 1/2 up to the rounding of its ends', () => {
    const worst = sigmoid.slice(1).reduce((most, value, i) => Math.max(most, Math.abs(value + mirrored(i + 1) - 1)), 0);
    expect(worst).toBeLessThanOrEqual(2 ** -25 + 2 ** -26);
    expect(worst).toBeGreaterThan(0);
  });

  it('is what integers alone give, all of it', () => {
    const different = sigmoid.findIndex((value, i) => value !== sigmoidEntry(i));
    expect(different).toBe(-1);
  });
});

const PLAIN: RotaryConfig = { headSize: 64, rotaryBase: 100_000, rotaryScaling: { kind: 'none' } };
const LLAMA3: RotaryConfig = {
  headSize: 128,
  rotaryBase: 500_000,
  rotaryScaling: { kind: 'llama3', factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 8192 },
};

describe('rotary tables', () => {
  let made: RotaryTables | undefined;
  const long = (): RotaryTables => {
    made ??= rotaryTables(LLAMA3, 131_072);
    return made;
  };

  it('have one digest each', () => {
    const plain = rotaryTables(PLAIN, 8192);
    expect(digest(plain.cos)).toBe('5435bb251fb7aa7a40e533a047d14b4f7415b1b5f4e3d544a037cc3320dfa40d');
    expect(digest(plain.sin)).toBe('8d90ed1a8f73aacbc7327c1f8066a4b359da9a0b7ba5f2567ff68c52a346331e');
    expect(digest(long().cos)).toBe('0b24cb49d8818c7fd43c057e12ca837364c0e0cffec4ce802416e6d0da47a4a6');
    expect(digest(long().sin)).toBe('bad7c188f78d8630b5658e604326728fc48174fdd3e1445d09c2a2151f31ab2b');
  });

  /** Position, pair, binary32 images of cos and sin. Pairs 29 and 33 of Llama 3's rule are interpolated, 40 and 63 divided. */
  const SPOTS: readonly (readonly [RotaryConfig, number, number, number, number])[] = [
    [PLAIN, 1, 0, 0x3f0a5140, 0x3f576aa4],
    [PLAIN, 1, 31, 0x3f800000, 0x37706b6c],
    [PLAIN, 8191, 0, 0xbf2579d9, 0xbf43546a],
    [PLAIN, 8191, 7, 0x3f721d25, 0x3ea655ea],
    [PLAIN, 8191, 31, 0x3f7e3d0e, 0x3defd6b1],
    [LLAMA3, 131_071, 0, 0xbf51675e, 0xbf13430a],
    [LLAMA3, 65_537, 29, 0x3f52b623, 0x3f116274],
    [LLAMA3, 131_071, 33, 0xbf1a603e, 0xbf4c373b],
    [LLAMA3, 131_071, 40, 0x3edd8ab8, 0x3f66cb3a],
    [LLAMA3, 131_071, 63, 0x3f7ffcb0, 0x3c24c1f7],
    [
      { headSize: 64, rotaryBase: 10_000, rotaryScaling: { kind: 'linear', factor: 2.5 } },
      5000,
      5,
      0xbf7e91e6,
      0x3dd82bf2,
    ],
    [
      { headSize: 8, rotaryBase: 10_000, rotaryScaling: { kind: 'divisors', divisors: [1, 3, Math.fround(1.7), 0.5] } },
      5000,
      2,
      0xbed700d8,
      0xbf6855ac,
    ],
  ];

  it.each(SPOTS)('hold independent values (%#)', (config, position, pair, cosImage, sinImage) => {
    const { cos, sin } = rotaryEntry(config, position, pair);
    expect([cos, sin].map(image)).toEqual([cosImage, sinImage]);
    const tables = config === LLAMA3 ? long() : rotaryTables(config, position + 1);
    const at = (position * config.headSize) / 2 + pair;
    expect([tables.cos[at], tables.sin[at]]).toEqual([cos, sin]);
  });

  /** Base, extent, position, pair, images of cos and sin: places found by search. */
  const HARD: readonly (readonly [number, number, number, number, number, number])[] = [
    [11008, 128, 30115, 33, 0xbf800000, 0x35196bdf],
    [34937, 128, 10582, 57, 0x3f14b11d, 0x3f50640d],
    [85784, 32, 63192, 1, 0x3577367f, 0xbf800000],
    [95754, 128, 44467, 23, 0x3b595f0b, 0xbf7fffa4],
    [16991, 128, 37509, 3, 0xbf800000, 0xb25a452d],
    [11008, 128, 120460, 33, 0x3f800000, 0xb6196bdf],
  ];

  it.each(HARD)(
    'are right where the product of anchors alone would not be (%#)',
    (base, size, t, pair, cosImage, sinImage) => {
      const config: RotaryConfig = { headSize: size, rotaryBase: base, rotaryScaling: { kind: 'none' } };
      const { cos, sin } = rotaryTables(config, t + 1);
      const at = (t * size) / 2 + pair;
      expect([cos[at] ?? 2, sin[at] ?? 2].map(image)).toEqual([cosImage, sinImage]);
    },
  );

  it('begin at the angle 0 and lie on the circle', () => {
    const { cos, sin } = rotaryTables(PLAIN, 300);
    expect(cos.length).toBe(300 * 32);
    expect(cos.slice(0, 32)).toEqual(new Float32Array(32).fill(1));
    expect(sin.slice(0, 32)).toEqual(new Float32Array(32));
    const off = cos.findIndex((c, i) => !(Math.abs(c * c + (sin[i] ?? 2) ** 2 - 1) < 2 ** -22));
    expect(off).toBe(-1);
  });

  it('are the beginning of longer ones', () => {
    for (const positions of [1, 255, 256, 257]) {
      const short = rotaryTables(LLAMA3, positions);
      expect(digest(short.cos)).toBe(digest(long().cos.slice(0, positions * 64)));
      expect(digest(short.sin)).toBe(digest(long().sin.slice(0, positions * 64)));
    }
  });

  it('are what integers alone give, at random places', () => {
    const random = seededRandom(5);
    for (const config of [PLAIN, LLAMA3]) {
      const positions = 40_000;
      const pairs = config.headSize / 2;
      const { cos, sin } = rotaryTables(config, positions);
      for (let n = 0; n < 3000; n++) {
        const t = random.below(positions);
        const i = random.below(pairs);
        const entry = rotaryEntry(config, t, i);
        expect([cos[t * pairs + i], sin[t * pairs + i]]).toEqual([entry.cos, entry.sin]);
      }
    }
  });

  /** Shapes at the edge of what the checks let through. */
  const EDGES: readonly RotaryConfig[] = [
    { headSize: 8, rotaryBase: Number.MAX_VALUE, rotaryScaling: { kind: 'none' } },
    { headSize: 8, rotaryBase: 1 + Number.EPSILON, rotaryScaling: { kind: 'none' } },
    { headSize: 4, rotaryBase: 10_000, rotaryScaling: { kind: 'linear', factor: Number.MAX_VALUE } },
    { headSize: 4, rotaryBase: 10_000, rotaryScaling: { kind: 'linear', factor: Number.MIN_VALUE } },
    { headSize: 4, rotaryBase: 10_000, rotaryScaling: { kind: 'divisors', divisors: [2 ** -149, 2 ** 127] } },
    {
      headSize: 16,
      rotaryBase: 500_000,
      rotaryScaling: {
        kind: 'llama3',
        factor: 1e300,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 1 + Number.EPSILON,
        originalContext: 1e9,
      },
    },
  ];

  it.each(EDGES)('stand extreme shapes (%#)', (config) => {
    const pairs = config.headSize / 2;
    const { cos, sin } = rotaryTables(config, 600);
    for (let t = 0; t < 600; t += 7) {
      for (let i = 0; i < pairs; i++) {
        const entry = rotaryEntry(config, t, i);
        expect([cos[t * pairs + i], sin[t * pairs + i]]).toEqual([entry.cos, entry.sin]);
      }
    }
    expect([...cos, ...sin].some((value) => Object.is(value, -0) || !(Math.abs(value) <= 1))).toBe(false);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuse %d positions', (positions) => {
    expect(() => rotaryTables(PLAIN, positions)).toThrow(RangeError);
  });

  it('refuse a size beyond the limit before they take memory', () => {
    const fault = expect.objectContaining({ name: 'ModelError', code: 'TOO_LARGE' });
    expect(() => rotaryTables(PLAIN, MAX_ROTARY_ENTRIES / 32 + 1)).toThrow(fault);
    expect(() => rotaryTables(PLAIN, Number.MAX_SAFE_INTEGER)).toThrow(fault);
  });

  const llama3 = {
    kind: 'llama3',
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContext: 8192,
  } as const;
  const REFUSED: readonly (readonly [string, Partial<RotaryConfig>])[] = [
    ['an odd extent', { headSize: 63 }],
    ['no extent', { headSize: 0 }],
    ['a negative extent', { headSize: -2 }],
    ['a broken extent', { headSize: 2.5 }],
    ['an extent too large', { headSize: 4098 }],
    ['base 1', { rotaryBase: 1 }],
    ['a negative base', { rotaryBase: -10_000 }],
    ['a base that is no number', { rotaryBase: Number.NaN }],
    ['an infinite base', { rotaryBase: Number.POSITIVE_INFINITY }],
    ['factor 0', { rotaryScaling: { kind: 'linear', factor: 0 } }],
    ['a negative factor', { rotaryScaling: { kind: 'linear', factor: -1 } }],
    ['an infinite factor', { rotaryScaling: { kind: 'linear', factor: Number.POSITIVE_INFINITY } }],
    ['too few divisors', { rotaryScaling: { kind: 'divisors', divisors: new Array(31).fill(1) } }],
    ['too many divisors', { rotaryScaling: { kind: 'divisors', divisors: new Array(33).fill(1) } }],
    ['divisor 0', { rotaryScaling: { kind: 'divisors', divisors: new Array(32).fill(0) } }],
    ['a divisor that is no number', { rotaryScaling: { kind: 'divisors', divisors: new Array(32).fill(Number.NaN) } }],
    ['equal factors of Llama 3', { rotaryScaling: { ...llama3, lowFrequencyFactor: 4 } }],
    ['swapped factors of Llama 3', { rotaryScaling: { ...llama3, lowFrequencyFactor: 5 } }],
    ['factor 0 of Llama 3', { rotaryScaling: { ...llama3, factor: 0 } }],
    ['original context 0', { rotaryScaling: { ...llama3, originalContext: 0 } }],
  ];

  it.each(REFUSED)('refuse %s', (_, change) => {
    const fault = expect.objectContaining({ name: 'ModelError', code: 'MALFORMED_METADATA' });
    expect(() => rotaryTables({ ...PLAIN, ...change }, 4)).toThrow(fault);
  });
});

function mirrored(i: number): number {
  return sigmoid[65536 - i] ?? Number.NaN;
}

/** SHA-256 of the entries as little-endian bytes, the order of this machine. */
function digest(table: Uint16Array | Float32Array): string {
  return createHash('sha256').update(new Uint8Array(table.buffer)).digest('hex');
}

function image(value: number): number | undefined {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}
