import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import type { RunOpenBody } from '../../../attest/trace/bodies.ts';
import {
  computeGuestSeed,
  computeRandomBytes,
  type GuestCode,
  grantToolFuel,
  guestCodeJson,
  guestStartOf,
  hashGuestCode,
  parseCall,
  parseGuestCode,
} from '../../../attest/trace/guest.ts';
import { TOY_IDENTITY } from '../../support/toy-run.ts';

const open = { inference: TOY_IDENTITY } as RunOpenBody;
const seed = sha256(utf8('seed'));
const code: GuestCode = {
  language: 'javascript',
  limits: { fuel: '1000', memoryMb: 16, outputBytes: 65_536 },
  manifest: {},
  source: 'agent',
};

describe('parseCall', () => {
  const call = (method: string, args: Json) => parseCall({ id: 0, method, args }, null, open);

  it.each<[string, Json, string]>([
    ['clock.now', {}, ''],
    ['kv.get', { key: 'k' }, 'agent/k'],
    ['kv.put', { key: 'k', value: 'v' }, 'agent/k'],
    ['human.approve', { details: { sum: 3 }, summary: 'pay?', timeoutMs: 0 }, ''],
    ['run.child', { agent: 'other', input: [1] }, 'other'],
    ['tool', { input: null, name: 'count' }, 'count'],
    ['http.fetch', { body: null, headers: {}, method: 'GET', url: 'http://x/' }, 'GET http://x/'],
  ])('gives %s its target', (method, args, target) => {
    expect(call(method, args)).toEqual({ method, target, args });
  });

  it.each<[string, Json]>([
    ['clock.now', null],
    ['clock.now', { at: 1 }],
    ['kv.get', { key: 1 }],
    ['kv.get', { key: 'k'.repeat(513) }],
    ['kv.put', { key: 'k' }],
    ['random.bytes', { length: 0 }],
    ['random.bytes', { length: 65_537 }],
    ['tool', { name: 'count' }],
    ['http.fetch', { body: null, headers: {}, method: 'BREW', url: 'http://x/' }],
    ['inference', { messages: [] }],
    ['kv.get', { ['\u{1f600}'.repeat(40)]: 1 }],
  ])('denies %s %j by one text for all', (method, args) => {
    expect(call(method, args)).toEqual({ method: 'unknown', target: 'malformed arguments' });
  });

  it('gives each tool keys of its own', () => {
    const asked = { id: 0, method: 'kv.get', args: { key: 'k' } };
    expect(parseCall(asked, 'count', open)).toMatchObject({ target: 'tools.count/k' });
  });

  it('knows no method that it does not name', () => {
    for (const method of ['', 'toString', '__proto__', 'wallet.receive', 'unknown']) {
      expect(call(method, {})).toEqual({ method: 'unknown', target: 'unknown method' });
    }
  });
});

describe('parseGuestCode', () => {
  it('reads code and keeps its digest', () => {
    expect(parseGuestCode(guestCodeJson(code), 'code')).toEqual(code);
    expect(hashGuestCode(code)).not.toBe(hashGuestCode({ ...code, source: 'agent ' }));
  });

  it.each(['0', '01', '-1', '1e3', '9007199254740992', '99999999999999999', ' 1', ''])('refuses fuel %j', (fuel) => {
    expect(() =>
      parseGuestCode({ ...(guestCodeJson(code) as object), limits: { ...code.limits, fuel } }, 'code'),
    ).toThrow(expect.objectContaining({ code: 'MALFORMED_PAYLOAD', at: { field: 'code.limits.fuel' } }));
  });

  it.each([0, 1025, 1.5])('refuses %d MB', (memoryMb) => {
    expect(() =>
      parseGuestCode({ ...(guestCodeJson(code) as object), limits: { ...code.limits, memoryMb } }, 'code'),
    ).toThrow(expect.objectContaining({ at: { field: 'code.limits.memoryMb' } }));
  });
});

describe('guestStartOf', () => {
  it('takes limits from the code, and seed and time from the place', () => {
    const place = { code, entry: { tool: 'count' }, input: [1], fuel: 7n, index: 3n, at: 1_700_000_000_000n };
    expect(guestStartOf(place, seed, 500)).toEqual({
      language: 'javascript',
      source: 'agent',
      entry: { tool: 'count' },
      input: [1],
      fuel: 7n,
      memoryBytes: 16 * 1024 * 1024,
      outputBytes: 65_536,
      wallMs: 500,
      seed: computeGuestSeed(seed, 3n),
      startTimeMs: 1_700_000_000_000,
    });
  });
});

describe('seeds and fuel', () => {
  it('differ by place, and blocks go on where they ended', () => {
    expect(computeGuestSeed(seed, 0n)).not.toEqual(computeGuestSeed(seed, 1n));
    const long = computeRandomBytes(seed, 3n, 100);
    expect(long).toHaveLength(100);
    expect(computeRandomBytes(seed, 3n, 33)).toEqual(long.subarray(0, 33));
    expect(toHex(computeRandomBytes(seed, 4n, 8))).not.toBe(toHex(long.subarray(0, 8)));
    expect(toHex(long.subarray(0, 8))).toBe('0xa5c926b51bcfaaaa');
  });

  it.each([
    [{ tool: 10n, run: 100n, used: 0n, agent: 50n, agentUsed: 0n, granted: 0n }, 10n],
    [{ tool: 10n, run: 100n, used: 45n, agent: 50n, agentUsed: 0n, granted: 0n }, 5n],
    [{ tool: 10n, run: 100n, used: 50n, agent: 50n, agentUsed: 0n, granted: 0n }, 0n],
    [{ tool: 10n, run: 100n, used: 60n, agent: 50n, agentUsed: 0n, granted: 0n }, 0n],
    [{ tool: 10n, run: 100n, used: 90n, agent: 50n, agentUsed: 50n, granted: 0n }, 10n],
    [{ tool: 10n, run: 100n, used: 0n, agent: 50n, agentUsed: 0n, granted: 44n }, 6n],
    [{ tool: 10n, run: 100n, used: 0n, agent: 50n, agentUsed: 0n, granted: 50n }, 0n],
  ])('leave the agent its share: %o', (fuel, granted) => {
    expect(grantToolFuel(fuel)).toBe(granted);
  });
});
