/**
 * Arithmetic on real numbers with a proved error, for the tables of the exact profile. A real x is held as
 * `{ mid, error, bits }` with |x * 2^bits - mid| <= error, all integers; every function keeps that promise, and the
 * comment beside each bound says why. Nothing here is floating point, so nothing depends on a machine's `exp` or `sin`.
 *
 * A value is rounded only when both ends of its interval round alike; otherwise it is computed again with more bits
 * (A. Ziv, "Fast evaluation of elementary mathematical functions with correctly rounded last bit", 1991).
 *
 * @module
 */

/** A rational number; the denominator is positive. */
export type Fraction = { readonly numerator: bigint; readonly denominator: bigint };

/** A real x with |x * 2^bits - mid| <= error. */
export type Approximation = { readonly mid: bigint; readonly error: bigint; readonly bits: number };

/** A set of numbers to round to: at most `precision` significant bits, multiples of 2^`lowest`, magnitude below 2^`top`. */
export type BinaryFormat = { readonly precision: number; readonly lowest: number; readonly top: number };

/** IEEE 754 binary32 with its subnormals. */
export const BINARY32: BinaryFormat = { precision: 24, lowest: -149, top: 128 };

/** Most bits tried before a value counts as undecidable; the values of the tables are decided within 256. */
const MOST_BITS = 1 << 13;

/**
 * The exact value of a finite binary64.
 *
 * @throws RangeError for NaN and infinities
 */
export function toFraction(value: number): Fraction {
  if (!Number.isFinite(value)) throw new RangeError(`expected a finite number, got ${value}`);
  const word = new DataView(new ArrayBuffer(8));
  word.setFloat64(0, value);
  const image = word.getBigUint64(0);
  const field = Number((image >> 52n) & 0x7ffn);
  const stored = image & 0xfffffffffffffn;
  const magnitude = field === 0 ? stored : stored | (1n << 52n);
  const exponent = Math.max(field, 1) - 1075;
  const signed = image >> 63n === 0n ? magnitude : -magnitude;
  return exponent >= 0
    ? { numerator: signed << BigInt(exponent), denominator: 1n }
    : { numerator: signed, denominator: 1n << BigInt(-exponent) };
}

/** A rational number in fixed point; the error is 0 where it is exact. */
export function fixed(value: Fraction, bits: number): Approximation {
  const scaled = value.numerator << BigInt(bits);
  const mid = scaled / value.denominator;
  return { mid, error: mid * value.denominator === scaled ? 0n : 1n, bits };
}

/** a + b, both of the same `bits`. */
export function plus(a: Approximation, b: Approximation): Approximation {
  return { mid: a.mid + b.mid, error: a.error + b.error, bits: a.bits };
}

/** a - b, both of the same `bits`. */
export function minus(a: Approximation, b: Approximation): Approximation {
  return { mid: a.mid - b.mid, error: a.error + b.error, bits: a.bits };
}

/** a * b, both of the same `bits`. */
export function times(a: Approximation, b: Approximation): Approximation {
  const shift = BigInt(a.bits);
  // |ab - mid mid'| <= |mid| e' + |mid'| e + e e'; one unit for each of the two floors
  const spread = abs(a.mid) * b.error + abs(b.mid) * a.error + a.error * b.error;
  return { mid: (a.mid * b.mid) >> shift, error: (spread >> shift) + 2n, bits: a.bits };
}

/** a * n / d with an exact factor. */
export function scaled(a: Approximation, { numerator, denominator }: Fraction): Approximation {
  const mid = (a.mid * numerator) / denominator;
  return { mid, error: (a.error * abs(numerator)) / denominator + 2n, bits: a.bits };
}

/**
 * a / b, both of the same `bits`.
 *
 * @throws RangeError if b may be 0
 */
export function over(a: Approximation, b: Approximation): Approximation {
  const size = abs(b.mid);
  if (size <= b.error) throw new RangeError('divisor may be 0');
  const shift = BigInt(a.bits);
  // |a/b - mid/mid'| <= (e |mid'| + |mid| e') / (|mid'| (|mid'| - e'))
  const spread = ((a.error * size + abs(a.mid) * b.error) << shift) / (size * (size - b.error));
  return { mid: (a.mid << shift) / b.mid, error: spread + 2n, bits: a.bits };
}

/** pi = 16 atan(1/5) - 4 atan(1/239) (J. Machin, 1706). */
export function pi(bits: number): Approximation {
  const known = PI.get(bits);
  if (known !== undefined) return known;
  const near = inverseTangent(5n, bits);
  const far = inverseTangent(239n, bits);
  const value = { mid: 16n * near.mid - 4n * far.mid, error: 16n * near.error + 4n * far.error, bits };
  PI.set(bits, value);
  return value;
}

/**
 * ln of a positive rational.
 *
 * @throws RangeError if it is not positive
 */
