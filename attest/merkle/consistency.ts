/**
 * Consistency proofs: "the tree of `oldSize` leaves under `oldRoot` is a prefix of the tree of `newSize` leaves under
 * `newRoot`".
 *
 * Spec: `attest/spec/encoding.md#consistency-proofs`.
 *
 * @module
 */

import { equalBytes } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { ProofError } from './errors.ts';
import { assertDigest, assertSize, hashNode, pathShape } from './node.ts';

/**
 * Checks that one tree continues another; returns only if it does.
 *
 * Between equal sizes nothing is hashed: the path must be empty and the roots the same bytes. Nothing is proved from an
 * empty tree to a larger one, since every tree continues the empty one.
 *
 * @param proof - untrusted
 * @param oldRoot - trusted root of the first `proof.oldSize` leaves
 * @param newRoot - root of `proof.newSize` leaves
 * @throws {@link ProofError} `MALFORMED_SIZE` unless both sizes are uint64, `oldSize <= newSize`, and `oldSize` is 0 only
 *   if `newSize` is
 * @throws {@link ProofError} `MALFORMED_DIGEST` if any hash is not 32 bytes
 * @throws {@link ProofError} `MALFORMED_PATH` if the path is too short or too long for those sizes
 * @throws {@link ProofError} `ROOT_MISMATCH` if the path leads to another old or new root (`at.root`)
 * @see RFC 9162 §2.1.4.2
 */
export function verifyConsistency(proof: verifyConsistency.Proof, oldRoot: Digest, newRoot: Digest): void {
  const { oldSize, newSize, path } = proof;
  assertSize(oldSize, 'oldSize');
  assertSize(newSize, 'newSize');
  if (oldSize > newSize)
    throw new ProofError('MALFORMED_SIZE', `old size ${oldSize} is greater than new size ${newSize}`);
  if (oldSize === newSize) {
    if (path.length !== 0) throw new ProofError('MALFORMED_PATH', `path between equal sizes has ${path.length} hashes`);
    assertRoot(newRoot, oldRoot, 'new');
    return;
  }
  if (oldSize === 0n) throw new ProofError('MALFORMED_SIZE', 'nothing is proved from an empty tree');
  assertDigest(oldRoot, 'oldRoot');
  assertDigest(newRoot, 'newRoot');

  // The path is that of the last old leaf in the new tree, cut off below its largest complete old subtree; the hash of
  // that subtree comes first, unless it is the old tree itself.
  const shift = trailingZeros(oldSize);
  const shape = pathShape(oldSize - 1n, newSize);
  const inner = shape.inner - shift;
  const isComplete = oldSize === 1n << BigInt(shift);
  const expected = inner + shape.border + (isComplete ? 0 : 1);
  if (path.length !== expected) {
    throw new ProofError('MALFORMED_PATH', `path has ${path.length} hashes, expected ${expected}`);
  }
  path.forEach((hash, i) => {
    assertDigest(hash, `path[${i}]`);
  });
  const [seed, siblings] = isComplete ? [oldRoot, path] : [path[0] as Digest, path.slice(1)];
  const index = (oldSize - 1n) >> BigInt(shift);
  let oldHash = seed;
  let newHash = seed;
  siblings.forEach((sibling, level) => {
    if (level < inner && ((index >> BigInt(level)) & 1n) === 0n) {
      newHash = hashNode(newHash, sibling);
    } else {
      oldHash = hashNode(sibling, oldHash);
      newHash = hashNode(sibling, newHash);
    }
  });
  assertRoot(oldHash, oldRoot, 'old');
  assertRoot(newHash, newRoot, 'new');
}

export declare namespace verifyConsistency {
  type Proof = {
    /** Number of leaves of the older tree, uint64. */
    readonly oldSize: bigint;
    /** Number of leaves of the newer tree, uint64. */
    readonly newSize: bigint;
    /** Hashes of RFC 9162 §2.1.4.1, 32 bytes each. */
    readonly path: readonly Digest[];
  };
}

function assertRoot(computed: Digest, expected: Digest, root: 'old' | 'new'): void {
  if (!equalBytes(computed, expected)) {
    throw new ProofError('ROOT_MISMATCH', `path leads to another ${root} root`, { at: { root } });
  }
}

function trailingZeros(value: bigint): number {
  let count = 0;
  for (let rest = value; (rest & 1n) === 0n; rest >>= 1n) count++;
  return count;
}
