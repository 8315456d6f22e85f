/**
 * The port behind which the products of many rows are computed, by whichever runtime.
 *
 * @module
 */

/** One matrix, loaded. */
export type ProductSession = {
  /**
   * Computes all sums; returns once they are there.
   *
   * @param activations - `[rows, columns]`, 0..127, of which 64 stands for zero; only read
   * @param rows - at least 1
   * @param sums - `[rows, outputs]`, filled: sum over k of (activation - 64) * weight
   */
  run(activations: Uint8Array, rows: number, sums: Int32Array): void;
  close(): void;
};

/** Loads a graph of `product-graph.ts`; does not keep the bytes. */
export type OpenProducts = (graph: Uint8Array) => ProductSession;
