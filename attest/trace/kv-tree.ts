/**
 * The key-value store of a run as a sparse Merkle tree: 256 levels, the path of a key is SHA-256(key), an empty
 * subtree is 32 zero bytes, a leaf is SHA-256(0x02 || path || value commitment), a node SHA-256(0x01 || left || right).
 *
 * A subtree with one key is kept as one entry, so that a write costs a few hundred hashes, however many keys there are.
 *
 * Spec: `attest/spec/trace.md#state`.
 *
 * @module
 */

import { equalBytes, toHex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256, taggedHash, ZERO_DIGEST } from '../core/hash.ts';

const LEVELS = 256;

/** The one key of a subtree, with the leaf hash folded up to the level where the subtree begins. */
type Single = { readonly path: Digest; readonly leaf: Digest; readonly hash: Digest };

/** A subtree with two keys or more. */
type Branch = { readonly left: Subtree; readonly right: Subtree; readonly hash: Digest };

type Subtree = Single | Branch | undefined;

/** Value commitments by key, with the root over them. Memory is linear in the number of keys. */
export class KvTree {
  readonly #values = new Map<string, Digest>();
  #root: Subtree;

  /** Path of a key in the tree. */
  static pathOf(key: string): Digest {
    return sha256(utf8(key));
  }

  /** Commitment of the value at `key`, or zero. */
  get(key: string): Digest {
    return this.#values.get(toHex(KvTree.pathOf(key))) ?? ZERO_DIGEST;
  }

  /** Puts the commitment of a value at `key`. */
  set(key: string, value: Digest): void {
    const path = KvTree.pathOf(key);
    this.#values.set(toHex(path), value);
    this.#root = insert(this.#root, path, taggedHash('payload', path, value), 0);
  }

  /** Root over all entries; zero when there are none. */
  root(): Digest {
    return this.#root?.hash ?? ZERO_DIGEST;
  }
}

function insert(subtree: Subtree, path: Digest, leaf: Digest, level: number): Single | Branch {
  if (subtree === undefined) return single(path, leaf, level);
  if ('path' in subtree) {
    if (equalBytes(subtree.path, path)) return single(path, leaf, level);
    // Two keys share this subtree from here on: the old one moves a level down, and the new one is put beside or below it.
    const moved = single(subtree.path, subtree.leaf, level + 1);
    return insert(
      bitAt(subtree.path, level) === 0 ? branch(moved, undefined) : branch(undefined, moved),
      path,
      leaf,
      level,
    );
  }
  return bitAt(path, level) === 0
    ? branch(insert(subtree.left, path, leaf, level + 1), subtree.right)
    : branch(subtree.left, insert(subtree.right, path, leaf, level + 1));
}

function single(path: Digest, leaf: Digest, level: number): Single {
  let hash = leaf;
  for (let at = LEVELS - 1; at >= level; at--) {
    hash = bitAt(path, at) === 0 ? taggedHash('node', hash, ZERO_DIGEST) : taggedHash('node', ZERO_DIGEST, hash);
  }
  return { path, leaf, hash };
}

function branch(left: Subtree, right: Subtree): Branch {
  return { left, right, hash: taggedHash('node', left?.hash ?? ZERO_DIGEST, right?.hash ?? ZERO_DIGEST) };
}

function bitAt(path: Digest, level: number): number {
  return ((path[level >> 3] as number) >> (7 - (level & 7))) & 1;
}
