import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { jsonPayload, type Payload, textPayload } from '../../../attest/trace/payload.ts';
import type { GuestState } from '../../../attest/verify/executor.ts';
import { compareGuestResult } from '../../../attest/verify/guest-result.ts';

const SALT = new Uint8Array(32);
const FIELD = 'body.result';
const still = { calls: [], fuelUsed: 7n };
const done = (value: Json): GuestState => ({ ...still, status: 'done', value });
const failed = (code: string, message: string): GuestState => ({
  ...still,
  status: 'failed',
  error: { code, message },
});

/** As a record holds it: what is undefined is withheld. */
const recorded = (result: Json | undefined, message?: string): ReadonlyMap<string, Payload> =>
  new Map([
    ...(result === undefined ? [] : [[FIELD, jsonPayload(result, SALT)] as const]),
    ...(message === undefined ? [] : [['body.error.message', textPayload(message, SALT)] as const]),
  ]);
const fault = (code: string) => ({ code, message: '0x…' });

describe('compareGuestResult', () => {
  it('finds nothing where the record is what the guest gave', () => {
    expect(compareGuestResult(recorded({ a: 1 }), done({ a: 1 }), '0x…', null, FIELD)).toBeUndefined();
    const state = failed('TRAP', 'unreachable');
    expect(compareGuestResult(recorded(undefined, 'unreachable'), state, null, fault('TRAP'), FIELD)).toBeUndefined();
    expect(compareGuestResult(recorded(undefined), { ...still, status: 'waiting' }, null, null, FIELD)).toBeUndefined();
  });

  it.each([
    ['another result', recorded({ a: 2 }), done({ a: 1 }), '0x…', null, `${FIELD}.a`],
    ['a result that there is not', recorded(1), failed('TRAP', ''), '0x…', null, FIELD],
    ['a result before the end', recorded(1), { ...still, status: 'waiting' } as const, '0x…', null, FIELD],
    ['no result', recorded(undefined), done(1), null, null, FIELD],
    ['an error that there is not', recorded(undefined, 'm'), done(1), null, fault('TRAP'), 'body.error'],
    ['no error', recorded(undefined), failed('TRAP', 'm'), null, null, 'body.error'],
    ['another code', recorded(undefined, 'm'), failed('TRAP', 'm'), null, fault('OUT_OF_FUEL'), 'body.error.code'],
    ['another message', recorded(undefined, 'n'), failed('TRAP', 'm'), null, fault('TRAP'), 'body.error.message'],
  ] as const)('finds %s', (_, payloads, state, output, error, field) => {
    expect(compareGuestResult(payloads, state, output, error, FIELD)).toMatchObject({ verdict: 'DIVERGED', field });
  });

  it('does not judge what is withheld', () => {
    const withheld = { verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' };
    expect(compareGuestResult(recorded(undefined), done(1), '0x…', null, FIELD)).toEqual(withheld);
    expect(compareGuestResult(recorded(undefined), failed('TRAP', 'm'), null, fault('TRAP'), FIELD)).toEqual(withheld);
  });
});
