/**
 * The decoder of `inference/spec/exact.md` over a batch of rows. Every thread runs the same function; they meet at barriers, and what one of them writes
 * before a barrier the others read after it.
 */

import { attend, keep, layerBytes } from './attention.ts';
import { limbRow, multiplyLimbs, storeLimbs } from './limbs.ts';
import {
  attended, configure, embedding, embeddingColumns, embeddingMatrix, embeddingStride, feedForwardColumns, feedForwardStride, gates, heads, hostRows, kvHeads,
  layers, layerTable, logits, mixed, mixedStride, outputMatrix, outputNorm, ownFloats, ownRow, queryColumns, queryStride, residual, rowCaches, rowCapacities,
  rowPositions, rowTokens, sharedScales, thread, threads, ups, vocabulary,
} from './model.ts';
import { multiplyRows, sharedRow } from './many-rows.ts';
import { embed, interleave, interleaveGroups, rowsOf } from './matrix.ts';
import { multiplyGated, multiplyRow } from './one-row.ts';
import { ACTIVATION_MAX, gate, largest, normalise, quantise, quantiseBy, TINY } from './rows.ts';
import { barrier, openPhase, resetPhases, take } from './threads.ts';

export { configure, interleave, interleaveGroups, layerBytes, resetPhases };

/** Elements that one thread gates at a time. */
const GATE_PIECE: i32 = 384;
/** Bytes of a matrix record. */
const MATRIX: usize = 24;
/** Bytes of a layer record: matrices query, key, value, output, gate, up, down; then the gains of norms, 0 where there is none. */
const LAYER: usize = 256;

@inline function matrixOf(layer: usize, index: i32): usize { return layer + <usize>index * MATRIX; }
@inline function gainOf(layer: usize, index: i32): usize { return load<u32>(layer + 7 * MATRIX + (<usize>index << 2)); }
@inline function position(i: i32): i32 { return load<i32>(rowPositions + (<usize>i << 2)); }
@inline function cacheOf(i: i32): usize { return load<u32>(rowCaches + (<usize>i << 2)); }
@inline function capacityOf(i: i32): i32 { return load<i32>(rowCapacities + (<usize>i << 2)); }

/** Embeds the rows of the batch. */
function begin(count: i32): void {
  openPhase();
  for (let i = take(1); i < count; i = take(1)) {
    embed(embeddingMatrix, load<i32>(rowTokens + (<usize>i << 2)), residual + (<usize>(i * embeddingStride) << 2), embedding, embeddingStride);
  }
  barrier();
}

/** Whether the host computes the products of a batch. */
@inline function isHosted(count: i32): bool {
  return hostRows != 0 && count >= hostRows;
}

/** Quantises `n` floats with the largest magnitude `m` as shared row `i`: in limbs for the host, else for the kernels. */
function share(i: i32, from: usize, n: i32, columns: i32, m: f32, hosted: bool): void {
  let s: f32;
  if (hosted) {
    m = max(m, TINY);
    storeLimbs(from, limbRow(i, columns), n, columns, ACTIVATION_MAX / m);
    s = m / ACTIVATION_MAX;
  } else s = quantiseBy(from, sharedRow(i, columns), n, columns, ACTIVATION_MAX, m, 32);
  store<f32>(sharedScales + (<usize>i << 2), s);
}

/** Norm of each row, quantised: one row into the thread's own (returns its scale), several into the shared ones. */
function normRows(gain: usize, first: i32, count: i32): f32 {
  const hosted = isHosted(count);
  if (count == 1 && !hosted) {
    const m = normalise(residual + (<usize>(first * embeddingStride) << 2), gain, ownFloats, embeddingStride, embedding);
    return quantiseBy(ownFloats, ownRow, embeddingStride, embeddingColumns, ACTIVATION_MAX, m, 16);
  }
  openPhase();
  for (let i = take(1); i < count; i = take(1)) {
    const m = normalise(residual + (<usize>((first + i) * embeddingStride) << 2), gain, ownFloats, embeddingStride, embedding);
    share(i, ownFloats, embeddingStride, embeddingColumns, m, hosted);
  }
  barrier();
  return 0;
}

/** Quantises each row of a buffer, as {@link normRows} does. */
function quantiseRows(buffer: usize, stride: i32, columns: i32, count: i32): f32 {
  const hosted = isHosted(count);
  if (count == 1 && !hosted) return quantise(buffer, ownRow, stride, columns, ACTIVATION_MAX, 16);
  openPhase();
  for (let i = take(1); i < count; i = take(1)) {
    const from = buffer + (<usize>(i * stride) << 2);
    share(i, from, stride, columns, largest(from, stride), hosted);
  }
  barrier();
  return 0;
}

function multiply(group: i32, m0: usize, m1: usize, m2: usize, s: f32, count: i32, out: usize, stride: i32, adds: bool): void {
  if (isHosted(count)) {
    const out1 = out + (<usize>rowsOf(m0) << 2);
    const out2 = m1 == 0 ? out1 : out1 + (<usize>rowsOf(m1) << 2);
    multiplyLimbs(group, m0, m1, m2, count, out, out1, out2, stride, adds, false);
  } else if (count == 1) multiplyRow(m0, m1, m2, ownRow, s, out, adds);
  else {
    openPhase();
    multiplyRows(m0, m1, m2, count, out, stride, adds);
  }
  barrier();
}

