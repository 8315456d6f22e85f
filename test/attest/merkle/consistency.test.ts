import { describe, expect, it } from 'vitest';
import { verifyConsistency } from '../../../attest/merkle/consistency.ts';
import { ProofError } from '../../../attest/merkle/errors.ts';
import { MAX_TREE_SIZE } from '../../../attest/merkle/node.ts';
import { emptyRoot, MerkleTree } from '../../../attest/merkle/tree.ts';
import { flip, someLeaves } from '../../support/merkle-reference.ts';

const MOST = 40;
const tree = MerkleTree.from(someLeaves(MOST));

function codeOf(proof: verifyConsistency.Proof, oldRoot: Uint8Array, newRoot: Uint8Array): string {
  try {
    verifyConsistency(proof, oldRoot, newRoot);
  } catch (error) {
    if (error instanceof ProofError) return error.code;
    throw error;
  }
  return 'no error';
}

function proofOf(oldSize: number, newSize: number): verifyConsistency.Proof {
  return { oldSize: BigInt(oldSize), newSize: BigInt(newSize), path: tree.consistency(oldSize, newSize) };
}

describe('verifyConsistency', () => {
  it(`accepts every pair of sizes up to ${MOST}, and nothing with a bit changed`, () => {
    for (let newSize = 1; newSize <= MOST; newSize++) {
      for (let oldSize = 1; oldSize <= newSize; oldSize++) {
        const proof = proofOf(oldSize, newSize);
        const [oldRoot, newRoot] = [tree.root(oldSize), tree.root(newSize)];
        const bit = (oldSize * 37 + newSize * 11) % 256;
        expect(codeOf(proof, oldRoot, newRoot)).toBe('no error');
        expect(codeOf(proof, flip(oldRoot, bit), newRoot)).toBe('ROOT_MISMATCH');
        expect(codeOf(proof, oldRoot, flip(newRoot, bit))).toBe('ROOT_MISMATCH');
        proof.path.forEach((hash, i) => {
          expect(codeOf({ ...proof, path: proof.path.with(i, flip(hash, bit)) }, oldRoot, newRoot)).toBe(
            'ROOT_MISMATCH',
          );
        });
      }
    }
  });

  it('refuses every mutation that the published cases make', () => {
    for (const [oldSize, newSize] of [
      [1, 8],
      [6, 8],
      [2, 5],
      [6, 7],
      [7, 40],
      [32, 33],
    ] as const) {
      const proof = proofOf(oldSize, newSize);
      const { path } = proof;
      const [oldRoot, newRoot] = [tree.root(oldSize), tree.root(newSize)];
      const none = new Uint8Array();
      const probes: readonly (readonly [verifyConsistency.Proof, Uint8Array, Uint8Array])[] = [
        [{ ...proof, oldSize: proof.oldSize - 1n }, oldRoot, newRoot],
        [{ ...proof, oldSize: proof.oldSize + 1n }, oldRoot, newRoot],
        [{ ...proof, oldSize: proof.oldSize ^ 2n }, oldRoot, newRoot],
        [{ ...proof, newSize: proof.newSize * 2n }, oldRoot, newRoot],
        [{ ...proof, newSize: proof.newSize / 2n }, oldRoot, newRoot],
        [proof, new Uint8Array(Buffer.from('WrongRoot')), newRoot],
        [proof, oldRoot, new Uint8Array(Buffer.from('WrongRoot'))],
        [proof, newRoot, oldRoot],
        [{ ...proof, path: [] }, oldRoot, newRoot],
        [{ ...proof, path: path.slice(0, -1) }, oldRoot, newRoot],
        [{ ...proof, path: path.slice(1) }, oldRoot, newRoot],
        ...[none, oldRoot, newRoot].flatMap((extra) => [
          [{ ...proof, path: [...path, extra] }, oldRoot, newRoot] as const,
          [{ ...proof, path: [extra, ...path] }, oldRoot, newRoot] as const,
        ]),
      ];
      probes.forEach(([probe, first, second], i) => {
        expect(codeOf(probe, first, second), `${oldSize} to ${newSize}, probe ${i}`).not.toBe('no error');
      });
    }
  });

  it('refuses every other pair of roots', () => {
    for (let newSize = 2; newSize <= 16; newSize++) {
      for (let oldSize = 1; oldSize < newSize; oldSize++) {
        const proof = proofOf(oldSize, newSize);
        for (let other = 1; other <= 16; other++) {
          if (other !== oldSize) expect(codeOf(proof, tree.root(other), tree.root(newSize))).toBe('ROOT_MISMATCH');
          if (other !== newSize) expect(codeOf(proof, tree.root(oldSize), tree.root(other))).toBe('ROOT_MISMATCH');
        }
      }
    }
  });

  it('compares roots between equal sizes', () => {
    const root = tree.root(7);
    expect(codeOf({ oldSize: 7n, newSize: 7n, path: [] }, root, root.slice())).toBe('no error');
    expect(codeOf({ oldSize: 7n, newSize: 7n, path: [] }, root, tree.root(8))).toBe('ROOT_MISMATCH');
    expect(codeOf({ oldSize: 7n, newSize: 7n, path: [root] }, root, root)).toBe('MALFORMED_PATH');
    expect(codeOf({ oldSize: 0n, newSize: 0n, path: [] }, emptyRoot, emptyRoot)).toBe('no error');
    expect(codeOf({ oldSize: 0n, newSize: 0n, path: [] }, emptyRoot, root)).toBe('ROOT_MISMATCH');
    expect(codeOf({ oldSize: 0n, newSize: 0n, path: [root] }, emptyRoot, emptyRoot)).toBe('MALFORMED_PATH');
  });

  it('has a code for each other fault', () => {
    const proof = proofOf(3, 7);
    const [oldRoot, newRoot] = [tree.root(3), tree.root(7)];
    expect(codeOf({ ...proof, oldSize: 0n, path: [] }, emptyRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, oldSize: 0n }, emptyRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, oldSize: 8n }, oldRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, oldSize: -3n }, oldRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, newSize: -7n }, oldRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf({ ...proof, newSize: MAX_TREE_SIZE + 1n }, oldRoot, newRoot)).toBe('MALFORMED_SIZE');
    expect(codeOf(proof, oldRoot.subarray(1), newRoot)).toBe('MALFORMED_DIGEST');
    expect(codeOf(proof, oldRoot, new Uint8Array(33))).toBe('MALFORMED_DIGEST');
    expect(codeOf({ ...proof, path: proof.path.with(0, new Uint8Array()) }, oldRoot, newRoot)).toBe('MALFORMED_DIGEST');
    expect(codeOf({ ...proof, path: [] }, oldRoot, newRoot)).toBe('MALFORMED_PATH');
  });

  it('takes sizes up to 2^64 - 1', () => {
    const path = Array.from({ length: 64 }, (_, i) => new Uint8Array(32).fill(i));
    const proof = { oldSize: 1n << 63n, newSize: MAX_TREE_SIZE, path: path.slice(0, 1) };
    expect(codeOf(proof, tree.root(1), tree.root(2))).toBe('ROOT_MISMATCH');
    expect(codeOf({ ...proof, oldSize: MAX_TREE_SIZE - 1n, path: path.slice(0, 64) }, tree.root(1), tree.root(2))).toBe(
      'ROOT_MISMATCH',
    );
    expect(codeOf({ ...proof, oldSize: MAX_TREE_SIZE }, tree.root(1), tree.root(1))).toBe('MALFORMED_PATH');
  });
});
