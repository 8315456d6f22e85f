import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../../attest/core/error.ts';
import { toBase64 } from '../../attest/encoding/base64.ts';
import {
  canonicalBytes,
  canonicalJson,
  type Json,
  parseCanonical,
  parseJson,
  parseJsonText,
  parseLosslessJson,
} from '../../attest/encoding/canonical-json.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** The value, or the code of the typed error; anything else thrown fails the test. */
function attempt<T>(run: () => T): { readonly value: T } | { readonly code: string } {
  try {
    return { value: run() };
  } catch (error) {
    if (RuntimeError.is(error)) return { code: error.code };
    throw error;
  }
}

function oracle(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

/** Text that is nearly JSON: pieces of the grammar in any order. */
const pieces = fc
  .array(
    fc.oneof(
      fc.constantFrom(...'{}[],:"\\ \n\t-+.eE0123456789', 'true', 'false', 'null', '"a"', '"b":', '\\u0041', '\\ud83d'),
      fc.constantFrom('\\ude00', '"\\n"', '1.5', '-0', '1e5', '{"a":1}', '[1,2]', '"__proto__":', '\u00e9', '\ufeff'),
    ),
    { maxLength: 24 },
  )
  .map((parts) => parts.join(''));

/** JSON with bytes changed. */
const mutated = fc
  .tuple(fc.json(), fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }))
  .map(([text, changes]) => {
    const data = bytes(text);
    for (const [at, byte] of changes) if (data.length > 0) data[at % data.length] = byte;
    return data;
  });

const safe: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    fc.string({ unit: 'binary' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;

describe('parseJson', () => {
  it('gives what JSON.parse gives where it accepts, and accepts only what JSON.parse does', () => {
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof(pieces, fc.json({ stringUnit: 'binary' })), (text) => {
        const result = attempt(() => parseJson(bytes(text)));
        const expected = oracle(text);
        if ('value' in result) {
          accepted++;
          expect(expected).toBeDefined();
          expect(result.value).toStrictEqual(expected?.value);
        } else if (expected !== undefined) {
          // What JSON.parse lets pass and this does not.
          expect(['DUPLICATE_KEY', 'LONE_SURROGATE', 'NUMBER_OUT_OF_RANGE', 'TOO_DEEP']).toContain(result.code);
        }
      }),
      { numRuns: 20_000 },
    );
    expect(accepted).toBeGreaterThan(5_000);
  });

  it('answers any bytes with a value or a typed error', () => {
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })), (data) => {
        const result = attempt(() => parseJson(data));
        expect(attempt(() => parseLosslessJson(data))).toHaveProperty('value' in result ? 'value' : 'code');
        if ('value' in result) expect(new TextDecoder('utf-8', { fatal: true }).decode(data)).toBeTypeOf('string');
        expect(attempt(() => parseCanonical(data))).toBeDefined();
      }),
      { numRuns: 10_000 },
    );
  });

  it('gives the same for a text as for its bytes', () => {
    fc.assert(
      fc.property(pieces, (text) => {
        expect(attempt(() => parseJsonText(text))).toStrictEqual(attempt(() => parseJson(bytes(text))));
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('canonicalJson', () => {
  it('comes back as the same value, and is its own canonical form', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = canonicalJson(value as Json);
        const back = parseJsonText(text);
        expect(canonicalJson(back)).toBe(text);
        expect(back).toEqual(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 5_000 },
    );
  });

  it('does not depend on the order of members or on how the text was written', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { noNullPrototype: true }), (object) => {
        const reversed = Object.fromEntries(Object.entries(object).reverse());
        expect(canonicalJson(reversed as Json)).toBe(canonicalJson(object as Json));
        expect(canonicalJson(parseJsonText(JSON.stringify(object, null, 3)))).toBe(canonicalJson(object as Json));
      }),
      { numRuns: 2_000 },
    );
  });

  it('answers any value with a text or a typed error', () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withNullPrototype: true,
          withSparseArray: true,
        }),
        (value) => {
          const result = attempt(() => canonicalJson(value as Json));
          if ('value' in result) expect(oracle(result.value)).toBeDefined();
        },
      ),
      { numRuns: 5_000 },
    );
  });
});

describe('parseCanonical', () => {
  it('reads every body that is written, and no other text of it', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), safe, { noNullPrototype: true }), (body) => {
        const data = canonicalBytes(body);
        expect(canonicalBytes(parseCanonical(data))).toEqual(data);
        const spaced = bytes(JSON.stringify(body, null, 1));
        if (spaced.length !== data.length) expect(attempt(() => parseCanonical(spaced))).toHaveProperty('code');
      }),
      { numRuns: 3_000 },
    );
  });

  it('accepts only bytes that it would write', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'binary', maxLength: 3 }), safe, { noNullPrototype: true, maxKeys: 3 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (body, at, change) => {
          const data = canonicalBytes(body);
          const index = at % data.length;
          data[index] = (data[index] as number) ^ change;
          const result = attempt(() => parseCanonical(data));
          if ('value' in result) expect(toBase64(canonicalBytes(result.value))).toBe(toBase64(data));
        },
      ),
      { numRuns: 5_000 },
    );
  });
});
