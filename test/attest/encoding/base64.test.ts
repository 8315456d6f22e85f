import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromBase64, toBase64 } from '../../../attest/encoding/base64.ts';
import { EncodingError } from '../../../attest/encoding/errors.ts';

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof EncodingError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('base64', () => {
  // RFC 4648 §10
  it.each([
    ['', ''],
    ['f', 'Zg=='],
    ['fo', 'Zm8='],
    ['foo', 'Zm9v'],
    ['foob', 'Zm9vYg=='],
    ['fooba', 'Zm9vYmE='],
    ['foobar', 'Zm9vYmFy'],
  ])('gives the known answer for %j', (text, encoded) => {
    const bytes = new Uint8Array(Buffer.from(text));
    expect(toBase64(bytes)).toBe(encoded);
    expect(fromBase64(encoded)).toEqual(bytes);
  });

  it('agrees with Node, both ways', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect(toBase64(bytes)).toBe(text);
        expect(fromBase64(text)).toEqual(new Uint8Array(bytes));
      }),
    );
    const large = Uint8Array.from({ length: 100_001 }, (_, i) => (i * 7) & 255);
    expect(toBase64(large)).toBe(Buffer.from(large).toString('base64'));
  });

  it('has one text for each byte string', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.base64String({ maxLength: 12 }),
          fc.string({ unit: fc.constantFrom(...'AB9+/=-_ \n'), maxLength: 8 }),
        ),
        (text) => {
          let bytes: Uint8Array;
          try {
            bytes = fromBase64(text);
          } catch (error) {
            expect(error).toBeInstanceOf(EncodingError);
            return;
          }
          expect(toBase64(bytes)).toBe(text);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it.each([
    'Z',
    'Zg',
    'Zg=',
    'Zh==',
    'Zm9=',
    'Zm8',
    'Zm8==',
    '=',
    '==',
    '===',
    '====',
    'A===',
    'Zg==Zg==',
    'Zm9v\n',
    'Zm9v\r\n\r\n',
    ' Zm9',
    'Zm-_',
    'Zm9é',
    'Zm9\u{1f600}',
    'Zm9v====',
  ])('refuses %j', (text) => {
    expect(codeOf(() => fromBase64(text))).toBe('MALFORMED_BASE64');
  });

  it('refuses another length', () => {
    expect(fromBase64('Zm8=', 2).length).toBe(2);
    expect(codeOf(() => fromBase64('Zm8=', 3))).toBe('MALFORMED_BASE64');
  });
});
