/**
 * What the tree, its inclusion proofs and its consistency proofs share: the inner node's hash, and the shape of a path.
 *
 * Spec: `attest/spec/encoding.md#tree`.
 *
 * @module
 */

import { type Digest, taggedHash } from '../core/hash.ts';
import { ProofError } from './errors.ts';

/** Greatest number of leaves: sizes are uint64. */
export const MAX_TREE_SIZE = (1n << 64n) - 1n;

/** Hash of an inner node: SHA-256(0x01 || left || right). */
export function hashNode(left: Digest, right: Digest): Digest {
  return taggedHash('node', left, right);
}

/** @throws {@link ProofError} `MALFORMED_DIGEST` unless `digest` is 32 bytes */
export function assertDigest(digest: Digest, name: string): void {
  if (digest.length !== 32) {
    throw new ProofError('MALFORMED_DIGEST', `${name} has ${digest.length} bytes, expected 32`, { at: { name } });
  }
}

/** @throws {@link ProofError} `MALFORMED_SIZE` unless `0 <= size < 2^64` */
export function assertSize(size: bigint, name: string): void {
  if (size < 0n || size > MAX_TREE_SIZE)
    throw new ProofError('MALFORMED_SIZE', `${name} ${size} is no uint64`, { at: { name } });
}

/**
 * Parts of the path of leaf `index` in a tree of `size` leaves: `inner` levels below the point where the way to the
 * leaf and the way to the last leaf part, then `border` left siblings above it.
 */
export function pathShape(index: bigint, size: bigint): { readonly inner: number; readonly border: number } {
  const inner = bitLength(index ^ (size - 1n));
  return { inner, border: onesCount(index >> BigInt(inner)) };
}

/** Number of bits of an unsigned integer; 0 for 0. */
function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

function onesCount(value: bigint): number {
  let count = 0;
  for (let rest = value; rest > 0n; rest >>= 1n) if (rest & 1n) count++;
  return count;
}
