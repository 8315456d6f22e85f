/**
 * Keys and values of the cache, and attention over positions `0..i` of one sequence.
 *
 * A sequence's cache with room for `capacity` positions (a multiple of 8) holds for each layer: keys int16 `[kvHeads][capacity][headStride]`, their scales
 * `[kvHeads][capacity]`, values int16 `[kvHeads][headStride / 8][capacity / 2][8][2]` (two positions side by side, for the pairwise dot product), their
 * scales. What lies behind the positions in use is computed with and never used: it is cut off before it counts.
 */

import {
  expTable, headSize, headStride, heads, keyMax, keyValueLength, kvHeads, ownFloats, ownRow, ownScores, ownWeights, queryLength, scoreScale, valueMax,
} from './model.ts';
import { ACTIVATION_MAX, max4, normalise, quantise, rotate, round4 } from './rows.ts';

const ATTENTION_MAX: f32 = 16383;
/** Binary32 nearest to 16383 / 65535. */
const B: f32 = <f32>(<f64>16383 / <f64>65535);
/** Positions whose products of weights and values fit int32: 16383 * 511 * 256 < 2^31. */
const CHUNK: i32 = 256;
/** Positions whose table entries fit int32. */
const EXP_CHUNK: i32 = 32764;
const LOWEST: f32 = -3.4028234663852886e38;

@inline function keyBytes(capacity: i32): usize { return <usize>kvHeads * <usize>capacity * <usize>headStride << 1; }
@inline function scaleBytes(capacity: i32): usize { return <usize>kvHeads * <usize>capacity << 2; }

/** Bytes of a cache for each layer. */
@inline export function layerBytes(capacity: i32): usize {
  return (keyBytes(capacity) + scaleBytes(capacity)) << 1;
}

/** Copies a head into the thread's floats, padded with zeros, normalised where there is a gain. */
function loadHead(from: usize, gain: usize): void {
  memory.copy(ownFloats, from, <usize>headSize << 2);
  for (let i = headSize; i < headStride; i++) store<f32>(ownFloats + (<usize>i << 2), 0);
  if (gain != 0) normalise(ownFloats, gain, ownFloats, headStride, headSize);
}

/** Keeps key and value head `g` of a row of products. */
export function keep(row: usize, cache: usize, capacity: i32, layer: i32, g: i32, position: i32, gain: usize): void {
  const base = cache + <usize>layer * layerBytes(capacity);
  const place = <usize>(g * capacity + position) << 2;
  loadHead(row + (<usize>(queryLength + g * headSize) << 2), gain);
  rotate(ownFloats, position);
  const keys = base + (<usize>(g * capacity + position) * <usize>headStride << 1);
  store<f32>(base + keyBytes(capacity) + place, quantise(ownFloats, keys, headStride, headStride, keyMax, 16));
  loadHead(row + (<usize>(queryLength + keyValueLength + g * headSize) << 2), 0);
  const scale = quantise(ownFloats, ownRow, headStride, headStride, valueMax, 16);
  const values = base + keyBytes(capacity) + scaleBytes(capacity);
  store<f32>(values + keyBytes(capacity) + place, scale);
  const pair = (<usize>(position & ~1) << 4) + (<usize>(position & 1) << 1);
  for (let i = 0; i < headStride; i++) {
    const slab = values + (<usize>(g * headStride + (i & ~7)) * <usize>capacity << 1);
    store<i16>(slab + pair + (<usize>(i & 7) << 2), load<i16>(ownRow + (<usize>i << 1)));
  }
}

/** Scores of the quantised query in `ownRow` into `ownScores`; returns their maximum. Keys behind `count` get `LOWEST`. */
function score(keys: usize, scales: usize, factor: f32, count: i32): f32 {
  const f = f32x4.splat(factor);
  const bytes = <usize>headStride << 1;
  const end = ownRow + bytes;
  let best = f32x4.splat(LOWEST);
  let t = 0;
  for (; t < count; t += 4) {
    let k = keys + <usize>t * bytes;
    let s0 = i32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let q = ownRow; q < end; q += 16) {
      const x = v128.load(q);
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(x, v128.load(k)));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(x, v128.load(k + bytes)));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(x, v128.load(k + 2 * bytes)));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(x, v128.load(k + 3 * bytes)));
      k += 16;
    }
    const ab = i32x4.add(v128.shuffle<i32>(s0, s1, 0, 4, 1, 5), v128.shuffle<i32>(s0, s1, 2, 6, 3, 7));
    const cd = i32x4.add(v128.shuffle<i32>(s2, s3, 0, 4, 1, 5), v128.shuffle<i32>(s2, s3, 2, 6, 3, 7));
    const dots = i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
    let v = f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(dots), f), v128.load(scales + (<usize>t << 2)));
    if (t + 4 > count) v = v128.bitselect(v, f32x4.splat(LOWEST), before(count - t));
    best = f32x4.pmax(best, v);
    v128.store(ownScores + (<usize>t << 2), v);
  }
  return max4(best);
}

/** Ones in the first `n` of four lanes. */
@inline function before(n: i32): v128 {
  return i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(n));
}

/** Largest value scale of the first `count` positions. */
function largestScale(scales: usize, count: i32): f32 {
  let m = f32x4.splat(0);
  let t = 0;
  for (; t + 4 <= count; t += 4) m = f32x4.pmax(m, v128.load(scales + (<usize>t << 2)));
  let best = max4(m);
  for (; t < count; t++) best = max(best, load<f32>(scales + (<usize>t << 2)));
  return best;
}

