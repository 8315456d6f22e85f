/**
 * Blocks of GGUF weights to binary32, in the order of operations in which ggml writes it, every operation rounded
 * alone (`Math.fround`). Products of a binary16 and the few bits of a scale and a value fit in 24 bits, so they are
 * exact, and a fused multiply-add gives the same values: a compiler's choices do not matter here.
 *
 * Source: `ggml-quants.c`, `dequantize_row_*`.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { halfAt, halves } from './binary16.ts';
import { K_KERNELS, type Kernel } from './k-quants.ts';
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

const KERNELS: Readonly<Record<TensorType, Kernel>> = {
  F32(bytes, out) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
  },

  F16(bytes, out) {
    const table = halves();
    for (let i = 0; i < out.length; i++) out[i] = table[halfAt(bytes, 2 * i)] as number;
  },

  // The upper half of a binary32. Bits are moved, not numbers, so that a NaN keeps its own.
  BF16(bytes, out) {
    const patterns = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < patterns.length; i++) patterns[i] = halfAt(bytes, 2 * i) << 16;
  },

  // d: binary16, then 16 bytes; low nibbles are values 0..15, high nibbles 16..31. y = (q - 8) * d
  Q4_0(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 18 * b;
      const d = table[halfAt(bytes, at)] as number;
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 2 + j] as number;
        out[32 * b + j] = Math.fround(((q & 15) - 8) * d);
        out[32 * b + 16 + j] = Math.fround(((q >> 4) - 8) * d);
      }
    }
  },

  // d, m: binary16, then 16 bytes. y = q * d + m
  Q4_1(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 20 * b;
      const d = table[halfAt(bytes, at)] as number;
      const m = table[halfAt(bytes, at + 2)] as number;
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 4 + j] as number;
        out[32 * b + j] = Math.fround(Math.fround((q & 15) * d) + m);
        out[32 * b + 16 + j] = Math.fround(Math.fround((q >> 4) * d) + m);
      }
    }
  },

  // d: binary16, 32 fifth bits, then 16 bytes as in Q4_0. y = (q - 16) * d
  Q5_0(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 22 * b;
      const d = table[halfAt(bytes, at)] as number;
      const fifths = wordAt(bytes, at + 2);
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 6 + j] as number;
        out[32 * b + j] = Math.fround((((q & 15) | (((fifths >>> j) & 1) << 4)) - 16) * d);
        out[32 * b + 16 + j] = Math.fround((((q >> 4) | (((fifths >>> (16 + j)) & 1) << 4)) - 16) * d);
      }
    }
  },

  // d, m: binary16, 32 fifth bits, then 16 bytes. y = q * d + m
  Q5_1(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 24 * b;
      const d = table[halfAt(bytes, at)] as number;
      const m = table[halfAt(bytes, at + 2)] as number;
      const fifths = wordAt(bytes, at + 4);
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 8 + j] as number;
        out[32 * b + j] = Math.fround(Math.fround(((q & 15) | (((fifths >>> j) & 1) << 4)) * d) + m);
        out[32 * b + 16 + j] = Math.fround(Math.fround(((q >> 4) | (((fifths >>> (16 + j)) & 1) << 4)) * d) + m);
      }
    }
  },

  // d: binary16, then 32 signed bytes. y = q * d
  Q8_0(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 34 * b;
      const d = table[halfAt(bytes, at)] as number;
      for (let j = 0; j < 32; j++) out[32 * b + j] = Math.fround((((bytes[at + 2 + j] as number) << 24) >> 24) * d);
    }
  },

  ...K_KERNELS,
};

/** Bits 0 to 31 of four bytes, little-endian. */
function wordAt(bytes: Uint8Array, at: number): number {
  return halfAt(bytes, at) | (halfAt(bytes, at + 2) << 16);
}
