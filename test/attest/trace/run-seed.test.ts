import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import { ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { computeInferenceSeed, computeRunSeed } from '../../../attest/trace/run-seed.ts';

const sha = (hex: string) => `0x${createHash('sha256').update(Buffer.from(hex, 'hex')).digest('hex')}`;
const digest = new Uint8Array(32).fill(0xab);
const name = (text: string) => Buffer.from(text).toString('hex');

it('follows from the request digest', () => {
  expect(toHex(computeRunSeed(digest))).toBe(sha(name('tracebond/seed/1') + 'ab'.repeat(32)));
});

it('follows from run seed, index and own seed, big-endian', () => {
  const expected = sha(`${name('tracebond/draw/1')}${'ab'.repeat(32)}00000000000001020000000000000007`);
  expect(toHex(computeInferenceSeed(digest, 258n, 7n))).toBe(expected);
});

it('differs with the place and the own seed', () => {
  const seeds = [
    computeInferenceSeed(ZERO_DIGEST, 0n, 0n),
    computeInferenceSeed(digest, 0n, 0n),
    computeInferenceSeed(ZERO_DIGEST, 1n, 0n),
    computeInferenceSeed(ZERO_DIGEST, 0n, 1n),
  ];
  expect(new Set(seeds.map(toHex)).size).toBe(4);
});

it('refuses what has another width', () => {
  expect(() => computeRunSeed(new Uint8Array(31))).toThrow(RangeError);
  expect(() => computeInferenceSeed(new Uint8Array(33), 0n, 0n)).toThrow(RangeError);
  expect(() => computeInferenceSeed(digest, 1n << 64n, 0n)).toThrow(RangeError);
  expect(() => computeInferenceSeed(digest, 0n, -1n)).toThrow(RangeError);
});
