import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { jsonDigest } from '../../inference/json-digest.ts';

const whole = (value: JsonObject) => `0x${createHash('sha256').update(canonicalJson(value)).digest('hex')}`;

describe('the digest of a description', () => {
  it('is that of its canonical text, whatever the nesting', () => {
    const values = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 7 }) as fc.Arbitrary<Json>);
    fc.assert(
      fc.property(values, (value) => {
        expect(jsonDigest(value)).toBe(whole(value));
      }),
      { numRuns: 300 },
    );
  });

  it('of a text many times larger than what is hashed at once', () => {
    const texts = Array.from({ length: 30_000 }, (_, i) => `▁🙂"\\\u0001${i}`);
    const vocab = Object.fromEntries(texts.map((text, i) => [text, i]));
    const value = { tokens: texts, json: { model: { vocab, merges: texts.map((text) => [text, 'x']) } }, z: null };
    expect(jsonDigest(value)).toBe(whole(value));
  });

  it('sorts keys as UTF-16, also those that look like numbers, and takes __proto__ for a key like others', () => {
    const keys = ['\u{1f642}', '\ufb33', '10', '9', 'é', 'z', '', '"', '__proto__'];
    const value = { a: { b: Object.fromEntries(keys.map((key, i) => [key, i])) } };
    expect(jsonDigest(value)).toBe(whole(value));
    expect(jsonDigest({ b: 1, a: 2 })).toBe(jsonDigest({ a: 2, b: 1 }));
    expect(jsonDigest({ a: [], b: {}, c: [{}, [[]]] })).toBe(whole({ a: [], b: {}, c: [{}, [[]]] }));
  });

  it('refuses what is no JSON, at every depth', () => {
    const hole = [1, 2, 3];
    delete hole[1];
    const faults: readonly (readonly [unknown, string])[] = [
      [undefined, 'NOT_JSON'],
      [1n, 'NOT_JSON'],
      [Number.NaN, 'NOT_JSON'],
      [hole, 'NOT_JSON'],
      [new Map(), 'NOT_JSON'],
      [new Date(0), 'NOT_JSON'],
      [() => 1, 'NOT_JSON'],
      [{ toJSON: () => 1 }, 'NOT_JSON'],
      ['\ud800', 'LONE_SURROGATE'],
      [{ '\udc00': 1 }, 'LONE_SURROGATE'],
    ];
    for (const [fault, code] of faults) {
      for (let depth = 0, value = fault; depth < 7; depth++, value = depth % 2 === 0 ? [value] : { a: value }) {
        const at = { a: value } as JsonObject;
        expect(() => jsonDigest(at), `${code} ${depth}`).toThrowError(expect.objectContaining({ code }));
      }
    }
    const ring: { a?: unknown } = {};
    ring.a = [ring];
    expect(() => jsonDigest(ring as JsonObject)).toThrowError(expect.objectContaining({ code: 'TOO_DEEP' }));
  });
});
