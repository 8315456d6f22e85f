import { describe, expect, it } from 'vitest';
import { halfToFloat } from '../../../inference/gguf/binary16.ts';
import { dequantise } from '../../../inference/gguf/dequantise.ts';
import { TENSOR_TYPES, type TensorType } from '../../../inference/gguf/types.ts';

function convert(type: TensorType, bytes: Uint8Array): Float32Array {
  for (const layout of TENSOR_TYPES.values()) {
    if (layout.type !== type) continue;
    const out = new Float32Array((bytes.length / layout.bytes) * layout.elements);
    dequantise(layout, bytes, out);
    return out;
  }
  throw new RangeError(type);
}

const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0];

/** Bytes 11, 48, 85, … (mod 256) with binary16 constants at some places. */
function block(length: number, halves: readonly (readonly [number, number])[]): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => 37 * i + 11);
  for (const [at, half] of halves) bytes.set([half & 255, half >> 8], at);
  return bytes;
}

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

describe('blocks by hand', () => {
  it('Q8_0: signed bytes times d = 0.5', () => {
    const bytes = new Uint8Array(34);
    bytes.set([0x00, 0x38, 0x7f, 0x80, 0xff, 0x01]);
    expect([...convert('Q8_0', bytes).subarray(0, 5)]).toEqual([63.5, -64, -0.5, 0.5, 0]);
  });

  it('Q4_0: low nibbles first, then high, less 8, d = 2', () => {
    const bytes = new Uint8Array(18).fill(0x88);
    bytes.set([0x00, 0x40, 0xf0, 0x19]);
    const values = convert('Q4_0', bytes);
    expect([values[0], values[1], values[2], values[16], values[17], values[18]]).toEqual([-16, 2, 0, 14, -14, 0]);
  });

  it('Q4_1: nibble times d = 0.25 plus m = -1', () => {
    const bytes = new Uint8Array(20);
    bytes.set([0x00, 0x34, 0x00, 0xbc, 0xf1]);
    const values = convert('Q4_1', bytes);
    expect([values[0], values[1], values[16], values[17]]).toEqual([-0.75, -1, 2.75, -1]);
  });

  it('Q6_K: four bits low, two high, less 32, scale of 16 values, d = 1', () => {
    const bytes = new Uint8Array(210);
    bytes[0] = 0xa5; // values 0 and 64
    bytes[32] = 0x0f; // values 32 and 96
    bytes[128] = 0b11_10_01_00; // high bits of 0, 32, 64, 96
    bytes.fill(1, 192, 208);
    bytes[192] = 3; // scale of 0..15
    bytes[196] = 0xfe; // scale of 64..79: -2
    bytes.set([0x00, 0x3c], 208);
    const values = convert('Q6_K', bytes);
    expect([values[0], values[32], values[64], values[96], values[1], values[128]]).toEqual([
      -81, -1, -20, 16, -96, -32,
    ]);
  });
});

// Computed with `gguf.quants.dequantize` of the Python package gguf, as bit patterns.
describe('blocks as the Python package gguf reads them', () => {
  it.each<[TensorType, Uint8Array, Record<number, number>]>([
    ['Q4_0', block(18, [[0, 0x28c0]]), { 0: 0xbde40000, 1: 0x3d980000, 15: 0xbe980000, 16: 0xbde40000, 31: 0x0 }],
    [
      'Q4_1',
      block(20, [
        [0, 0x28c0],
        [2, 0xb4a8],
      ]),
      { 0: 0x3e880000, 1: 0xbe120000, 15: 0x3da40000, 16: 0x3d300000, 31: 0x3e1e0000 },
    ],
    [
      'Q8_0',
      block(34, [[0, 0x198d]]),
      { 0: 0x3e6be880, 1: 0x3ea94c80, 15: 0xbeb1a000, 16: 0xbe7c8f80, 31: 0xbe053800 },
    ],
    [
      'Q6_K',
      block(210, [[208, 0x087d]]),
      {
        0: 0xbe48b5d8,
        1: 0x3e6de100,
        31: 0xbc577000,
        32: 0x3d019960,
        63: 0xbda2b340,
        64: 0xbed53180,
        100: 0x3eb0efbc,
        127: 0x3e526360,
        128: 0xbd44ec60,
        160: 0x3dbc3a30,
        200: 0x3e18bde8,
        255: 0xbc06a600,
      },
    ],
  ])('%s', (type, bytes, expected) => {
    const values = convert(type, bytes);
    for (const [index, pattern] of Object.entries(expected))
      expect([index, bits(values[Number(index)] ?? 0)]).toEqual([index, pattern]);
  });

  it('rounds product and sum apart where a fused one would differ', () => {
    // q * d = 15 * 1.0009765625 is exact; adding m = 2^-24 must vanish or stay by one rounding of the sum.
    const bytes = block(20, [
      [0, 0x3c01],
      [2, 0x0001],
    ]);
    bytes[4] = 0x0f;
    expect(convert('Q4_1', bytes)[0]).toBe(Math.fround(15 * 1.0009765625 + 2 ** -24));
  });
});

it('refuses lengths that do not fit', () => {
  expect(() =>
    dequantise({ type: 'Q8_0', elements: 32, bytes: 34 }, new Uint8Array(33), new Float32Array(32)),
  ).toThrowError(expect.objectContaining({ code: 'MALFORMED_SHAPE' }));
});
