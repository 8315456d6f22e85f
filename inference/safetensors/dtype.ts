/**
 * The element types of safetensors: how long each is, and the three that weights are read from.
 *
 * Source: `enum Dtype` of the reference implementation (`safetensors/src/tensor.rs`).
 *
 * @module
 */

import { halfToFloat } from '../gguf/binary16.ts';

/** Bits of an element, by the type's name in the file. */
export const DTYPE_BITS: ReadonlyMap<string, number> = new Map([
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['BOOL', 8],
  ['U8', 8],
  ['I8', 8],
  ['F8_E5M2', 8],
  ['F8_E4M3', 8],
  ['F8_E8M0', 8],
  ['F8_E4M3FNUZ', 8],
  ['F8_E5M2FNUZ', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['C64', 64],
  ['F64', 64],
  ['I64', 64],
  ['U64', 64],
]);

/** A type whose every value is a binary32. */
export type WeightType = 'F32' | 'F16' | 'BF16';

/** Whether weights of this type are read. */
export function isWeightType(dtype: string): dtype is WeightType {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/**
 * Converts little-endian elements to binary32, exactly: all three types are subsets of it.
 *
 * @param bytes - `out.length` elements; of a NaN only that it is one is kept
 */
export function toBinary32(dtype: WeightType, bytes: Uint8Array, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (dtype) {
    case 'F32':
      for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
      return;
    case 'F16':
      for (let i = 0; i < out.length; i++) out[i] = halfToFloat(view.getUint16(2 * i, true));
      return;
    case 'BF16': {
      // The upper half of a binary32.
      const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
      for (let i = 0; i < out.length; i++) bits[i] = view.getUint16(2 * i, true) << 16;
      return;
    }
  }
}
