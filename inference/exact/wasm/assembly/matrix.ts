/**
 * A matrix of int8 rows in memory, and what one row and many rows of activations share: scaling of sums, rows that no block holds, a row as an embedding.
 * A product is `fl(fl(fl32(acc) * scale) * s)`, with a bias and a sum where asked. Sums are int32 over at most 2,048 columns (127 * 8127 * 2048 < 2^31),
 * joined in binary64 below 2^53 where there are more or where groups have factors.
 *
 * Matrix record, 32-bit words: 0 weights, 1 scales, 2 group scales or 0, 3 rows, 4 columns (a multiple of 32), 5 bias or 0.
 *
 * In memory four rows lie interleaved, 8 columns of each in turn, so that a block of rows is one sequential stream; what is left over
 * from a multiple of four lies row by row. Group scales: four rows of a group side by side.
 */

/** Columns whose products fit int32. */
export const CHUNK: i32 = 2048;
export const GROUP: i32 = 32;

@inline export function weightsOf(m: usize): usize { return load<u32>(m); }
@inline export function scalesOf(m: usize): usize { return load<u32>(m, 4); }
@inline export function groupsOf(m: usize): usize { return load<u32>(m, 8); }
@inline export function rowsOf(m: usize): i32 { return load<i32>(m, 12); }
@inline export function columnsOf(m: usize): i32 { return load<i32>(m, 16); }
@inline export function biasOf(m: usize): usize { return load<u32>(m, 20); }

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
@inline export function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

@inline export function upper(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** Two pairs of binary64, each rounded once to binary32. */
@inline export function demote(low: v128, high: v128): v128 {
  return v128.shuffle<i32>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 1, 4, 5);
}

/** Scales four sums of rows `n..n+3` and stores or adds them. */
@inline export function finish(acc: v128, m: usize, n: i32, s: f32, out: usize, adds: bool): void {
  const o = <usize>n << 2;
  let v = f32x4.mul(f32x4.mul(acc, v128.load(scalesOf(m) + o)), f32x4.splat(s));
  const bias = biasOf(m);
  if (bias != 0) v = f32x4.add(v, v128.load(bias + o));
  v128.store(out + o, adds ? f32x4.add(v128.load(out + o), v) : v);
}

/** One row of weights `n` with one quantised row whose vectors of 8 are `step` bytes apart. */
export function single(m: usize, n: i32, a: usize, step: usize, s: f32, out: usize, adds: bool): void {
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
