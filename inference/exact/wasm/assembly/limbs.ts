/**
 * Products of many rows that the host computes: it multiplies 8-bit integers, so a quantised row goes out as two rows of 7-bit limbs and comes back as two
 * rows of int32 sums, `a = 128 * high + low`, `-63 <= high <= 63`, `-64 <= low <= 63`, both stored with 64 added.
 *
 * Every thread has a fixed share of the rows of each matrix, in parts of at most `PART`; a part is one product of the host, which holds its weights.
 * Where a matrix has group factors, its weights `c * q` (int16) are two limbs too, `256 * high + low`: first the sums of all high ones, then those of the
 * low ones. `ort/parts.ts` lays out the weights by the same rules.
 */

import { CHUNK, columnsOf, biasOf, demote, finish, groupsOf, rowsOf, scalesOf, upper } from './matrix.ts';
import { limbRows, ownSums, sharedScales, thread, threads } from './model.ts';
import { gate, round4 } from './rows.ts';

/** Most sums that come back at a time: they stay in the second-level cache. */
const SUMS: i32 = 196608;
/** Most rows of a matrix in one part. */
const PART: i32 = 1536;
/** Shares begin at multiples of it. */
const STEP: i32 = 16;

/**
 * Computes part `part` of the products `group` of this thread with rows `first..first+count` of the limbs; the sums `[2 * count, N]` come to `ownSums`.
 * Groups: four for each layer (query key value, attention output, gate and up, down), then the logits.
 */
@external("env", "product") declare function product(group: i32, part: i32, first: i32, count: i32): void;

/** Address of the limbs of shared row `i`. */
@inline export function limbRow(i: i32, columns: i32): usize {
  return limbRows + (<usize>i * <usize>columns << 1);
}

/** Quantises `n` floats (a multiple of 8) by the factor `r` into two rows of limbs; those of the columns behind are zero. */
export function storeLimbs(from: usize, to: usize, n: i32, columns: i32, factor: f32): void {
  const r = f32x4.splat(factor);
  const zero = i16x8.splat(64);
  const high = to;
  const low = to + <usize>columns;
  let i: usize = 0;
  for (const end = <usize>n; i < end; i += 8) {
    const a = i16x8.narrow_i32x4_s(round4(f32x4.mul(v128.load(from), r)), round4(f32x4.mul(v128.load(from, 16), r)));
    from += 32;
    const h = i16x8.shr_s(i16x8.add(a, zero), 7);
    const l = i16x8.sub(a, i16x8.shl(h, 7));
    v128.store64_lane(high + i, i8x16.narrow_i16x8_u(i16x8.add(h, zero), zero), 0);
    v128.store64_lane(low + i, i8x16.narrow_i16x8_u(i16x8.add(l, zero), zero), 0);
  }
  for (const end = <usize>columns; i < end; i += 8) {
    store<u64>(high + i, 0x4040404040404040);
    store<u64>(low + i, 0x4040404040404040);
  }
}

/** First row of a matrix in this thread's share. */
@inline function shareFrom(rows: i32): i32 {
  return (<i32>(<i64>rows * <i64>thread / <i64>threads)) & ~(STEP - 1);
}

/** One past the last row of this thread's share. */
@inline function shareTo(rows: i32): i32 {
  return thread == threads - 1 ? rows : (<i32>(<i64>rows * <i64>(thread + 1) / <i64>threads)) & ~(STEP - 1);
}

/** First row of a matrix in a part of this thread's share. */
@inline function partFrom(m: usize, part: i32): i32 {
  return m == 0 ? 0 : min(shareFrom(rowsOf(m)) + part * PART, shareTo(rowsOf(m)));
}

/** Rows of a matrix in a part. */
@inline function partRows(m: usize, part: i32): i32 {
  return m == 0 ? 0 : min(PART, shareTo(rowsOf(m)) - partFrom(m, part));
}

/** Sums that a row of weights has: two where it goes out in limbs. */
@inline function widthOf(m: usize, rows: i32): i32 {
  return m != 0 && groupsOf(m) != 0 ? 2 * rows : rows;
}

/** Four whole sums of high and low limbs, as binary64 from the lower or upper half. */
@inline function joinLow(h: v128, l: v128): v128 {
  return f64x2.add(f64x2.mul(f64x2.convert_low_i32x4_s(h), f64x2.splat(128)), f64x2.convert_low_i32x4_s(l));
}

