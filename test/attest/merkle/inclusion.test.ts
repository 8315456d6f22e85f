import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fromBase64 } from '../../../attest/encoding/base64.ts';
import { ProofError } from '../../../attest/merkle/errors.ts';
import { computeInclusionRoot, verifyInclusion } from '../../../attest/merkle/inclusion.ts';
import { MAX_TREE_SIZE } from '../../../attest/merkle/node.ts';
import { MerkleTree } from '../../../attest/merkle/tree.ts';
import { flip, someLeaves } from '../../support/merkle-reference.ts';
import { describeVectors, filesBelow } from '../../support/vectors.ts';

const tree = MerkleTree.from(someLeaves(40));

function codeOf(proof: verifyInclusion.Proof, root: Uint8Array): string {
  try {
    verifyInclusion(proof, root);
  } catch (error) {
    if (error instanceof ProofError) return error.code;
    throw error;
  }
  return 'no error';
}

function proofOf(index: number, size: number): verifyInclusion.Proof {
  return { index: BigInt(index), size: BigInt(size), leafHash: tree.leaf(index), path: tree.inclusion(index, size) };
}

describeVectors('merkle-rfc6962/inclusion', (folder) => {
  const files = filesBelow(folder);

  it('has 98 cases', () => {
    expect(files.length).toBe(98);
  });

  it.each(files)('%s', (file) => {
    // Some sizes are beyond what JSON.parse keeps.
    const text = readFileSync(file, 'utf8').replace(/"(leafIdx|treeSize)": (\d+)/g, '"$1": "$2"');
    const data = JSON.parse(text) as {
      leafIdx: string;
      treeSize: string;
      root: string;
      leafHash: string;
      proof: string[] | null;
      wantErr: boolean;
    };
    const proof = {
      index: BigInt(data.leafIdx),
      size: BigInt(data.treeSize),
      leafHash: fromBase64(data.leafHash),
      path: (data.proof ?? []).map((hash) => fromBase64(hash)),
    };
    expect(codeOf(proof, fromBase64(data.root)) !== 'no error').toBe(data.wantErr);
  });
});

describe('verifyInclusion', () => {
  it('accepts every leaf of every size up to 40, and nothing with a bit changed', () => {
    for (let size = 1; size <= 40; size++) {
      const root = tree.root(size);
      for (let index = 0; index < size; index++) {
        const proof = proofOf(index, size);
        const bit = (index * 37 + size * 11) % 256;
        expect(codeOf(proof, root)).toBe('no error');
        expect(computeInclusionRoot(proof)).toEqual(root);
        expect(codeOf(proof, flip(root, bit))).toBe('ROOT_MISMATCH');
        expect(codeOf({ ...proof, leafHash: flip(proof.leafHash, bit) }, root)).toBe('ROOT_MISMATCH');
        proof.path.forEach((hash, i) => {
          expect(codeOf({ ...proof, path: proof.path.with(i, flip(hash, bit)) }, root)).toBe('ROOT_MISMATCH');
        });
      }
    }
  });

  it('refuses a leaf at every other index, in every other size with as long a path, and under every other root', () => {
    const size = 23;
    for (let index = 0; index < size; index++) {
      const proof = proofOf(index, size);
      for (let other = 0; other < size; other++) {
        if (other !== index) expect(codeOf({ ...proof, index: BigInt(other) }, tree.root(size))).not.toBe('no error');
      }
      for (let other = 1; other <= 40; other++) {
        if (other !== size) expect(codeOf(proof, tree.root(other))).toBe('ROOT_MISMATCH');
      }
    }
  });

  it('has a code for each fault', () => {
    const root = tree.root(5);
    const proof = proofOf(2, 5);
    expect(codeOf({ ...proof, index: 5n }, root)).toBe('MALFORMED_INDEX');
    expect(codeOf({ ...proof, index: -1n }, root)).toBe('MALFORMED_INDEX');
    expect(codeOf({ ...proof, index: 0n, size: 0n }, root)).toBe('MALFORMED_INDEX');
    expect(codeOf({ ...proof, size: -5n }, root)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, size: MAX_TREE_SIZE + 1n }, root)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, leafHash: new Uint8Array() }, root)).toBe('MALFORMED_DIGEST');
    expect(codeOf({ ...proof, path: proof.path.with(1, new Uint8Array(33)) }, root)).toBe('MALFORMED_DIGEST');
    expect(codeOf(proof, root.subarray(1))).toBe('MALFORMED_DIGEST');
    expect(codeOf({ ...proof, path: proof.path.slice(1) }, root)).toBe('MALFORMED_PATH');
    expect(codeOf({ ...proof, path: [...proof.path, root] }, root)).toBe('MALFORMED_PATH');
    expect(codeOf({ ...proof, path: Array.from({ length: 100_000 }, () => root) }, root)).toBe('MALFORMED_PATH');
    expect(codeOf({ ...proof, leafHash: root, path: [] }, root)).toBe('MALFORMED_PATH');
  });

  it('takes sizes up to 2^64 - 1', () => {
    const [leafHash = new Uint8Array(32)] = someLeaves(1);
    const path = Array.from({ length: 64 }, (_, i) => new Uint8Array(32).fill(i));
    for (const [index, length] of [
      [0n, 64],
      [1n << 63n, 64],
      [MAX_TREE_SIZE - 1n, 63],
      [MAX_TREE_SIZE - 2n, 64],
    ] as const) {
      const proof = { index, size: MAX_TREE_SIZE, leafHash, path: path.slice(0, length) };
      const root = computeInclusionRoot(proof);
      expect(codeOf(proof, root)).toBe('no error');
      expect(codeOf({ ...proof, index: index ^ 1n }, root)).not.toBe('no error');
    }
  });
});
