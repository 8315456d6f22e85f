/**
 * The append-only tree of RFC 9162 over leaf hashes that the caller has computed: `MerkleTree` keeps every node and
 * gives proofs, `MerkleAccumulator` keeps only what the root needs.
 *
 * Spec: `attest/spec/encoding.md#tree`.
 *
 * @module
 */

import { type Digest, sha256 } from '../core/hash.ts';
import { ProofError } from './errors.ts';
import { assertDigest, hashNode } from './node.ts';

/** Root of the tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Digest = sha256();

/** A tree in memory: about 2 hashes a leaf. It keeps references to the leaf hashes it is given. */
export class MerkleTree {
  /** `#levels[k][i]` = hash of the complete subtree of leaves `[i * 2^k, (i + 1) * 2^k)`. */
  readonly #levels: Digest[][] = [[]];

  /** A tree of `leafHashes`, in order. */
  static from(leafHashes: Iterable<Digest>): MerkleTree {
    const tree = new MerkleTree();
    for (const leafHash of leafHashes) tree.append(leafHash);
    return tree;
  }

  /** Number of leaves. */
  get size(): bigint {
    return BigInt(this.#count);
  }

  /**
   * Adds a leaf at the end; returns its index.
   *
   * @throws {@link ProofError} `MALFORMED_DIGEST` unless it is 32 bytes
   */
  append(leafHash: Digest): bigint {
    assertDigest(leafHash, 'leafHash');
    const index = this.size;
    let hash = leafHash;
    for (let level = 0; ; level++) {
      let nodes = this.#levels[level];
      if (nodes === undefined) {
        nodes = [];
        this.#levels.push(nodes);
      }
      nodes.push(hash);
      if (nodes.length % 2 === 1) return index;
      hash = hashNode(nodes.at(-2) as Digest, hash);
    }
  }

  /**
   * Hash of leaf `index`.
   *
   * @throws {@link ProofError} `MALFORMED_INDEX` unless `0 <= index < size`
   */
  leaf(index: bigint | number): Digest {
    return this.#levels[0]?.[this.#index(index, this.#count)] as Digest;
  }

  /**
   * Root of the first `size` leaves, of all by default.
   *
   * @throws {@link ProofError} `MALFORMED_SIZE` unless `0 <= size <= this.size`
   */
  root(size: bigint | number = this.#count): Digest {
    const end = this.#size(size, 'size');
    return end === 0 ? emptyRoot : this.#hash(0, end);
  }

  /**
   * Path of leaf `index` in the tree of the first `size` leaves, from the leaf upward.
   *
   * @throws {@link ProofError} `MALFORMED_SIZE` unless `0 <= size <= this.size`, `MALFORMED_INDEX` unless `0 <= index < size`
   * @see RFC 9162 §2.1.3.1
   */
  inclusion(index: bigint | number, size: bigint | number = this.#count): Digest[] {
    let end = this.#size(size, 'size');
    const leaf = this.#index(index, end);
    const path: Digest[] = [];
    for (let start = 0; end - start > 1; ) {
      const middle = start + split(end - start);
      if (leaf < middle) {
        path.push(this.#hash(middle, end));
        end = middle;
      } else {
        path.push(this.#hash(start, middle));
        start = middle;
      }
    }
    return path.reverse();
  }

  /**
   * Path that shows the first `oldSize` leaves to be a prefix of the first `newSize`; empty if both are equal.
   *
   * @throws {@link ProofError} `MALFORMED_SIZE` unless `1 <= oldSize <= newSize <= this.size`, or both are 0
   * @see RFC 9162 §2.1.4.1
   */
  consistency(oldSize: bigint | number, newSize: bigint | number = this.#count): Digest[] {
    let end = this.#size(newSize, 'newSize');
    const old = this.#size(oldSize, 'oldSize');
    if (old > end || (old === 0 && end !== 0)) {
      throw new ProofError('MALFORMED_SIZE', `no proof from ${old} to ${end} leaves`);
    }
    const path: Digest[] = [];
    let start = 0;
    while (end !== old) {
      const middle = start + split(end - start);
      if (old <= middle) {
        path.push(this.#hash(middle, end));
        end = middle;
      } else {
        path.push(this.#hash(start, middle));
        start = middle;
      }
    }
    if (start !== 0) path.push(this.#hash(start, end));
    return path.reverse();
  }

  get #count(): number {
    return this.#levels[0]?.length ?? 0;
  }

  #size(size: bigint | number, name: string): number {
    const count = Number(size);
    if (!Number.isInteger(count) || count < 0 || count > this.#count) {
      throw new ProofError('MALFORMED_SIZE', `${name} ${size} is beyond a tree of ${this.#count} leaves`);
    }
    return count;
  }

  #index(index: bigint | number, size: number): number {
    const leaf = Number(index);
    if (!Number.isInteger(leaf) || leaf < 0 || leaf >= size) {
      throw new ProofError('MALFORMED_INDEX', `leaf ${index} is outside a tree of ${size} leaves`);
    }
    return leaf;
  }

  /** Hash of leaves `[start, end)`, a subtree of the tree's shape; at most one stored node a level. */
  #hash(start: number, end: number): Digest {
    const peaks: Digest[] = [];
    for (let from = start; from < end; ) {
      const width = floorPowerOfTwo(end - from);
      peaks.push(this.#levels[31 - Math.clz32(width)]?.[from / width] as Digest);
      from += width;
    }
    return foldPeaks(peaks);
  }
}

/** The tree's root without the tree: memory grows with the logarithm of the number of leaves. */
export class MerkleAccumulator {
  /** Complete subtrees from left to right, each smaller than the one before. */
  readonly #peaks: Digest[] = [];
  #size = 0n;

  /** Number of leaves. */
  get size(): bigint {
    return this.#size;
  }

  /**
   * Adds a leaf at the end; returns its index.
   *
   * @throws {@link ProofError} `MALFORMED_DIGEST` unless it is 32 bytes
   */
  append(leafHash: Digest): bigint {
    assertDigest(leafHash, 'leafHash');
    let hash = leafHash;
    for (let rest = this.#size; rest & 1n; rest >>= 1n) hash = hashNode(this.#peaks.pop() as Digest, hash);
    this.#peaks.push(hash);
    return this.#size++;
  }

  /** Root of all leaves so far. */
  root(): Digest {
    return this.#peaks.length === 0 ? emptyRoot : foldPeaks(this.#peaks);
  }
}

/** Joins complete subtrees from the right, as the tree's shape does; at least one. */
function foldPeaks(peaks: readonly Digest[]): Digest {
  return peaks.reduceRight((right, left) => hashNode(left, right));
}

/** The largest power of two below `count` (RFC 9162's k); `count` is at least 2. */
function split(count: number): number {
  return floorPowerOfTwo(count - 1);
}

function floorPowerOfTwo(count: number): number {
  let power = 1;
  while (power * 2 <= count) power *= 2;
  return power;
}