/** Table entries and attention weights; returns the sum of the entries. Weights behind `count`, up to a multiple of 4, become zero. */
function weigh(valueScales: usize, top: f32, largest: f32, count: i32): i64 {
  const m = f32x4.splat(top);
  const limit = f32x4.splat(32767);
  const b = f32x4.splat(B);
  const vm = f32x4.splat(largest);
  let total: i64 = 0;
  for (let t = 0; t < count; ) {
    let z = i32x4.splat(0);
    for (const stop = min(t + EXP_CHUNK, count); t < stop; t += 4) {
      const o = <usize>t << 2;
      const index = round4(f32x4.pmin(f32x4.sub(m, v128.load(ownScores + o)), limit));
      let h = v128.load_lane<u16>(expTable + (i32x4.extract_lane(index, 0) << 1), i32x4.splat(0), 0);
      h = v128.load_lane<u16>(expTable + (i32x4.extract_lane(index, 1) << 1), h, 1);
      h = v128.load_lane<u16>(expTable + (i32x4.extract_lane(index, 2) << 1), h, 2);
      h = v128.load_lane<u16>(expTable + (i32x4.extract_lane(index, 3) << 1), h, 3);
      let e = i32x4.extend_low_i16x8_u(h);
      let ratio = f32x4.div(v128.load(valueScales + o), vm);
      if (t + 4 > count) {
        const used = before(count - t);
        e = v128.and(e, used);
        // What lies there was never written or belongs to a position that was taken back.
        ratio = v128.and(ratio, used);
      }
      z = i32x4.add(z, e);
      const p = round4(f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(e), b), ratio));
      v128.store64_lane(ownWeights + (<usize>t << 1), i16x8.narrow_i32x4_s(p, p), 0);
    }
    const wide = i64x2.add(i64x2.extend_low_i32x4_u(z), i64x2.extend_high_i32x4_u(z));
    total += i64x2.extract_lane(wide, 0) + i64x2.extract_lane(wide, 1);
  }
  return total;
}

/** Eight elements of the output of a head, from the first slab of values at `values`. */
function mix(values: usize, count: i32, largest: f32, divisor: f32, out: usize): void {
  const vm = f32x4.splat(largest);
  const by = f32x4.splat(divisor);
  const n = (count + 3) & ~3;
  if (n <= CHUNK) {
    let s0 = i32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let p = ownWeights, end = ownWeights + (<usize>n << 1); p < end; p += 8) {
      const p0 = v128.load32_splat(p);
      const p1 = v128.load32_splat(p, 4);
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load(values), p0));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load(values, 16), p0));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load(values, 32), p1));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load(values, 48), p1));
      values += 64;
    }
    v128.store(out, f32x4.div(f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(s0, s2)), vm), by));
    v128.store(out, f32x4.div(f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(s1, s3)), vm), by), 16);
    return;
  }
  let a0 = f64x2.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  for (let t = 0; t < n; ) {
    let s0 = i32x4.splat(0);
    let s1 = s0;
    for (const stop = min(t + CHUNK, n); t < stop; t += 2) {
      const p0 = v128.load32_splat(ownWeights + (<usize>t << 1));
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load(values), p0));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load(values, 16), p0));
      values += 32;
    }
    a0 = f64x2.add(a0, f64x2.convert_low_i32x4_s(s0));
    a1 = f64x2.add(a1, f64x2.convert_low_i32x4_s(swap(s0)));
    a2 = f64x2.add(a2, f64x2.convert_low_i32x4_s(s1));
    a3 = f64x2.add(a3, f64x2.convert_low_i32x4_s(swap(s1)));
  }
  const low = v128.shuffle<i32>(f32x4.demote_f64x2_zero(a0), f32x4.demote_f64x2_zero(a1), 0, 1, 4, 5);
  const high = v128.shuffle<i32>(f32x4.demote_f64x2_zero(a2), f32x4.demote_f64x2_zero(a3), 0, 1, 4, 5);
  v128.store(out, f32x4.div(f32x4.mul(low, vm), by));
  v128.store(out, f32x4.div(f32x4.mul(high, vm), by), 16);
}

@inline function swap(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}

/** Head `h` of a row of products at `position`; the result goes to the row's attention outputs. */
export function attend(row: usize, out: usize, cache: usize, capacity: i32, layer: i32, h: i32, position: i32, gain: usize): void {
  const g = h / (heads / kvHeads);
  const count = position + 1;
  const base = cache + <usize>layer * layerBytes(capacity);
  const keys = base + (<usize>(g * capacity) * <usize>headStride << 1);
  const place = <usize>(g * capacity) << 2;
  const values = base + keyBytes(capacity) + scaleBytes(capacity);
  const valueScales = values + keyBytes(capacity) + place;

  loadHead(row + (<usize>(h * headSize) << 2), gain);
  rotate(ownFloats, position);
  const factor: f32 = quantise(ownFloats, ownRow, headStride, headStride, ACTIVATION_MAX, 16) * scoreScale;
  const top = score(keys, base + keyBytes(capacity) + place, factor, count);
  const largest = largestScale(valueScales, count);
  const z = weigh(valueScales, top, largest, count);
  const divisor: f32 = <f32>z * B;
  const slabs = values + (<usize>(g * headStride) * <usize>capacity << 1);
  for (let i = 0; i < headStride; i += 8) mix(slabs + (<usize>i * <usize>capacity << 1), count, largest, divisor, ownFloats + (<usize>i << 2));
  memory.copy(out + (<usize>(h * headSize) << 2), ownFloats, <usize>headSize << 2);
}
