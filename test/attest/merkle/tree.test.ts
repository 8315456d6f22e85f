import { describe, expect, it } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import { ProofError } from '../../../attest/merkle/errors.ts';
import { emptyRoot, MerkleAccumulator, MerkleTree } from '../../../attest/merkle/tree.ts';
import { leafOf, pathOf, proofOf, rootOf, someLeaves } from '../../support/merkle-reference.ts';

const MOST = 40;
const leaves = someLeaves(MOST);

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ProofError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('MerkleTree', () => {
  it('has the roots of Certificate Transparency', () => {
    // The eight leaves and roots that every implementation of RFC 6962 is tested with.
    const data = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
    const tree = MerkleTree.from(data.map((hex) => leafOf(new Uint8Array(Buffer.from(hex, 'hex')))));
    expect(toHex(tree.root(0))).toBe('0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(toHex(tree.root(1))).toBe('0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
    expect(toHex(tree.root(3))).toBe('0xaeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77');
    expect(toHex(tree.root(7))).toBe('0xddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c');
    expect(toHex(tree.root())).toBe('0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328');
  });

  it(`gives every root, path and proof of the definition up to ${MOST} leaves`, () => {
    const tree = MerkleTree.from(leaves);
    expect(tree.size).toBe(BigInt(MOST));
    for (let size = 0; size <= MOST; size++) {
      const part = leaves.slice(0, size);
      expect(tree.root(size)).toEqual(rootOf(part));
      expect(MerkleTree.from(part).root()).toEqual(rootOf(part));
      for (let index = 0; index < size; index++) expect(tree.inclusion(index, size)).toEqual(pathOf(index, part));
      for (let old = 1; old <= size; old++)
        expect(tree.consistency(BigInt(old), BigInt(size))).toEqual(proofOf(old, part));
    }
    expect(tree.consistency(0, 0)).toEqual([]);
    expect(tree.leaf(7)).toEqual(leaves[7]);
  });

  it('counts as it grows', () => {
    const tree = new MerkleTree();
    expect(tree.size).toBe(0n);
    expect(tree.root()).toEqual(emptyRoot);
    expect(leaves.map((leaf) => tree.append(leaf))).toEqual(leaves.map((_, i) => BigInt(i)));
  });

  it('has no leaf and no size beyond itself', () => {
    const tree = MerkleTree.from(leaves.slice(0, 5));
    for (const size of [6, -1, 1.5, Number.NaN, 1n << 64n, -1n]) {
      expect(codeOf(() => tree.root(size))).toBe('MALFORMED_SIZE');
      expect(codeOf(() => tree.inclusion(0, size))).toBe('MALFORMED_SIZE');
      expect(codeOf(() => tree.consistency(1, size))).toBe('MALFORMED_SIZE');
      expect(codeOf(() => tree.consistency(size, 5))).toBe('MALFORMED_SIZE');
    }
    for (const index of [5, -1, 0.5, 1n << 64n]) {
      expect(codeOf(() => tree.inclusion(index))).toBe('MALFORMED_INDEX');
      expect(codeOf(() => tree.leaf(index))).toBe('MALFORMED_INDEX');
    }
    expect(codeOf(() => tree.inclusion(3, 3))).toBe('MALFORMED_INDEX');
    expect(codeOf(() => tree.inclusion(0, 0))).toBe('MALFORMED_INDEX');
    expect(codeOf(() => tree.consistency(4, 3))).toBe('MALFORMED_SIZE');
    expect(codeOf(() => tree.consistency(0, 3))).toBe('MALFORMED_SIZE');
    expect(codeOf(() => tree.append(new Uint8Array(31)))).toBe('MALFORMED_DIGEST');
    expect(tree.size).toBe(5n);
  });
});

describe('MerkleAccumulator', () => {
  it('has the root of the tree at every size', () => {
    const accumulator = new MerkleAccumulator();
    const tree = new MerkleTree();
    expect(accumulator.root()).toEqual(emptyRoot);
    for (const leaf of someLeaves(300)) {
      expect(accumulator.append(leaf)).toBe(tree.append(leaf));
      expect(accumulator.size).toBe(tree.size);
      expect(accumulator.root()).toEqual(tree.root());
    }
    expect(codeOf(() => accumulator.append(new Uint8Array(33)))).toBe('MALFORMED_DIGEST');
    expect(accumulator.root()).toEqual(tree.root());
  });
});
