/**
 * Operations on one row: quantise, norm, rotate, gate. Every float operation is one binary32 operation; every sum is one of integers.
 *
 * Rows of floats are padded with zeros to a multiple of 8. Quantised rows are int16 vectors of 8, `step` bytes apart.
 */

import { cosTable, epsilon, headSize, sigmoidTable, sinTable } from './model.ts';

export const ACTIVATION_MAX: f32 = 8127;
/** 2^-40: the least largest magnitude. */
export const TINY: f32 = 9.094947017729282e-13;
/** 1.5 * 2^23: adding it rounds |v| < 2^22 to the nearest integer, ties to even. */
const MAGIC: f32 = 12582912.0;
const MAGIC_BITS: i32 = 0x4b400000;

/** Nearest integers, ties to even, of four floats below 2^22 in magnitude. */
@inline export function round4(v: v128): v128 {
  return i32x4.sub(f32x4.add(v, f32x4.splat(MAGIC)), i32x4.splat(MAGIC_BITS));
}

@inline export function max4(v: v128): f32 {
  return max(
    max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** Largest magnitude of `n` floats, `n` a multiple of 4. */
export function largest(p: usize, n: i32): f32 {
  let m = f32x4.splat(0);
  for (const end = p + (<usize>n << 2); p < end; p += 16) m = f32x4.pmax(m, f32x4.abs(v128.load(p)));
  return max4(m);
}

/**
 * Quantises `n` floats (a multiple of 8) whose largest magnitude is `m`; elements up to `columns` become zero.
 *
 * @returns the scale
 */
export function quantiseBy(from: usize, to: usize, n: i32, columns: i32, limit: f32, m: f32, step: usize): f32 {
  m = max(m, TINY);
  const r = f32x4.splat(limit / m);
  const end = from + (<usize>n << 2);
  for (; from < end; from += 32) {
    const low = round4(f32x4.mul(v128.load(from), r));
    const high = round4(f32x4.mul(v128.load(from, 16), r));
    v128.store(to, i16x8.narrow_i32x4_s(low, high));
    to += step;
  }
  for (; n < columns; n += 8) {
    v128.store(to, i32x4.splat(0));
    to += step;
  }
  return m / limit;
}

export function quantise(from: usize, to: usize, n: i32, columns: i32, limit: f32, step: usize): f32 {
  return quantiseBy(from, to, n, columns, limit, largest(from, n), step);
}

/** The factor `1 / sqrt(mean square + eps)` of a row of `count` floats, padded to `n`. */
function normFactor(x: usize, n: i32, count: i32): f32 {
  const m = max(largest(x, n), TINY);
  const r = f32x4.splat(ACTIVATION_MAX / m);
  const s: f32 = m / ACTIVATION_MAX;
  let total: i64 = 0;
  // 8127^2 * 32 < 2^31: up to 32 squares in one lane.
  for (let i = 0; i < n; ) {
    let sum = i32x4.splat(0);
    for (const end = min(i + 128, n); i < end; i += 4) {
      const b = round4(f32x4.mul(v128.load(x + (<usize>i << 2)), r));
      sum = i32x4.add(sum, i32x4.mul(b, b));
    }
    const wide = i64x2.add(i64x2.extend_low_i32x4_s(sum), i64x2.extend_high_i32x4_s(sum));
    total += i64x2.extract_lane(wide, 0) + i64x2.extract_lane(wide, 1);
  }
  const u: f32 = (<f32>total / <f32>count) * (s * s);
  return <f32>1 / sqrt<f32>(u + epsilon);
}

/** `y = (x * v) * gain` into `to`; returns the largest magnitude. */
export function normalise(x: usize, gain: usize, to: usize, n: i32, count: i32): f32 {
  const v = f32x4.splat(normFactor(x, n, count));
  let m = f32x4.splat(0);
  for (let i: usize = 0, end = <usize>n << 2; i < end; i += 16) {
    const y = f32x4.mul(f32x4.mul(v128.load(x + i), v), v128.load(gain + i));
    m = f32x4.pmax(m, f32x4.abs(y));
    v128.store(to + i, y);
  }
  return max4(m);
}

/** Rotates one head in place. */
export function rotate(p: usize, position: i32): void {
  const half = headSize >> 1;
  const cos = cosTable + (<usize>position * <usize>half << 2);
  const sin = sinTable + (<usize>position * <usize>half << 2);
  const second = p + (<usize>half << 2);
  let i = 0;
  for (; i + 4 <= half; i += 4) {
    const o = <usize>i << 2;
    const a = v128.load(p + o);
    const b = v128.load(second + o);
    const c = v128.load(cos + o);
    const s = v128.load(sin + o);
    v128.store(p + o, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(second + o, f32x4.add(f32x4.mul(a, s), f32x4.mul(b, c)));
  }
  for (; i < half; i++) {
    const o = <usize>i << 2;
    const a = load<f32>(p + o);
    const b = load<f32>(second + o);
    const c = load<f32>(cos + o);
    const s = load<f32>(sin + o);
    const ac: f32 = a * c;
    const bs: f32 = b * s;
    const as: f32 = a * s;
    const bc: f32 = b * c;
    store<f32>(p + o, ac - bs);
    store<f32>(second + o, as + bc);
  }
}

/** `h = (g * sigmoid(g)) * u` over `n` floats, a multiple of 4; `h` may be `u`. */
export function gate(g: usize, u: usize, h: usize, n: i32): void {
  const low = f32x4.splat(-32768);
  const high = f32x4.splat(32767);
  const steps = f32x4.splat(2048);
  const zero = sigmoidTable + 131072;
  for (let o: usize = 0, end = <usize>n << 2; o < end; o += 16) {
    const x = v128.load(g + o);
    const index = round4(f32x4.pmin(f32x4.pmax(f32x4.mul(x, steps), low), high));
    let s = v128.load32_zero(zero + (i32x4.extract_lane(index, 0) << 2));
    s = v128.load_lane<f32>(zero + (i32x4.extract_lane(index, 1) << 2), s, 1);
    s = v128.load_lane<f32>(zero + (i32x4.extract_lane(index, 2) << 2), s, 2);
    s = v128.load_lane<f32>(zero + (i32x4.extract_lane(index, 3) << 2), s, 3);
    v128.store(h + o, f32x4.mul(f32x4.mul(x, s), v128.load(u + o)));
  }
}
