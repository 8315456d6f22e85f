/**
 * The tables of the exact profile: exp, sigmoid, and cos and sin of rotary positions. Every entry is the real value
 * rounded once, half to even, so that the tables follow from their definition and not from a library.
 *
 * An entry is first tried as one product of binary64 anchors. ECMAScript fixes binary64 +, -, * and / as IEEE 754 does, so
 * the error of that product has a proved bound (u = 2^-53 below); where value - bound and value + bound round alike, that
 * is the entry, because rounding is monotone. Otherwise the entry is computed with integers (`fixed-point.ts`), as the
 * anchors always are.
 *
 * Spec: `inference/spec/exact.md`.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { roundEven } from './arithmetic.ts';
import {
  type Approximation,
  BINARY32,
  type BinaryFormat,
  bitLength,
  cosineSine,
  exponential,
  fixed,
  minus,
  over,
  plus,
  rounded,
  roundedInteger,
  scaled,
  times,
  withEnoughBits,
} from './fixed-point.ts';
import { checkRotary, type RotaryConfig, rotaryFrequency } from './rotary-frequency.ts';

/** Entries of the table of exponentials. */
export const EXPONENTIAL_ENTRIES = 32_768;

/** Entries of the sigmoid table; the middle one is sigmoid(0). */
export const SIGMOID_ENTRIES = 65_536;

/** Steps of both tables in a unit of the argument. */
export const STEPS_PER_UNIT = 2048;

/** Most entries of one rotary table (positions times pairs): 256 MiB of binary32. */
export const MAX_ROTARY_ENTRIES = 1 << 26;

/** Cosines and sines `[positions, headSize / 2]`: entry `t * headSize / 2 + i` belongs to position t and pair i. */
export type RotaryTables = { readonly cos: Float32Array; readonly sin: Float32Array };

/** Entry i is 65535 e^(-i/2048), rounded half to even; `[32768]`, falling from 65535 to 0. */
export function exponentialTable(): Uint16Array {
  const table = new Uint16Array(EXPONENTIAL_ENTRIES);
  const coarse = exponentialAnchors(EXPONENTIAL_ENTRIES / BLOCK, BLOCK);
  const fine = exponentialAnchors(BLOCK, 1);
  for (let i = 0; i < table.length; i++) {
    const value = 65535 * ((coarse[i >> BLOCK_BITS] as number) * (fine[i & BLOCK_MASK] as number));
    // two anchors and two products: 4 u of the value; 8 u bears the bound's own rounding too
    const low = roundEven(value * (1 - 8 * U));
    table[i] = low === roundEven(value * (1 + 8 * U)) ? low : exponentialEntry(i);
  }
  return table;
}

/** Entry i is the binary32 nearest to 1 / (1 + e^-v), v = (i - 32768) / 2048; `[65536]`, rising. */
export function sigmoidTable(): Float32Array {
  const table = new Float32Array(SIGMOID_ENTRIES);
  const middle = SIGMOID_ENTRIES / 2;
  const coarse = exponentialAnchors(middle / BLOCK + 1, BLOCK);
  const fine = exponentialAnchors(BLOCK, 1);
  for (let i = 0; i < table.length; i++) {
    const steps = Math.abs(i - middle);
    const power = (coarse[steps >> BLOCK_BITS] as number) * (fine[steps & BLOCK_MASK] as number);
    const value = (i < middle ? power : 1) / (1 + power);
    // power 3 u, 1 + power 4 u, the quotient 3 + 4 + 1 u; 16 u bears the bound's own rounding too
    const low = Math.fround(value * (1 - 16 * U));
    table[i] = low === Math.fround(value * (1 + 16 * U)) ? low : sigmoidEntry(i);
  }
  return table;
}

/**
 * The binary32 nearest to cos and sin of t * f_i for t in `[0, positions)` and every pair i.
 *
 * @param config - untrusted, from a model's file
 * @throws RangeError unless `positions` is a positive integer
 * @throws {@link ModelError} `TOO_LARGE` beyond {@link MAX_ROTARY_ENTRIES}
 * @throws {@link ModelError} `MALFORMED_METADATA` as {@link checkRotary}
 */
export function rotaryTables(config: RotaryConfig, positions: number): RotaryTables {
  if (!Number.isSafeInteger(positions) || positions < 1) {
    throw new RangeError(`expected a positive number of positions, got ${positions}`);
  }
  checkRotary(config);
  const pairs = config.headSize / 2;
  if (positions * pairs > MAX_ROTARY_ENTRIES) {
    throw new ModelError('TOO_LARGE', `${positions} positions of ${pairs} pairs are more than ${MAX_ROTARY_ENTRIES}`);
  }
  const tables = { cos: new Float32Array(positions * pairs), sin: new Float32Array(positions * pairs) };
  for (let pair = 0; pair < pairs; pair++) fillPair(tables, config, pair, positions);
  return tables;
}

/** One entry of {@link exponentialTable} by integers alone. */
export function exponentialEntry(index: number): number {
  const factor = { numerator: 65535n, denominator: 1n };
  return Number(withEnoughBits((bits) => roundedInteger(scaled(exponentialOf(-index, bits), factor))));
}

/** One entry of {@link sigmoidTable} by integers alone. */
export function sigmoidEntry(index: number): number {
  return withEnoughBits((bits) => {
    const one = fixed({ numerator: 1n, denominator: 1n }, bits);
    const power = exponentialOf(SIGMOID_ENTRIES / 2 - index, bits);
    return rounded(over(one, plus(one, power)), BINARY32);
  });
}

