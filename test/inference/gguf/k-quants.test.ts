import { expect, it } from 'vitest';
import { K_KERNELS } from '../../../inference/gguf/k-quants.ts';

function convert(type: keyof typeof K_KERNELS, bytes: Uint8Array): Float32Array {
  const out = new Float32Array(256);
  K_KERNELS[type](bytes, out, 1);
  return out;
}

const at = (values: Float32Array, ...places: readonly number[]) => places.map((place) => values[place]);

it('Q2_K: bit pairs, a scale and a minimum for 16 values, d = 2, dmin = 0.5', () => {
  const bytes = new Uint8Array(84);
  bytes[0] = 0x23; // values 0..15: scale 3, minimum 2
  bytes[1] = 0x01; // values 16..31: scale 1, no minimum
  bytes[2] = 0xf0; // values 32..47: minimum 15
  bytes[6] = 0x0f; // values 96..111: scale 15
  bytes[15] = 0x1f; // values 240..255: scale 15, minimum 1
  bytes[16] = 0b10_00_00_11; // values 0, 32, 64, 96
  bytes[32] = 0b00_00_00_01; // values 16, 48, 80, 112
  bytes[79] = 0b11_00_00_00; // values 159, 191, 223, 255
  bytes.set([0x00, 0x40, 0x00, 0x38], 80);
  expect(at(convert('Q2_K', bytes), 0, 1, 16, 17, 32, 96, 255, 159)).toEqual([17, -1, 2, 0, -7.5, 60, 89.5, 0]);
});

it('Q3_K: bit pairs less 4 where the third bit is clear, 6-bit scales less 32, d = 0.5', () => {
  const bytes = new Uint8Array(110);
  bytes[0] = 0b0000_0001; // third bit of value 0; those of 32, 64, ... are clear
  bytes[31] = 0b1000_0000; // third bit of value 255
  bytes[32] = 0b00_00_10_11; // values 0, 32, 64, 96
  bytes[95] = 0b01_00_00_00; // values 159, 191, 223, 255
  bytes[96] = 0x0a; // scale 0: low 10; scale 8: low 0
  bytes[98] = 0x05; // scale 2: low 5
  bytes[103] = 0x30; // scale 15: low 3
  bytes[104] = 0b00_00_00_11; // scale 0: high 3
  bytes[106] = 0b00_00_00_10; // scale 2: high 2
  bytes[107] = 0b01_00_00_00; // scale 15: high 1
  bytes.set([0x00, 0x38], 108);
  // Scales: 58 - 32 = 26; 37 - 32 = 5; 19 - 32 = -13; those not set -32.
  expect(at(convert('Q3_K', bytes), 0, 1, 32, 33, 255, 254, 16)).toEqual([39, -52, -5, -10, -6.5, 26, 64]);
});

/** Scales 1, 2, 3, 4 and 21, 38, 55, 8; minima 5, 6, 7, 8 and 25, 42, 59, 12. */
const SCALES = [0x41, 0x82, 0xc3, 0x04, 0x45, 0x86, 0xc7, 0x08, 0x95, 0xa6, 0xb7, 0xc8];

it('Q4_K: nibbles, a 6-bit scale and minimum for 32 values, d = 1, dmin = 0.5', () => {
  const bytes = new Uint8Array(144);
  bytes.set([0x00, 0x3c, 0x00, 0x38, ...SCALES]);
  bytes[16] = 0xf2; // values 0 and 32
  bytes[47] = 0x10; // values 31 and 63
  bytes[80] = 0x31; // values 128 and 160
  bytes[112] = 0x96; // values 192 and 224
  expect(at(convert('Q4_K', bytes), 0, 31, 32, 63, 64, 96)).toEqual([-0.5, -2.5, 27, -1, -3.5, -4]);
  expect(at(convert('Q4_K', bytes), 128, 160, 192, 224, 255)).toEqual([8.5, 93, 300.5, 66, -6]);
});

it('Q5_K: as Q4_K, with a fifth bit of each part in each byte', () => {
  const bytes = new Uint8Array(176);
  bytes.set([0x00, 0x3c, 0x00, 0x38, ...SCALES]);
  bytes[16] = 0b1001_0010; // fifth bits of values 32, 128 and 224
  bytes[48] = 0xf2; // values 0 and 32
  bytes[112] = 0x31; // values 128 and 160
  bytes[144] = 0x96; // values 192 and 224
  expect(at(convert('Q5_K', bytes), 0, 32, 128, 160, 192, 224)).toEqual([-0.5, 59, 344.5, 93, 300.5, 194]);
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
  expect([values[0], values[32], values[64], values[96], values[1], values[128]]).toEqual([-81, -1, -20, 16, -96, -32]);
});