export function logarithm({ numerator, denominator }: Fraction, bits: number): Approximation {
  if (numerator <= 0n) throw new RangeError('logarithm of a number that is not positive');
  // value = 2^k m with 1/2 < m < 2; one more halving or doubling is not worth a case: |z| < 1/3 either way
  const k = bitLength(numerator) - bitLength(denominator);
  const top = k < 0 ? numerator << BigInt(-k) : numerator;
  const bottom = k > 0 ? denominator << BigInt(k) : denominator;
  const z = fixed({ numerator: top - bottom, denominator: top + bottom }, bits);
  const part = inverseHyperbolicTangent(z);
  const two = ln2(bits);
  const turns = BigInt(k);
  return { mid: 2n * part.mid + turns * two.mid, error: 2n * part.error + abs(turns) * two.error, bits };
}

/**
 * e^x.
 *
 * @throws RangeError if |x| > 2^21 ln 2, or if x is known no better than to 1/8
 */
export function exponential(x: Approximation): Approximation {
  const { bits } = x;
  const two = ln2(bits);
  const k = floorDivide(x.mid, two.mid);
  if (abs(k) > 1n << 21n) throw new RangeError('exponent beyond 2^21 ln 2');
  // x = k ln2 + r with 0 <= r < ln2 in the middle, whatever k is
  const r = x.mid - k * two.mid;
  const spread = x.error + abs(k) * two.error;
  const one = 1n << BigInt(bits);
  if (spread << 3n > one) throw new RangeError('exponent known too badly');
  let sum = one;
  let term = one;
  let count = 0n;
  // a term's error e: (0.7 e + 1) / n + 1 <= 3; what follows the first term of 0 is below 3 + 3/2 + ... = 6
  while (term !== 0n) {
    count += 1n;
    term = ((term * r) >> BigInt(bits)) / count;
    sum += term;
  }
  // e^(r + spread) - e^r <= e^(0.7 + 1/8) spread < 3 spread
  const error = 3n * count + 6n + 3n * spread;
  if (k >= 0n) return { mid: sum << k, error: error << k, bits };
  return { mid: sum >> -k, error: (error >> -k) + 2n, bits };
}

/** cos x and sin x, for any x (a badly known x gives a wide interval, never a wrong one). */
export function cosineSine(x: Approximation): { readonly cos: Approximation; readonly sin: Approximation } {
  const { bits } = x;
  // pi/2 at these bits is pi at one bit less
  const quarter = { ...pi(bits - 1), bits };
  const k = floorDivide(2n * x.mid + quarter.mid, 2n * quarter.mid);
  // |r| <= pi/4 in the middle; cos and sin have slope at most 1, so x's error adds as it is
  const r = x.mid - k * quarter.mid;
  const spread = x.error + abs(k) * quarter.error;
  const cos = alternating(1n << BigInt(bits), r, 0n, spread, bits);
  const sin = alternating(r, r, 1n, spread, bits);
  switch (Number(k & 3n)) {
    case 0:
      return { cos, sin };
    case 1:
      return { cos: negative(sin), sin: cos };
    case 2:
      return { cos: negative(cos), sin: negative(sin) };
    default:
      return { cos: sin, sin: negative(cos) };
  }
}

/** base^exponent for a positive rational base, e^(exponent ln base). */
export function power(base: Fraction, exponent: Fraction, bits: number): Approximation {
  return exponential(scaled(logarithm(base, bits), exponent));
}

/**
 * The number of `format` nearest to x, ties to even, if its interval decides it. A value that rounds to zero is +0.
 *
 * @throws RangeError beyond the format's range
 */
export function rounded(x: Approximation, format: BinaryFormat): number | undefined {
  // rounding is monotone: if both ends agree, so does everything between
  const low = roundDyadic(x.mid - x.error, x.bits, format);
  if (low !== roundDyadic(x.mid + x.error, x.bits, format)) return undefined;
  if (!Number.isFinite(low)) throw new RangeError('value beyond the format');
  return low;
}

/** The integer nearest to x, ties to even, if its interval decides it. */
export function roundedInteger(x: Approximation): bigint | undefined {
  const low = shiftEven(x.mid - x.error, x.bits);
  return low === shiftEven(x.mid + x.error, x.bits) ? low : undefined;
}

/**
 * Asks again with twice the bits until `decide` has an answer.
 *
 * @param decide - undefined when so many bits do not decide
 * @param bits - the first try
 * @throws RangeError if 8,192 bits do not: the value lies on a boundary, which the caller has to know beforehand
 */
export function withEnoughBits<T>(decide: (bits: number) => T | undefined, bits = 128): T {
  for (let now = bits; now <= MOST_BITS; now *= 2) {
    const answer = decide(now);
    if (answer !== undefined) return answer;
  }
  throw new RangeError(`value lies within 2^-${MOST_BITS} of a rounding boundary`);
}

