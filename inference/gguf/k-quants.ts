/**
 * The K-quants of GGUF to binary32: blocks of 256 values in 8 or 16 parts, each part with its own small integer scale
 * (and, in some types, minimum) under the block's binary16 constants. Same order of operations as ggml, every operation
 * rounded alone; only the last difference can be inexact.
 *
 * Source: `ggml-quants.c`, `dequantize_row_q2_K` to `dequantize_row_q6_K`; blocks: `ggml-common.h`.
 *
 * @module
 */

import { halfAt, halves } from './binary16.ts';
import type { TensorType } from './types.ts';

/** Converts `blocks` whole blocks. */
export type Kernel = (bytes: Uint8Array, out: Float32Array, blocks: number) => void;

export const K_KERNELS: Readonly<Record<Extract<TensorType, `${string}_K`>, Kernel>> = {
  // 16 bytes of scale (low nibble) and minimum (high), 64 of bit pairs, d, dmin: binary16.
  // y = (d * scale) * q - dmin * minimum
  Q2_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 84 * b;
      const d = table[halfAt(bytes, at + 80)] as number;
      const dmin = table[halfAt(bytes, at + 82)] as number;
      for (let part = 0; part < 16; part++) {
        const scales = bytes[at + part] as number;
        const scale = Math.fround(d * (scales & 15));
        const minimum = Math.fround(dmin * (scales >> 4));
        const from = at + 16 + pairsAt(part);
        const shift = part & 6;
        const to = 256 * b + 16 * part;
        for (let l = 0; l < 16; l++) {
          const q = ((bytes[from + l] as number) >> shift) & 3;
          out[to + l] = Math.fround(Math.fround(scale * q) - minimum);
        }
      }
    }
  },

  // 32 bytes of third bits, 64 of bit pairs, 12 of sixteen 6-bit scales, d: binary16. y = d * (scale - 32) * q, from
  // the left; q is the pair, less 4 where the third bit is clear
  Q3_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 110 * b;
      const d = table[halfAt(bytes, at + 108)] as number;
      for (let part = 0; part < 16; part++) {
        const nibbles = bytes[at + 96 + (part & 7)] as number;
        const high = ((bytes[at + 104 + (part & 3)] as number) >> (2 * (part >> 2))) & 3;
        const scale = Math.fround(d * (((part < 8 ? nibbles & 15 : nibbles >> 4) | (high << 4)) - 32));
        const from = at + 32 + pairsAt(part);
        const third = at + 16 * (part & 1);
        const shift = part & 6;
        const to = 256 * b + 16 * part;
        for (let l = 0; l < 16; l++) {
          const pair = ((bytes[from + l] as number) >> shift) & 3;
          const q = pair - (((bytes[third + l] as number) >> (part >> 1)) & 1 ? 0 : 4);
          out[to + l] = Math.fround(scale * q);
        }
      }
    }
  },

  // d, dmin: binary16, 12 bytes of scales and minima, 128 of nibbles. y = (d * scale) * q - dmin * minimum
  Q4_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 144 * b;
      const d = table[halfAt(bytes, at)] as number;
      const dmin = table[halfAt(bytes, at + 2)] as number;
      for (let part = 0; part < 8; part++) {
        const scale = Math.fround(d * sixBitScale(bytes, at + 4, part));
        const minimum = Math.fround(dmin * sixBitMinimum(bytes, at + 4, part));
        const from = at + 16 + 32 * (part >> 1);
        const shift = 4 * (part & 1);
        const to = 256 * b + 32 * part;
        for (let l = 0; l < 32; l++) {
          const q = ((bytes[from + l] as number) >> shift) & 15;
          out[to + l] = Math.fround(Math.fround(scale * q) - minimum);
        }
      }
    }
  },

  // As Q4_K, with 32 bytes of fifth bits before the nibbles: bit p belongs to part p
  Q5_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 176 * b;
      const d = table[halfAt(bytes, at)] as number;
      const dmin = table[halfAt(bytes, at + 2)] as number;
      for (let part = 0; part < 8; part++) {
        const scale = Math.fround(d * sixBitScale(bytes, at + 4, part));
        const minimum = Math.fround(dmin * sixBitMinimum(bytes, at + 4, part));
        const from = at + 48 + 32 * (part >> 1);
        const shift = 4 * (part & 1);
        const to = 256 * b + 32 * part;
        for (let l = 0; l < 32; l++) {
          const nibble = ((bytes[from + l] as number) >> shift) & 15;
          const q = nibble | ((((bytes[at + 16 + l] as number) >> part) & 1) << 4);
          out[to + l] = Math.fround(Math.fround(scale * q) - minimum);
        }
      }
    }
  },

  // 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d: binary16. y = d * scale * q, from the left
  Q6_K(bytes, out, blocks) {
    const table = halves();
    for (let b = 0; b < blocks; b++) {
      const at = 210 * b;
      const d = table[halfAt(bytes, at + 208)] as number;
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

/** First of the 16 bytes of a part's bit pairs: two halves of 32 bytes, each holding eight parts. */
function pairsAt(part: number): number {
  return 32 * (part >> 3) + 16 * (part & 1);
}

/** Scale `part` of eight in 12 bytes: parts 0 to 3 in the low six bits, the others in a nibble and two spare bits. */
function sixBitScale(bytes: Uint8Array, at: number, part: number): number {
  if (part < 4) return (bytes[at + part] as number) & 63;
  return ((bytes[at + part + 4] as number) & 15) | (((bytes[at + part - 4] as number) >> 6) << 4);
}

/** Minimum `part` of eight, packed alike. */
function sixBitMinimum(bytes: Uint8Array, at: number, part: number): number {
  if (part < 4) return (bytes[at + part + 4] as number) & 63;
  return ((bytes[at + part + 4] as number) >> 4) | (((bytes[at + part] as number) >> 6) << 4);
}
