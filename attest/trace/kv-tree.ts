/**
 * The key-value store of a run as a sparse Merkle tree: 256 levels, the path of a key is SHA-256(key), an empty
 * subtree is 32 zero bytes, a leaf is SHA-256(0x02 || path || value commitment), a node SHA-256(0x01 || left || right).
 *
 * Spec: `attest/spec/trace.md#state`.
 *
 * @module
 */

import { equalBytes, toHex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256, taggedHash, ZERO_DIGEST } from '../core/hash.ts';

type Entry = { readonly path: Digest; readonly leaf: Digest; readonly value: Digest };

/** Value commitments by key, with the root over them. Memory is linear in the number of keys. */
export class KvTree {
  readonly #entries = new Map<string, Entry>();

  /** Path of a key in the tree. */
  static pathOf(key: string): Digest {
    return sha256(utf8(key));
  }

  /** Commitment of the value at `key`, or zero. */
  get(key: string): Digest {
    return this.#entries.get(toHex(KvTree.pathOf(key)))?.value ?? ZERO_DIGEST;
  }

  /** Puts the commitment of a value at `key`. */
  set(key: string, value: Digest): void {
    const path = KvTree.pathOf(key);
    this.#entries.set(toHex(path), { path, value, leaf: taggedHash('payload', path, value) });
  }

  /** Root over all entries; zero when there are none. */
  root(): Digest {
    return rootOf([...this.#entries.values()], 0);
  }
}

function rootOf(entries: readonly Entry[], depth: number): Digest {
  if (entries.length === 0) return ZERO_DIGEST;
  if (depth === 256) return (entries[0] as Entry).leaf;
  const left = rootOf(
    entries.filter((entry) => bitAt(entry.path, depth) === 0),
    depth + 1,
  );
  const right = rootOf(
    entries.filter((entry) => bitAt(entry.path, depth) === 1),
    depth + 1,
  );
  if (equalBytes(left, ZERO_DIGEST) && equalBytes(right, ZERO_DIGEST)) return ZERO_DIGEST;
  return taggedHash('node', left, right);
}

function bitAt(path: Digest, depth: number): number {
  return ((path[depth >> 3] as number) >> (7 - (depth & 7))) & 1;
}
