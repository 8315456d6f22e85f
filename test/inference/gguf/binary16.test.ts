import { describe, expect, it } from 'vitest';
import { halfAt, halfToFloat } from '../../../inference/gguf/binary16.ts';

describe('binary16', () => {
  it.each([
    [0x0000, 0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65_504],
    [0x0400, 2 ** -14],
    [0x0001, 2 ** -24],
    [0x83ff, -1023 * 2 ** -24],
    [0x3555, 0.333251953125],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
  ])('%i is %d', (half, value) => {
    expect(halfToFloat(half)).toBe(value);
  });

  it('keeps the sign of zero and NaN', () => {
    expect(Object.is(halfToFloat(0x8000), -0)).toBe(true);
    expect(halfToFloat(0x7e00)).toBeNaN();
  });
});

it('takes 16 bits little-endian', () => {
  expect(halfAt(Uint8Array.of(9, 0x34, 0xf2), 1)).toBe(0xf234);
});
