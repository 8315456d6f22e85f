/**
 * Rows of binary32 weights as int8 with one scale, or with integer group scales under it.
 *
 * Spec: `inference/spec/exact.md#conversion`. Every quotient is one binary32 division (`Math.fround` of a binary64 quotient
 * of binary32 numbers is the one rounding); adding and taking away 1.5 * 2^52 rounds to the nearest integer, ties to even.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { GROUP_SIZE } from './exact-model.ts';

/** Largest magnitude of an int8 weight. */
export const WEIGHT_MAX = 127;

/** Largest integer group scale. */
export const GROUP_SCALE_MAX = 255;

/** Where quantised rows go; row `r` of a matrix goes to index `r` of each array. */
export type QuantisedRows = {
  readonly columns: number;
  /** Bytes from one row of weights to the next; what lies beyond `columns` is not touched. */
  readonly stride: number;
  /** `[rows, stride]`. */
  readonly weights: Int8Array;
  /** `[rows]`. */
  readonly scales: Float32Array;
  /** `[rows, ceil(columns / 32)]`, or null for rows without groups. */
  readonly groupScales: Uint8Array | null;
};

/**
 * Quantises one row.
 *
 * @param values - holds the row from index `from` on
 * @param to - index of the row in `out`
 * @returns false, with nothing written, if a weight is not finite
 */
export function quantiseRow(values: Float32Array, from: number, out: QuantisedRows, to: number): boolean {
  const { columns, weights, scales, groupScales } = out;
  // magnitudes of binary32 numbers are ordered like their bits; infinities and NaN come last
  const bits = new Int32Array(values.buffer, values.byteOffset + 4 * from, columns);
  const largest = largestMagnitude(bits, 0, columns);
  if (largest >= INFINITY_BITS) return false;
  const whole = Math.fround(fromBits(largest) / WEIGHT_MAX);
  const start = to * out.stride;
  if (groupScales === null) {
    const scale = whole === 0 ? 1 : whole;
    scales[to] = scale;
    divideRow(values, from, columns, scale, weights, start);
    return true;
  }
  const scale = Math.fround(whole / GROUP_SCALE_MAX) || 1;
  scales[to] = scale;
  const groups = Math.ceil(columns / GROUP_SIZE);
  for (let group = 0; group < groups; group++) {
    const first = group * GROUP_SIZE;
    const count = Math.min(GROUP_SIZE, columns - first);
    const own = Math.fround(fromBits(largestMagnitude(bits, first, count)) / WEIGHT_MAX);
    const c = Math.min(GROUP_SCALE_MAX, Math.max(1, Math.ceil(Math.fround(own / scale))));
    groupScales[to * groups + group] = c;
    divideRow(values, from + first, count, Math.fround(scale * c), weights, start + first);
  }
  return true;
}

/** The fault of a row that {@link quantiseRow} refused, or of a vector. */
export function notFinite(tensor: string, layer: number | undefined, row: number): ModelError {
  const name = layer === undefined ? tensor : `${tensor} of layer ${layer}`;
  return new ModelError('WEIGHT_NOT_FINITE', `row ${row} of ${name} holds a number that is not finite`, {
    at: { tensor, layer: layer ?? null, row },
  });
}

/** Whether all numbers are finite. */
export function allFinite(values: Float32Array): boolean {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  return largestMagnitude(bits, 0, values.length) < INFINITY_BITS;
}

/** Bits of the largest magnitude. */
function largestMagnitude(bits: Int32Array, from: number, count: number): number {
  let largest = 0;
  for (let i = from; i < from + count; i++) {
    const magnitude = (bits[i] as number) & 0x7fffffff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** `rne(fl(w / scale))`, cut to -127..127: only a subnormal scale, which is coarse, makes more of a row's largest weight. */
function divideRow(values: Float32Array, from: number, count: number, scale: number, out: Int8Array, to: number): void {
  for (let i = 0; i < count; i++) {
    const q = Math.fround((values[from + i] as number) / scale) + ROUNDER - ROUNDER;
    out[to + i] = Math.min(WEIGHT_MAX, Math.max(-WEIGHT_MAX, q));
  }
}

const INFINITY_BITS = 0x7f800000;

const ROUNDER = 1.5 * 2 ** 52;

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);

function fromBits(bits: number): number {
  word[0] = bits;
  return float[0] as number;
}