/** Number of bits of a magnitude; 0 for 0. */
export function bitLength(value: bigint): number {
  const digits = abs(value).toString(16);
  return 4 * digits.length - (LEADING_ZEROS[Number.parseInt(digits.charAt(0), 16)] ?? 0);
}

function ln2(bits: number): Approximation {
  const known = LN2.get(bits);
  if (known !== undefined) return known;
  const part = inverseHyperbolicTangent(fixed({ numerator: 1n, denominator: 3n }, bits));
  const value = { mid: 2n * part.mid, error: 2n * part.error, bits };
  LN2.set(bits, value);
  return value;
}

/** atan(1/q) for q >= 5, by its series. */
function inverseTangent(q: bigint, bits: number): Approximation {
  let ratio = (1n << BigInt(bits)) / q;
  let sum = 0n;
  let count = 0n;
  // a ratio's error is at most 1 + 1.1/25 < 1.1, a term's below 1.1 + 1 < 3, and the rest of the series below 3
  while (ratio !== 0n) {
    const term = ratio / (2n * count + 1n);
    sum += count % 2n === 0n ? term : -term;
    ratio /= q * q;
    count += 1n;
  }
  return { mid: sum, error: 3n * count + 3n, bits };
}

/** atanh z for |z| <= 1/3, by its series. */
function inverseHyperbolicTangent({ mid, error, bits }: Approximation): Approximation {
  const shift = BigInt(bits);
  const square = (mid * mid) >> shift;
  let odd = mid;
  let sum = 0n;
  let count = 0n;
  // an odd power's error e: e/9 + 1/3 + 1 <= 2, a term's at most 3; the rest below 3 * 9/8 < 4.
  // Floors of negative powers end at -1 and stay there, so -1 ends the series as 0 does
  while (odd !== 0n && odd !== -1n) {
    sum += odd / (2n * count + 1n);
    odd = (odd * square) >> shift;
    count += 1n;
  }
  // slope 1 / (1 - z^2) <= 9/8 < 2
  return { mid: sum, error: 3n * count + 4n + 2n * error, bits };
}

/** first - first r^2 / ((s+1)(s+2)) + ..., the series of cos (s = 0, first 1) and sin (s = 1, first r), |r| <= 0.8. */
function alternating(first: bigint, r: bigint, start: bigint, spread: bigint, bits: number): Approximation {
  const shift = BigInt(bits);
  const square = (r * r) >> shift;
  let term = first;
  let sum = first;
  let step = start;
  let count = 0n;
  // a term's error e: (e + 1 + 1) / 2 + 1 <= 4; what follows a term of 0 is below 4 + 2 + 1 + ... = 8
  while (term !== 0n) {
    term = -((term * square) >> shift) / ((step + 1n) * (step + 2n));
    sum += term;
    step += 2n;
    count += 1n;
  }
  return { mid: sum, error: 4n * count + 8n + spread, bits };
}

/** mid / 2^bits in the format, ties to even; an infinity beyond it. */
function roundDyadic(mid: bigint, bits: number, format: BinaryFormat): number {
  if (mid === 0n) return 0;
  const beyond = mid < 0n ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const height = bitLength(mid) - bits;
  if (height > format.top) return beyond;
  // the exponent of the last place kept
  const unit = Math.max(height - format.precision, format.lowest);
  const places = unit + bits;
  const kept = places > 0 ? shiftEven(mid, places) : mid << BigInt(-places);
  // both factors and the product are binary64 numbers, so the product is exact; + 0 turns -0 into +0
  const value = Number(kept) * powerOfTwo(unit) + 0;
  return Math.abs(value) >= 2 * powerOfTwo(format.top - 1) ? beyond : value;
}

/** 2^exponent for -1022 <= exponent <= 1023, from its bits. */
function powerOfTwo(exponent: number): number {
  const word = new DataView(new ArrayBuffer(8));
  word.setBigUint64(0, BigInt(exponent + 1023) << 52n);
  return word.getFloat64(0);
}

/** value / 2^places, rounded half to even. */
function shiftEven(value: bigint, places: number): bigint {
  const shift = BigInt(places);
  const floor = value >> shift;
  const rest = value - (floor << shift);
  const half = 1n << (shift - 1n);
  return rest > half || (rest === half && (floor & 1n) === 1n) ? floor + 1n : floor;
}

function floorDivide(a: bigint, positive: bigint): bigint {
  const quotient = a / positive;
  return a < 0n && quotient * positive !== a ? quotient - 1n : quotient;
}

function negative(x: Approximation): Approximation {
  return { mid: -x.mid, error: x.error, bits: x.bits };
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}

const PI = new Map<number, Approximation>();
const LN2 = new Map<number, Approximation>();

/** Zero bits before the first one bit of a hexadecimal digit. */
const LEADING_ZEROS = [4, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
