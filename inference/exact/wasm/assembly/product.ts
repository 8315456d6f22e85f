/**
 * Products of quantised rows with matrices of int8 rows: `fl(fl(fl32(acc) * scale) * s)`, with a bias and a sum where asked. Sums are int32 over at
 * most 2,048 columns (127 * 8127 * 2048 < 2^31), joined in binary64 below 2^53 where there are more or where groups have factors.
 *
 * Matrix record, 32-bit words: 0 weights, 1 scales, 2 group scales or 0, 3 rows, 4 columns (a multiple of 32), 5 bias or 0.
 *
 * In memory four rows lie interleaved, 8 columns of each in turn, so that a block of rows is one sequential stream; what is left over
 * from a multiple of four lies row by row. Group scales: four rows of a group side by side.
 */

import { ownPanel, sharedRows, sharedScales, thread, threads } from './model.ts';
import { gate } from './rows.ts';
import { take } from './threads.ts';

/** Columns whose products fit int32. */
const CHUNK: i32 = 2048;
const GROUP: i32 = 32;
/** Blocks of four rows in a panel of widened weights. */
const PANEL_BYTES: i32 = 32768;

@inline function weightsOf(m: usize): usize { return load<u32>(m); }
@inline function scalesOf(m: usize): usize { return load<u32>(m, 4); }
@inline function groupsOf(m: usize): usize { return load<u32>(m, 8); }
@inline function rowsOf(m: usize): i32 { return load<i32>(m, 12); }
@inline function columnsOf(m: usize): i32 { return load<i32>(m, 16); }
@inline function biasOf(m: usize): usize { return load<u32>(m, 20); }

/** Interleaves the whole blocks of four rows in place; `scratch` holds four rows. */
export function interleave(weights: usize, rows: i32, columns: i32, scratch: usize): void {
  const k = <usize>columns;
  for (let n = 0; n + 4 <= rows; n += 4) {
    const block = weights + <usize>n * k;
    memory.copy(scratch, block, k << 2);
    let to = block;
    for (let from = scratch, end = scratch + k; from < end; from += 8) {
      store<u64>(to, load<u64>(from));
      store<u64>(to, load<u64>(from + k), 8);
      store<u64>(to, load<u64>(from + 2 * k), 16);
      store<u64>(to, load<u64>(from + 3 * k), 24);
      to += 32;
    }
  }
}

/** Interleaves group scales, `groups` of them in a row, in place. */
export function interleaveGroups(scales: usize, rows: i32, groups: i32, scratch: usize): void {
  for (let n = 0; n + 4 <= rows; n += 4) {
    const block = scales + <usize>n * <usize>groups;
    memory.copy(scratch, block, <usize>groups << 2);
    for (let g = 0; g < groups; g++) {
      for (let r = 0; r < 4; r++) store<u8>(block + (<usize>g << 2) + <usize>r, load<u8>(scratch + <usize>(r * groups + g)));
    }
  }
}

/** Sums of four vectors, side by side. */
@inline function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

@inline function upper(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** Two pairs of binary64, each rounded once to binary32. */
@inline function demote(low: v128, high: v128): v128 {
  return v128.shuffle<i32>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 1, 4, 5);
}

/** Scales four sums of rows `n..n+3` and stores or adds them. */
@inline function finish(acc: v128, m: usize, n: i32, s: f32, out: usize, adds: bool): void {
  const o = <usize>n << 2;
  let v = f32x4.mul(f32x4.mul(acc, v128.load(scalesOf(m) + o)), f32x4.splat(s));
  const bias = biasOf(m);
  if (bias != 0) v = f32x4.add(v, v128.load(bias + o));
  v128.store(out + o, adds ? f32x4.add(v128.load(out + o), v) : v);
}

// ---- one row ----

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

// ---- rows that no block of four holds ----

/** One row of weights `n` with one quantised row whose vectors of 8 are `step` bytes apart. */
function single(m: usize, n: i32, a: usize, step: usize, s: f32, out: usize, adds: bool): void {
  const k = columnsOf(m);
  const w = weightsOf(m) + <usize>n * <usize>k;
  const groups = groupsOf(m);
  let total: i64 = 0;
  for (let c = 0; c < k; c += GROUP) {
    let sum = i32x4.splat(0);
    for (let i = c; i < c + GROUP; i += 8) {
      sum = i32x4.add(sum, i32x4.dot_i16x8_s(v128.load_ext<i8>(w + <usize>i), v128.load(a + (<usize>i >> 3) * step)));
    }
    let part: i64 = 0;
    part += i32x4.extract_lane(sum, 0);
    part += i32x4.extract_lane(sum, 1);
    part += i32x4.extract_lane(sum, 2);
    part += i32x4.extract_lane(sum, 3);
    total += groups == 0 ? part : part * <i64>load<u8>(groups + <usize>n * <usize>(k / GROUP) + <usize>(c / GROUP));
  }
  const o = <usize>n << 2;
  let v: f32 = <f32>total * load<f32>(scalesOf(m) + o) * s;
  const bias = biasOf(m);
  if (bias != 0) v = v + load<f32>(bias + o);
  store<f32>(out + o, adds ? load<f32>(out + o) + v : v);
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

// ---- many rows ----

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

/** Row `n` of a matrix as floats, `fl32(c * q) * scale`, into `to`, padded with zeros to `stride`. */
export function embed(m: usize, n: i32, to: usize, columns: i32, stride: i32): void {
  const k = columnsOf(m);
  const blocked = n < (rowsOf(m) & ~3);
  const groups = groupsOf(m);
  const scale = load<f32>(scalesOf(m) + (<usize>n << 2));
  const w = weightsOf(m) + (blocked ? <usize>(n & ~3) * <usize>k + (<usize>(n & 3) << 3) : <usize>n * <usize>k);
  const perRow = k / GROUP;
  for (let i = 0; i < columns; i++) {
    const q = <i32>load<i8>(w + (blocked ? (<usize>(i >> 3) << 5) + <usize>(i & 7) : <usize>i));
    let c = 1;
    if (groups != 0) {
      const g = i / GROUP;
      c = load<u8>(groups + (blocked ? <usize>((n & ~3) * perRow + (g << 2) + (n & 3)) : <usize>(n * perRow + g)));
    }
    store<f32>(to + (<usize>i << 2), <f32>(c * q) * scale);
  }
  for (let i = columns; i < stride; i++) store<f32>(to + (<usize>i << 2), 0);
}
