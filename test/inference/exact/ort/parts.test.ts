import { describe, expect, it } from 'vitest';
import { wasm } from '../../../../attest/core/webassembly.ts';
import {
  type Group,
  type MatrixPlace,
  MOST_SUMS,
  type Part,
  partsOf,
  weightsOf,
} from '../../../../inference/exact/ort/parts.ts';
import { instantiate } from '../../../../inference/exact/wasm/kernels.ts';
import { loadKernels } from '../../../../inference/exact/wasm/threads.ts';
import { type Random, seededRandom } from '../../../support/random.ts';

const module = await loadKernels();

/** A matrix nobody reads. */
function place(rows: number, isGrouped: boolean, columns = 32): MatrixPlace {
  return { weights: 0, groupScales: isGrouped ? 0 : null, rows, columns };
}

const GROUPS: readonly (readonly [name: string, group: Group])[] = [
  ['one row', [place(1, true)]],
  ['query, key and value', [place(576, true), place(192, true), place(192, true)]],
  ['rows that are no multiple of 4 or 16', [place(57, true), place(19, true), place(21, true)]],
  ['a plain matrix of a vocabulary', [place(49_152, false)]],
  ['a vocabulary of an odd size', [place(151_937, false)]],
  ['parts that end at different places', [place(8960, true), place(4097, false), place(2048, true)]],
  ['rows around the size of a part', [1535, 1536, 1537].map((rows) => place(rows, true))],
  ['rows around twice the size of a part', [3071, 3072, 3073].map((rows) => place(rows, false))],
];

describe.each(GROUPS)('parts of %s', (_, group) => {
  it.each([1, 2, 3, 4, 5, 16, 64])('hold every row of every matrix once, on %i threads', (threads) => {
    const seen = group.map(({ rows }) => new Uint8Array(rows));
    for (let thread = 0; thread < threads; thread++) {
      const parts = partsOf(group, thread, threads);
      for (const part of parts) {
        expect(part.segments.map(({ matrix }) => matrix)).toEqual(group);
        expect(part.columns).toBe(group[0]?.columns);
        const outputs = part.segments.reduce(
          (sum, { matrix, rows }) => sum + rows * (matrix.groupScales === null ? 1 : 2),
          0,
        );
        expect(part.outputs).toBe(outputs);
        expect(outputs).toBeGreaterThan(0);
        // at least one row's two rows of limbs fit
        expect(2 * outputs).toBeLessThanOrEqual(MOST_SUMS);
        part.segments.forEach(({ from, rows }, i) => {
          expect(rows).toBeGreaterThanOrEqual(0);
          expect(rows).toBeLessThanOrEqual(2048);
          if (rows > 0) expect(from % 16).toBe(0);
          for (let row = from; row < from + rows; row++) {
            const rowsSeen = seen[i] as Uint8Array;
            rowsSeen[row] = (rowsSeen[row] ?? 255) + 1;
          }
        });
      }
    }
    for (const rowsSeen of seen) expect(rowsSeen.every((count) => count === 1)).toBe(true);
  });

  it('follow each other: a thread has one block of rows of each matrix', () => {
    for (let thread = 0; thread < 3; thread++) {
      const parts = partsOf(group, thread, 3);
      group.forEach((_, i) => {
        const ends = parts.map(({ segments }) => segments[i] ?? { from: -1, rows: 0 });
        ends.slice(1).forEach(({ from, rows }, at) => {
          const before = ends[at] ?? { from: -1, rows: 0 };
          if (rows > 0) expect(from).toBe(before.from + before.rows);
        });
      });
    }
  });
});

it('gives nothing to a thread whose share is empty', () => {
  expect(partsOf([place(20, true)], 0, 3)).toEqual([]);
  expect(partsOf([place(20, true)], 1, 3)).toEqual([]);
  expect(partsOf([place(20, true)], 2, 3)).toHaveLength(1);
});