/** One entry of {@link rotaryTables} by integers alone. */
export function rotaryEntry(
  config: RotaryConfig,
  position: number,
  pair: number,
): { readonly cos: number; readonly sin: number } {
  return turnEntry(config, position, pair, BINARY32);
}

function fillPair({ cos, sin }: RotaryTables, config: RotaryConfig, pair: number, positions: number): void {
  const pairs = config.headSize / 2;
  const fine = turnAnchors(config, pair, 1, Math.min(BLOCK, positions));
  const coarse = turnAnchors(config, pair, BLOCK, Math.ceil(positions / BLOCK));
  for (let t = 0, at = pair; t < positions; t++, at += pairs) {
    const a = t >> BLOCK_BITS;
    const b = t & BLOCK_MASK;
    const ca = coarse.cos[a] as number;
    const sa = coarse.sin[a] as number;
    const cb = fine.cos[b] as number;
    const sb = fine.sin[b] as number;
    const cc = ca * cb;
    const ss = sa * sb;
    const sc = sa * cb;
    const cs = ca * sb;
    // each product 3 u of itself (two anchors, one rounding), the sum 1 u more, the ends of the interval 1 u more;
    // an anchor may also be off by 2^-201 where it is tiny, which TINY bears
    const cosBound = (Math.abs(cc) + Math.abs(ss)) * (8 * U) + TINY;
    const sinBound = (Math.abs(sc) + Math.abs(cs)) * (8 * U) + TINY;
    const cosLow = Math.fround(cc - ss - cosBound);
    const sinLow = Math.fround(sc + cs - sinBound);
    if (cosLow === Math.fround(cc - ss + cosBound) && sinLow === Math.fround(sc + cs + sinBound)) {
      // + 0: what rounds to zero is +0
      cos[at] = cosLow + 0;
      sin[at] = sinLow + 0;
    } else {
      const entry = rotaryEntry(config, t, pair);
      cos[at] = entry.cos;
      sin[at] = entry.sin;
    }
  }
}

type Turn = { readonly cos: Approximation; readonly sin: Approximation };

/** cos and sin of j * stride * f for j in `[0, count)`, nearest in {@link ANCHOR}. */
function turnAnchors(config: RotaryConfig, pair: number, stride: number, count: number) {
  const cos = new Float64Array(count);
  const sin = new Float64Array(count);
  const step = cosineSine(repeated(anchorFrequency(config, pair), stride));
  let turn = cosineSine(fixed({ numerator: 0n, denominator: 1n }, step.cos.bits));
  for (let j = 0; j < count; j++) {
    const c = rounded(turn.cos, ANCHOR);
    const s = rounded(turn.sin, ANCHOR);
    // the interval grows with every turn; where it has grown over a boundary, this turn is made anew
    const entry = c === undefined || s === undefined ? turnEntry(config, j * stride, pair, ANCHOR) : { cos: c, sin: s };
    cos[j] = entry.cos;
    sin[j] = entry.sin;
    turn = added(turn, step);
  }
  return { cos, sin };
}

/** cos and sin of the sum of two angles. */
function added(a: Turn, b: Turn): Turn {
  return {
    cos: minus(times(a.cos, b.cos), times(a.sin, b.sin)),
    sin: plus(times(a.sin, b.cos), times(a.cos, b.sin)),
  };
}

/** A frequency known to 2^-230 or better, however small its divisor. */
function anchorFrequency(config: RotaryConfig, pair: number): Approximation {
  const first = rotaryFrequency(config, pair, ANCHOR_BITS);
  const lost = bitLength(first.error);
  return lost <= 24 ? first : rotaryFrequency(config, pair, ANCHOR_BITS + lost);
}

function turnEntry(config: RotaryConfig, position: number, pair: number, format: BinaryFormat) {
  return withEnoughBits((bits) => {
    const turn = cosineSine(repeated(rotaryFrequency(config, pair, bits), position));
    const cos = rounded(turn.cos, format);
    const sin = rounded(turn.sin, format);
    return cos === undefined || sin === undefined ? undefined : { cos, sin };
  });
}

/** e^(-stride j / 2048) for j in `[0, count)`, nearest in {@link ANCHOR}. */
function exponentialAnchors(count: number, stride: number): Float64Array {
  return Float64Array.from({ length: count }, (_, j) =>
    withEnoughBits((bits) => rounded(exponentialOf(-stride * j, bits), ANCHOR)),
  );
}

/** e^(steps / 2048). */
function exponentialOf(steps: number, bits: number): Approximation {
  return exponential(fixed({ numerator: BigInt(steps), denominator: BigInt(STEPS_PER_UNIT) }, bits));
}

function repeated(x: Approximation, factor: number): Approximation {
  return { mid: x.mid * BigInt(factor), error: x.error * BigInt(factor), bits: x.bits };
}

/** Anchors: binary64 numbers, none below 2^-200 in magnitude but 0, so that no product of two underflows. */
const ANCHOR: BinaryFormat = { precision: 53, lowest: -200, top: 1023 };
const ANCHOR_BITS = 256;

/** Rounding error of one binary64 operation, relative. */
const U = Number.EPSILON / 2;
/** Above 2^-199, far below every rounding boundary of a binary32 but 0's. */
const TINY = 1e-57;

/** Entries are products of a coarse and a fine anchor: index = 256 a + b. */
const BLOCK_BITS = 8;
const BLOCK = 1 << BLOCK_BITS;
const BLOCK_MASK = BLOCK - 1;
