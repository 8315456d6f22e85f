/**
 * Copies a beginning of one sequence's cache into another's, whose room may differ.
 *
 * The layout is that of `assembly/attention.ts`.
 *
 * @module
 */

/** A cache: its address, and the positions it has room for, a multiple of 8. */
export type CachePlace = { readonly address: number; readonly room: number };

/** What of a model decides the layout of its caches. */
export type CacheShape = { readonly layers: number; readonly kvHeads: number; readonly headSize: number };

/** Bytes of a layer of a cache; as the kernels compute it, but beyond 2^32 too. */
export function cacheLayerBytes({ kvHeads, headSize }: CacheShape, room: number): number {
  return 2 * kvHeads * room * (2 * strideOf(headSize) + 4);
}

/**
 * Copies the first `length` positions.
 *
 * @param bytes - the memory of both caches, which do not overlap
 * @param length - `[0, the room of either]`
 */
export function copyCache(
  bytes: Uint8Array,
  shape: CacheShape,
  from: CachePlace,
  to: CachePlace,
  length: number,
): void {
  const { layers, kvHeads, headSize } = shape;
  const stride = strideOf(headSize);
  // Blocks of one layer in order: how many there are, and their bytes for each position.
  const blocks = [
    { count: kvHeads, width: 2 * stride, copied: 2 * stride * length },
    { count: kvHeads, width: 4, copied: 4 * length },
    // Values lie in pairs of positions: the odd one takes its neighbour with it, which nothing reads before it is written.
    { count: (kvHeads * stride) / 8, width: 16, copied: 32 * Math.ceil(length / 2) },
    { count: kvHeads, width: 4, copied: 4 * length },
  ];
  let source = from.address;
  let target = to.address;
  for (let layer = 0; layer < layers; layer++) {
    for (const { count, width, copied } of blocks) {
      for (let block = 0; block < count; block++) {
        bytes.copyWithin(target, source, source + copied);
        source += width * from.room;
        target += width * to.room;
      }
    }
  }
}

/** Elements of a head as they lie in memory. */
function strideOf(headSize: number): number {
  return Math.ceil(headSize / 8) * 8;
}
