/**
 * Inclusion proofs: "leaf `index` of the `size` leaves committed to by `root` has the hash `leafHash`". Tree shape and
 * prefixes are those of RFC 9162 §2.1.
 *
 * Spec: `attest/spec/encoding.md#inclusion-proofs`.
 *
 * @module
 */

import { equalBytes } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { ProofError } from './errors.ts';
import { assertDigest, assertSize, hashNode, pathShape } from './node.ts';

/**
 * Checks that a leaf is committed to by a root; returns only if it is.
 *
 * @param proof - untrusted
 * @param root - trusted root of the tree of `proof.size` leaves
 * @throws {@link ProofError} `MALFORMED_SIZE` unless `size` is a uint64
 * @throws {@link ProofError} `MALFORMED_INDEX` unless `0 <= index < size`
 * @throws {@link ProofError} `MALFORMED_DIGEST` if any hash is not 32 bytes
 * @throws {@link ProofError} `MALFORMED_PATH` if the path is too short or too long for that tree
 * @throws {@link ProofError} `ROOT_MISMATCH` if the path leads to another root
 * @see RFC 9162 §2.1.3.2
 */
export function verifyInclusion(proof: verifyInclusion.Proof, root: Digest): void {
  assertDigest(root, 'root');
  if (!equalBytes(computeInclusionRoot(proof), root)) {
    throw new ProofError('ROOT_MISMATCH', `path of leaf ${proof.index} leads to another root`);
  }
}

/**
 * The root to which an inclusion proof leads.
 *
 * @param proof - untrusted
 * @throws {@link ProofError} as {@link verifyInclusion}, but for `ROOT_MISMATCH`
 */
export function computeInclusionRoot(proof: verifyInclusion.Proof): Digest {
  const { index, size, leafHash, path } = proof;
  assertSize(size, 'size');
  if (index < 0n || index >= size) {
    throw new ProofError('MALFORMED_INDEX', `leaf ${index} is outside a tree of ${size} leaves`);
  }
  assertDigest(leafHash, 'leafHash');
  const { inner, border } = pathShape(index, size);
  if (path.length !== inner + border) {
    throw new ProofError('MALFORMED_PATH', `path has ${path.length} hashes, expected ${inner + border}`);
  }
  let hash = leafHash;
  path.forEach((sibling, level) => {
    assertDigest(sibling, `path[${level}]`);
    const isLeft = level < inner && ((index >> BigInt(level)) & 1n) === 0n;
    hash = isLeft ? hashNode(hash, sibling) : hashNode(sibling, hash);
  });
  return hash;
}

export declare namespace verifyInclusion {
  type Proof = {
    /** Position of the leaf, `[0, size)`. */
    readonly index: bigint;
    /** Number of leaves of the tree, uint64. */
    readonly size: bigint;
    /** Leaf hash, 32 bytes. */
    readonly leafHash: Digest;
    /** Siblings from the leaf upward, 32 bytes each. */
    readonly path: readonly Digest[];
  };
}
