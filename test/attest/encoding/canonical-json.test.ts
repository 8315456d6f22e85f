import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  canonicalBytes,
  canonicalJson,
  type Json,
  MAX_BODY_DEPTH,
  MAX_JSON_DEPTH,
  parseCanonical,
  parseJson,
  parseJsonText,
  parseLosslessJson,
} from '../../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../../attest/encoding/errors.ts';
import { describeVectors, filesBelow, readBytes } from '../../support/vectors.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof EncodingError) return error.code;
    throw error;
  }
  return 'no error';
}

describeVectors('jsontestsuite/test_parsing', (folder) => {
  const files = filesBelow(folder);
  const named = (prefix: string): string[] => files.filter((file) => basename(file).startsWith(prefix));

  it('has all three kinds', () => {
    expect([named('y_').length, named('n_').length, named('i_').length]).toEqual([95, 188, 35]);
  });

  it.each(named('n_'))('refuses %s', (file) => {
    expect(() => parseJson(readBytes(file))).toThrow(EncodingError);
  });

  it.each(named('y_'))('accepts %s, but for duplicate keys', (file) => {
    const code = codeOf(() => parseJson(readBytes(file)));
    expect(code).toBe(basename(file).startsWith('y_object_duplicated_key') ? 'DUPLICATE_KEY' : 'no error');
    if (code === 'no error') expect(parseJson(readBytes(file))).toEqual(JSON.parse(readFileSync(file, 'utf8')));
  });

  it.each(named('i_'))('answers %s', (file) => {
    codeOf(() => parseJson(readBytes(file)));
  });
});

describeVectors('jcs', (folder) => {
  it.each(['arrays', 'french', 'structures', 'unicode', 'values', 'weird'])('canonicalizes %s', (name) => {
    const value = parseJson(readBytes(join(folder, 'testdata/input', `${name}.json`)));
    const expected = readBytes(join(folder, 'testdata/output', `${name}.json`));
    expect(canonicalBytes(value)).toEqual(expected);
    const hex = readFileSync(join(folder, 'testdata/outhex', `${name}.txt`), 'utf8').replace(/\s/g, '');
    expect(Buffer.from(canonicalBytes(value)).toString('hex')).toBe(hex);
  });

  it('writes the 5,000 numbers', () => {
    const rows = readFileSync(join(folder, 'es6numbers-5k.txt'), 'utf8').trim().split('\n');
    const view = new DataView(new ArrayBuffer(8));
    let right = 0;
    for (const row of rows) {
      const [hex = '', expected = ''] = row.split(',');
      view.setBigUint64(0, BigInt(`0x${hex}`));
      const text = canonicalJson(view.getFloat64(0));
      expect(text).toBe(expected);
      expect(canonicalJson(parseJsonText(text))).toBe(expected);
      right++;
    }
    expect(right).toBe(5000);
  });
});

