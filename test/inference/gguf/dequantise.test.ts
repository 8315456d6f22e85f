import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { dequantise } from '../../../inference/gguf/dequantise.ts';
import { TENSOR_TYPES, type TensorType } from '../../../inference/gguf/types.ts';
import { lcg } from '../../support/tiny-model.ts';

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

  it('BF16: the upper half of a binary32', () => {
    const patterns = [0x3f80, 0xc2f7, 0x0001, 0x8000, 0x7f7f];
    const bytes = Uint8Array.from(patterns.flatMap((pattern) => [pattern & 255, pattern >> 8]));
    expect([...convert('BF16', bytes)]).toEqual([1, -123.5, 2 ** -133, -0, (2 - 2 ** -7) * 2 ** 127]);
  });

  it('BF16 keeps the bits of NaN', () => {
    expect(new Uint32Array(convert('BF16', Uint8Array.of(0x81, 0xff)).buffer)[0]).toBe(0xff81_0000);
  });

  it('Q5_0: nibble and fifth bit, less 16, d = 2', () => {
    const bytes = new Uint8Array(22);
    bytes.set([0x00, 0x40]);
    bytes.set([0b0000_0001, 0, 0b0000_0010, 0x80], 2); // fifth bits of values 0, 17, 31
    bytes[6] = 0xf3; // values 0 and 16
    bytes[7] = 0x41; // values 1 and 17
    bytes[21] = 0xf0; // values 15 and 31
    const values = convert('Q5_0', bytes);
    expect([0, 1, 15, 16, 17, 31].map((i) => values[i])).toEqual([6, -30, -32, -2, 8, 30]);
  });

  it('Q5_1: nibble and fifth bit times d = 0.25 plus m = -1', () => {
    const bytes = new Uint8Array(24);
    bytes.set([0x00, 0x34, 0x00, 0xbc, 0b0000_0001, 0, 0, 0x80, 0xf1]);
    const values = convert('Q5_1', bytes);
    expect([0, 1, 16, 31].map((i) => values[i])).toEqual([3.25, -1, 2.75, 3]);
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

  it('Q4_1 rounds the sum once', () => {
    // q * d = 15 * 1.0009765625 is exact; m = 2^-24 is below half a unit of the sum's last place.
    const bytes = block(20, [
      [0, 0x3c01],
      [2, 0x0001],
    ]);
    bytes[4] = 0x0f;
    expect(convert('Q4_1', bytes)[0]).toBe(15 * 1.0009765625);
  });
});

it('refuses lengths that do not fit', () => {
  expect(() =>
    dequantise({ type: 'Q8_0', elements: 32, bytes: 34 }, new Uint8Array(33), new Float32Array(32)),
  ).toThrowError(expect.objectContaining({ code: 'MALFORMED_SHAPE' }));
});

/**
 * 512 blocks of noise; their binary16 constants (or the values, where a block is one) are finite, in a quarter of the
 * blocks subnormal, and now and then zero of either sign.
 */
function seededBlocks(type: TensorType, size: number, constants: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(512 * size);
  const view = new DataView(bytes.buffer);
  const exponent = type === 'BF16' ? 0x7f80 : 0x7c00;
  const next = lcg(size);
  for (let b = 0; b < 512; b++) {
    for (let i = 0; i < size; i++) bytes[size * b + i] = next() >>> 24;
    for (const at of constants) {
      let half = next() >>> 16;
      if ((half & exponent) === exponent) half ^= 0x4000;
      if (b % 4 === 1) half &= ~exponent;
      if (b % 16 === 2) half = 0x8000;
      if (b % 16 === 3) half = 0;
      view.setUint16(size * b + at, half, true);
    }
  }
  return bytes;
}

/**
 * SHA-256 of the binary32 values, little-endian, of {@link seededBlocks}. Made by a Python program that draws the same
 * blocks and calls `gguf.quants.dequantize` of the Python package gguf 0.19.0 (NumPy 2.4.6). On 20,000 other blocks of
 * each quantised type that package, `dequantize_row_*` of ggml's own library (x86-64 build of node-llama-cpp) and this
 * code gave equal bits.
 */
describe('seeded blocks have the digests that the Python package gguf gives', () => {
  const CONSTANTS: Readonly<Record<string, readonly number[]>> = {
    Q4_1: [0, 2],
    Q5_1: [0, 2],
    Q2_K: [80, 82],
    Q3_K: [108],
    Q4_K: [0, 2],
    Q5_K: [0, 2],
    Q6_K: [208],
  };

  it.each<[TensorType, string]>([
    ['F16', '7727dd83bf4df57b7150f087755dbcdf3e78185c1d8cd2a89b711fce34f0083d'],
    ['BF16', '689347546e3958ce9eb50f68c2e1fdeb3dfb01a77685112dbe7dad05a60908ef'],
    ['Q4_0', '16043f15890245a0bfbdd60914ce7948bc7913bcfe7a89df42c7974ad776e692'],
    ['Q4_1', '5b9fda4aabba7cafaaf2bbaf3cb6af31439ec7d9cebaece192b57cd698220499'],
    ['Q5_0', '0fb3d9fe70c5decb661f03026a789b94a63b3bcb0dd05b1ecdef1ed716518aa6'],
    ['Q5_1', '0583bca5e73d27fcf909ca2ee172bf8481826e06801028409531f8dbb3e5be07'],
    ['Q8_0', 'd0dc4186e32e546dd469c8c6982777899285505552dbbc8a993ec007fd17ffc9'],
    ['Q2_K', 'e62c39ce8402c2179145c8af69b31e107237142b00be77ed2738b0a6829d902c'],
    ['Q3_K', '506b5ff1d0e796228b33b04cd01ccddc2face013839e8dd4b6c850d27ad293f0'],
    ['Q4_K', '15feeca9522427a93ac562f6e1a3349e68d78569506ea2939a6efdcd22b7a8db'],
    ['Q5_K', '842703532fee193e41399c8d0abb202fd52cca27551d7073e8f804b15fb04878'],
    ['Q6_K', '29d05cea567bc3a50ac6d77f5ef21776f6d1838c58b4f36c71c6256410863173'],
  ])('%s', (type, expected) => {
    const layout = [...TENSOR_TYPES.values()].find((entry) => entry.type === type);
    const values = convert(type, seededBlocks(type, layout?.bytes ?? 0, CONSTANTS[type] ?? [0]));
    expect(createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')).toBe(expected);
  });
});
