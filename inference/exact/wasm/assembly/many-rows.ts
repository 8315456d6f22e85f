/**
 * Products of many quantised rows: weights are widened to int16 by panels, which all rows pass; panels are dealt to the threads.
 */

import { CHUNK, columnsOf, demote, finish, GROUP, groupsOf, rowsOf, single, sums, upper, weightsOf } from './matrix.ts';
import { ownPanel, sharedRows, sharedScales } from './model.ts';
import { take } from './threads.ts';

/** Blocks of four rows in a panel of widened weights. */
const PANEL_BYTES: i32 = 32768;

/** Address of shared quantised row `i`: rows lie in pairs, their vectors in turn. */
@inline export function sharedRow(i: i32, columns: i32): usize {
  return sharedRows + (<usize>((i >> 1) * columns) << 2) + (<usize>(i & 1) << 4);
}

/** Two rows with one block of four widened rows, int32 all the way. */
function tile(a: usize, w: usize, m: usize, n: i32, r: i32, count: i32, out: usize, step: usize, adds: bool): void {
  let s00 = i32x4.splat(0);
  let s01 = s00;
  let s02 = s00;
  let s03 = s00;
  let s10 = s00;
  let s11 = s00;
  let s12 = s00;
  let s13 = s00;
  for (const end = w + (<usize>columnsOf(m) << 3); w < end; ) {
    const b0 = v128.load(w);
    const b1 = v128.load(w, 16);
    const b2 = v128.load(w, 32);
    const b3 = v128.load(w, 48);
    const x0 = v128.load(a);
    s00 = i32x4.add(s00, i32x4.dot_i16x8_s(x0, b0));
    s01 = i32x4.add(s01, i32x4.dot_i16x8_s(x0, b1));
    s02 = i32x4.add(s02, i32x4.dot_i16x8_s(x0, b2));
    s03 = i32x4.add(s03, i32x4.dot_i16x8_s(x0, b3));
    const x1 = v128.load(a, 16);
    s10 = i32x4.add(s10, i32x4.dot_i16x8_s(x1, b0));
    s11 = i32x4.add(s11, i32x4.dot_i16x8_s(x1, b1));
    s12 = i32x4.add(s12, i32x4.dot_i16x8_s(x1, b2));
    s13 = i32x4.add(s13, i32x4.dot_i16x8_s(x1, b3));
    a += 32;
    w += 64;
  }
  out += <usize>r * step;
  finish(f32x4.convert_i32x4_s(sums(s00, s01, s02, s03)), m, n, load<f32>(sharedScales + (<usize>r << 2)), out, adds);
  if (r + 1 >= count) return;
  finish(f32x4.convert_i32x4_s(sums(s10, s11, s12, s13)), m, n, load<f32>(sharedScales + (<usize>r << 2), 4), out + step, adds);
}

/** As {@link tile}, in chunks of `chunk` columns joined in binary64; `g` are the block's group scales, or 0. */
function wideTile(a: usize, w: usize, m: usize, n: i32, r: i32, count: i32, out: usize, step: usize, adds: bool, chunk: i32, g: usize): void {
  let low0 = f64x2.splat(0);
  let high0 = low0;
  let low1 = low0;
  let high1 = low0;
  const k = columnsOf(m);
  for (let c = 0; c < k; c += chunk) {
    let s00 = i32x4.splat(0);
    let s01 = s00;
    let s02 = s00;
    let s03 = s00;
    let s10 = s00;
    let s11 = s00;
    let s12 = s00;
    let s13 = s00;
    for (const end = w + (<usize>min(chunk, k - c) << 3); w < end; ) {
      const b0 = v128.load(w);
      const b1 = v128.load(w, 16);
      const b2 = v128.load(w, 32);
      const b3 = v128.load(w, 48);
      const x0 = v128.load(a);
      s00 = i32x4.add(s00, i32x4.dot_i16x8_s(x0, b0));
      s01 = i32x4.add(s01, i32x4.dot_i16x8_s(x0, b1));
      s02 = i32x4.add(s02, i32x4.dot_i16x8_s(x0, b2));
      s03 = i32x4.add(s03, i32x4.dot_i16x8_s(x0, b3));
      const x1 = v128.load(a, 16);
      s10 = i32x4.add(s10, i32x4.dot_i16x8_s(x1, b0));
      s11 = i32x4.add(s11, i32x4.dot_i16x8_s(x1, b1));
      s12 = i32x4.add(s12, i32x4.dot_i16x8_s(x1, b2));
      s13 = i32x4.add(s13, i32x4.dot_i16x8_s(x1, b3));
      a += 32;
      w += 64;
    }
    const t0 = sums(s00, s01, s02, s03);
    const t1 = sums(s10, s11, s12, s13);
    let f = f64x2.splat(1);
    let h = f;
    if (g != 0) {
      const v = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(g)));
      f = f64x2.convert_low_i32x4_s(v);
      h = f64x2.convert_low_i32x4_s(upper(v));
      g += 4;
    }
    low0 = f64x2.add(low0, f64x2.mul(f64x2.convert_low_i32x4_s(t0), f));
    high0 = f64x2.add(high0, f64x2.mul(f64x2.convert_low_i32x4_s(upper(t0)), h));
    low1 = f64x2.add(low1, f64x2.mul(f64x2.convert_low_i32x4_s(t1), f));
    high1 = f64x2.add(high1, f64x2.mul(f64x2.convert_low_i32x4_s(upper(t1)), h));
  }
  out += <usize>r * step;
  finish(demote(low0, high0), m, n, load<f32>(sharedScales + (<usize>r << 2)), out, adds);
  if (r + 1 >= count) return;
  finish(demote(low1, high1), m, n, load<f32>(sharedScales + (<usize>r << 2), 4), out + step, adds);
}

