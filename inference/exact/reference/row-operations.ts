/**
 * The operations on one row, line by line after the specification: embed, norm, head norm, rotate, quantise, gate, add.
 * Every `fl` is one function of `arithmetic.ts`.
 *
 * Spec: `inference/spec/exact.md#operations`.
 *
 * @module
 */

import { add, divide, float, multiply, roundClipped, roundEven, squareRoot, subtract } from '../arithmetic.ts';
import { ACTIVATION_MAX, type ExactMatrix, type ExactTables, GROUP_SIZE } from '../exact-model.ts';

/** Integers and the scale that they share. */
export type Quantised = { readonly integers: Int16Array; readonly scale: number };

/** Below this the largest magnitude counts as this, so that a row of zeros has a scale. */
const SMALLEST_MAXIMUM = 2 ** -40;

/** `quantise(y, M)`; the integers lie in `-largest..largest`. */
export function quantise(y: Float32Array, largest: number): Quantised {
  let m = SMALLEST_MAXIMUM;
  for (const value of y) m = Math.max(m, Math.abs(value));
  const r = divide(largest, m);
  const integers = new Int16Array(y.length);
  for (let k = 0; k < y.length; k++) integers[k] = roundEven(multiply(y[k] as number, r));
  return { integers, scale: divide(m, largest) };
}

/** The row of a token, `[embedding]`. */
export function embed({ columns, stride, weights, scales, groupScales }: ExactMatrix, token: number): Float32Array {
  const groups = Math.ceil(columns / GROUP_SIZE);
  const scale = scales[token] as number;
  const row = new Float32Array(columns);
  for (let k = 0; k < columns; k++) {
    const c = groupScales === null ? 1 : (groupScales[token * groups + Math.floor(k / GROUP_SIZE)] as number);
    row[k] = multiply(float(c * (weights[token * stride + k] as number)), scale);
  }
  return row;
}

/**
 * The `y` of *norm*, which *quantise* follows there and not in *head norm*.
 *
 * @param gain - `[x.length]`
 * @param epsilon - a binary32 above zero
 */
export function normalise(x: Float32Array, gain: Float32Array, epsilon: number): Float32Array {
  const { integers, scale: s } = quantise(x, ACTIVATION_MAX);
  let squares = 0;
  for (const b of integers) squares += b * b;
  const q = float(squares);
  const u = multiply(divide(q, float(x.length)), multiply(s, s));
  const v = divide(1, squareRoot(add(u, epsilon)));
  return x.map((value, k) => multiply(multiply(value, v), gain[k] as number));
}

/** *head norm*: every head of `gain.length` elements by itself. */
export function headNorm(x: Float32Array, gain: Float32Array, epsilon: number): Float32Array {
  return eachHead(x, gain.length, (head) => normalise(head, gain, epsilon));
}

/** *rotate*: element `i` of the first half of each head with element `i` of the second. */
export function rotate(x: Float32Array, tables: ExactTables, headSize: number, position: number): Float32Array {
  const half = headSize / 2;
  return eachHead(x, headSize, (head) => {
    const rotated = new Float32Array(headSize);
    for (let i = 0; i < half; i++) {
      const cos = tables.cos[position * half + i] as number;
      const sin = tables.sin[position * half + i] as number;
      const a = head[i] as number;
      const b = head[i + half] as number;
      rotated[i] = subtract(multiply(a, cos), multiply(b, sin));
      rotated[i + half] = add(multiply(a, sin), multiply(b, cos));
    }
    return rotated;
  });
}

/** *add*, the residual. */
export function addRows(x: Float32Array, y: Float32Array): Float32Array {
  return x.map((value, k) => add(value, y[k] as number));
}

/** *gate*: SwiGLU with the sigmoid from its table. */
export function gate(gates: Float32Array, ups: Float32Array, sigmoid: Float32Array): Float32Array {
  return gates.map((g, k) => {
    const index = roundClipped(multiply(g, 2048), -32_768, 32_767) + 32_768;
    return multiply(multiply(g, sigmoid[index] as number), ups[k] as number);
  });
}

function eachHead(x: Float32Array, headSize: number, operate: (head: Float32Array) => Float32Array): Float32Array {
  const result = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += headSize) result.set(operate(x.subarray(at, at + headSize)), at);
  return result;
}
