/**
 * Products of one dense quantised row: every thread computes a fixed share of the rows of weights.
 */

import { CHUNK, columnsOf, demote, finish, GROUP, groupsOf, rowsOf, single, sums, upper, weightsOf } from './matrix.ts';
import { thread, threads } from './model.ts';
import { gate } from './rows.ts';

/** Blocks `b0..b1` of a plain matrix with one dense quantised row. */
function rowBlocks(m: usize, a: usize, s: f32, b0: i32, b1: i32, out: usize, adds: bool): void {
  const k = columnsOf(m);
  let p = weightsOf(m) + <usize>(b0 * k << 2);
  if (k <= CHUNK) {
    const end = a + (<usize>k << 1);
    for (let b = b0; b < b1; b++) {
      let s0 = i32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (let x = a; x < end; x += 16) {
        const y = v128.load(x);
        s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(p), y));
        s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 8), y));
        s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 16), y));
        s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 24), y));
        p += 32;
      }
      finish(f32x4.convert_i32x4_s(sums(s0, s1, s2, s3)), m, b << 2, s, out, adds);
    }
    return;
  }
  for (let b = b0; b < b1; b++) {
    let low = f64x2.splat(0);
    let high = low;
    for (let c = 0; c < k; c += CHUNK) {
      let s0 = i32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      const end = a + (<usize>min(c + CHUNK, k) << 1);
      for (let x = a + (<usize>c << 1); x < end; x += 16) {
        const y = v128.load(x);
        s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(p), y));
        s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 8), y));
        s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 16), y));
        s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 24), y));
        p += 32;
      }
      const r = sums(s0, s1, s2, s3);
      low = f64x2.add(low, f64x2.convert_low_i32x4_s(r));
      high = f64x2.add(high, f64x2.convert_low_i32x4_s(upper(r)));
    }
    finish(demote(low, high), m, b << 2, s, out, adds);
  }
}

/** As {@link rowBlocks} for a grouped matrix. */
function rowGroupedBlocks(m: usize, a: usize, s: f32, b0: i32, b1: i32, out: usize, adds: bool): void {
  const k = columnsOf(m);
  let p = weightsOf(m) + <usize>(b0 * k << 2);
  let g = groupsOf(m) + <usize>(b0 * (k / GROUP) << 2);
  const end = a + (<usize>k << 1);
  for (let b = b0; b < b1; b++) {
    let low = f64x2.splat(0);
    let high = low;
    for (let x = a; x < end; ) {
      let s0 = i32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (const stop = x + 64; x < stop; x += 16) {
        const y = v128.load(x);
        s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(p), y));
        s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 8), y));
        s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 16), y));
        s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load_ext<i8>(p, 24), y));
        p += 32;
      }
      const r = sums(s0, s1, s2, s3);
      const c = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(g)));
      g += 4;
      low = f64x2.add(low, f64x2.mul(f64x2.convert_low_i32x4_s(r), f64x2.convert_low_i32x4_s(c)));
      high = f64x2.add(high, f64x2.mul(f64x2.convert_low_i32x4_s(upper(r)), f64x2.convert_low_i32x4_s(upper(c))));
    }
    finish(demote(low, high), m, b << 2, s, out, adds);
  }
}

/** First block of this thread's share of `blocks`. A fixed share beats dealt ones by a fifth here: every thread reads one sequential stream. */
@inline function shareFrom(blocks: i32): i32 {
  return blocks * thread / threads;
}

/** One past the last block of this thread's share. */
@inline function shareTo(blocks: i32): i32 {
  return blocks * (thread + 1) / threads;
}

/** A matrix with one dense quantised row: this thread's share. */
function rowShare(m: usize, a: usize, s: f32, out: usize, adds: bool): void {
  const blocks = rowsOf(m) >> 2;
  if (groupsOf(m) != 0) rowGroupedBlocks(m, a, s, shareFrom(blocks), shareTo(blocks), out, adds);
  else rowBlocks(m, a, s, shareFrom(blocks), shareTo(blocks), out, adds);
  if (thread == threads - 1) for (let n = blocks << 2; n < rowsOf(m); n++) single(m, n, a, 16, s, out, adds);
}

/** Up to three matrices with one dense quantised row: this thread's shares. Results follow each other by the rows of each matrix. */
export function multiplyRow(m0: usize, m1: usize, m2: usize, a: usize, s: f32, out: usize, adds: bool): void {
  rowShare(m0, a, s, out, adds);
  if (m1 == 0) return;
  out += <usize>rowsOf(m0) << 2;
  rowShare(m1, a, s, out, adds);
  if (m2 == 0) return;
  out += <usize>rowsOf(m1) << 2;
  rowShare(m2, a, s, out, adds);
}

/**
 * Gate and up products of one dense quantised row, gated: this thread's share of `(g * sigmoid(g)) * u` into `ups`. Both matrices have the same
 * shape.
 */
export function multiplyGated(gateMatrix: usize, upMatrix: usize, a: usize, s: f32, gates: usize, ups: usize): void {
  const blocks = rowsOf(gateMatrix) >> 2;
  rowShare(gateMatrix, a, s, gates, false);
  rowShare(upMatrix, a, s, ups, false);
  const o = <usize>shareFrom(blocks) << 4;
  gate(gates + o, ups + o, ups + o, (shareTo(blocks) - shareFrom(blocks)) << 2);
  // The rows behind the last whole block: what lies behind them is zero.
  const rest = <usize>blocks << 4;
  if (thread == threads - 1 && (rowsOf(gateMatrix) & 3) != 0) gate(gates + rest, ups + rest, ups + rest, 4);
}