/** Blocks of one panel. */
@inline function panelBlocks(columns: i32): i32 {
  return max(1, PANEL_BYTES / (columns << 3));
}

/** Panels of a matrix; the rows left over from blocks count as one more. */
@inline function panelsOf(m: usize): i32 {
  if (m == 0) return 0;
  const blocks = rowsOf(m) >> 2;
  const each = panelBlocks(columnsOf(m));
  return (blocks + each - 1) / each + ((rowsOf(m) & 3) != 0 ? 1 : 0);
}

/** One panel of a matrix with all `count` shared rows; row `i` of the result is `step * i` bytes after `out`. */
function panel(m: usize, index: i32, count: i32, out: usize, step: usize, adds: bool): void {
  const k = columnsOf(m);
  const blocks = rowsOf(m) >> 2;
  const each = panelBlocks(k);
  const b0 = index * each;
  if (b0 >= blocks) {
    for (let n = blocks << 2; n < rowsOf(m); n++) {
      for (let r = 0; r < count; r++) {
        single(m, n, sharedRow(r, k), 32, load<f32>(sharedScales + (<usize>r << 2)), out + <usize>r * step, adds);
      }
    }
    return;
  }
  const b1 = min(b0 + each, blocks);
  const block = <usize>k << 3;
  let from = weightsOf(m) + <usize>(b0 * k << 2);
  for (let to = ownPanel, end = ownPanel + <usize>(b1 - b0) * block; to < end; to += 32) {
    v128.store(to, v128.load_ext<i8>(from));
    v128.store(to, v128.load_ext<i8>(from, 8), 16);
    from += 16;
  }
  const groups = groupsOf(m);
  const perBlock = <usize>(k / GROUP) << 2;
  for (let r = 0; r < count; r += 2) {
    const a = sharedRow(r, k);
    for (let b = b0; b < b1; b++) {
      const w = ownPanel + <usize>(b - b0) * block;
      if (groups != 0) wideTile(a, w, m, b << 2, r, count, out, step, adds, GROUP, groups + <usize>b * perBlock);
      else if (k > CHUNK) wideTile(a, w, m, b << 2, r, count, out, step, adds, CHUNK, 0);
      else tile(a, w, m, b << 2, r, count, out, step, adds);
    }
  }
}

/** Up to three matrices with all `count` shared rows: this thread's part. A phase of dealt work must be open. */
export function multiplyRows(m0: usize, m1: usize, m2: usize, count: i32, out: usize, stride: i32, adds: bool): void {
  const step = <usize>stride << 2;
  const end0 = panelsOf(m0);
  const end1 = end0 + panelsOf(m1);
  const end2 = end1 + panelsOf(m2);
  const out1 = out + (<usize>rowsOf(m0) << 2);
  const out2 = m1 == 0 ? out1 : out1 + (<usize>rowsOf(m1) << 2);
  for (let i = take(1); i < end2; i = take(1)) {
    if (i < end0) panel(m0, i, count, out, step, adds);
    else if (i < end1) panel(m1, i - end0, count, out1, step, adds);
    else panel(m2, i - end1, count, out2, step, adds);
  }
}
