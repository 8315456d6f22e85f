/**
 * The element-wise operations of the exact profile, each alone and rounded to nearest even: `fl` of the specification is
 * `Math.fround` around one operation. Rounding a binary64 result again to binary32 gives the one rounding of IEEE 754 for
 * sum, difference, product, quotient and root of binary32 operands (53 >= 2 * 24 + 2; S. Figueroa, "When is double
 * rounding innocuous?", 1995), subnormal results included.
 *
 * Operands are finite binary32 numbers unless said otherwise. Range proofs keep results finite; where one is not, the
 * operation faults instead of carrying an infinity or a NaN on.
 *
 * @module
 */

import { InferenceError } from '../errors.ts';

/** fl(a + b). @throws {@link InferenceError} `NUMERIC_FAULT` unless the result is finite */
export function add(a: number, b: number): number {
  return finite(Math.fround(a + b));
}

/** fl(a - b). @throws {@link InferenceError} `NUMERIC_FAULT` unless the result is finite */
export function subtract(a: number, b: number): number {
  return finite(Math.fround(a - b));
}

/** fl(a * b). @throws {@link InferenceError} `NUMERIC_FAULT` unless the result is finite */
export function multiply(a: number, b: number): number {
  return finite(Math.fround(a * b));
}

/** fl(a / b). @throws {@link InferenceError} `NUMERIC_FAULT` unless the result is finite, a divisor of 0 included */
export function divide(a: number, b: number): number {
  return finite(Math.fround(a / b));
}

/** fl(sqrt v). @throws {@link InferenceError} `NUMERIC_FAULT` below 0 */
export function squareRoot(v: number): number {
  return finite(Math.fround(Math.sqrt(v)));
}

/** An integer of magnitude at most 2^53, rounded once. */
export function float(integer: number): number {
  return Math.fround(integer);
}

/** The greatest integer not above v, as a binary32. @throws {@link InferenceError} `NUMERIC_FAULT` unless v is finite */
export function floor(v: number): number {
  return finite(Math.floor(v));
}

/**
 * The integer nearest to v, ties to the even one; what rounds to zero keeps the sign of v, as in IEEE 754. Takes any
 * binary64. (`Math.round` rounds ties up.)
 *
 * @throws {@link InferenceError} `NUMERIC_FAULT` unless v is finite
 */
export function roundEven(v: number): number {
  // at 2^52 the last place of a binary64 is 1, so the sum itself rounds to an integer
  if (v > 0) return v < TWO_52 ? v + TWO_52 - TWO_52 : finite(v);
  if (v < 0) return v > -TWO_52 ? -(TWO_52 - v - TWO_52) : finite(v);
  return finite(v);
}

/**
 * The same as an integer without -0, clipped to `low..high`.
 *
 * @param low - integer, at most `high`
 * @throws {@link InferenceError} `NUMERIC_FAULT` unless v is finite
 */
export function roundClipped(v: number, low: number, high: number): number {
  const whole = roundEven(v);
  // + 0 turns -0 into 0
  return whole <= low ? low : whole >= high ? high : whole + 0;
}

/**
 * The integer nearest to v, ties to even, which must be an int32.
 *
 * @throws {@link InferenceError} `NUMERIC_FAULT` if it is not
 */
export function toInt32(v: number): number {
  const whole = roundEven(v) + 0;
  if (whole < -0x80000000 || whole > 0x7fffffff) {
    throw new InferenceError('NUMERIC_FAULT', `${v} is beyond int32`);
  }
  return whole;
}

function finite(v: number): number {
  if (v - v !== 0) throw new InferenceError('NUMERIC_FAULT', `an operation gave ${v}`);
  return v;
}

const TWO_52 = 0x10000000000000;