describe('parseJson', () => {
  it.each([
    ['nothing', '', 'MALFORMED_JSON'],
    ['space only', ' \n', 'MALFORMED_JSON'],
    ['byte order mark', '\ufeff{}', 'MALFORMED_JSON'],
    ['form feed as space', '\f1', 'MALFORMED_JSON'],
    ['no-break space', '\u00a01', 'MALFORMED_JSON'],
    ['line separator as space', '\u20281', 'MALFORMED_JSON'],
    ['two values', '1 2', 'MALFORMED_JSON'],
    ['a NUL after the value', '1\0', 'MALFORMED_JSON'],
    ['comma at the end of an array', '[1,]', 'MALFORMED_JSON'],
    ['comma at the end of an object', '{"a":1,}', 'MALFORMED_JSON'],
    ['no comma', '[1 2]', 'MALFORMED_JSON'],
    ['no colon', '{"a" 1}', 'MALFORMED_JSON'],
    ['array closed as object', '[1}', 'MALFORMED_JSON'],
    ['object closed as array', '{"a":1]', 'MALFORMED_JSON'],
    ['key without quotes', '{a:1}', 'MALFORMED_JSON'],
    ['number as key', '{1:1}', 'MALFORMED_JSON'],
    ['single quotes', "'a'", 'MALFORMED_JSON'],
    ['word cut off', 'tru', 'MALFORMED_JSON'],
    ['word too long', 'nullx', 'MALFORMED_JSON'],
    ['capital word', 'True', 'MALFORMED_JSON'],
    ['NaN', 'NaN', 'MALFORMED_JSON'],
    ['Infinity', '-Infinity', 'MALFORMED_JSON'],
    ['plus sign', '+1', 'MALFORMED_JSON'],
    ['leading zero', '01', 'MALFORMED_JSON'],
    ['negative leading zero', '-01', 'MALFORMED_JSON'],
    ['minus only', '-', 'MALFORMED_JSON'],
    ['no digit before the point', '.5', 'MALFORMED_JSON'],
    ['no digit after the point', '1.', 'MALFORMED_JSON'],
    ['no exponent', '1e', 'MALFORMED_JSON'],
    ['signed empty exponent', '1e-', 'MALFORMED_JSON'],
    ['hexadecimal', '0x1', 'MALFORMED_JSON'],
    ['separator in a number', '1_000', 'MALFORMED_JSON'],
    ['digits of another script', '٣', 'MALFORMED_JSON'],
    ['string without end', '"a', 'MALFORMED_JSON'],
    ['string that ends in a backslash', '"a\\', 'MALFORMED_JSON'],
    ['tab in a string', '"\t"', 'MALFORMED_JSON'],
    ['line end in a string', '"a\nb"', 'MALFORMED_JSON'],
    ['NUL in a string', '"\0"', 'MALFORMED_JSON'],
    ['unknown escape', '"\\x41"', 'MALFORMED_JSON'],
    ['escape named like a method', '"\\toString"', 'no error'],
    ['short unicode escape', '"\\u12"', 'MALFORMED_JSON'],
    ['unicode escape cut off', '"\\u123', 'MALFORMED_JSON'],
    ['capital U escape', '"\\U0041"', 'MALFORMED_JSON'],
    ['signed unicode escape', '"\\u+123"', 'MALFORMED_JSON'],
    ['duplicate key', '{"a":1,"a":1}', 'DUPLICATE_KEY'],
    ['duplicate key by escape', '{"a":1,"\\u0061":2}', 'DUPLICATE_KEY'],
    ['duplicate empty key', '{"":1,"":2}', 'DUPLICATE_KEY'],
    ['duplicate __proto__', '{"__proto__":1,"__proto__":2}', 'DUPLICATE_KEY'],
    ['duplicate key deep down', '[{"x":{"a":1,"b":2,"a":3}}]', 'DUPLICATE_KEY'],
    ['same key in two objects', '[{"a":1},{"a":1}]', 'no error'],
    ['lone high surrogate', '"\\ud800"', 'LONE_SURROGATE'],
    ['lone low surrogate', '"\\udc00"', 'LONE_SURROGATE'],
    ['reversed pair', '"\\udc00\\ud800"', 'LONE_SURROGATE'],
    ['high surrogate before another escape', '"\\ud800\\n"', 'LONE_SURROGATE'],
    ['high surrogate before a plain character', '"\\ud800\\u0041"', 'LONE_SURROGATE'],
    ['two high surrogates', '"\\ud800\\ud800\\udc00"', 'LONE_SURROGATE'],
    ['two low surrogates', '"\\udc00\\udc00"', 'LONE_SURROGATE'],
    ['lone surrogate in a key', '{"\\ud800":1}', 'LONE_SURROGATE'],
    ['pair', '"\\ud83d\\ude00"', 'no error'],
    ['number beyond binary64', '1e400', 'NUMBER_OUT_OF_RANGE'],
    ['negative number beyond binary64', '[-1e309]', 'NUMBER_OUT_OF_RANGE'],
    ['number below binary64', '1e-400', 'no error'],
  ])('%s', (_name, text, code) => {
    expect(codeOf(() => parseJson(bytes(text)))).toBe(code);
  });

  it.each([
    ['bare continuation', [0x22, 0x80, 0x22]],
    ['overlong slash', [0x22, 0xc0, 0xaf, 0x22]],
    ['overlong NUL', [0x22, 0xe0, 0x80, 0x80, 0x22]],
    ['surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['surrogate pair (CESU-8)', [0x22, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80, 0x22]],
    ['above U+10FFFF', [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]],
    ['five bytes', [0x22, 0xf8, 0x88, 0x80, 0x80, 0x80, 0x22]],
    ['cut off', [0x22, 0xe2, 0x82]],
    ['UTF-16', [0xff, 0xfe, 0x31, 0x00]],
    ['outside a string', [0x5b, 0xff, 0x5d]],
  ])('refuses UTF-8: %s', (_name, data) => {
    expect(codeOf(() => parseJson(Uint8Array.from(data)))).toBe('MALFORMED_UTF8');
  });

  it('names the place of a fault', () => {
    const at = (text: string): unknown => {
      try {
        parseJson(bytes(text));
      } catch (error) {
        return error instanceof EncodingError ? error.at : error;
      }
      return undefined;
    };
    expect(at('[1, x]')).toEqual({ offset: 4 });
    expect(at('{"a":1,"a":2}')).toEqual({ offset: 7 });
    expect(at('"ab\\ud800"')).toEqual({ offset: 3 });
  });

  it('keeps keys that objects inherit as plain data', () => {
    const value = parseJson(bytes('{"__proto__":{"polluted":1},"constructor":2,"toJSON":3,"hasOwnProperty":4}')) as {
      [key: string]: Json;
    };
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor', 'toJSON', 'hasOwnProperty']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(canonicalJson(value)).toBe('{"__proto__":{"polluted":1},"constructor":2,"hasOwnProperty":4,"toJSON":3}');
  });

  it('bounds nesting before it costs anything', () => {
    expect(codeOf(() => parseJson(bytes('['.repeat(100_000))))).toBe('TOO_DEEP');
    expect(codeOf(() => parseJson(bytes('['.repeat(100_000) + ']'.repeat(100_000))))).toBe('TOO_DEEP');
    expect(codeOf(() => parseJson(bytes('{"a":'.repeat(100_000))))).toBe('TOO_DEEP');
    const deepest = '['.repeat(MAX_JSON_DEPTH) + ']'.repeat(MAX_JSON_DEPTH);
    expect(canonicalJson(parseJson(bytes(deepest)))).toBe(deepest);
    expect(codeOf(() => parseJson(bytes(`[${deepest}]`)))).toBe('TOO_DEEP');
    expect(codeOf(() => parseJson(bytes('[[1]]'), { maxDepth: 1 }))).toBe('TOO_DEEP');
    expect(parseJson(bytes('1'), { maxDepth: 0 })).toBe(1);
    // Iteration, not a deep stack: a caller may allow far more.
    const far = '['.repeat(100_000) + ']'.repeat(100_000);
    expect(codeOf(() => parseJson(bytes(far), { maxDepth: 100_000 }))).toBe('no error');
  });

  it('bounds length', () => {
    expect(codeOf(() => parseJson(bytes('[1]'), { maxBytes: 2 }))).toBe('TOO_LARGE');
    expect(parseJson(bytes('[1]'), { maxBytes: 3 })).toEqual([1]);
    expect(codeOf(() => parseJsonText('[1]', { maxBytes: 2 }))).toBe('TOO_LARGE');
  });

  it('refuses a text with half a character in it', () => {
    expect(codeOf(() => parseJsonText('"\ud800"'))).toBe('LONE_SURROGATE');
    expect(codeOf(() => parseJsonText('"\ud800\\udc00"'))).toBe('LONE_SURROGATE');
    expect(parseJsonText('"\ud83d\ude00"')).toBe('😀');
  });

  it('reads ten megabytes of one string, and of many members', () => {
    const long = 'a'.repeat(10_000_000);
    expect(parseJson(bytes(`"${long}"`))).toBe(long);
    const members = Array.from({ length: 200_000 }, (_, i) => `"key ${i}":${i}`).join(',');
    expect(Object.keys(parseJson(bytes(`{${members}}`)) as object).length).toBe(200_000);
  });
});

describe('parseLosslessJson', () => {
  it('keeps integers exactly', () => {
    expect(parseLosslessJson(bytes('[18446744073709551615,-9007199254740993,0,-0]'))).toEqual([
      18446744073709551615n,
      -9007199254740993n,
      0n,
      0n,
    ]);
  });

  it('reads other numbers as binary64', () => {
    expect(parseLosslessJson(bytes('[1.0,1e3,-0.5]'))).toEqual([1, 1000, -0.5]);
  });

  it('does not build an integer that is too long', () => {
    expect(codeOf(() => parseLosslessJson(bytes('9'.repeat(5_000_000))))).toBe('NUMBER_OUT_OF_RANGE');
  });
});

describe('canonicalJson', () => {
  it('sorts by UTF-16 units and escapes what must be', () => {
    const value = { '\ufb33': 1, '\u{1f600}': 2, '\u0080': 3, '': 4, '1': 5, '\r': 6, ö: 7 };
    expect(Object.keys(JSON.parse(canonicalJson(value)) as object).length).toBe(7);
    expect(canonicalJson(value)).toBe('{"":4,"\\r":6,"1":5,"\u0080":3,"ö":7,"😀":2,"\ufb33":1}');
    expect(canonicalJson('\u0000\u001f\b\t\n\f\r"\\/\u007f\u2028')).toBe(
      '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\u007f\u2028"',
    );
  });

  it('writes a negative zero as zero', () => {
    expect(canonicalJson([-0, 0])).toBe('[0,0]');
  });

  it.each([
    ['undefined', undefined, 'NOT_JSON'],
    ['undefined member', { a: undefined }, 'NOT_JSON'],
    ['undefined element', [undefined], 'NOT_JSON'],
    ['hole', new Array(2), 'NOT_JSON'],
    ['function', () => 1, 'NOT_JSON'],
    ['toJSON', { toJSON: () => 1 }, 'NOT_JSON'],
    ['symbol', { a: Symbol('a') }, 'NOT_JSON'],
    ['bigint', 1n, 'NOT_JSON'],
    ['NaN', Number.NaN, 'NOT_JSON'],
    ['infinity', [Number.POSITIVE_INFINITY], 'NOT_JSON'],
    ['date', new Date(0), 'NOT_JSON'],
    ['map', new Map(), 'NOT_JSON'],
    ['bytes', new Uint8Array(2), 'NOT_JSON'],
    ['boxed number', Object(1), 'NOT_JSON'],
    ['lone surrogate', 'a\ud800', 'LONE_SURROGATE'],
    ['lone surrogate in a key', { '\udc00': 1 }, 'LONE_SURROGATE'],
  ])('refuses %s', (_name, value, code) => {
    expect(codeOf(() => canonicalJson(value as Json))).toBe(code);
  });

  it('refuses cycles and too deep values, and takes a value that occurs twice', () => {
    const cycle: Json[] = [];
    cycle.push(cycle);
    expect(codeOf(() => canonicalJson(cycle))).toBe('TOO_DEEP');
    const loop: Record<string, Json> = { other: [1, 2, 3] };
    loop['self'] = { inner: loop };
    expect(codeOf(() => canonicalJson(loop))).toBe('TOO_DEEP');
    let deep: Json = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(codeOf(() => canonicalJson(deep))).toBe('TOO_DEEP');
    const shared = { a: 1 };
    expect(canonicalJson([shared, shared])).toBe('[{"a":1},{"a":1}]');
    expect(canonicalJson(Object.assign(Object.create(null), { b: 1, a: 2 }) as Json)).toBe('{"a":2,"b":1}');
  });
});

describe('parseCanonical', () => {
  it('reads a canonical body', () => {
    const body = { a: [1, -2, 9007199254740991], b: { c: null, d: true }, e: 'é\n😀', f: '' };
    expect(parseCanonical(canonicalBytes(body))).toEqual(body);
    expect(parseCanonical(bytes('{}'))).toEqual({});
  });

  it.each([
    ['array', '[]', 'NOT_CANONICAL'],
    ['text', '"a"', 'NOT_CANONICAL'],
    ['null', 'null', 'NOT_CANONICAL'],
    ['space before', ' {}', 'NOT_CANONICAL'],
    ['space after', '{} ', 'NOT_CANONICAL'],
    ['line end after', '{}\n', 'NOT_CANONICAL'],
    ['space within', '{"a": 1}', 'NOT_CANONICAL'],
    ['keys out of order', '{"b":1,"a":2}', 'NOT_CANONICAL'],
    ['keys in code point order', '{"\ufb33":1,"😀":2}', 'NOT_CANONICAL'],
    ['escape that is not needed', '{"a":"\\u0062"}', 'NOT_CANONICAL'],
    ['escaped solidus', '{"a":"\\/"}', 'NOT_CANONICAL'],
    ['long escape for a short one', '{"a":"\\u000a"}', 'NOT_CANONICAL'],
    ['capital escape', '{"a":"\\u001F"}', 'NOT_CANONICAL'],
    ['escaped key', '{"\\u0061":1}', 'NOT_CANONICAL'],
    ['pair written as escapes', '{"a":"\\ud83d\\ude00"}', 'NOT_CANONICAL'],
    ['fraction', '{"a":1.5}', 'NOT_AN_INTEGER'],
    ['integer with fraction', '{"a":1.0}', 'NOT_AN_INTEGER'],
    ['exponent', '{"a":1e3}', 'NOT_AN_INTEGER'],
    ['canonical float', '{"a":1e+21}', 'NOT_AN_INTEGER'],
    ['negative zero', '{"a":-0}', 'NOT_AN_INTEGER'],
    ['beyond 2^53 - 1', '{"a":9007199254740992}', 'NOT_AN_INTEGER'],
    ['below -(2^53 - 1)', '{"a":-9007199254740992}', 'NOT_AN_INTEGER'],
    ['hundred digits', `{"a":${'9'.repeat(100)}}`, 'NOT_AN_INTEGER'],
    ['duplicate key', '{"a":1,"a":1}', 'DUPLICATE_KEY'],
    ['lone surrogate', '{"a":"\\ud800"}', 'LONE_SURROGATE'],
    ['byte order mark', '\ufeff{}', 'MALFORMED_JSON'],
    ['nothing', '', 'MALFORMED_JSON'],
  ])('refuses %s', (_name, text, code) => {
    expect(codeOf(() => parseCanonical(bytes(text)))).toBe(code);
  });

  it('nests 32 deep and no deeper', () => {
    const nested = (depth: number): string => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
    expect(codeOf(() => parseCanonical(bytes(nested(MAX_BODY_DEPTH))))).toBe('no error');
    expect(codeOf(() => parseCanonical(bytes(nested(MAX_BODY_DEPTH + 1))))).toBe('TOO_DEEP');
  });
});
