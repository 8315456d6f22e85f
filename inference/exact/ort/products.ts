/**
 * The host's side of `wasm/assembly/limbs.ts`: one small graph for each part of each matrix, called from inside the kernels.
 *
 * @module
 */

import type { SharedWasmMemory } from '../../../attest/core/webassembly.ts';
import { lintExactGraph } from './graph-linter.ts';
import { type Group, MOST_SUMS, type Part, partsOf, weightsOf } from './parts.ts';
import { productGraph } from './product-graph.ts';

/** A loaded graph of one product of integers. */
export type ProductSession = {
  /**
   * @param activations - `[rows, columns]`, 0..127, of which 64 is zero
   * @param sums - gets `[rows, outputs]`
   */
  run(activations: Uint8Array, rows: number, sums: Int32Array): void;
  close(): void;
};

/** Loads a graph; synchronous, for the kernels wait for it. */
export type OpenProduct = (
  graph: Uint8Array,
  size: { readonly columns: number; readonly outputs: number },
) => ProductSession;

/** What a thread needs to know of the memory, besides the memory itself; plain data. */
export type ProductPlan = {
  readonly groups: readonly Group[];
  /** Bytes: the limbs of all rows. */
  readonly limbRows: number;
  /** Most rows of a batch. */
  readonly mostRows: number;
  /** Bytes: the sums of each thread. */
  readonly sums: readonly number[];
};

/** What the kernels import. */
export type Product = (group: number, part: number, first: number, count: number) => void;

type Loaded = { readonly columns: number; readonly outputs: number; readonly session: ProductSession };

/**
 * Loads the products of one thread.
 *
 * @throws {@link ModelError} `GRAPH_NOT_EXACT`, `GRAPH_REFUSED`
 */
export function openProducts(
  memory: SharedWasmMemory,
  plan: ProductPlan,
  place: { readonly thread: number; readonly threads: number },
  open: OpenProduct,
): { readonly product: Product; close(): void } {
  const { buffer } = memory;
  const all: Loaded[] = [];
  const close = () => {
    for (const { session } of all.splice(0)) session.close();
  };
  const load = (part: Part): Loaded => {
    const { columns, outputs } = part;
    const graph = productGraph(columns, outputs, weightsOf(part, buffer));
    lintExactGraph(graph);
    const loaded = { columns, outputs, session: open(graph, part) };
    all.push(loaded);
    return loaded;
  };
  let groups: Loaded[][];
  try {
    // In the order in which they are used: another one, which takes less memory, is a tenth slower.
    groups = plan.groups.map((group) => partsOf(group, place.thread, place.threads).map(load));
  } catch (error) {
    close();
    throw error;
  }
  // The runtime takes no shared memory: rows and sums are copied.
  const rows = new Uint8Array(2 * plan.mostRows * Math.max(0, ...all.map(({ columns }) => columns)));
  const sums = new Int32Array(MOST_SUMS);
  const limbPieces: Pieces<Uint8Array> = new Map();
  const sumPieces: Pieces<Int32Array> = new Map();
  const bytes = new Uint8Array(buffer);
  const words = new Int32Array(buffer);
  const ownSums = (plan.sums[place.thread] ?? 0) / 4;
  return {
    product(group, part, first, count) {
      const known = groups[group]?.[part];
      if (known === undefined) throw new TypeError(`no part ${part} of products ${group}`);
      const { columns, outputs, session } = known;
      const from = plan.limbRows + 2 * first * columns;
      const limbs = piece(limbPieces, rows, columns, count);
      limbs.set(bytes.subarray(from, from + limbs.length));
      const out = piece(sumPieces, sums, outputs, count);
      session.run(limbs, 2 * count, out);
      words.set(out, ownSums);
    },
    close,
  };
}

/** Beginnings of a buffer by width and count: the same arrays come again, so that a session may keep what it makes of them. */
type Pieces<T> = Map<number, Map<number, T>>;

function piece<T extends Uint8Array | Int32Array>(known: Pieces<T>, buffer: T, width: number, count: number): T {
  let counts = known.get(width);
  if (counts === undefined) {
    counts = new Map();
    known.set(width, counts);
  }
  let found = counts.get(count);
  if (found === undefined) {
    found = buffer.subarray(0, 2 * count * width) as T;
    counts.set(count, found);
  }
  return found;
}
