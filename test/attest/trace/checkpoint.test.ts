import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import {
  checkpointToJson,
  hashCheckpoint,
  parseCheckpoint,
  signCheckpoint,
  verifyCheckpoint,
} from '../../../attest/trace/checkpoint.ts';
import { OPERATOR, OPERATOR_KEY } from '../../support/toy-run.ts';

const home = { chainId: 31_337n, contract: `0x${'0c'.repeat(20)}` } as const;
const checkpoint = {
  run: sha256(utf8('run')),
  size: 41n,
  root: sha256(utf8('root')),
  state: sha256(utf8('state')),
  closed: true,
};
const signed = signCheckpoint(checkpoint, home, OPERATOR_KEY);

describe('checkpoints', () => {
  it('have the digest that was fixed', () => {
    expect(toHex(hashCheckpoint(checkpoint, home))).toBe(
      '0x7a533c52d0ce4158e56f8aed39b8dae3c3f0f541f8a7fac794ee2a595ab6051a',
    );
  });

  it('verify for their signer, and go through JSON unchanged', () => {
    verifyCheckpoint(signed, home, OPERATOR);
    expect(parseCheckpoint(checkpointToJson(signed))).toEqual(signed);
  });

  it.each([
    ['run', { run: sha256(utf8('other')) }],
    ['size', { size: 40n }],
    ['root', { root: sha256(utf8('other')) }],
    ['state', { state: sha256(utf8('other')) }],
    ['closed', { closed: false }],
    ['signature', { signature: new Uint8Array(65) }],
    ['length', { signature: signed.signature.subarray(1) }],
  ])('refuse another %s', (_, change) => {
    expect(() => verifyCheckpoint({ ...signed, ...change }, home, OPERATOR)).toThrow(
      expect.objectContaining({ code: 'SIGNATURE_MISMATCH', at: { field: 'checkpoint.signature' } }),
    );
  });

  it('are of one deployment and one operator', () => {
    const mismatch = expect.objectContaining({ code: 'SIGNATURE_MISMATCH' });
    expect(() => verifyCheckpoint(signed, { ...home, chainId: 1n }, OPERATOR)).toThrow(mismatch);
    expect(() => verifyCheckpoint(signed, { ...home, contract: OPERATOR }, OPERATOR)).toThrow(mismatch);
    expect(() => verifyCheckpoint(signed, home, home.contract)).toThrow(mismatch);
  });

  it.each([
    ['size', 41],
    ['size', '041'],
    ['closed', 1],
    ['root', '0x'],
    ['signature', `0x${'00'.repeat(64)}`],
  ])('refuse the shape %s %j', (field, value) => {
    expect(() => parseCheckpoint({ ...checkpointToJson(signed), [field]: value })).toThrow(
      expect.objectContaining({ code: 'MALFORMED_CHECKPOINT', at: { field: `checkpoint.${field}` } }),
    );
  });
});
