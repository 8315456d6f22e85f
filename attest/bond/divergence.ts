/**
 * Where two histories of one run part, with the proofs that the contract asks for.
 *
 * Spec: `attest/spec/bond.md#equivocation`.
 *
 * @module
 */

import { equalBytes } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { MerkleTree } from '../merkle/tree.ts';
import type { Divergence } from './chain.ts';

/** Hash and inclusion path of the leaves `[index * 2^level, (index + 1) * 2^level)`, which must lie in the tree. */
export function proveSubtree(
  leaves: readonly Digest[],
  level: number,
  index: number,
): { readonly node: Digest; readonly path: Digest[] } {
  const start = index * 2 ** level;
  const end = start + 2 ** level;
  if (end > leaves.length) throw new RangeError(`leaves ${start} to ${end} are outside a tree of ${leaves.length}`);
  const path = MerkleTree.from(leaves).inclusion(start).slice(level);
  return { node: MerkleTree.from(leaves.slice(start, end)).root(), path };
}

/**
 * The first leaf below both sizes that differs, as the contract wants it shown.
 *
 * @param a - leaf hashes of one history
 * @param b - leaf hashes of the other; the order is free
 * @returns undefined when one history is a prefix of the other
 */
export function computeDivergence(a: readonly Digest[], b: readonly Digest[]): Divergence | undefined {
  const [shorter, longer] = a.length <= b.length ? [a, b] : [b, a];
  const index = shorter.findIndex((leaf, i) => !equalBytes(leaf, longer[i] as Digest));
  if (index < 0) return undefined;
  const left = proveSubtree(shorter, 0, index);
  const right = proveSubtree(longer, 0, index);
  return {
    level: 0,
    index: BigInt(index),
    shorterNode: left.node,
    shorterPath: left.path,
    longerNode: right.node,
    longerPath: right.path,
  };
}
