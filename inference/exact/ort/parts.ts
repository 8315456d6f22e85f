/**
 * Which weights each thread's products hold: the shares and parts of `wasm/assembly/limbs.ts`, and the weights of a part laid out for a product
 * `[rows of the batch, columns] x [columns, outputs]`.
 *
 * @module
 */

/** Most sums that come back at a time. */
export const MOST_SUMS = 196_608;

/** Most rows of a matrix in one part. */
const PART = 1536;

/** Shares begin at multiples of it. */
const STEP = 16;

/** A matrix in the memory of the kernels, four rows interleaved (`wasm/assembly/matrix.ts`). */
export type MatrixPlace = {
  /** Bytes. */
  readonly weights: number;
  /** Bytes; null where the matrix has no group factors. */
  readonly groupScales: number | null;
  readonly rows: number;
  /** Columns, a multiple of 32. */
  readonly columns: number;
};

/** Rows of one matrix in a part. */
export type Segment = { readonly matrix: MatrixPlace; readonly from: number; readonly rows: number };

/** One product: the results of its segments follow each other; those of group factors are all high limbs, then all low ones. */
export type Part = { readonly columns: number; readonly outputs: number; readonly segments: readonly Segment[] };

/** Matrices whose products have the same input, at most three. */
export type Group = readonly MatrixPlace[];

/** Parts of a group for one thread, in order; none where its share is empty. */
export function partsOf(group: Group, thread: number, threads: number): Part[] {
  const shares = group.map((matrix) => ({ matrix, ...shareOf(matrix.rows, thread, threads) }));
  const parts: Part[] = [];
  for (let at = 0; ; at += PART) {
    const segments = shares.map(({ matrix, from, to }) => {
      const first = Math.min(from + at, to);
      return { matrix, from: first, rows: Math.min(PART, to - first) };
    });
    const outputs = segments.reduce(
      (sum, { matrix, rows }) => sum + (matrix.groupScales === null ? rows : 2 * rows),
      0,
    );
    if (outputs === 0) return parts;
    parts.push({ columns: group[0]?.columns ?? 0, outputs, segments });
  }
}

function shareOf(rows: number, thread: number, threads: number): { from: number; to: number } {
  const start = (part: number) => Math.floor(Math.floor((rows * part) / threads) / STEP) * STEP;
  return { from: start(thread), to: thread === threads - 1 ? rows : start(thread + 1) };
}

/**
 * Weights of a part, `[columns, outputs]`.
 *
 * @param memory - the whole memory of the kernels
 */
export function weightsOf(part: Part, memory: ArrayBufferLike): Int8Array {
  const { columns, outputs, segments } = part;
  const bytes = new Int8Array(memory);
  const factors = new Uint8Array(memory);
  const out = new Int8Array(columns * outputs);
  let column = 0;
  for (const { matrix, from, rows } of segments) {
    const { weights, groupScales } = matrix;
    const perRow = columns / 32;
    const whole = matrix.rows & ~3;
    // Eight columns at a time: they lie side by side in memory, and go to eight sequential streams.
    for (let k = 0; k < columns; k += 8) {
      const g = k >> 5;
      for (let i = 0; i < rows; i++) {
        const n = from + i;
        const inBlock = n < whole;
        const at = weights + (inBlock ? (n & ~3) * columns + k * 4 + (n & 3) * 8 : n * columns + k);
        let to = k * outputs + column + i;
        if (groupScales === null) {
          for (let j = 0; j < 8; j++, to += outputs) out[to] = bytes[at + j] as number;
          continue;
        }
        const factor = factors[
          groupScales + (inBlock ? (n & ~3) * perRow + g * 4 + (n & 3) : n * perRow + g)
        ] as number;
        for (let j = 0; j < 8; j++, to += outputs) {
          const weight = factor * (bytes[at + j] as number);
          const high = (weight + 128) >> 8;
          out[to] = high;
          out[to + rows] = weight - 256 * high;
        }
      }
    }
    column += groupScales === null ? rows : 2 * rows;
  }
  return out;
}