/**
 * Attention of a batch of one row: this thread's heads. It keeps the keys and values that they need itself: another thread may keep the same ones, and
 * writes the same bytes.
 */
function attendRow(l: usize, index: i32): void {
  const from = heads * thread / threads;
  const to = heads * (thread + 1) / threads;
  const perKey = heads / kvHeads;
  const p = position(0);
  for (let g = from / perKey; g * perKey < to; g++) keep(mixed, cacheOf(0), capacityOf(0), index, g, p, gainOf(l, 3));
  for (let h = from; h < to; h++) attend(mixed, attended, cacheOf(0), capacityOf(0), index, h, p, gainOf(l, 2));
}

/** Attention of a batch: first all keys and values, for rows attend to each other, then all heads. */
function attendRows(l: usize, index: i32, count: i32): void {
  openPhase();
  for (let i = take(1), end = count * kvHeads; i < end; i = take(1)) {
    const r = i / kvHeads;
    keep(mixed + (<usize>(r * mixedStride) << 2), cacheOf(r), capacityOf(r), index, i % kvHeads, position(r), gainOf(l, 3));
  }
  barrier();
  openPhase();
  for (let i = take(1), end = count * heads; i < end; i = take(1)) {
    const r = i / heads;
    const out = attended + (<usize>(r * queryStride) << 2);
    attend(mixed + (<usize>(r * mixedStride) << 2), out, cacheOf(r), capacityOf(r), index, i % heads, position(r), gainOf(l, 2));
  }
}

/** Gates the rows of the batch: `ups` becomes the input of the last product. */
function gateRows(count: i32): void {
  openPhase();
  const pieces = (feedForwardStride + GATE_PIECE - 1) / GATE_PIECE;
  for (let i = take(1), end = count * pieces; i < end; i = take(1)) {
    const from = (i % pieces) * GATE_PIECE;
    const o = <usize>((i / pieces) * feedForwardStride + from) << 2;
    gate(gates + o, ups + o, ups + o, min(GATE_PIECE, feedForwardStride - from));
  }
}

/** One layer over the rows of the batch. */
function layer(index: i32, count: i32): void {
  const l = layerTable + <usize>index * LAYER;
  let s = normRows(gainOf(l, 0), 0, count);
  multiply(4 * index, matrixOf(l, 0), matrixOf(l, 1), matrixOf(l, 2), s, count, mixed, mixedStride, false);

  if (count == 1) attendRow(l, index);
  else attendRows(l, index, count);
  barrier();
  s = quantiseRows(attended, queryStride, queryColumns, count);
  multiply(4 * index + 1, matrixOf(l, 3), 0, 0, s, count, residual, embeddingStride, true);

  s = normRows(gainOf(l, 1), 0, count);
  if (isHosted(count)) multiplyLimbs(4 * index + 2, matrixOf(l, 4), matrixOf(l, 5), 0, count, gates, ups, 0, feedForwardStride, false, true);
  else if (count == 1) multiplyGated(matrixOf(l, 4), matrixOf(l, 5), ownRow, s, gates, ups);
  else {
    openPhase();
    multiplyRows(matrixOf(l, 4), 0, 0, count, gates, feedForwardStride, false);
    openPhase();
    multiplyRows(matrixOf(l, 5), 0, 0, count, ups, feedForwardStride, false);
    barrier();
    gateRows(count);
  }
  barrier();
  s = quantiseRows(ups, feedForwardStride, feedForwardColumns, count);
  multiply(4 * index + 3, matrixOf(l, 6), 0, 0, s, count, residual, embeddingStride, true);
}

/** Logits of `count` rows of the batch, from row `first` on; `[count, vocabulary rounded up to 8]`. */
function head(first: i32, count: i32): void {
  const s = normRows(outputNorm, first, count);
  multiply(4 * layers, outputMatrix, 0, 0, s, count, logits, (vocabulary + 7) & ~7, false);
}

/** One command: embeds where asked, computes layers `from..to`, then the logits of `headCount` rows. */
export function execute(count: i32, embeds: i32, from: i32, to: i32, headFirst: i32, headCount: i32): void {
  if (embeds != 0) begin(count);
  for (let l = from; l < to; l++) layer(l, count);
  if (headCount > 0) head(headFirst, headCount);
}

/** Times that a thread looks for the next command before it sleeps. */
const SPINS: i32 = 100000;

/**
 * Serves commands until one has a negative count: what every thread but the first does. Words of the block: 0 the number of the command, from word 16 on
 * its arguments.
 */
export function serve(block: usize): void {
  for (let seen = 0; ; ) {
    for (let spins = 0; atomic.load<i32>(block) == seen; ) {
      if (++spins > SPINS) atomic.wait<i32>(block, seen, -1);
    }
    seen = atomic.load<i32>(block);
    const a = block + 64;
    const count = load<i32>(a);
    if (count < 0) return;
    execute(count, load<i32>(a, 4), load<i32>(a, 8), load<i32>(a, 12), load<i32>(a, 16), load<i32>(a, 20));
  }
}
