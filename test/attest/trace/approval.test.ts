import { describe, expect, it } from 'vitest';
import { fromHex, type Hex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import {
  type ApprovalPlace,
  hashApproval,
  parseApproval,
  recoverApprover,
  signApproval,
} from '../../../attest/trace/approval.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';

const KEY = sha256(utf8('an approver'));
const place: ApprovalPlace = { run: sha256(utf8('run')), index: 3n, request: `0x${'ab'.repeat(32)}` };
const decision = { approved: true, note: 'fine – ok' };

describe('an approval', () => {
  it('is recovered to the address of its key', () => {
    const signature = signApproval(decision, place, OFF_CHAIN, KEY);
    expect(recoverApprover(decision, place, OFF_CHAIN, signature)).toBe(addressOf(KEY));
  });

  it('has a digest of its own for each thing that it says, and for each place', () => {
    const digests = [
      hashApproval(decision, place, OFF_CHAIN),
      hashApproval({ ...decision, approved: false }, place, OFF_CHAIN),
      hashApproval({ ...decision, note: '' }, place, OFF_CHAIN),
      hashApproval({ ...decision, note: 'fine – ok ' }, place, OFF_CHAIN),
      hashApproval(decision, { ...place, run: sha256(utf8('other')) }, OFF_CHAIN),
      hashApproval(decision, { ...place, index: 4n }, OFF_CHAIN),
      hashApproval(decision, { ...place, request: `0x${'ac'.repeat(32)}` }, OFF_CHAIN),
      hashApproval(decision, place, { ...OFF_CHAIN, chainId: 1n }),
      hashApproval(decision, place, { ...OFF_CHAIN, contract: `0x${'11'.repeat(20)}` }),
    ].map((digest) => Buffer.from(digest).toString('hex'));
    expect(new Set(digests).size).toBe(digests.length);
  });

  it('is recovered to nobody, or to another, from another signature', () => {
    const signature = signApproval(decision, place, OFF_CHAIN, KEY);
    const bytes = fromHex(signature);
    for (let at = 0; at < 65; at += 8) {
      const flipped = Uint8Array.from(bytes);
      flipped[at] = (flipped[at] as number) ^ 1;
      const text = `0x${Buffer.from(flipped).toString('hex')}` as Hex;
      let found: string;
      try {
        found = recoverApprover(decision, place, OFF_CHAIN, text);
      } catch (error) {
        found = (error as { readonly name: string }).name;
      }
      expect(found).not.toBe(addressOf(KEY));
    }
  });

  const right = { approved: true, approver: addressOf(KEY), note: '', signature: `0x${'11'.repeat(65)}` };
  const wrong: readonly (readonly [string, Json, string])[] = [
    ['nothing', null, 'response'],
    ['a list', [], 'response'],
    ['too little', { approved: true, approver: null, note: '' }, 'response'],
    ['too much', { ...right, more: 1 }, 'response'],
    ['a word for approved', { ...right, approved: 'true' }, 'response.approved'],
    ['an address in other letters', { ...right, approver: addressOf(KEY).toUpperCase() }, 'response.approver'],
    ['a short address', { ...right, approver: '0x00' }, 'response.approver'],
    ['a short signature', { ...right, signature: '0x00' }, 'response.signature'],
    ['a long note', { ...right, note: 'x'.repeat(2001) }, 'response.note'],
    ['no note', { ...right, note: null }, 'response.note'],
  ];
  it.each(wrong)('is not %s', (_name, value, field) => {
    expect(() => parseApproval(value, 'response')).toThrow(
      expect.objectContaining({
        code: 'MALFORMED_PAYLOAD',
        at: expect.objectContaining({ field: expect.stringContaining(field) }),
      }),
    );
  });

  it('is read as it is', () => {
    expect(parseApproval(right, 'response')).toEqual(right);
    expect(parseApproval({ ...right, approver: null, signature: null }, 'response')).toMatchObject({ approver: null });
  });
});