describe('weights of a part', () => {
  const random = seededRandom(5);

  it.each([
    [576, 96],
    [57, 64],
    [19, 32],
    [3, 32],
    [2051, 32],
  ])('are those of the model, of a plain matrix [%i, %i] in the layout of the kernels', (rows, columns) => {
    const { group, memory, plain } = stored([{ rows, columns, isGrouped: false }], random);
    for (const threads of [1, 2, 3, 4, 5]) {
      for (const part of partsThreads(group, threads))
        expect(same(weightsOf(part, memory), naive(part, plain))).toBe(true);
    }
  });

  it.each([
    [576, 96],
    [57, 64],
    [19, 32],
    [3, 32],
    [2051, 32],
  ])('are two limbs of factor times weight, of a grouped matrix [%i, %i]', (rows, columns) => {
    const { group, memory, plain } = stored([{ rows, columns, isGrouped: true }], random);
    for (const threads of [1, 2, 3, 4, 5]) {
      for (const part of partsThreads(group, threads))
        expect(same(weightsOf(part, memory), naive(part, plain))).toBe(true);
    }
  });

  it('lie side by side for up to three matrices, grouped or not', () => {
    const { group, memory, plain } = stored(
      [
        { rows: 2300, columns: 64, isGrouped: true },
        { rows: 35, columns: 64, isGrouped: false },
        { rows: 70, columns: 64, isGrouped: true },
      ],
      random,
    );
    for (const threads of [1, 2, 3]) {
      const parts = partsThreads(group, threads);
      expect(parts.length).toBeGreaterThanOrEqual(2);
      for (const part of parts) expect(same(weightsOf(part, memory), naive(part, plain))).toBe(true);
    }
  });

  it('are limbs in their range, the smallest of which is reached', () => {
    // every weight with every factor
    const { group, memory } = stored([{ rows: 255, columns: 8160, isGrouped: true }], random, (row, column) => ({
      weight: (row % 255) - 127,
      factor: 1 + Math.floor(column / 32),
    }));
    const [part] = partsOf(group, 0, 1);
    if (part === undefined) throw new TypeError('no part');
    const limbs = weightsOf(part, memory);
    const range = { high: [0, 0], low: [0, 0] };
    for (let column = 0; column < 8160; column += 32) {
      for (let row = 0; row < 255; row++) {
        const high = limbs[column * 510 + row] ?? Number.NaN;
        const low = limbs[column * 510 + 255 + row] ?? Number.NaN;
        if (256 * high + low !== (1 + column / 32) * (row - 127)) expect.fail(`limbs ${high} and ${low} of row ${row}`);
        range.high = [Math.min(range.high[0] ?? 0, high), Math.max(range.high[1] ?? 0, high)];
        range.low = [Math.min(range.low[0] ?? 0, low), Math.max(range.low[1] ?? 0, low)];
      }
    }
    expect(range).toEqual({ high: [-127, 127], low: [-128, 127] });
  });
});

type Wanted = { readonly rows: number; readonly columns: number; readonly isGrouped: boolean };
type Cell = { readonly weight: number; readonly factor: number };
/** Weight and factor of a matrix by its place. */
type Plain = ReadonlyMap<MatrixPlace, (row: number, column: number) => Cell>;

/** Matrices of noise in memory, interleaved by the kernels themselves. */
function stored(
  wanted: readonly Wanted[],
  random: Random,
  cell?: (row: number, column: number) => Cell,
): { group: Group; memory: ArrayBufferLike; plain: Plain } {
  const memory = new wasm.Memory({ initial: 64, maximum: 65_536, shared: true });
  const kernels = instantiate(module, memory, { configuration: 65_536, thread: 0, threads: 1 });
  const bytes = new Int8Array(memory.buffer);
  const factors = new Uint8Array(memory.buffer);
  const scratch = 131_072;
  let end = 262_144;
  const plain = new Map<MatrixPlace, (row: number, column: number) => Cell>();
  for (const { rows, columns, isGrouped } of wanted) {
    const groups = columns / 32;
    const weights = end;
    const groupScales = isGrouped ? weights + rows * columns + 64 : null;
    end = weights + rows * (columns + groups) + 128;
    const q = new Int8Array(rows * columns).map((_, i) =>
      cell === undefined ? random.below(255) - 127 : cell(Math.floor(i / columns), i % columns).weight,
    );
    const c = new Uint8Array(rows * groups).map((_, i) =>
      cell === undefined ? 1 + random.below(255) : cell(Math.floor(i / groups), 32 * (i % groups)).factor,
    );
    bytes.set(q, weights);
    kernels.interleave(weights, rows, columns, scratch);
    if (groupScales !== null) {
      factors.set(c, groupScales);
      kernels.interleaveGroups(groupScales, rows, groups, scratch);
    }
    plain.set({ weights, groupScales, rows, columns }, (row, column) => ({
      weight: q[row * columns + column] ?? Number.NaN,
      factor: c[row * groups + (column >> 5)] ?? Number.NaN,
    }));
  }
  return { group: [...plain.keys()], memory: memory.buffer, plain };
}

function partsThreads(group: Group, threads: number): Part[] {
  return Array.from({ length: threads }, (_, thread) => partsOf(group, thread, threads)).flat();
}

/** `[columns, outputs]`: of each segment its weights, or all upper limbs and then all lower ones, `256 * upper + lower`, lower in -128..127. */
function naive({ columns, outputs, segments }: Part, plain: Plain): Int8Array {
  const out = new Int8Array(columns * outputs);
  for (let column = 0; column < columns; column++) {
    const line: number[] = [];
    for (const { matrix, from, rows } of segments) {
      const cells = Array.from({ length: rows }, (_, i) => plain.get(matrix)?.(from + i, column) as Cell);
      if (matrix.groupScales === null) line.push(...cells.map(({ weight }) => weight));
      else {
        const whole = cells.map(({ weight, factor }) => weight * factor);
        const upper = whole.map((value) => Math.floor((value + 128) / 256));
        line.push(...upper, ...whole.map((value, i) => value - 256 * (upper[i] ?? 0)));
      }
    }
    for (const value of line) if (!(value >= -128 && value <= 127)) throw new RangeError(`a limb is ${value}`);
    out.set(line, column * outputs);
  }
  return out;
}

function same(a: Int8Array, b: Int8Array): boolean {
  return a.length === b.length && Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}