/** Four whole sums, each rounded once to binary32: of limbs `h` and `l`, and of the low limbs of the weights at `rows` sums behind where `isGrouped`. */
@inline function join(high: usize, low: usize, behind: usize, isGrouped: bool, isWide: bool): v128 {
  const h = v128.load(high);
  const l = v128.load(low);
  if (!isGrouped && !isWide) return f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(h, 7), l));
  let a = joinLow(h, l);
  let b = joinLow(upper(h), upper(l));
  if (isGrouped) {
    const x = v128.load(high + behind);
    const y = v128.load(low + behind);
    const by = f64x2.splat(256);
    a = f64x2.add(f64x2.mul(a, by), joinLow(x, y));
    b = f64x2.add(f64x2.mul(b, by), joinLow(upper(x), upper(y)));
  }
  return demote(a, b);
}

/** Results of one row for rows `from..from+rows` of a matrix, whose sums are at `high` and `low`. */
function finishRow(m: usize, from: i32, rows: i32, high: usize, low: usize, s: f32, out: usize, adds: bool): void {
  const isGrouped = groupsOf(m) != 0;
  const isWide = columnsOf(m) > CHUNK;
  const behind = <usize>rows << 2;
  let n = 0;
  for (; n + 4 <= rows; n += 4) {
    const o = <usize>n << 2;
    finish(join(high + o, low + o, behind, isGrouped, isWide), m, from + n, s, out, adds);
  }
  for (; n < rows; n++) {
    const o = <usize>n << 2;
    const place = <usize>(from + n) << 2;
    const acc = f32x4.extract_lane(join(high + o, low + o, behind, isGrouped, isWide), 0);
    let v: f32 = acc * load<f32>(scalesOf(m) + place) * s;
    const bias = biasOf(m);
    if (bias != 0) v = v + load<f32>(bias + place);
    store<f32>(out + place, adds ? load<f32>(out + place) + v : v);
  }
}

/** Address of `n` floats' end. */
@inline function after(at: usize, n: i32): usize {
  return at + (<usize>n << 2);
}

/**
 * Up to three matrices with `count` rows of limbs: this thread's share. Results of row `i` are `stride * i` floats behind `out0`, `out1`, `out2`.
 *
 * @param isGated - whether the results of the second matrix become `(g * sigmoid(g)) * u`, of the same place of the first and themselves
 */
export function multiplyLimbs(
  group: i32, m0: usize, m1: usize, m2: usize, count: i32, out0: usize, out1: usize, out2: usize, stride: i32, adds: bool, isGated: bool,
): void {
  for (let part = 0; ; part++) {
    const n0 = partRows(m0, part);
    const n1 = partRows(m1, part);
    const n2 = partRows(m2, part);
    const from0 = partFrom(m0, part);
    const w0 = widthOf(m0, n0);
    const w1 = widthOf(m1, n1);
    const width = w0 + w1 + widthOf(m2, n2);
    if (width == 0) return;
    // As few calls as fit, of about equal size.
    const calls = (2 * width * count + SUMS - 1) / SUMS;
    const atOnce = min((count + calls - 1) / calls, SUMS / (2 * width));
    for (let first = 0; first < count; first += atOnce) {
      const rows = min(atOnce, count - first);
      product(group, part, first, rows);
      for (let i = 0; i < rows; i++) {
        const high = after(ownSums, 2 * i * width);
        const low = after(high, width);
        const s = load<f32>(after(sharedScales, first + i));
        const o = <usize>(first + i) * <usize>stride << 2;
        finishRow(m0, from0, n0, high, low, s, out0 + o, adds);
        if (n1 != 0) finishRow(m1, partFrom(m1, part), n1, after(high, w0), after(low, w0), s, out1 + o, adds);
        if (n2 != 0) finishRow(m2, partFrom(m2, part), n2, after(high, w0 + w1), after(low, w0 + w1), s, out2 + o, adds);
        // Shares begin at multiples of four; what lies behind the last row is zero.
        if (isGated) gate(after(out0 + o, from0), after(out1 + o, from0), after(out1 + o, from0), (n0 + 3) & ~3);
      }
    }
  }
}
