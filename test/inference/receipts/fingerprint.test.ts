import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { fingerprintOf } from '../../../inference/receipts/fingerprint.ts';

const digest = (digit: string): Hex => `0x${digit.repeat(64)}`;
const IDENTITY = { model: digest('1'), profile: digest('2'), engine: digest('3') };

it('a fingerprint is that of model, profile and engine, in this order', () => {
  const bytes = Buffer.from(['1', '2', '3'].map((digit) => digit.repeat(64)).join(''), 'hex');
  const expected = `fp_${createHash('sha256').update(bytes).digest('hex').slice(0, 20)}`;
  expect(fingerprintOf(IDENTITY)).toBe(expected);
  for (const field of ['model', 'profile', 'engine'] as const) {
    expect([field, fingerprintOf({ ...IDENTITY, [field]: digest('9') })]).not.toEqual([field, expected]);
  }
});
