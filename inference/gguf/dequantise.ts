/**
 * Blocks of GGUF weights to binary32, in the order of operations in which ggml writes it, every operation rounded
 * alone (`Math.fround`): the values of the C code without fused multiply-add.
 *
 * Source: `ggml-quants.c`, `dequantize_row_*`.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import type { BlockLayout, TensorType } from './types.ts';

/**
 * Converts whole blocks.
 *
 * @param layout - type of the blocks
 * @param bytes - a whole number of blocks
 * @param out - receives `bytes.length / layout.bytes * layout.elements` values
 * @throws {@link ModelError} `MALFORMED_SHAPE` if the lengths do not fit each other
 */
export function dequantise(layout: BlockLayout, bytes: Uint8Array, out: Float32Array): void {
  const blocks = bytes.length / layout.bytes;
  if (!Number.isInteger(blocks) || out.length !== blocks * layout.elements) {
    throw new ModelError('MALFORMED_SHAPE', `${bytes.length} bytes of ${layout.type} do not make ${out.length} values`);
  }
  KERNELS[layout.type](bytes, out, blocks);
}

/** The binary32 of a binary16, exactly. */
export function halfToFloat(half: number): number {
  return halves()[half & 0xffff] as number;
}

type Kernel = (bytes: Uint8Array, out: Float32Array, blocks: number) => void;

const KERNELS: Readonly<Record<TensorType, Kernel>> = {
  F32(bytes, out) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
  },

  F16(bytes, out) {
    const table = halves();
    for (let i = 0; i < out.length; i++) out[i] = table[half(bytes, 2 * i)] as number;
  },

  // d: binary16, then 16 bytes; low nibbles are values 0..15, high nibbles 16..31. y = (q - 8) * d
  Q4_0(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 18 * b;
      const d = table[half(bytes, at)] as number;
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 2 + j] as number;
        out[32 * b + j] = Math.fround(((q & 15) - 8) * d);
        out[32 * b + 16 + j] = Math.fround(((q >> 4) - 8) * d);
      }
    }
  },

  // d, m: binary16, then 16 bytes. y = q * d + m, product and sum rounded apart
  Q4_1(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 20 * b;
      const d = table[half(bytes, at)] as number;
      const m = table[half(bytes, at + 2)] as number;
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 4 + j] as number;
        out[32 * b + j] = Math.fround(Math.fround((q & 15) * d) + m);
        out[32 * b + 16 + j] = Math.fround(Math.fround((q >> 4) * d) + m);
      }
    }
  },

  // d: binary16, then 32 signed bytes. y = q * d
  Q8_0(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 34 * b;
      const d = table[half(bytes, at)] as number;
      for (let j = 0; j < 32; j++) out[32 * b + j] = Math.fround((((bytes[at + 2 + j] as number) << 24) >> 24) * d);
    }
  },

  // 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d: binary16. y = d * scale * q, from the left
  Q6_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 210 * b;
      const d = table[half(bytes, at + 208)] as number;
      for (let part = 0; part < 2; part++) {
        const low = at + 64 * part;
        const high = at + 128 + 32 * part;
        const scales = at + 192 + 8 * part;
        const to = 256 * b + 128 * part;
        for (let l = 0; l < 32; l++) {
          const bits = bytes[high + l] as number;
          for (let quarter = 0; quarter < 4; quarter++) {
            const byte = bytes[low + l + 32 * (quarter & 1)] as number;
            const nibble = quarter < 2 ? byte & 15 : byte >> 4;
            const q = (nibble | (((bits >> (2 * quarter)) & 3) << 4)) - 32;
            const scale = ((bytes[scales + (l >> 4) + 2 * quarter] as number) << 24) >> 24;
            out[to + l + 32 * quarter] = Math.fround(Math.fround(d * scale) * q);
          }
        }
      }
    }
  },
};

function half(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

let halfTable: Float32Array | undefined;

/** All 65,536 binary16 values as binary32 (IEEE 754 §3.4); made on first use. */
function halves(): Float32Array {
  if (halfTable !== undefined) return halfTable;
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  halfTable = table;
  return table;
}
